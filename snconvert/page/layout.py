"""Where the layers of a graph stand in its drawing, and how the lines between them run.

Long drawings are cut into columns, as in a newspaper, where few lines cross the cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from snconvert.page.ranks import NODE_WIDTH, Lanes, middles_of, ordered, ranks_of

_RANK_GAP = 22
_COLUMN_GAP = 56
_COLUMN_HEIGHT = 600
_MARGIN = 34  # room for lines that lead from one column to the next
_BEND = 24
_EARLIEST, _LATEST = 0.7, 1.15  # of the height that columns have on average
_CROSSING = 60  # a column may be so much too high or low to be crossed by one line less


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
    ranks = ranks_of(count, edges)
    lanes = Lanes(ranks, edges)
    return _Placing(heights, ordered(lanes), lanes).drawing()


class _Placing:
    """Cuts the ranks into columns and gives everything its place."""

    def __init__(
        self,
        heights: Sequence[int],
        rows: Sequence[Sequence[int]],
        lanes: Lanes,
    ) -> None:
        self._heights, self._lanes = heights, lanes
        deep = [max((heights[x] for x in row if x < lanes.first), default=0) for row in rows]
        starts = _cuts(deep, _crossings(len(rows), lanes))
        self._tops, self._bottoms = [0] * len(rows), [0] * len(rows)
        self._x = [0] * len(lanes.ranks)
        self._gutters = [0] * len(rows)
        self._floors = [0] * len(rows)
        self._width = 0
        for start, end in pairwise([*starts, len(rows)]):
            middles = middles_of(rows[start:end], lanes)
            left = min(middle - lanes.width(item) / 2 for item, middle in middles.items())
            right = max(middle + lanes.width(item) / 2 for item, middle in middles.items())
            offset = self._width + _COLUMN_GAP if self._width else 0
            y = _MARGIN
            for rank in range(start, end):
                self._tops[rank], self._bottoms[rank] = y, y + deep[rank]
                y += deep[rank] + _RANK_GAP
            for rank in range(start, end):
                self._gutters[rank] = offset - _COLUMN_GAP // 2
                self._floors[rank] = y - _RANK_GAP
            for item, middle in middles.items():
                self._x[item] = round(middle - left + offset)
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


def _crossings(count: int, lanes: Lanes) -> list[int]:
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
    """Returns the first rank of each column: all are about as high, and few lines cross a cut."""
    starts, rest = [0], [height + _RANK_GAP for height in heights]
    while sum(rest) > _COLUMN_HEIGHT * _LATEST:
        wanted = sum(rest) / -(-sum(rest) // _COLUMN_HEIGHT)
        ends = [*accumulate(rest)]
        costs = {
            count: crossings[starts[-1] + count - 1] * _CROSSING + abs(end - wanted)
            for count, end in enumerate(ends[:-1], 1)
            if wanted * _EARLIEST <= end <= wanted * _LATEST  # wider than a rank is high
        }
        count = min(costs, key=lambda count: costs[count])
        starts.append(starts[-1] + count)
        rest = rest[count:]
    return starts
