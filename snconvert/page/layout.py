"""Where the layers of a graph stand in its drawing, and how the lines between them run.

Each layer stands in a rank below all that it reads, and a line that passes a rank has a lane in it
(Sugiyama, Tagawa and Toda 1981). Neighbours are ordered by their barycentres, then moved as little
as possible from the mean of what they are linked to. Long drawings are cut into columns, as in a
newspaper, preferably where few lines cross the cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

NODE_WIDTH = 188
_LANE_WIDTH = 8
_GAP = 16  # between neighbours in a rank
_RANK_GAP = 22
_COLUMN_GAP = 56
_COLUMN_HEIGHT = 600
_MARGIN = 34  # room for lines that lead from one column to the next
_BEND = 24
_MOST_LANES = 6000
_SWEEPS = 4
_EARLIEST, _LATEST = 0.7, 1.15  # of the height that columns have on average


class Box(NamedTuple):
    """Where a layer stands, in pixels.

    Attributes:
        x: Its left edge; all are `NODE_WIDTH` wide.
        y: Its upper edge.
    """

    x: int
    y: int


class Line(NamedTuple):
    """A line from one layer to another one.

    Attributes:
        start: The place of what is read in the list of layers.
        end: The place of what reads it.
        path: The line as the attribute `d` of an SVG path.
    """

    start: int
    end: int
    path: str


class Drawing(NamedTuple):
    """A graph with the places of all that is drawn.

    Attributes:
        width: Its width in pixels.
        height: Its height.
        boxes: The layers, in their order.
        lines: The lines.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def drawing(heights: Sequence[int], edges: Iterable[tuple[int, int]]) -> Drawing:
    """Returns where layers stand and how lines run.

    Args:
        heights: The height of each layer in pixels; each comes after what it reads.
        edges: Pairs of places in `heights`, from what is read to what reads it. Others than from
            an earlier layer to a later one are left out.

    Example:
        >>> drawing([40, 40], [(0, 1)]).boxes
        (Box(x=0, y=34), Box(x=0, y=96))
    """
    count = len(heights)
    if not count:
        return Drawing(0, 0, (), ())
    edges = sorted({(start, end) for start, end in edges if 0 <= start < end < count})
    ranks = _ranks(count, edges)
    lanes = _Lanes(ranks, edges)
    rows = _ordered(lanes)
    middles = _middles(rows, lanes)
    return _Placing(heights, rows, lanes, middles).drawing()


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
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


class _Lanes:
    """What stands in the ranks: layers by their places, and behind them lanes.

    Attributes:
        ranks: The rank of each layer and lane.
        routes: What each line passes, from its start to its end.
        above: What each layer or lane is linked to in the rank above.
        below: The same of the rank below.
        first: The number of the first lane.
    """

    def __init__(self, ranks: Sequence[int], edges: Sequence[tuple[int, int]]) -> None:
        self.ranks = list(ranks)
        self.first = len(ranks)
        self.routes: dict[tuple[int, int], list[int]] = {}
        lanes: dict[tuple[int, int], int] = {}  # lines from one layer share them
        links: set[tuple[int, int]] = set()
        for start, end in sorted(edges, key=lambda edge: ranks[edge[1]] - ranks[edge[0]]):
            passed = range(ranks[start] + 1, ranks[end])
            route = [start, end]
            if not passed or len(lanes) + len(passed) <= _MOST_LANES:
                for rank in passed:
                    if (start, rank) not in lanes:
                        lanes[start, rank] = len(self.ranks)
                        self.ranks.append(rank)
                route[1:1] = [lanes[start, rank] for rank in passed]
                links.update(pairwise(route))
            self.routes[start, end] = route
        self.above: list[list[int]] = [[] for _ in self.ranks]
        self.below: list[list[int]] = [[] for _ in self.ranks]
        for upper, lower in sorted(links):
            self.above[lower].append(upper)
            self.below[upper].append(lower)

    def nearest(self, links: Sequence[int]) -> Sequence[int]:
        """Returns the layers among some links, to stand in line with them; lanes, if all are."""
        return [item for item in links if item < self.first] or links

    def width(self, item: int) -> int:
        """Returns the width of a layer or lane."""
        return NODE_WIDTH if item < self.first else _LANE_WIDTH


def _ordered(lanes: _Lanes) -> list[list[int]]:
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


def _mean(values: Sequence[float], items: Sequence[int], default: float) -> float:
    return sum(values[item] for item in items) / len(items) if items else default


def _middles(rows: Sequence[Sequence[int]], lanes: _Lanes) -> list[float]:
    """Returns the middle of each layer and lane, from left to right."""
    middles = [0.0] * len(lanes.ranks)
    for sweep in range(2 * _SWEEPS):
        links = (lanes.above, lanes.below)[sweep % 2]
        for row in rows[:: (1, -1)[sweep % 2]]:
            wanted = [_mean(middles, lanes.nearest(links[item]), middles[item]) for item in row]
            widths = [lanes.width(item) for item in row]
            # Lanes hold their place more firmly, so that long lines are straight.
            weights = [1.0 if item < lanes.first else 8.0 for item in row]
            for item, middle in zip(row, _apart(wanted, widths, weights), strict=True):
                middles[item] = middle
    return middles


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


class _Placing:
    """Cuts the ranks into columns and gives everything its place."""

    def __init__(
        self,
        heights: Sequence[int],
        rows: Sequence[Sequence[int]],
        lanes: _Lanes,
        middles: Sequence[float],
    ) -> None:
        self._heights, self._lanes = heights, lanes
        deep = [max((heights[x] for x in row if x < lanes.first), default=0) for row in rows]
        starts = _cuts(deep, _crossings(len(rows), lanes))
        self._tops, self._bottoms = [0] * len(rows), [0] * len(rows)
        self._x = [0] * len(middles)
        self._gutters = [0] * len(rows)
        self._floors = [0] * len(rows)
        self._width = 0
        for start, end in pairwise([*starts, len(rows)]):
            items = [item for row in rows[start:end] for item in row]
            left = min(middles[item] - lanes.width(item) / 2 for item in items)
            right = max(middles[item] + lanes.width(item) / 2 for item in items)
            offset = self._width + _COLUMN_GAP if self._width else 0
            y = _MARGIN
            for rank in range(start, end):
                self._tops[rank], self._bottoms[rank] = y, y + deep[rank]
                y += deep[rank] + _RANK_GAP
            for rank in range(start, end):
                self._gutters[rank] = offset - _COLUMN_GAP // 2
                self._floors[rank] = y - _RANK_GAP
            for item in items:
                self._x[item] = round(middles[item] - left + offset)
            self._width = round(right - left + offset)

    def drawing(self) -> Drawing:
        """Returns the drawing."""
        boxes = [
            Box(self._x[node] - NODE_WIDTH // 2, self._top(node))
            for node in range(self._lanes.first)
        ]
        lines = [Line(*edge, self._path(route)) for edge, route in self._lanes.routes.items()]
        return Drawing(
            self._width, max(self._floors, default=0) + _MARGIN, tuple(boxes), tuple(lines)
        )

    def _top(self, item: int) -> int:
        rank = self._lanes.ranks[item]
        if item >= self._lanes.first:
            return self._tops[rank]
        return (
            self._tops[rank] + (self._bottoms[rank] - self._tops[rank] - self._heights[item]) // 2
        )

    def _bottom(self, item: int) -> int:
        if item >= self._lanes.first:
            return self._bottoms[self._lanes.ranks[item]]
        return self._top(item) + self._heights[item]

    def _path(self, route: Sequence[int]) -> str:
        parts = [f"M{self._x[route[0]]} {self._bottom(route[0])}"]
        for upper, lower in pairwise(route):
            x, y = self._x[upper], self._bottom(upper)
            to_x, to_y = self._x[lower], self._top(lower)
            ranks = self._lanes.ranks
            gutter, floor = self._gutters[ranks[lower]], self._floors[ranks[upper]]
            if gutter != self._gutters[ranks[upper]]:
                parts.append(f"V{floor}C{x} {floor + _BEND} {gutter} {floor + _BEND}")
                parts.append(f" {gutter} {floor}V{_MARGIN}")
                parts.append(
                    f"C{gutter} {_MARGIN - _BEND} {to_x} {_MARGIN - _BEND} {to_x} {_MARGIN}"
                )
                parts.append(f"V{to_y}")
            elif x == to_x:
                parts.append(f"V{to_y}")
            else:
                middle = (y + to_y) // 2
                parts.append(f"C{x} {middle} {to_x} {middle} {to_x} {to_y}")
            if lower >= self._lanes.first:
                parts.append(f"V{self._bottom(lower)}")
        return "".join(parts)


def _crossings(count: int, lanes: _Lanes) -> list[int]:
    """Returns how many lines cross from each rank to the next one."""
    changes = [0] * (count + 1)
    for start, end in lanes.routes:
        changes[lanes.ranks[start]] += 1
        changes[lanes.ranks[end]] -= 1
    crossing, total = [], 0
    for change in changes[:count]:
        total += change
        crossing.append(total)
    return crossing


def _cuts(heights: Sequence[int], crossings: Sequence[int]) -> list[int]:
    """Returns the first rank of each column."""
    total = sum(heights) + _RANK_GAP * len(heights)
    wanted = total / -(-total // _COLUMN_HEIGHT) if total else 0
    starts, y, left = [0], 0, total
    best: tuple[int, float, int] | None = None
    rank = 0
    while rank < len(heights):
        y += heights[rank] + _RANK_GAP
        if y > wanted * _LATEST and best is not None:
            rank = best[2]
            starts.append(rank)
            left = sum(heights[rank:]) + _RANK_GAP * (len(heights) - rank)
            y, best = 0, None
            continue
        if y >= wanted * _EARLIEST and left > wanted * _LATEST and rank + 1 < len(heights):
            mark = (crossings[rank], abs(y - wanted), rank + 1)
            best = mark if best is None else min(best, mark)
        rank += 1
    return starts
