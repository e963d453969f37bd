"""The layers of a report as the page's table and its script get them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any, NamedTuple

from snconvert.core.graph import Graph
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import Stage
from snconvert.core.report import NO_KERNEL, LayerReport, Report
from snconvert.errors import escaped
from snconvert.page.axis import Axis
from snconvert.page.facts import kernel_facts, layer_facts
from snconvert.page.numbers import between, number, percent, rank, shape

_MOST_NEIGHBOURS = 24

Cell = tuple[str, float | str | None]
"""What stands in a cell, and what its column is sorted by; `None` comes last."""


class Row(NamedTuple):
    """A layer with what the network's bound says of it.

    Attributes:
        layer: The layer.
        calls: Its stages.
    """

    layer: LayerReport
    calls: Sequence[Stage]

    @property
    def kernel_calls(self) -> Sequence[Stage]:
        """The calls that use its kernel; of a layer without one all, as an activation has them."""
        return [stage for stage in self.calls if stage.norm is not None] or self.calls

    @property
    def constant(self) -> Magnitude | None:
        """The largest constant of its calls."""
        known = [stage.constant for stage in self.kernel_calls if stage.constant is not None]
        return max(known, key=lambda constant: constant.log10, default=None)

    @property
    def share(self) -> float | None:
        """The share of all its calls."""
        known = [stage.share for stage in self.kernel_calls if stage.share is not None]
        return sum(known) if known else None


class Column(NamedTuple):
    """A column of the table, behind that of the layer's path.

    Attributes:
        title: Its heading.
        cell: Returns what stands in a row.
        numeric: Whether it holds numbers.
        narrow: Whether a phone shows it, too.
    """

    title: str
    cell: Callable[[Row], Cell]
    numeric: bool = False
    narrow: bool = False


class Table(NamedTuple):
    """The layers.

    Attributes:
        columns: The columns.
        layers: One mapping a layer: `id` (what links name), `folder` and `name` (the parts of the
            path), `state`, `cells` and what they are sorted by (`keys`), `bars` (two lengths in
            percent), `facts`, `kernels`, and by their places in the list what it `reads` and
            `feeds`.
        places: The place of each layer in the list, by its path, and of the first one in a
            wrapper or model by the path of that.
    """

    columns: tuple[Column, ...]
    layers: tuple[dict[str, Any], ...]
    places: Mapping[str, int]


def table(report: Report) -> Table:
    """Returns what the page shows of the layers of a report."""
    calls: dict[str, list[Stage]] = {}
    for stage in report.lipschitz.stages if report.lipschitz else ():
        calls.setdefault(stage.path, []).append(stage)
    rows = [Row(layer, calls.get(layer.path, ())) for layer in report.layers]
    columns = tuple(_columns(rows, network=report.lipschitz is not None))
    axis = Axis.of([x for row in rows for x in map(rank, _sigmas(row)) if x is not None])
    layers = []
    for name, row in zip(_names(report.layers), rows, strict=True):
        cells = [column.cell(row) for column in columns]
        folder, slash, own = name.rpartition("/")
        layers.append(
            {
                "id": name,
                "folder": folder + slash,
                "name": own,
                "state": state(row.layer),
                "cells": [text for text, _ in cells],
                "keys": [key for _, key in cells],
                "bars": [_length(axis, sigma) for sigma in _sigmas(row)],
                "facts": layer_facts(*row),
                "kernels": [
                    kernel_facts(kernel, alone=len(row.layer.kernels) == 1)
                    for kernel in row.layer.kernels
                ],
                "reads": [],
                "feeds": [],
            }
        )
    places: dict[str, int] = {}
    for place, layer in enumerate(report.layers):
        parts = layer.path.split("/")
        for path in accumulate(parts, "{}/{}".format):
            places.setdefault(path, place)
    places |= {layer.path: place for place, layer in reversed([*enumerate(report.layers)])}
    if report.graph is not None:
        _link(report.graph, layers, places)
    return Table(columns, tuple(layers), places)


def state(layer: LayerReport) -> str:
    """Returns what became of a layer, in a word: its status, or `plain` without a kernel."""
    return "plain" if layer.reason == NO_KERNEL else layer.status


def class_of(layer: LayerReport) -> str:
    """Returns the class that a layer has now."""
    return layer.new_class if layer.new_class and layer.status == "converted" else layer.class_name


def _sigmas(row: Row) -> tuple[float | None, float | None]:
    return row.layer.sigma, row.layer.sigma_after


def _length(axis: Axis, sigma: float | None) -> float | None:
    logarithm = rank(sigma)
    return None if logarithm is None else round(100 * axis.place(logarithm), 1)


def _names(layers: Sequence[LayerReport]) -> Iterator[str]:
    """Yields the paths as they are shown, each another one."""
    counts: Counter[str] = Counter()
    for layer in layers:
        name = escaped(layer.path) or escaped(layer.class_name)
        counts[name] += 1
        yield name if counts[name] == 1 else f"{name} ({counts[name]})"


def _columns(rows: Sequence[Row], *, network: bool) -> Iterator[Column]:
    """Yields the columns that have something to show."""
    after = any(row.layer.sigma_after is not None for row in rows)
    yield Column("Class", lambda row: _text(class_of(row.layer)))
    yield Column("Kernel", lambda row: _shape(row.layer.kernel), numeric=True)
    before = "σ before" if after else "σ"
    yield Column(before, lambda row: _amount(row.layer.sigma), numeric=True, narrow=True)
    if after:
        yield Column("σ after", lambda row: _amount(row.layer.sigma_after), True, True)
    if any(row.layer.operator_range for row in rows):
        yield Column("Norm as a map", lambda row: _range(row.layer.operator_range), numeric=True)
    if network:
        yield Column("Lipschitz", lambda row: _amount(row.constant), numeric=True)
    if any(row.share is not None for row in rows):
        yield Column("Share", lambda row: (percent(row.share), row.share), numeric=True)
    yield Column("Result", lambda row: _text(_result(row.layer)), narrow=True)


def _result(layer: LayerReport) -> str:
    if layer.status in ("skipped", "spectral"):  # which the reason says
        return layer.reason or layer.status
    return "; ".join(filter(None, (layer.status, layer.reason)))


def _text(text: str) -> Cell:
    return escaped(text), escaped(text).lower()


def _amount(value: float | Magnitude | None) -> Cell:
    return number(value), rank(value)


def _shape(sizes: tuple[int, ...] | None) -> Cell:
    return shape(sizes), None if sizes is None else rank(math.prod(sizes))


def _range(limits: tuple[float, float] | None) -> Cell:
    return between(limits), None if limits is None else rank(limits[1])


def _link(graph: Graph, layers: Sequence[dict[str, Any]], places: Mapping[str, int]) -> None:
    """Writes into each layer which others it reads and feeds, through operations between them."""
    sources: list[dict[int, None]] = [{} for _ in graph.nodes]
    for start, end in sorted(graph.edges, key=lambda edge: edge[1]):
        own = places.get(graph.nodes[start][0])
        behind = sources[start] if own is None else {own: None}
        sources[end] |= dict(islice(behind.items(), _MOST_NEIGHBOURS - len(sources[end])))
    for (path, _, _), inputs in zip(graph.nodes, sources, strict=True):
        if (place := places.get(path)) is not None:
            for other in inputs:
                for of, key, there in ((place, "reads", other), (other, "feeds", place)):
                    known = layers[of][key]
                    if there not in known and len(known) < _MOST_NEIGHBOURS:
                        known.append(there)
