"""The proof of a chain's bound."""

from __future__ import annotations

import numpy as np
import pytest
from random_chains import he_chain

from snconvert.lipschitz.multipliers.estimate import fast, squares_and_gradient
from snconvert.lipschitz.multipliers.proof import proved
from snconvert.lipschitz.multipliers.segment import Segment, prepared

SIZES = [4, 6, 5, 3]


def segment_of(slopes: tuple[float, float], errors: float = 0.0) -> Segment:
    maps = [kernel.T[None] for kernel in he_chain(SIZES, 0)]
    segment = prepared(maps, [errors] * 3, [slopes] * 2)
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


def test_multipliers_that_prove_nothing() -> None:
    """Multipliers that are too large prove no bound."""
    segment, multipliers = fast(segment_of((0.0, 1.0)))
    assert proved(segment, [10 * t for t in multipliers]) is None
    bent, multipliers = fast(segment_of((-0.5, 1.5)))
    assert proved(bent, [10 * t for t in multipliers]) is None


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.5, 1.5)])
def test_an_error_of_the_maps_is_covered(slopes: tuple[float, float]) -> None:
    """With maps known to an error, the bound holds for all chains within it."""
    segment, multipliers = fast(segment_of(slopes, 1e-6))
    bound = proved(segment, multipliers)
    exact = proved(*fast(segment_of(slopes)))
    assert bound is not None
    assert exact is not None
    assert exact.value is not None
    assert exact.value < bound.value < exact.value * (1 + 1e-3)
    rng = np.random.default_rng(1)
    for _ in range(20):
        moved = []
        for stack, within in zip(segment.maps, segment.errors, strict=True):
            other = rng.standard_normal(stack.shape)
            moved.append(stack + within / np.linalg.norm(other[0], 2) * other)
        there = squares_and_gradient(segment._replace(maps=tuple(moved)), multipliers)[0][0]
        assert np.sqrt(there) * 2.0**segment.exponent < bound.value
