"""The layers of a model and which feeds which, for the report page."""

from __future__ import annotations

from typing import NamedTuple


class Graph(NamedTuple):
    """The layers of a model as a graph.

    Attributes:
        nodes: Path, class and kind (`layer`, `input`, `operation`) of each, in an order in which
            all come after what they read. Nested models are opened: their layers stand there.
        edges: Pairs of places in `nodes`, from what is read to what reads it.
    """

    nodes: tuple[tuple[str, str, str], ...]
    edges: tuple[tuple[int, int], ...]
