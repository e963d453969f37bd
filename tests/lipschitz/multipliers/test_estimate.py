"""Multipliers, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from random_chains import he_chain, product_of_norms, whole_inequality

from snconvert.lipschitz.multipliers.estimate import fast, squares_and_gradient
from snconvert.lipschitz.multipliers.segment import Segment, prepared

SLOPES = [(0.0, 1.0), (-0.13, 1.13), (-0.5, 1.5), (-1.0, 1.0), (-1.0, 0.3), (-1.0, 0.0)]


def segment_of(sizes: list[int], slopes: tuple[float, float], seed: int = 0) -> Segment:
    maps = [kernel.T[None] for kernel in he_chain(sizes, seed)]
    segment = prepared(maps, [0.0] * len(maps), [slopes] * (len(maps) - 1))
    assert segment is not None
    return segment


def complex_segment(slopes: tuple[float, float]) -> Segment:
    rng = np.random.default_rng(5)
    maps = [
        rng.standard_normal((3, n, m)) + 1j * rng.standard_normal((3, n, m))
        for n, m in [(4, 3), (5, 4), (2, 5)]
    ]
    segment = prepared(maps, [0.0] * 3, [slopes] * 2)
    assert segment is not None
    return segment


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("kind", ["dense", "complex"])
def test_the_gradient(slopes: tuple[float, float], kind: str) -> None:
    """The gradient is that of differences."""
    segment = segment_of([4, 6, 5, 3], slopes) if kind == "dense" else complex_segment(slopes)
    segment, multipliers = fast(segment)
    rng = np.random.default_rng(3)
    multipliers = [t * 0.7**k * rng.uniform(0.9, 1, t.shape) for k, t in enumerate(multipliers)]
    squares, gradient = squares_and_gradient(segment, multipliers)
    for index, multiplier in enumerate(multipliers):
        for k in range(len(multiplier)):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [np.array(t) for t in multipliers]
                moved[index][k] += step
                ends.append(squares_and_gradient(segment, moved)[0].max())
            difference = (ends[0] - ends[1]) / 2e-5
            assert abs(difference - gradient[index][k]) < 1e-6 * squares.max()


@pytest.mark.parametrize("slopes", SLOPES)
def test_it_is_the_bound_of_the_whole_inequality(slopes: tuple[float, float]) -> None:
    """The bound is the least with which LipSDP's matrix of the whole chain is semidefinite."""
    segment, multipliers = fast(segment_of([4, 6, 5, 3], slopes))
    value = squares_and_gradient(segment, multipliers)[0][0]
    whole = whole_inequality(segment.maps, segment.slopes, multipliers, value)
    at = np.linalg.eigvalsh(whole.astype(float))
    assert abs(at[0]) < 1e-9 * at[-1]
    whole = whole_inequality(segment.maps, segment.slopes, multipliers, 0.999 * value)
    below = np.linalg.eigvalsh(whole.astype(float))
    assert below[0] < -1e-6 * at[-1]


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("seed", range(4))
def test_fast_is_at_most_the_product(slopes: tuple[float, float], seed: int) -> None:
    """The fast bound is below the product of the norms, and equal to it where slopes are +-b."""
    sizes = [3, 8, 5, 9, 4]
    segment, multipliers = fast(segment_of(sizes, slopes, seed))
    bound = np.sqrt(squares_and_gradient(segment, multipliers)[0][0]) * 2.0**segment.exponent
    product = product_of_norms(he_chain(sizes, seed)) * max(-slopes[0], slopes[1]) ** 3
    assert bound < product * (1 + 1e-5)
    if slopes == (-1.0, 1.0):
        assert abs(bound / product - 1) < 1e-5
    elif slopes[0] == 0:
        assert bound < 0.9 * product


def test_what_is_not_positive_definite() -> None:
    """Multipliers that are too large promise nothing."""
    segment, multipliers = fast(segment_of([4, 6, 5, 3], (0.0, 1.0)))
    assert squares_and_gradient(segment, [10 * t for t in multipliers])[0][0] == np.inf
