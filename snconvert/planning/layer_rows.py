"""Reports: a row for each layer, from what a carrier knows of it, and the figures for the whole."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from snconvert.config.tree import Node
from snconvert.core.convolution_map import Convolution, joint_range
from snconvert.core.report import NO_KERNEL, KernelReport, LayerReport, Report
from snconvert.core.settings import Settings
from snconvert.core.spectrum import LARGEST_ORDER
from snconvert.core.triplet import Triplet, joint_bounds
from snconvert.core.verbs import VERBS
from snconvert.planning.advice import with_option
from snconvert.planning.inspection import Inspection
from snconvert.planning.measured import NOT_FINITE, Measured
from snconvert.planning.plan import Plan, Skip, Step
from snconvert.planning.recipe import Recipe

BOUNDED = "its input size is unknown or too large: sigma bounds the norm at every size"
"""What is special about a layer whose operator norm cannot be taken at one input size."""
ZERO = "a kernel of zeros: it stays zero"
"""What is special about such a layer."""
UNUSABLE = "its u or gamma is not usable: NaN, infinity, or another shape"
"""What is special about a layer that is normalised, but not by what it stores."""
RESTORED = (
    "kernels that had been normalised when they were converted were divided by the recorded factor,"
    " which restores those that were not trained since to float rounding"
)
"""What `remove` warns of, where a target had normalised the stored kernels."""

_ROUNDED = 1e-9  # sums of 2**22 numbers are off by half of that, and so is sigma by a stored `u`

NamedKernel = tuple[str, tuple[int, ...], Convolution | None]
"""Path below the layer, shape and, if it makes one, convolution of a kernel."""

NormAfter = Callable[[str, Triplet], float]
"""Returns, for the kernel of that path, the norm of the kernel that the layer computes with after;
NaN where that is not known."""


class LayerFacts(NamedTuple):
    """What a carrier knows of a layer before anything changes, its norms apart.

    Attributes:
        class_name: Its class, as it is shown.
        new_class: Its class after, if it changes.
        norm: Which norm its sigma is.
        shape: The shape of its first kernel; `None` where it has none yet.
        kernels: Its kernels; they are asked for where each has a sigma.
        bare: Whether nothing that it stores can be a kernel.
    """

    class_name: str
    new_class: str | None = None
    norm: str = "matrix"
    shape: tuple[int, ...] | None = None
    kernels: Iterable[NamedKernel] = ()
    bare: bool = False


def plan_rows(
    plan: Plan,
    measured: Measured,
    recipe: Recipe,
    status: str,
    facts_of: Callable[[Step | Skip], LayerFacts],
    *,
    looks: bool = False,
) -> tuple[LayerReport, ...]:
    """Returns a row for each layer of a plan.

    Args:
        plan: The plan.
        measured: The norms.
        recipe: What was asked for.
        status: Of the layers to convert: `converted` or `convertible`.
        facts_of: Returns what the carrier knows of a layer.
        looks: Whether one only looks: then nothing is promised, and only a layer that is normalised
            has a norm after.
    """
    rows = [
        _step_row(outcome, facts_of(outcome), measured, recipe, status)
        if isinstance(outcome, Step)
        else _skip_row(outcome, facts_of(outcome), measured)
        for outcome in plan.outcomes
    ]
    return tuple(_without_after(x) if looks and x.status != "spectral" else x for x in rows)


def _without_after(row: LayerReport) -> LayerReport:
    kernels = tuple(x._replace(sigma_after=None, certified_after=None) for x in row.kernels)
    return replace(row, sigma_after=None, certified_after=None, kernels=kernels)


def _step_row(
    step: Step, facts: LayerFacts, measured: Measured, recipe: Recipe, status: str
) -> LayerReport:
    settings, triplets = step.settings, measured.known(step.node)
    kernels = list(facts.kernels) if triplets else []
    reason = "not built yet: u is found when it is" if facts.shape is None else None
    maps = [conv for *_, conv in kernels if conv is not None and not conv.same_norm_as_matrix]
    if settings.norm == "operator" and any(conv.on_torus for conv in maps):
        reason = BOUNDED
    if triplets and all(triplet.zero for triplet in triplets):
        reason = ZERO
    missing = None if step.rule.kind in recipe.kinds else step.rule.kind
    return LayerReport(
        step.node.path,
        facts.class_name,
        facts.shape,
        status,
        with_option(missing, reason),
        facts.new_class,
        norm=facts.norm,
        bound=None if recipe.lipschitz is None else settings.bound,
        missing_kind=missing,
        **_numbers(kernels, triplets, lambda _, triplet: settings.sigma_after(triplet.sigma)),
    )


def _skip_row(skip: Skip, facts: LayerFacts, measured: Measured) -> LayerReport:
    triplets, reason = measured.known(skip.node), skip.reason
    values = _numbers(facts.kernels, triplets, _norm_in_use)
    if triplets and values["sigma_after"] is None:
        reason = f"{reason}; {UNUSABLE}"
    if measured.fails(skip.node) and reason != NOT_FINITE:
        reason = f"{reason}; {NOT_FINITE}"
    return LayerReport(
        skip.path,
        facts.class_name,
        facts.shape,
        "spectral" if skip.spectral else "skipped",
        NO_KERNEL if facts.bare and skip.rule is None and not skip.again else reason,
        norm=facts.norm,
        bound=skip.bound,
        missing_kind=skip.kind,
        **values,
    )


def plain_row(
    node: Node, facts: LayerFacts, triplets: Sequence[Triplet], status: str, after: NormAfter
) -> LayerReport:
    """Returns the row of a layer that becomes plain.

    Args:
        node: The layer.
        facts: What the carrier knows of it.
        triplets: The norms of its kernels; none where they were not asked for.
        status: `converted` or `convertible`.
        after: As `norm_after_undoing` returns it.
    """
    values = _numbers(facts.kernels, triplets, after)
    return LayerReport(
        node.path,
        facts.class_name,
        facts.shape,
        status,
        new_class=facts.new_class,
        norm=facts.norm,
        **values,
    )


def left_row(node: Node, facts: LayerFacts, reason: str) -> LayerReport:
    """Returns the row of a layer that a way back leaves as it is."""
    reason = NO_KERNEL if facts.bare else reason
    return LayerReport(node.path, facts.class_name, facts.shape, "skipped", reason)


def norm_after_undoing(verb: str, divisors: Mapping[str, float]) -> NormAfter:
    """Returns the function that tells the norm of a kernel that a way back leaves.

    Args:
        verb: `bake` or `remove`.
        divisors: What `remove` divides kernels of the layer by, by their paths below it.
    """
    if VERBS[verb].scales:
        return _norm_in_use
    return lambda path, triplet: triplet.sigma / divisors.get(path, 1.0)


def _norm_in_use(_: str, triplet: Triplet) -> float:
    return triplet.norm_in_use


def _numbers(
    kernels: Iterable[NamedKernel], triplets: Sequence[Triplet], after: NormAfter
) -> dict[str, Any]:
    """Returns what a layer's row says of its kernels, by the attributes of `LayerReport`."""
    rows: list[KernelReport] = []
    pairs = list(zip(kernels, triplets, strict=True)) if triplets else []
    for (path, shape, conv), triplet in pairs:
        norm = after(path, triplet)
        ratio = norm / triplet.sigma if triplet.sigma else 1.0
        proved, scaled = triplet.bounds, None
        if proved is not None and not math.isnan(ratio):
            scaled = proved[0] * ratio * (1.0 - _ROUNDED), proved[1] * ratio * (1.0 + _ROUNDED)
        limits = None if conv is None else conv.range(triplet.spectral_norm)
        measured = triplet.sigma, _known(norm), _known(triplet.residual)
        proofs = proved, scaled, limits
        rows.append(KernelReport(path, shape, *measured, *proofs, triplet.spectrum))
    return {
        "sigma": _largest([row.sigma for row in rows]),
        "sigma_after": _largest([row.sigma_after for row in rows]),
        "residual": _largest([row.residual for row in rows]),
        "certified": joint_bounds([row.certified for row in rows]),
        "certified_after": joint_bounds([row.certified_after for row in rows]),
        "operator_range": joint_range(
            (conv, triplet.spectral_norm) for (*_, conv), triplet in pairs
        ),
        "kernels": tuple(rows),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _largest(values: Sequence[float | None]) -> float | None:
    """Returns the largest of some numbers, `None` if there are none or one is not known."""
    known = [value for value in values if value is not None]
    return max(known, default=None) if len(known) == len(values) else None


def no_spectrum(layers: Iterable[LayerReport], asked: Inspection) -> list[str]:
    """Returns a warning of each measured kernel that is too large for its spectrum."""
    return [
        f"{layer.path} ({layer.class_name}): no spectrum of {kernel.name}: both sides of its matrix"
        f" are above {LARGEST_ORDER}, which takes too much memory"
        for layer in (layers if asked.spectrum else ())
        for kernel in layer.kernels
        if kernel.spectrum is None
    ]


def report_of(
    verb: str,
    target: str,
    settings: Sequence[Settings],
    layers: Sequence[LayerReport],
    started: float,
    **rest: Any,
) -> Report:
    """Returns the report of a run.

    Args:
        verb: What was asked for.
        target: What converted layers become, or are.
        settings: How they are normalised, in general or each.
        layers: The rows.
        started: When the run began, by `time.perf_counter`.
        **rest: The other attributes of `Report`.
    """
    norm = common(each.norm for each in settings)
    return Report(
        target=target,
        mode=common(each.mode for each in settings),
        bound=max(each.bound for each in settings),
        norm=norm if VERBS[verb].writes else norm_of(layers, norm),
        layers=tuple(layers),
        seconds=time.perf_counter() - started,
        verb=verb,
        **rest,
    )


def common(values: Iterable[str]) -> str:
    """Returns what all of one or more values are, or `mixed`.

    Example:
        >>> common(["hard", "hard"]), common(["hard", "cap"])
        ('hard', 'mixed')
    """
    different = set(values)
    return different.pop() if len(different) == 1 else "mixed"


def norm_of(layers: Sequence[LayerReport], usual: str) -> str:
    """Returns which norm the layers show that have two, or `mixed`.

    Args:
        layers: Any layers.
        usual: What it is where there are none.
    """
    return common([x.norm for x in layers if x.operator_range is not None] or [usual])
