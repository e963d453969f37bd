"""The bound of a chain of dense layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import (
    he_chain,
    largest_piece,
    layer,
    matrix,
    product_of_norms,
    random_taps,
)
from scipy.optimize import minimize

from snconvert.lipschitz.multipliers import chain
from snconvert.lipschitz.multipliers.chain import chain_bound, convolution_chain_bound
from snconvert.lipschitz.multipliers.estimate import fast, squares_and_gradient
from snconvert.lipschitz.multipliers.segment import prepared

RELU = (0.0, 1.0)


def bound_of(kernels: list[np.ndarray], slopes: tuple[float, float] = RELU, seconds: float = 1.0):
    bound = chain_bound(kernels, [slopes] * (len(kernels) - 1), seconds=seconds)
    assert bound.value is not None
    return bound.value


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(k, marks=pytest.mark.slow) for k in range(3, 60))]
)
def test_it_is_above_every_linear_piece(seed: int) -> None:
    """The bound of a small ReLU network is at least the largest norm of its linear pieces."""
    rng = np.random.default_rng(seed)
    sizes = [
        int(rng.integers(1, 4)),
        *rng.integers(1, 5, rng.integers(1, 3)),
        int(rng.integers(1, 4)),
    ]
    kernels = he_chain([int(size) for size in sizes], seed)
    biases = [rng.standard_normal(size) for size in sizes[1:]]
    lower = largest_piece(kernels, biases)
    best = bound_of(kernels)
    assert lower <= best * (1 + 1e-12)
    assert best <= bound_of(kernels, seconds=0.0) <= product_of_norms(kernels) * (1 + 1e-5)


@pytest.mark.parametrize(
    ("width", "layers", "product", "by_fast", "best"),
    [(16, 3, 17.42, 11.05, 6.94), (32, 3, 18.68, 11.37, 7.72), (32, 6, 365.4, 99.2, 43.1)],
)
def test_random_networks(
    width: int, layers: int, product: float, by_fast: float, best: float
) -> None:
    """Multipliers take a bound from the product of the norms to what the search finds."""
    kernels = he_chain([10, *[width] * (layers - 1), 10], 0)
    assert abs(product_of_norms(kernels) / product - 1) < 1e-3
    assert bound_of(kernels, seconds=0.0) < by_fast
    assert bound_of(kernels, seconds=10.0) < best


def test_the_search_is_no_worse_than_that_of_scipy() -> None:
    """Another L-BFGS finds multipliers that are at most half a percent better."""
    kernels = he_chain([10, 24, 24, 24, 10], 3)
    segment = prepared([kernel.T[None] for kernel in kernels], [0.0] * 4, [RELU] * 3)
    assert segment is not None
    segment, multipliers = fast(segment)
    seen = []

    def logarithm(point: np.ndarray) -> tuple[float, np.ndarray]:
        here = np.split(np.exp(point), [24, 48])
        squares, gradient = squares_and_gradient(segment, here)
        square = float(squares.max())
        seen.append(square)
        if square == np.inf:
            return 1e10, 0 * point
        return np.log(square), np.exp(point) * np.concatenate(gradient) / square

    start = np.log(np.concatenate(multipliers))
    minimize(logarithm, start, jac=True, method="L-BFGS-B", options={"maxcor": 30})
    other = np.sqrt(min(seen)) * 2.0**segment.exponent
    assert bound_of(kernels, seconds=10.0) < 1.005 * other


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 7), min_size=2, max_size=5),
    st.integers(0, 10**6),
    st.sampled_from([RELU, (-0.13, 1.13), (-0.5, 1.5), (-1.0, 1.0), (-1.0, 0.0), (-0.9, 0.4)]),
    st.integers(-200, 200),
)
def test_laws(sizes: list[int], seed: int, slopes: tuple[float, float], power: int) -> None:
    """The bound is between the product and that of a point's Jacobian, and scales with a kernel."""
    kernels = he_chain(sizes, seed)
    best = bound_of(kernels, slopes, 0.05)
    steep = max(-slopes[0], slopes[1])
    assert best <= product_of_norms(kernels) * steep ** (len(kernels) - 1) * (1 + 1e-5)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        jacobian = kernels[0]
        for kernel in kernels[1:]:
            jacobian = jacobian * rng.choice(slopes, len(kernel)) @ kernel
        assert np.linalg.norm(jacobian, 2) <= best * (1 + 1e-12)
    scaled = [np.ldexp(kernels[0], power), *kernels[1:]]
    assert bound_of(scaled, slopes, 0.05) == np.ldexp(best, power)


@pytest.mark.parametrize("slopes", [RELU, (-0.13, 1.13)])
def test_neurons_have_no_order(slopes: tuple[float, float]) -> None:
    """Neurons in another order have the same bound, and dead ones change nothing."""
    kernels = he_chain([3, 7, 6, 2], 0)
    best = bound_of(kernels, slopes)
    order = np.random.default_rng(0).permutation(7)
    other = [kernels[0][:, order], kernels[1][order], kernels[2]]
    assert abs(bound_of(other, slopes) / best - 1) < 1e-3
    dead = [
        np.pad(kernels[0], [(0, 0), (0, 2)]),
        np.vstack([kernels[1], np.ones((2, 6))]),
        kernels[2],
    ]
    assert bound_of(dead, slopes) == best
    assert bound_of(dead, slopes, 0.0) == bound_of(kernels, slopes, 0.0)


def test_the_ends_cost_nothing() -> None:
    """A chain with many inputs and outputs has the bound of one with a turned, padded kernel."""
    kernels = he_chain([5, 6, 5], 0)
    rng = np.random.default_rng(1)
    wide, high = (np.linalg.qr(rng.standard_normal((3000, 5)))[0] for _ in range(2))
    ends = [wide @ kernels[0], kernels[1] @ high.T]
    assert abs(bound_of(ends, seconds=0.0) / bound_of(kernels, seconds=0.0) - 1) < 1e-9


def test_numbers_beyond_float64() -> None:
    """Kernels of 1e-30 and 1e30, subnormal ones and bounds beyond 1e308 are no trouble."""
    kernels = he_chain([3, 6, 6, 2], 0)
    best = bound_of(kernels, seconds=0.0)
    small, large = [kernel * 2.0**-100 for kernel in kernels], [k * 2.0**100 for k in kernels]
    assert bound_of(small, seconds=0.0) == best * 2.0**-300
    assert bound_of(large, seconds=0.0) == best * 2.0**300
    huge = chain_bound([np.ldexp(k, 1000) for k in kernels], [RELU] * 2, seconds=0.0)
    assert huge.exponent > 2900
    assert str(huge) == ">1e308"
    tiny = chain_bound([np.ldexp(k, -1066) for k in kernels], [RELU] * 2, seconds=0.0)
    assert abs(np.ldexp(tiny.mantissa, tiny.exponent + 3 * 1066) / best - 1) < 0.1
    mixed = [np.vstack([kernels[0] * 1e300, kernels[0] * 1e-300]), *kernels[1:]]
    assert abs(bound_of(mixed, seconds=0.0) / (best * 1e300) - 1) < 1e-9


def test_chains_without_an_activation_or_without_a_slope() -> None:
    """One kernel has its norm; a zero kernel or constant activation makes the bound zero."""
    kernel = he_chain([40, 7], 0)[0]
    norm = np.linalg.norm(kernel, 2)
    assert norm <= bound_of([kernel]) <= norm * (1 + 2e-6)
    assert norm <= bound_of([kernel.T]) <= norm * (1 + 2e-6)
    assert bound_of([kernel, np.zeros((7, 3))]) == 0
    assert bound_of([kernel, np.ones((7, 3))], (0.0, 0.0)) == 0


def test_a_wide_chain_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where layers are too wide for multipliers the bounds of the parts are multiplied."""
    kernels = he_chain([3, 8, 30, 8, 3], 0)
    monkeypatch.setattr(chain, "_LARGEST", 20)
    parts = bound_of(kernels[:2]), bound_of(kernels[2:])
    assert 1 <= bound_of(kernels) / np.prod(parts) < 1 + 1e-6
    monkeypatch.setattr(chain, "_LARGEST", 10**6)
    monkeypatch.setattr(chain, "_ALWAYS", chain._PROOF * (11**3 + 12**3) / chain._RATE)
    parts = bound_of(kernels[:2], seconds=0.0), bound_of(kernels[2:], seconds=0.0)
    assert 1 <= bound_of(kernels, seconds=0.0) / np.prod(parts) < 1 + 1e-6
    monkeypatch.setattr(chain, "_LARGEST", 20)
    slopes = (-0.1, 3.0)
    parts = bound_of(kernels[:2], slopes), bound_of(kernels[2:], slopes)
    assert 1 <= bound_of(kernels, slopes) / np.prod(parts) / 3 < 1 + 1e-6


def test_where_nothing_is_proved_the_norms_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain whose multipliers cannot be proved has the product of its norms."""
    monkeypatch.setattr(chain, "proved", lambda *_: None)
    kernels = he_chain([3, 8, 6, 3], 0)
    product = product_of_norms(kernels) * 9
    assert product <= bound_of(kernels, (-0.1, 3.0)) <= product * (1 + 1e-5)


def convolutions(
    padding: str, size: int = 6, strides: tuple[int, ...] = (1, 1, 1)
) -> list[tuple[np.ndarray, object]]:
    """A chain of three convolutions of 2, 4, 3 and 2 channels."""
    maps = []
    for index, (m, n) in enumerate([(2, 4), (4, 3), (3, 2)]):
        maps.append(layer(random_taps(9, m, n, index), size, padding, strides[index]))
        size = maps[-1][1].outputs[0]
    return maps


@pytest.mark.parametrize("slopes", [RELU, (-0.13, 1.13), (-1.0, 1.0)])
@pytest.mark.parametrize(
    ("padding", "size", "strides"),
    [
        ("same", 6, (1, 1, 1)),
        ("valid", 9, (1, 1, 1)),
        ("same", 8, (2, 1, 1)),
        ("same", 7, (1, 2, 2)),
    ],
)
def test_convolutions(
    slopes: tuple[float, float], padding: str, size: int, strides: tuple[int, ...]
) -> None:
    """With zero padding the bound is above every Jacobian and the bound of the explicit matrices,
    and below the product of the norms where slopes are on one side."""
    maps = convolutions(padding, size, strides)
    kernels = [matrix(*each) for each in maps]
    bound = convolution_chain_bound(maps, [slopes] * 2, seconds=2.0)
    assert bound is not None
    explicit = bound_of(kernels, slopes, 0.3)
    assert explicit < bound.value * (1 + 1e-3)
    rng = np.random.default_rng(0)
    for _ in range(50):
        jacobian = kernels[0]
        for kernel in kernels[1:]:
            on = rng.random(len(kernel)) < rng.random()
            jacobian = jacobian * np.where(on, slopes[1], slopes[0]) @ kernel
        assert np.linalg.norm(jacobian, 2) <= bound.value
    norms = [convolution_chain_bound([each], [], seconds=1.0).value for each in maps]
    product = np.prod(norms) * slopes[1] ** 2
    # Without padding each norm alone has a smaller torus.
    assert bound.value < product * (1.1 if slopes[0] == -1.0 else 0.9)
    assert bound.value < 2.5 * explicit


def test_convolutions_of_any_size_of_numbers() -> None:
    """Powers of two come out of the bound, channels of zeros do nothing, a kernel of zeros is 0."""
    maps = convolutions("same")
    bound = convolution_chain_bound(maps, [RELU] * 2, seconds=0.5)
    large = [(np.ldexp(taps, 1000), conv) for taps, conv in maps]
    beyond = convolution_chain_bound(large, [RELU] * 2, seconds=0.5)
    assert beyond == bound._replace(exponent=bound.exponent + 3000)
    dead = [(np.array(taps), conv) for taps, conv in maps]
    dead[0][0][:, :, :, 1] = 0
    dead[2][0][:, :, 2] = 0
    less = [(dead[0][0][..., [0, 2, 3]], maps[0][1]), (dead[1][0][:, :, [0, 2, 3], :2], maps[1][1])]
    less.append((dead[2][0][:, :, :2], maps[2][1]))
    bounds = [convolution_chain_bound(each, [RELU] * 2, seconds=2.0).value for each in (dead, less)]
    assert abs(bounds[0] / bounds[1] - 1) < 1e-3
    maps[1] = 0 * maps[1][0], maps[1][1]
    assert convolution_chain_bound(maps, [RELU] * 2, seconds=0.5).value == 0


def test_convolutions_of_one_position_are_dense_layers() -> None:
    """Kernels of one tap have the bound of the dense layers with these kernels."""
    kernels = he_chain([3, 6, 6, 2], 0)
    maps = [layer(kernel[None, None], 4) for kernel in kernels]
    bound = convolution_chain_bound(maps, [RELU] * 2, seconds=1.0)
    assert abs(bound.value / bound_of(kernels) - 1) < 0.01


def test_convolutions_without_a_bound_by_multipliers() -> None:
    """Sizes that are not known, and too little time, give nothing."""
    maps = convolutions("same")
    assert convolution_chain_bound(maps, [RELU] * 2, seconds=0.0) is None
    anywhere = replace(maps[0][1], on_torus=True)
    assert convolution_chain_bound([(maps[0][0], anywhere)], [], seconds=1.0) is None


def test_what_is_not_finite() -> None:
    """A kernel with a NaN or an infinity is refused."""
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            chain_bound([np.ones((2, 2)), np.full((2, 2), bad)], [RELU], seconds=0.0)


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the memory does not suffice for multipliers there is the product, or nothing."""

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(chain, "fast", full)
    kernels = he_chain([3, 8, 6, 3], 0)
    assert abs(bound_of(kernels) / product_of_norms(kernels) - 1) < 1e-5
    assert convolution_chain_bound(convolutions("same"), [RELU] * 2, seconds=1.0) is None
