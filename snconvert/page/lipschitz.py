"""What the page says of the network's Lipschitz bound."""

from __future__ import annotations

from typing import NamedTuple

from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, Stage
from snconvert.errors import escaped
from snconvert.page.axis import Axis
from snconvert.page.numbers import number, percent, rank
from snconvert.page.table import Table

_MOST_ROWS = 20
_MOST_NAMES = 50


class Length(NamedTuple):
    """A number with a bar.

    Attributes:
        name: What it is.
        text: The number.
        percent: The length of the bar.
    """

    name: str
    text: str
    percent: float


class StageRow(NamedTuple):
    """A row of the table of stages.

    Attributes:
        name: The layer's path.
        class_name: Its class.
        constant: Its constant.
        norm: The proved norm of its kernel.
        share: Its share, as text.
        percent: The length of its bar: the share of the largest share.
        dominates: Whether it lies on the path that makes most of the bound.
        place: Its layer's place in the table of layers, or `None`.
    """

    name: str
    class_name: str
    constant: str
    norm: str
    share: str
    percent: float
    dominates: bool
    place: int | None


class LipschitzView(NamedTuple):
    """The section of the network's bound.

    Attributes:
        bound: The bound as text; `None`: there is none.
        lengths: What was found, proved, and the product, with bars on one axis.
        outputs: Name, bound, bound of the logits, and by each input, of several outputs or inputs.
        stages: The stages with the largest shares.
        total: How many stages have a share.
        unbounded: Path, class and reason of layers without a constant.
        more_unbounded: How many more there are of them.
        starts: Where the bound begins, behind discrete inputs.
        method: What made it.
        notes: Sentences.
    """

    bound: str | None
    lengths: tuple[Length, ...]
    outputs: tuple[tuple[str, str, str, str], ...]
    stages: tuple[StageRow, ...]
    total: int
    unbounded: tuple[tuple[str, str, str], ...]
    more_unbounded: int
    starts: tuple[str, ...]
    method: str
    notes: tuple[str, ...]


def lipschitz_view(network: NetworkBound | None, table: Table) -> LipschitzView | None:
    """Returns what the page says of a network's bound; `None` where it was not asked for."""
    if network is None:
        return None
    by_share = sorted(
        (stage for stage in network.stages if stage.share is not None),
        key=lambda stage: -(stage.share or 0.0),
    )
    largest = max((stage.share or 0.0 for stage in by_share), default=0.0)
    outputs = [
        (
            escaped(output.name),
            number(output.bound),
            number(output.logits),
            ", ".join(f"{escaped(name)}: {bound}" for name, bound in output.by_input),
        )
        for output in network.outputs[:_MOST_NAMES]
    ]
    return LipschitzView(
        None if network.bound is None else number(network.bound),
        tuple(_lengths(network)),
        tuple(outputs),
        tuple(_stage_row(stage, largest, table) for stage in by_share[:_MOST_ROWS]),
        len(by_share),
        tuple(
            (escaped(path), escaped(class_name), escaped(reason))
            for path, class_name, reason in network.unbounded[:_MOST_NAMES]
        ),
        max(0, len(network.unbounded) - _MOST_NAMES),
        tuple(map(escaped, network.starts[:_MOST_NAMES])),
        escaped(network.method),
        tuple(map(escaped, network.notes)),
    )


def _lengths(network: NetworkBound) -> list[Length]:
    """Returns the numbers between which the network's constant lies, from the smallest."""
    named: list[tuple[str, float | Magnitude | None]] = [
        (f"found at {network.samples} points: at least", network.lower),
        ("proved: at most", network.bound),
        ("product of the layers' norms", network.product),
    ]
    known = [(name, value, x) for name, value in named if (x := rank(value)) is not None]
    axis = Axis.of([x for _, _, x in known])
    return [Length(name, number(value), round(100 * axis.place(x), 1)) for name, value, x in known]


def _stage_row(stage: Stage, largest: float, table: Table) -> StageRow:
    return StageRow(
        escaped(stage.path),
        escaped(stage.class_name),
        number(stage.constant),
        number(stage.norm),
        percent(stage.share),
        round(100 * (stage.share or 0.0) / largest, 1) if largest > 0 else 0.0,
        stage.dominates,
        table.places.get(stage.path),
    )
