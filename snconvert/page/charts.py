"""The charts of the page: sigma layer by layer, and how the network's bound grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from snconvert.core.network_bound import NetworkBound
from snconvert.core.report import Report
from snconvert.page.axis import Axis
from snconvert.page.numbers import number, rank
from snconvert.page.table import Table

HEIGHT = 220
_TOP, _BOTTOM = 14, 12
_LEFT, _RIGHT = 7.0, 98.5  # in percent: numbers stand to the left
_MOST_MARKS = 400


_Row = tuple[int, float | None, float | None]  # place, logarithm of sigma before, and after


class Level(NamedTuple):
    """A horizontal line with a number.

    Attributes:
        y: Where it is, in pixels from above.
        text: The number.
    """

    y: int
    text: str


class Mark(NamedTuple):
    """What a chart shows of a layer, or of several that follow each other.

    Attributes:
        x: Where it is, in percent of the width.
        before: The height of sigma before in pixels from above, or `None`.
        after: That of sigma after.
        top: The upper end of the line through all values.
        bottom: The lower end.
        title: The values in words.
        place: The place of the first of its layers in the table.
    """

    x: float
    before: int | None
    after: int | None
    top: int
    bottom: int
    title: str
    place: int


class SigmaChart(NamedTuple):
    """Sigma of the layers in the model's order.

    Attributes:
        levels: The horizontal lines.
        marks: The layers.
        bound: Where the line of the bound is; `None`: there is none to see.
        logarithmic: Whether heights are logarithms.
    """

    levels: tuple[Level, ...]
    marks: tuple[Mark, ...]
    bound: int | None
    logarithmic: bool


class Step(NamedTuple):
    """A point of the line that shows how the bound grows.

    Attributes:
        x: Where it is, in percent of the width.
        y: Its height, in pixels from above.
        title: What it is, in words.
        place: The place of its layer in the table, or `None`.
    """

    x: float
    y: int
    title: str
    place: int | None


class GrowthChart(NamedTuple):
    """The bound of each stage on the path that dominates.

    Attributes:
        levels: The horizontal lines.
        steps: The stages.
        logarithmic: Whether heights are logarithms.
    """

    levels: tuple[Level, ...]
    steps: tuple[Step, ...]
    logarithmic: bool


def sigma_chart(report: Report, table: Table) -> SigmaChart | None:
    """Returns the chart of sigma, or `None` of a report without."""
    rows: list[_Row] = [
        (place, rank(layer.sigma), rank(layer.sigma_after))
        for place, layer in enumerate(report.layers)
        if rank(layer.sigma) is not None
    ]
    if not rows:
        return None
    bounds = [x for x in (rank(report.bound),) if x is not None and _is_bounded(report)]
    values = [x for _, *pair in rows for x in pair if x is not None]
    axis = Axis.of([*values, *bounds])
    marks = []
    for index, group in enumerate(groups := _groups(rows)):
        place = group[0][0]
        befores = [x for _, x, _ in group if x is not None]
        afters = [x for _, _, x in group if x is not None]
        heights = [_y(axis, x) for x in (*befores, *afters)]
        layer, name = report.layers[place], table.layers[place]["id"]
        title = f"{name}: σ {number(layer.sigma)}"
        if layer.sigma_after is not None:
            title += f", after {number(layer.sigma_after)}"
        if len(group) > 1:
            title = f"{len(group)} layers from {name}: σ up to {number(10.0 ** max(befores))}"
        marks.append(
            Mark(
                _x(index, len(groups)),
                _y(axis, max(befores)) if befores else None,
                _y(axis, max(afters)) if afters else None,
                min(heights),
                max(heights),
                title,
                place,
            )
        )
    bound = _y(axis, bounds[0]) if bounds else None
    return SigmaChart(_levels(axis), tuple(marks), bound, axis.logarithmic)


def growth_chart(network: NetworkBound | None, table: Table) -> GrowthChart | None:
    """Returns the chart of the bound along the path that dominates, or `None` without one."""
    stages = [
        (stage, logarithm)
        for stage in (network.stages if network else ())
        if stage.dominates and (logarithm := rank(stage.bound)) is not None
    ]
    if len(stages) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    every = -(-len(stages) // _MOST_MARKS)
    stages = [*stages[:-1:every], stages[-1]]
    axis = Axis.of([logarithm for _, logarithm in stages])
    steps = [
        Step(
            _x(index, len(stages)),
            _y(axis, logarithm),
            f"{stage.path}: {stage.bound}",
            table.places.get(stage.path),
        )
        for index, (stage, logarithm) in enumerate(stages)
    ]
    return GrowthChart(_levels(axis), tuple(steps), axis.logarithmic)


def _is_bounded(report: Report) -> bool:
    return any(
        x.bound is not None or x.sigma_after is not None or x.status == "convertible"
        for x in report.layers
    )


def _groups(rows: Sequence[_Row]) -> list[Sequence[_Row]]:
    size = -(-len(rows) // _MOST_MARKS)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _x(index: int, count: int) -> float:
    middle = (index + 0.5) / count
    return round(_LEFT + (_RIGHT - _LEFT) * middle, 2)


def _y(axis: Axis, logarithm: float) -> int:
    return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - axis.place(logarithm)))


def _levels(axis: Axis) -> tuple[Level, ...]:
    room = HEIGHT - _TOP - _BOTTOM
    return tuple(Level(round(_TOP + room * (1 - at)), text) for at, text in axis.ticks())
