"""What the page says of the network's Lipschitz bound."""

from __future__ import annotations

from typing import NamedTuple

from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, Stage
from snconvert.page.axis import Axis
from snconvert.page.numbers import at_least, number, percent, rank
from snconvert.page.table import Table

_MOST_ROWS = 20
_MOST_NAMES = 50
_ONE = Magnitude.of(1.0)
_ASTRONOMICAL = 6  # powers of ten: no change of an input is worth such a bound


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
        astronomical: Whether it is too large to mean anything.
        lengths: What was found, proved, and follows from norms alone, with bars on one axis.
        outputs: Name, bound, bound of the logits, and by each input, of several outputs or inputs.
        stages: The stages with the largest shares.
        total: How many stages have a share and another constant than 1.
        unbounded: Path, class and reason of layers without a constant.
        more_unbounded: How many more there are of them.
        starts: Where the bound begins, behind discrete inputs.
        method: What made it.
        notes: Sentences.
    """

    bound: str | None
    astronomical: bool
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
        (x for x in network.stages if x.share is not None and x.constant != _ONE),
        key=lambda stage: -(stage.share or 0.0),
    )
    largest = max((stage.share or 0.0 for stage in by_share), default=0.0)
    outputs = [
        (
            output.name,
            number(output.bound),
            number(output.logits),
            ", ".join(f"{name}: {bound}" for name, bound in output.by_input),
        )
        for output in network.outputs[:_MOST_NAMES]
    ]
    return LipschitzView(
        None if network.bound is None else number(network.bound),
        network.bound is not None and network.bound.log10 > _ASTRONOMICAL,
        tuple(_lengths(network)),
        tuple(outputs),
        tuple(_stage_row(stage, largest, table) for stage in by_share[:_MOST_ROWS]),
        len(by_share),
        network.unbounded[:_MOST_NAMES],
        max(0, len(network.unbounded) - _MOST_NAMES),
        network.starts[:_MOST_NAMES],
        network.method,
        network.notes,
    )


def _lengths(network: NetworkBound) -> list[Length]:
    """Returns the numbers between which the network's constant lies, from the smallest."""
    found, proved, product = network.lower, network.bound, network.product
    lengths = [
        (f"found at {network.samples} points: at least", at_least(found or 0.0), rank(found)),
        ("proved: at most", number(proved), rank(proved)),
        ("by the layers' own norms alone", number(product), rank(product)),
    ]
    axis = Axis.of([logarithm for _, _, logarithm in lengths if logarithm is not None])
    return [
        Length(name, text, round(100 * axis.place(logarithm), 1))
        for name, text, logarithm in lengths
        if logarithm is not None
    ]


def _stage_row(stage: Stage, largest: float, table: Table) -> StageRow:
    return StageRow(
        stage.path,
        stage.class_name,
        number(stage.constant),
        number(stage.norm),
        percent(stage.share),
        round(100 * (stage.share or 0.0) / largest, 1) if largest > 0 else 0.0,
        stage.dominates,
        table.places.get(stage.path),
    )
