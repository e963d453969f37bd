"""Boxes do not overlap, and lines lead from what is read to what reads it, past the others."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snconvert.page.layout import Drawing, drawing
from snconvert.page.ranks import NODE_WIDTH, Lanes, ordered, ranks_of


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    count = draw(st.integers(1, 40))
    heights = draw(st.lists(st.sampled_from([28, 46]), min_size=count, max_size=count))
    places = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(places, places), max_size=80))
    chain = draw(st.booleans())
    edges = [(a, b) for a, b in pairs if a < b]
    return heights, edges + ([(i, i + 1) for i in range(count - 1)] if chain else [])


def ends(path: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns where a path of the commands M, V and C begins and ends."""
    x, y = map(int, re.match(r"M(-?\d+) (-?\d+)", path).groups())
    start = (x, y)
    for command, numbers in re.findall(r"([VC])([-\d ]+)", path):
        values = [int(number) for number in numbers.split()]
        x, y = (x, values[0]) if command == "V" else values[-2:]
    return start, (x, y)


def verticals(path: str) -> list[tuple[int, int, int]]:
    """Returns the straight pieces of a path: x, upper and lower end."""
    found = []
    x = y = 0
    for command, numbers in re.findall(r"([MVC])([-\d ]+)", path):
        values = [int(number) for number in numbers.split()]
        if command == "V":
            found.append((x, min(y, values[0]), max(y, values[0])))
            y = values[0]
        else:
            x, y = values[-2:]
    return found


@given(graphs())
def test_boxes_stand_apart(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    """No box overlaps another one, and all lie within the drawing."""
    heights, edges = graph
    drawn = drawing(heights, edges)
    boxes = list(zip(drawn.boxes, heights, strict=True))
    for index, (one, height) in enumerate(boxes):
        assert 0 <= one.x <= drawn.width - NODE_WIDTH
        assert 0 <= one.y <= drawn.height - height
        for two, other in boxes[index + 1 :]:
            beside = abs(one.x - two.x) >= NODE_WIDTH
            assert beside or one.y + height <= two.y or two.y + other <= one.y


@given(graphs())
def test_lines_lead_where_they_should(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    """Each edge has one line, from the middle of a lower side to the middle of an upper side; its
    straight pieces cross no box."""
    heights, edges = graph
    drawn = drawing(heights, edges)
    assert {(line.start, line.end) for line in drawn.lines} == set(edges)
    assert len(drawn.lines) == len(set(edges))
    for line in drawn.lines:
        start, end = drawn.boxes[line.start], drawn.boxes[line.end]
        first, last = ends(line.path)
        assert first == (start.x + NODE_WIDTH // 2, start.y + heights[line.start])
        assert last == (end.x + NODE_WIDTH // 2, end.y)
        for x, top, bottom in verticals(line.path):
            for box, height in zip(drawn.boxes, heights, strict=True):
                inside = box.x < x < box.x + NODE_WIDTH
                assert not inside or bottom <= box.y or top >= box.y + height


@given(graphs())
def test_ranks(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    """What is read stands above what reads it; every rank holds each of its items once."""
    heights, edges = graph
    edges = sorted(set(edges))
    ranks = ranks_of(len(heights), edges)
    assert all(ranks[start] < ranks[end] for start, end in edges)
    lanes = Lanes(ranks, edges)
    rows = ordered(lanes)
    assert sorted(item for row in rows for item in row) == list(range(len(lanes.ranks)))
    assert all(lanes.ranks[item] == rank for rank, row in enumerate(rows) for item in row)


def test_a_chain_is_straight_and_fills_columns() -> None:
    """A long chain is cut into columns of about the same height; in each it is one line."""
    drawn = drawing([46] * 100, [(place, place + 1) for place in range(99)])
    columns = sorted({box.x for box in drawn.boxes})
    heights = [max(box.y for box in drawn.boxes if box.x == x) for x in columns]
    assert len(columns) == 12
    assert drawn.height < 800
    assert max(heights) - min(heights) < 150


def test_a_shortcut_leaves_the_chain_straight() -> None:
    """The layers of a residual block stand above each other, and the shortcut runs beside them."""
    drawn = drawing([46] * 6, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (4, 5)])
    assert len({box.x for box in drawn.boxes}) == 1
    (line,) = [line for line in drawn.lines if (line.start, line.end) == (0, 4)]
    assert any(x > drawn.boxes[1].x + NODE_WIDTH for x, _, _ in verticals(line.path))


def test_cuts_go_where_few_lines_are() -> None:
    """Residual blocks are not cut through, where the columns stay about as high."""
    edges = [(place, place + 1) for place in range(39)]
    edges += [(place, place + 3) for place in range(0, 36, 4)]
    drawn = drawing([46] * 40, edges)
    for line in drawn.lines:
        if line.end - line.start == 3:
            assert drawn.boxes[line.start].x == drawn.boxes[line.end].x


def test_what_is_no_edge_is_left_out() -> None:
    """Edges that lead back, nowhere or to themselves are not drawn, nor are two of a kind."""
    drawn: Drawing = drawing([46, 46], [(1, 0), (0, 0), (0, 7), (-1, 1), (0, 1), (0, 1)])
    assert [(line.start, line.end) for line in drawn.lines] == [(0, 1)]
    assert drawing([], []) == Drawing(0, 0, (), ())


@pytest.mark.parametrize(
    "edges",
    [
        [(a, b) for b in range(1000) for a in range(max(0, b - 4), b)],
        [(0, b) for b in range(1, 1000)],
        [(a, 999) for a in range(999)],
        [(a, b) for b in range(0, 1000, 16) for a in range(0, b, 16)],
        [(0, b) for b in range(500, 1000)] + [(a, a + 1) for a in range(999)],
    ],
    ids=["dense", "out", "in", "all", "far"],
)
def test_work_is_bounded(edges: list[tuple[int, int]]) -> None:
    """Whatever 1000 nodes are linked to, they are drawn in seconds."""
    started = time.process_time()
    drawn = drawing([46] * 1000, edges)
    assert time.process_time() - started < 10
    assert len(drawn.lines) == len(edges)
