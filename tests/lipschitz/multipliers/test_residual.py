"""The bound of a residual block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import (
    exactly_semidefinite,
    he_chain,
    layer,
    matrix,
    random_taps,
    whole_inequality,
    worst_within,
)

from snconvert.core.convolution_map import at_size
from snconvert.lipschitz.multipliers import residual
from snconvert.lipschitz.multipliers.residual import residual_bound, squares_and_gradient

SLOPES = [(0.0, 1.0), (0.0, 0.25), (-0.13, 1.13), (-1.0, 1.0), (-0.5, 3.0)]


def value_of(*args, **options) -> float:
    bound = residual_bound(*args, **options)
    assert bound is not None
    assert bound.value is not None
    return bound.value


def largest_jacobian(
    kernels: list[np.ndarray], slopes: tuple[float, float], shortcut: np.ndarray, tries: int = 100
) -> float:
    """The largest norm of a Jacobian at random slopes, of maps that act on rows."""
    rng, largest = np.random.default_rng(0), 0.0
    for _ in range(tries):
        jacobian = kernels[0]
        for kernel in kernels[1:]:
            on = rng.random(len(kernel)) < rng.random()
            jacobian = jacobian * np.where(on, slopes[1], slopes[0]) @ kernel
        largest = max(largest, float(np.linalg.norm(shortcut + jacobian, 2)))
    return largest


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=4),
    st.sampled_from(SLOPES),
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(-60, 60),
)
def test_dense_blocks(
    widths: list[int], slopes: tuple[float, float], seed: int, skips: bool, power: int
) -> None:
    """The bound is between the largest Jacobian and that of the triangle, whatever the scale."""
    sizes = [*widths, widths[0]]
    kernels = he_chain(sizes, seed)
    kernels[0] = np.ldexp(kernels[0], power)
    kernels[-1] = np.ldexp(kernels[-1], -power)
    other = he_chain([widths[0], widths[0]], seed + 1)[0] if skips else None
    shortcut = np.eye(widths[0]) if other is None else other
    inner = [slopes] * (len(kernels) - 1)
    best = value_of(kernels, inner, shortcut=other, seconds=0.05)
    product = np.prod([np.linalg.norm(kernel, 2) for kernel in kernels])
    steep = max(-slopes[0], slopes[1]) ** len(inner)
    assert largest_jacobian(kernels, slopes, shortcut) <= best * (1 + 1e-12)
    assert best <= (np.linalg.norm(shortcut, 2) + product * steep) * 1.02


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("widths", [[4, 5], [4, 5, 3]])
def test_the_gradient(slopes: tuple[float, float], widths: list[int]) -> None:
    """The gradient is that of differences."""
    kernels = he_chain([*widths, 4], 0)
    block = residual._block(kernels, [slopes] * (len(kernels) - 1), None)
    assert block is not None
    multipliers = residual._first(block)
    rng = np.random.default_rng(1)
    multipliers = [
        t * 1.3 ** (2 - k) * rng.uniform(1.0, 1.1, t.shape) for k, t in enumerate(multipliers)
    ]
    values, gradient = squares_and_gradient(block, multipliers)
    for index, multiplier in enumerate(multipliers):
        for k, t in enumerate(multiplier):
            ends = []
            for step in (1e-5 * t, -1e-5 * t):
                moved = [np.array(each) for each in multipliers]
                moved[index][k] += step
                ends.append(squares_and_gradient(block, moved)[0].max())
            difference = (ends[0] - ends[1]) / 2e-5
            assert abs(difference - t * gradient[index][k]) < 1e-6 * values.max()


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("widths", [[3, 4], [2, 3, 2]])
def test_it_is_true_in_exact_arithmetic(slopes: tuple[float, float], widths: list[int]) -> None:
    """The matrix of the block is positive semidefinite in fractions at what is proved, and is not
    a little below."""
    kernels = he_chain([*widths, widths[0]], 0)
    block = residual._block(kernels, [slopes] * (len(kernels) - 1), None)
    assert block is not None
    multipliers = residual._first(block)
    bound = residual._proved(block, multipliers)
    assert bound is not None
    for factor, holds in ((1 + 2**-52, True), (1 - 1e-9, False)):
        square = factor * bound.value**2
        whole = whole_inequality(block.maps, block.slopes, multipliers, square, block.shortcut)
        assert exactly_semidefinite(whole) == holds


@pytest.mark.parametrize("slopes", SLOPES[:3])
@pytest.mark.parametrize("shortcut_stride", [0, 1, 2])
def test_convolutions(slopes: tuple[float, float], shortcut_stride: int) -> None:
    """With zero padding the bound is above every Jacobian, and near that of the explicit matrix."""
    taps = [random_taps(9, 2, 3, 0), random_taps(9, 3, 2, 1)]
    stride = max(1, shortcut_stride)
    maps = [layer(taps[0], 5, stride=stride), layer(taps[1], -(-5 // stride))]
    shortcut = layer(random_taps(1, 2, 2, 2), 5, stride=stride) if shortcut_stride else None
    kernels = [matrix(*each) for each in maps]
    whole = matrix(*shortcut) if shortcut else np.eye(50)
    best = value_of(maps, [slopes], shortcut=shortcut, seconds=3.0)
    assert largest_jacobian(kernels, slopes, whole) <= best
    explicit = value_of(kernels, [slopes], shortcut=whole, seconds=3.0)
    assert explicit < best * (1 + 1e-3) < 1.5 * explicit
    product = np.prod([np.linalg.norm(kernel, 2) for kernel in kernels])
    assert best < 0.95 * (np.linalg.norm(whole, 2) + product * slopes[1])


def test_a_block_with_pre_activation() -> None:
    """A scale and an activation before the branch are a map of one tap and one more activation."""
    scale = np.diag([0.5, 2.0, 1.0])[None, None]
    taps = [scale, random_taps(9, 3, 3, 1), random_taps(9, 3, 3, 2)]
    maps = [layer(each, 5) for each in taps]
    kernels = [matrix(*each) for each in maps]
    best = value_of(maps, [(0.0, 1.0)] * 2, seconds=3.0)
    assert largest_jacobian(kernels, (0.0, 1.0), np.eye(75)) <= best
    product = np.prod([np.linalg.norm(kernel, 2) for kernel in kernels])
    assert best < 0.8 * (1 + product)


def test_a_branch_that_takes_away() -> None:
    """`x - relu(x)` has a bound near 1, where the triangle says 2."""
    best = value_of([np.eye(3), -np.eye(3)], [(0.0, 1.0)], seconds=1.0)
    assert 1 <= best < 1.01


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.5, 1.5)])
@pytest.mark.parametrize("index", range(3))
def test_an_error_of_a_map_is_covered(slopes: tuple[float, float], index: int) -> None:
    """With a map, or the shortcut, known to an error, the bound holds for the worst within it."""
    block = residual._block(he_chain([4, 5, 4], 0), [slopes], np.diag([0.9, 1.0, 1.1, 1.3]))
    assert block is not None
    multipliers = residual._first(block)
    error = 1e-5
    errors = tuple(error if k == index else 0.0 for k in range(2))
    rough = block._replace(errors=errors, shortcut_error=error if index == 2 else 0.0)
    bound, exact = residual._proved(rough, multipliers), residual._proved(block, multipliers)
    assert bound is not None
    assert exact is not None

    def value(stack: np.ndarray) -> float:
        maps = tuple(stack if k == index else each for k, each in enumerate(block.maps))
        other = stack if index == 2 else block.shortcut
        there = block._replace(maps=maps, shortcut=other)
        return float(np.sqrt(squares_and_gradient(there, multipliers)[0].max()))

    stack = block.shortcut if index == 2 else block.maps[index]
    worst = value(worst_within(stack, error, value))
    assert exact.value < worst < bound.value < 1.01 * exact.value


def test_what_has_no_bound_by_multipliers() -> None:
    """Strides on one side, a branch of zeros or beyond all measure, and no time give nothing."""
    kernels = he_chain([4, 5, 4], 0)
    slopes = [(0.0, 1.0)]
    assert residual_bound([kernels[0] * 0, kernels[1]], slopes, seconds=1.0) is None
    assert residual_bound([kernels[0] * 1e300, kernels[1]], slopes, seconds=1.0) is None
    assert residual_bound(kernels, slopes, shortcut=np.eye(4) * 1e300, seconds=1.0) is None
    assert residual_bound(kernels, slopes, seconds=1e-6) is None
    strided = at_size((8, 8), (3, 3), (2, 2), (1, 1), "same", (1, 9, 1))
    taps = random_taps(9, 1, 1, 0)
    second = at_size((4, 4), (3, 3), (1, 1), (1, 1), "same", (1, 9, 1))
    assert residual_bound([(taps, strided), (taps, second)], slopes, seconds=1.0) is None
