"""What a report says of a layer, whichever carrier knows it."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from snconvert.config.tree import Node
from snconvert.core.convolution_map import Convolution
from snconvert.core.report import NO_KERNEL, LayerReport
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.kinds.table import RULES
from snconvert.planning.layer_rows import (
    BOUNDED,
    UNUSABLE,
    ZERO,
    LayerFacts,
    left_row,
    norm_after_undoing,
    plain_row,
    plan_rows,
    report_of,
)
from snconvert.planning.measured import NOT_FINITE, Measured, without_failed
from snconvert.planning.plan import Plan, Skip, Step
from snconvert.planning.recipe import Recipe, recipe

TORUS = Convolution.over_all_sizes((3, 3), (1, 1), (1, 1))
KERNEL = ("kernel", (3, 4), None)


def layer(kind: str = "Dense") -> Node:
    entry = {"class_name": kind, "config": {"name": "head"}}
    return Node(entry, "head", "body/head", kind, None, None, None, trainable=True)


def triplet(sigma: float = 4.0, residual: float = 1e-8, **rest: Any) -> Triplet:
    return Triplet(sigma, np.ones((1, 4), "float32"), residual, zero=sigma == 0.0, **rest)


def row(
    outcome: Step | Skip,
    triplets: list[Triplet | None] | None = None,
    facts: LayerFacts | None = None,
    options: Recipe | None = None,
) -> LayerReport:
    """Returns the only row of a plan of one layer."""
    known = Measured({} if triplets is None else {outcome.node: triplets})
    facts = facts or LayerFacts("Dense", "SpectralDense", shape=(3, 4), kernels=[KERNEL])
    plan = Plan((outcome,))
    (only,) = plan_rows(plan, known, options or recipe(), "convertible", lambda _: facts)
    return only


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        (Settings(bound=2.0), 2.0),
        (Settings("cap", 2.0), 2.0),
        (Settings("cap", 9.0), 4.0),
        (Settings("gain"), 4.0),
    ],
)
def test_a_layer_to_convert(settings: Settings, after: float) -> None:
    """Its row says the norm before, and by its settings the norm after."""
    only = row(Step(layer(), RULES["Dense"], settings), [triplet()])
    assert (only.path, only.class_name, only.new_class) == ("body/head", "Dense", "SpectralDense")
    assert (only.status, only.reason, only.kernel) == ("convertible", None, (3, 4))
    assert (only.sigma, only.sigma_after, only.residual) == (4.0, after, 1e-8)


def test_what_is_special_about_a_step() -> None:
    """Not built, zero, bounded over all sizes, or of a kind that is not selected."""
    step = Step(layer(), RULES["Dense"], Settings())
    assert (
        row(step, None, LayerFacts("Dense", "x")).reason == "not built yet: u is found when it is"
    )
    assert row(step, [triplet(0.0)]).reason == ZERO
    convolution = LayerFacts("Conv2D", "x", shape=(3, 3, 1, 1), kernels=[("kernel", (9,), TORUS)])
    operator = Step(layer("Conv2D"), RULES["Conv2D"], Settings(norm="operator"))
    conv = recipe(conv=True, norm="operator")
    assert row(operator, [triplet()], convolution, conv).reason == BOUNDED
    assert (
        row(operator._replace(settings=Settings()), [triplet()], convolution, conv).reason is None
    )
    missing = row(operator, [triplet()], convolution)
    assert (missing.missing_kind, missing.reason) == ("conv", f"with --conv; {BOUNDED}")


def test_a_layer_that_stays() -> None:
    """The reason of the plan stands, with what is special about the kernel behind it."""
    skip = Skip(layer(), "not selected", RULES["Dense"])
    assert row(skip, [triplet()]).reason == "not selected"
    assert row(skip, [triplet()]).sigma_after == 4.0
    used = row(skip._replace(spectral=True), [triplet(after=2.5)])
    assert (used.status, used.sigma_after) == ("spectral", 2.5)
    broken = row(skip, [triplet(after=math.nan, residual=math.nan)])
    assert broken.reason == f"not selected; {UNUSABLE}"
    assert (broken.sigma_after, broken.residual) == (None, None)
    failed = row(skip._replace(spectral=True), [triplet(), None])
    assert (failed.reason, failed.sigma) == (f"not selected; {NOT_FINITE}", None)
    assert row(skip, [triplet(), None]).reason == f"not selected; {NOT_FINITE}"
    assert row(skip._replace(reason=NOT_FINITE), [None]).reason == NOT_FINITE


def test_no_kernel() -> None:
    """Nobody is told why an activation stays; all else has its reason."""
    bare = LayerFacts("ReLU", bare=True)
    skip = Skip(layer("ReLU"), "no rule for ReLU")
    assert row(skip, None, bare).reason == NO_KERNEL
    assert row(skip, None, bare._replace(bare=False)).reason == "no rule for ReLU"
    assert row(skip._replace(again=True), None, bare).reason == "no rule for ReLU"
    assert row(skip._replace(rule=RULES["Dense"]), None, bare).reason == "no rule for ReLU"
    assert left_row(layer(), bare, "not spectral").reason == NO_KERNEL
    assert left_row(layer(), bare._replace(bare=False), "not spectral").reason == "not spectral"


def test_several_kernels() -> None:
    """The layer's number is the largest of its kernels', or none if one is not known."""
    facts = LayerFacts("LSTM", "x", shape=(3, 4), kernels=[KERNEL, ("recurrent", (4, 4), None)])
    step = Step(layer(), RULES["Dense"], Settings("cap", 3.0))
    only = row(step, [triplet(2.0), triplet(4.0, bounds=(3.9, 4.1))], facts)
    assert (only.sigma, only.sigma_after, only.certified) == (4.0, 3.0, None)
    assert [kernel.sigma_after for kernel in only.kernels] == [2.0, 3.0]
    assert only.kernels[1].certified_after == pytest.approx((3.9 * 0.75, 4.1 * 0.75))
    proved = row(step, [triplet(2.0, bounds=(1.9, 2.0)), triplet(4.0, bounds=(3.9, 4.1))], facts)
    assert proved.certified == (3.9, 4.1)


def test_a_layer_that_becomes_plain() -> None:
    """`bake` keeps the norm that the layer computes with, `remove` gives the raw kernel back."""
    facts = LayerFacts("SpectralDense", "Dense", shape=(3, 4), kernels=[KERNEL])
    triplets = [triplet(4.0, after=1.0)]
    for verb, divisors, after in (
        ("bake", {}, 1.0),
        ("remove", {}, 4.0),
        ("remove", {"kernel": 0.5}, 8.0),
    ):
        only = plain_row(layer(), facts, triplets, "converted", norm_after_undoing(verb, divisors))
        assert (only.status, only.new_class, only.sigma_after) == ("converted", "Dense", after)


def test_only_looking_passes_over_what_cannot_be() -> None:
    """A layer whose kernel has no sigma stays as it is, and the others are converted."""
    steps = [Step(layer(), RULES["Dense"], Settings()) for _ in range(2)]
    measured = Measured({steps[0].node: [triplet()], steps[1].node: [None]})
    first, second = without_failed(Plan(tuple(steps)), measured).outcomes
    assert first is steps[0]
    assert second == Skip(steps[1].node, NOT_FINITE, RULES["Dense"])
    assert measured.known(steps[1].node) == []


def test_the_whole() -> None:
    """A report says what its layers have in common, and else `mixed`."""
    rest = {"source": "m", "output": None, "bytes": 1}
    several = [Settings(), Settings("cap", 3.0)]
    whole = report_of("bake", "layer", several, [], time.perf_counter(), **rest)
    assert (whole.mode, whole.bound, whole.norm, whole.verb) == ("mixed", 3.0, "matrix", "bake")
    shown = LayerReport("a", "Conv2D", None, "skipped", norm="operator", operator_range=(1.0, 2.0))
    for verb, norm in (("inspect", "operator"), ("apply", "matrix")):
        whole = report_of(verb, "layer", [Settings()], [shown], time.perf_counter(), **rest)
        assert whole.norm == norm
