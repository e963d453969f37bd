"""The ranks in which the layers of a graph stand, and their order from left to right.

Each layer stands in a rank below all that it reads, and a line that passes a rank has a lane in it
(Sugiyama, Tagawa and Toda 1981). Neighbours are ordered by their barycentres, then moved as little
as possible from the mean of what they are linked to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

NODE_WIDTH = 188
_LANE_WIDTH = 8
_GAP = 16  # between neighbours in a rank
_MOST_LANES = 6000
_SWEEPS = 4


def ranks_of(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Returns the rank of each layer: below all that it reads; an input, just above its reader."""
    ranks = [0] * count
    for start, end in edges:  # in the order of `start`, whose rank is known by then
        ranks[end] = max(ranks[end], ranks[start] + 1)
    inner = {end for _, end in edges}
    readers: dict[int, int] = {}
    for start, end in edges:
        if start not in inner:
            readers[start] = min(readers.get(start, ranks[end]), ranks[end])
    for start, rank in readers.items():
        ranks[start] = rank - 1
    return ranks


class Lanes:
    """What stands in the ranks: layers by their places, and behind them lanes.

    Attributes:
        ranks: The rank of each layer and lane.
        routes: What each line passes, from its start to its end.
        owners: The layer from which the lines in each lane come, by the lane.
        above: What each layer or lane is linked to in the rank above.
        below: The same of the rank below.
        first: The number of the first lane.
    """

    def __init__(self, ranks: Sequence[int], edges: Sequence[tuple[int, int]]) -> None:
        self.ranks = list(ranks)
        self.first = len(ranks)
        self.routes: dict[tuple[int, int], list[int]] = {}
        self.owners: dict[int, int] = {}
        lanes: dict[tuple[int, int], int] = {}  # lines from one layer share them
        links: set[tuple[int, int]] = set()
        for start, end in sorted(edges, key=lambda edge: ranks[edge[1]] - ranks[edge[0]]):
            passed = range(ranks[start] + 1, ranks[end])
            route = [start, end]
            if not passed or len(lanes) + len(passed) <= _MOST_LANES:
                for rank in passed:
                    if (start, rank) not in lanes:
                        lanes[start, rank] = len(self.ranks)
                        self.owners[len(self.ranks)] = start
                        self.ranks.append(rank)
                route[1:1] = [lanes[start, rank] for rank in passed]
                links.update(pairwise(route))
            self.routes[start, end] = route
        self.above: list[list[int]] = [[] for _ in self.ranks]
        self.below: list[list[int]] = [[] for _ in self.ranks]
        for upper, lower in sorted(links):
            self.above[lower].append(upper)
            self.below[upper].append(lower)

    def in_line(self, item: int, links: Sequence[int]) -> Sequence[int]:
        """Returns what an item is to stand in line with among what it is linked to.

        Layers stand in line with layers, if they can, and lanes with lanes only.
        """
        lane = item >= self.first
        alike = [each for each in links if (each >= self.first) == lane]
        return alike if alike or lane else links

    def width(self, item: int) -> int:
        """Returns the width of a layer or lane."""
        return NODE_WIDTH if item < self.first else _LANE_WIDTH


def ordered(lanes: Lanes) -> list[list[int]]:
    """Returns the ranks from left to right, with few crossings."""
    rows: list[list[int]] = [[] for _ in range(max(lanes.ranks, default=-1) + 1)]
    for item, rank in enumerate(lanes.ranks):
        rows[rank].append(item)
    places = [0.0] * len(lanes.ranks)

    def number(row: list[int]) -> None:
        for index, item in enumerate(row):
            places[item] = index - (len(row) - 1) / 2

    for row in rows:
        number(row)
    for _ in range(_SWEEPS):
        for links, order in ((lanes.above, rows), (lanes.below, rows[::-1])):
            for row in order:
                row.sort(key=lambda item: _mean(places, links[item], places[item]))
                number(row)
    return rows


def _mean(
    values: Sequence[float] | Mapping[int, float], items: Sequence[int], default: float
) -> float:
    return sum(values[item] for item in items) / len(items) if items else default


def middles_of(rows: Sequence[Sequence[int]], lanes: Lanes) -> dict[int, float]:
    """Returns the middles of the layers and lanes of a column, from left to right."""
    middles = {item: 0.0 for row in rows for item in row}
    for sweep in range(2 * _SWEEPS):
        links = (lanes.above, lanes.below)[sweep % 2]
        for row in rows[:: (1, -1)[sweep % 2]]:
            linked = [[each for each in links[item] if each in middles] for item in row]
            wanted = [
                _mean(middles, lanes.in_line(item, near), middles[item])
                for item, near in zip(row, linked, strict=True)
            ]
            widths = [lanes.width(item) for item in row]
            # Lanes hold their place more firmly, so that long lines are straight.
            weights = [1.0 if item < lanes.first else 8.0 for item in row]
            middles |= zip(row, _apart(wanted, widths, weights), strict=True)
    for side in (1, -1):
        _draw_in(rows, lanes, middles, side)
    return middles


def _draw_in(
    rows: Sequence[Sequence[int]], lanes: Lanes, middles: dict[int, float], side: int
) -> None:
    """Moves the lanes to the right (`side` is 1) or left (-1) of all layers close to these.

    The lanes of one layer move together, so that they stay straight.
    """
    chains: dict[int, list[tuple[Sequence[int], int]]] = {}
    for row in rows:
        for index, item in enumerate(row := row[::side]):
            if item in lanes.owners:
                chains.setdefault(lanes.owners[item], []).append((row, index))

    def outwards(owner: int) -> float:
        return side * max(middles[row[index]] for row, index in chains[owner])

    for owner in sorted(chains, key=outwards):
        inner = [
            side * middles[row[index - 1]] + (lanes.width(row[index - 1]) + _LANE_WIDTH) / 2 + _GAP
            for row, index in chains[owner]
            if index
        ]
        free = all(item in lanes.owners for row, index in chains[owner] for item in row[index:])
        if free and inner:
            for row, index in chains[owner]:
                middles[row[index]] = side * max(inner)


def _apart(wanted: Sequence[float], widths: Sequence[int], weights: Sequence[float]) -> list[float]:
    """Returns the middles closest to the wanted ones at which neighbours do not overlap.

    Minus its room to the left, each middle must be at least that of its neighbour: an isotonic
    regression, which is solved by pooling adjacent violators.
    """
    rooms, room = [], 0.0
    for index, width in enumerate(widths):
        room += (widths[index - 1] + width) / 2 + _GAP if index else 0.0
        rooms.append(room)
    blocks: list[list[float]] = []  # mean, weight, length
    for middle, room, weight in zip(wanted, rooms, weights, strict=True):
        blocks.append([middle - room, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, heavy, length = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * heavy) / (last[1] + heavy)
            last[1] += heavy
            last[2] += length
    values = [mean for mean, _, length in blocks for _ in range(int(length))]
    return [value + room for value, room in zip(values, rooms, strict=True)]
