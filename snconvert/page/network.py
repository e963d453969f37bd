"""The drawing of the model's graph: boxes with texts, and lines."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from snconvert.core.graph import Graph
from snconvert.core.report import Report
from snconvert.errors import escaped
from snconvert.page.layout import Box, drawing
from snconvert.page.numbers import number
from snconvert.page.table import Table, class_of, state

MOST_NODES = 1000
"""How many nodes are drawn."""

_MOST_LINES = 4000
_TALL, _LOW = 46, 28  # of layers with a kernel, and of others
_LETTERS = 24


class NodeView(NamedTuple):
    """A node of the graph as it is drawn.

    Attributes:
        x: Its left edge.
        y: Its upper edge.
        height: Its height.
        state: As in `snconvert.page.table.state`; `input` and `operation` of what is no layer.
        texts: One or two lines that fit.
        title: All of it, in words.
        place: Its layer's place in the table, or `None`.
    """

    x: int
    y: int
    height: int
    state: str
    texts: tuple[str, ...]
    title: str
    place: int | None


class LineView(NamedTuple):
    """A line from one node to another.

    Attributes:
        start: The node's number.
        end: The other's.
        path: The attribute `d`.
        dominates: Whether both lie on the path that makes most of the network's bound.
    """

    start: int
    end: int
    path: str
    dominates: bool


class GraphView(NamedTuple):
    """The drawing.

    Attributes:
        width: Its width in pixels.
        height: Its height.
        nodes: The nodes.
        lines: The lines.
        total: How many nodes the graph has, which may be more than are drawn.
    """

    width: int
    height: int
    nodes: tuple[NodeView, ...]
    lines: tuple[LineView, ...]
    total: int


def graph_view(report: Report, table: Table) -> GraphView | None:
    """Returns the drawing of a report's graph, or `None` without one."""
    graph = report.graph
    if graph is None or not graph.nodes:
        return None
    shown = graph.nodes[:MOST_NODES]
    edges = [edge for edge in graph.edges if max(edge) < len(shown)][:_MOST_LINES]
    places = [table.places.get(path) for path, _, _ in shown]
    heights = [
        _LOW if place is None or report.layers[place].kernel is None else _TALL for place in places
    ]
    drawn = drawing(heights, edges)
    nodes = [
        _node(report, graph, node, places[node], box)
        for node, box in enumerate(zip(drawn.boxes, heights, strict=True))
    ]
    heavy = _dominating(report)
    lines = [
        LineView(*line, dominates=(shown[line.start][0], shown[line.end][0]) in heavy)
        for line in drawn.lines
    ]
    return GraphView(drawn.width, drawn.height, tuple(nodes), tuple(lines), len(graph.nodes))


def _node(
    report: Report, graph: Graph, node: int, place: int | None, box: tuple[Box, int]
) -> NodeView:
    """Returns a node as it is drawn.

    Args:
        report: The report.
        graph: Its graph.
        node: The node's number.
        place: Its layer's place in the table, or `None`.
        box: Where it stands, and its height.
    """
    path, class_name, kind = graph.nodes[node]
    (x, y), height = box
    if place is None:
        name = escaped(class_name if kind == "operation" else path.rpartition("/")[2] or class_name)
        title = ", ".join(filter(None, (escaped(path), escaped(class_name))))
        return NodeView(x, y, height, kind, (fitting(name),), title, None)
    layer = report.layers[place]
    name, what = escaped(path), escaped(class_of(layer))
    title = f"{name}, {what}, {state(layer)}"
    if layer.kernel is None:
        state_shown = "input" if kind == "input" else "plain"
        return NodeView(x, y, height, state_shown, (fitting(name),), title, place)
    sigmas = " → ".join(number(x) for x in (layer.sigma, layer.sigma_after) if x is not None)
    below = fitting(what)
    if sigmas:
        title += f", σ {sigmas}"
        below = f"{fitting(escaped(layer.class_name), _LETTERS - len(sigmas))} σ {sigmas}"
    return NodeView(x, y, height, state(layer), (fitting(name), below), title, place)


def _dominating(report: Report) -> set[tuple[str, str]]:
    """Returns the pairs of paths that follow each other where most of the bound is made."""
    stages = report.lipschitz.stages if report.lipschitz else ()
    return {
        (stages[source].path, stage.path)
        for stage in stages
        for source in stage.inputs
        if stage.dominates and stages[source].dominates
    }


def fitting(text: str, room: int = _LETTERS) -> str:
    """Returns the end of a text as far as it fits, as the ends of paths tell them apart.

    Args:
        text: The text.
        room: For how many letters there is room; letters of East Asian scripts count twice.

    Example:
        >>> fitting("conv1"), fitting("encoder/block_1/attention/query", 16)
        ('conv1', '…attention/query')
    """
    kept = 0
    for letter in reversed(text):
        room -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if room < 0:
            break
        kept += 1
    return text if kept == len(text) else f"…{text[len(text) - kept + 1 :]}"
