"""The proof of a chain's bound."""

from __future__ import annotations

import numpy as np
import pytest
from random_chains import (
    exactly_semidefinite,
    he_chain,
    whole_inequality,
    worst_within,
)

from snconvert.lipschitz.multipliers.estimate import fast, squares_and_gradient
from snconvert.lipschitz.multipliers.proof import proved
from snconvert.lipschitz.multipliers.segment import Segment, prepared

SIZES = [4, 6, 5, 3]


def segment_of(slopes: tuple[float, float]) -> Segment:
    maps = [kernel.T[None] for kernel in he_chain(SIZES, 0)]
    segment = prepared(maps, [0.0] * 3, [slopes] * 2)
    assert segment is not None
    return segment


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.13, 1.13), (-0.5, 1.5), (-1.0, 1.0)])
def test_what_is_computed_is_proved(slopes: tuple[float, float]) -> None:
    """The bound is proved at one part in 1e9 above what was computed, and never below."""
    segment, multipliers = fast(segment_of(slopes))
    computed = np.sqrt(squares_and_gradient(segment, multipliers)[0][0]) * 2.0**segment.exponent
    bound = proved(segment, multipliers)
    assert bound is not None
    assert bound.value is not None
    assert computed < bound.value < computed * (1 + 1e-9)


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.13, 1.13), (-0.5, 1.5), (-1.0, 0.3)])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_true_in_exact_arithmetic(slopes: tuple[float, float], seed: int) -> None:
    """LipSDP's matrix of the whole chain is positive semidefinite in fractions at what is proved,
    and is not a little below."""
    maps = [kernel.T[None] for kernel in he_chain([2, 3, 3, 2], seed)]
    segment = prepared(maps, [0.0] * 3, [slopes] * 2)
    assert segment is not None
    segment, multipliers = fast(segment)
    bound = proved(segment, multipliers)
    assert bound is not None
    square = np.ldexp(bound.mantissa, bound.exponent - segment.exponent) ** 2
    for factor, holds in ((1 + 2**-52, True), (1 - 1e-9, False)):
        whole = whole_inequality(segment.maps, segment.slopes, multipliers, factor * square)
        assert exactly_semidefinite(whole) == holds


def test_multipliers_that_prove_nothing() -> None:
    """Multipliers that are too large prove no bound."""
    segment, multipliers = fast(segment_of((0.0, 1.0)))
    assert proved(segment, [10 * t for t in multipliers]) is None
    bent, multipliers = fast(segment_of((-0.5, 1.5)))
    assert proved(bent, [10 * t for t in multipliers]) is None


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.5, 1.5)])
@pytest.mark.parametrize("index", range(3))
def test_an_error_of_a_map_is_covered(slopes: tuple[float, float], index: int) -> None:
    """With a map known to an error, the bound holds for the worst one within it."""
    segment, multipliers = fast(segment_of(slopes))
    error = 1e-5
    errors = [error if k == index else 0.0 for k in range(3)]
    bound = proved(segment._replace(errors=tuple(errors)), multipliers)
    exact = proved(segment, multipliers)
    assert bound is not None
    assert exact is not None

    def value(stack: np.ndarray) -> float:
        maps = [stack if k == index else each for k, each in enumerate(segment.maps)]
        square = squares_and_gradient(segment._replace(maps=tuple(maps)), multipliers)[0][0]
        return float(np.sqrt(square)) * 2.0**segment.exponent

    worst = value(worst_within(segment.maps[index], error, value))
    assert exact.value < worst < bound.value < exact.value * (1 + 1e-2)
