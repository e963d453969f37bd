"""Convolutions as linear maps, in numpy: against explicit float64 matrices, adjoints and bounds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from explicit_map import explicit
from operator_norm_benchmark import benchmark

from snconvert.core.convolution_map import Convolution, at_size, transposed_at_size
from snconvert.core.matrix_view import MatrixView
from snconvert.errors import KernelError, SourceError
from snconvert.linalg import convolution_norm
from snconvert.linalg.convolution_apply import adjoint, forward
from snconvert.linalg.convolution_norm import operator_triplet
from snconvert.linalg.gram_symbol import norms_over_frequencies
from snconvert.linalg.stored_u import norm_by

SIGMA = 1e-6
AXES = [
    (k, s, d, padding, size)
    for k, s, d, padding in itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2), ("valid", "same"))
    for size in (7, 10)
    if s == 1 or d == 1
]


def case(axis: tuple, m: int, n: int, seed: int) -> tuple[np.ndarray, MatrixView, Convolution]:
    """A kernel `(k, 2, m, n)` on an input `(size, 5)`."""
    k, s, d, padding, size = axis
    kernel = np.random.default_rng(seed).normal(size=(k, 2, m, n))
    view = MatrixView.of(kernel.shape)
    conv = at_size((size, 5), (k, 2), (s, 1), (d, 1), padding, view.shape)
    return kernel, view, conv


@pytest.mark.parametrize("axis", AXES)
def test_sigma_is_that_of_the_explicit_matrix(axis):
    """Sigma is right to 1e-6, u leads to it, and R <= T <= sqrt(c) R."""
    for seed, (m, n) in enumerate([(1, 2), (3, 2), (2, 5)]):
        kernel, view, conv = case(axis, m, n, seed)
        if conv.on_torus:
            assert axis[0] + (axis[0] - 1) * (axis[2] - 1) > axis[4]  # no output at all
            continue
        exact = np.linalg.norm(explicit(kernel.reshape(-1, m, n), conv), 2)
        found = operator_triplet(kernel, view, conv)
        assert found.sigma == pytest.approx(exact, rel=SIGMA)
        assert found.u.shape == (1, *conv.outputs, n)
        assert found.u.dtype == np.float32
        assert norm_by(kernel, view, conv, found.u) == pytest.approx(found.sigma, rel=SIGMA)
        norm = np.linalg.norm(kernel.reshape(-1, n), 2)
        low, high = conv.range(norm)
        assert low * (1 - 1e-9) <= exact <= high * (1 + 1e-9)
        if conv.same_norm_as_matrix:
            assert exact == pytest.approx(norm, rel=1e-9)


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis[4] == 10])
def test_the_bound_over_all_sizes(axis):
    """It is at least T, and at most by its factor above what the frequencies reach."""
    kernel, view, conv = case(axis, 2, 3, 5)
    torus = Convolution.over_all_sizes(conv.kernel, conv.strides, conv.dilation)
    bound = operator_triplet(kernel, view, torus).sigma
    if not conv.on_torus:
        assert bound >= operator_triplet(kernel, view, conv).sigma * (1 - 1e-6)
    assert bound <= sampled(kernel, axis) * torus.factor * (1 + 1e-6)


def sampled(kernel: np.ndarray, axis: tuple) -> float:
    """The largest symbol norm over a fine grid: blocks of k on every s-th input, by its own sum."""
    k, s, d, _, _ = axis
    best = 0.0
    grid = np.linspace(0, 2 * np.pi, 65)
    for one, two in itertools.product(grid, grid[::4]):
        symbol = np.zeros((s, *kernel.shape[2:]), complex)
        for i, j in np.ndindex(k, 2):
            place = i * d if s > 1 else i
            symbol[place % s] += kernel[i, j] * np.exp(1j * (one * (place // s) + two * j))
        best = max(best, np.linalg.norm(symbol.reshape(-1, kernel.shape[-1]), 2))
    # Between two frequencies of this grid the square falls by less than 2 %.
    return best * 1.02


def test_large_maps_take_lanczos():
    """Above the order of the direct method sigma is as exact."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype("float32")
    view = MatrixView.of(kernel.shape)
    for padding, stride in (("same", 1), ("valid", 2)):
        conv = at_size((17, 16), (3, 3), (stride,) * 2, (1, 1), padding, view.shape)
        exact = np.linalg.norm(explicit(kernel.reshape(9, 4, 5).astype("f8"), conv), 2)
        found = operator_triplet(kernel, view, conv)
        assert found.sigma == pytest.approx(exact, rel=SIGMA)
        assert operator_triplet(kernel, view, conv).u.tobytes() == found.u.tobytes()


@pytest.mark.parametrize(
    "first", [0, 40, *(pytest.param(n, marks=pytest.mark.slow) for n in range(80, 400, 40))]
)
def test_degenerate_kernels(first):
    """Of 80 pruned, dirac, duplicated and other kernels sigma and the bound are right, and of
    more."""
    for made in benchmark().cases(40, first):
        result = benchmark().check(made)
        assert not result.wrong, f"{result} {benchmark().describe(made)}"


def test_a_tap_does_not_hide_a_stronger_block():
    """A channel that is a multiple of the identity breaks Lanczos down, and hides no other one."""
    kernel = np.zeros((3, 3, 3, 1), "float32")
    kernel[1, 1, 0, 0] = 1.3
    kernel[:, :, 1, 0] = 0.25
    view = MatrixView((9, 3, 1), (1, 0, 2), (3, 9, 1))
    conv = at_size((14, 14), (3, 3), (1, 1), (1, 1), "same", view.shape)
    exact = np.linalg.norm(explicit(kernel[:, :, 1].reshape(9, 1, 1).astype("f8"), conv), 2)
    found = operator_triplet(kernel, view, conv)
    assert found.sigma == pytest.approx(exact, rel=SIGMA)
    assert np.linalg.norm(found.u.reshape(3, -1), axis=1) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_no_block_exceeds_its_bound_by_frequencies(stride, shift):
    """On rings of any size the symbol bounds the norm of each block, and on a torus it is that."""
    rng = np.random.default_rng(stride)
    for size in (5, 8, 19, 60, 90):
        taps = rng.normal(size=(4, 5, 2, 3))
        conv = at_size((size,), (5,), (stride,), (1,), "same", (4, 10, 3))
        exact = [np.linalg.norm(explicit(block, conv), 2) for block in taps]
        bounds = norms_over_frequencies(taps, conv, shift, np.zeros(4))
        assert (bounds >= exact).all()
        assert (
            norms_over_frequencies(taps, conv, shift, np.full(4, np.inf)) >= bounds * (1 - 1e-9)
        ).all()
    torus = Convolution.over_all_sizes((5,), (stride,), (1,))
    around = [np.linalg.norm(explicit(block, torus), 2) for block in taps]
    assert norms_over_frequencies(taps, torus, 0.0, np.zeros(4)) == pytest.approx(around, rel=1e-9)


def test_candidates_do_not_rest_on_estimates():
    """The largest of equal, close, zero and hidden blocks is among them, whatever was estimated."""
    rng = np.random.default_rng(0)
    taps = rng.normal(size=(12, 9, 1, 1)) * np.linspace(1, 2, 12)[:, None, None, None]
    taps[3], taps[5:7] = 0.0, taps[4] * (1 + 1e-5)
    conv = at_size((9, 9), (3, 3), (1, 1), (1, 1), "same", (12, 9, 1))
    exact = np.array([np.linalg.norm(explicit(block, conv), 2) for block in taps])
    lift = np.zeros(12, int)
    for estimates in (np.zeros(12), exact * 0.5, np.where(exact < exact.max(), exact, 1e-9)):
        sigma = estimates.copy()
        chosen = []
        for index in convolution_norm._candidates(taps, lift, conv, sigma):
            chosen.append(index)
            sigma[index] = exact[index]
        assert sigma.max() == exact.max()
        assert len(chosen) < 12


def test_a_map_that_reads_no_number_of_its_kernel():
    """Taps that reach nothing but padding do not count, and a map without others is zero."""
    kernel = np.zeros((3, 1, 1), "float32")
    kernel[0] = 1.0
    view = MatrixView.of(kernel.shape)
    conv = at_size((2,), (3,), (1,), (3,), "same", view.shape)
    found = operator_triplet(kernel, view, conv)
    assert (found.sigma, found.zero, found.residual) == (0.0, True, 0.0)
    assert np.linalg.norm(found.u) == pytest.approx(1, rel=1e-6)
    kernel[1] = 1e-30
    assert operator_triplet(kernel, view, conv).sigma == pytest.approx(1e-30, rel=SIGMA)


def test_equal_blocks_are_searched_once(monkeypatch):
    """Blocks that differ by a sign and a power of two have one u, found once."""
    block = np.random.default_rng(0).normal(size=(9, 1, 2))
    factors = np.array([0.5, -1.0, 4.0, 0.0, -4.0])
    kernel = block * factors[:, None]
    view = MatrixView((9, 5, 2), (1, 0, 2), (5, 9, 2))
    conv = at_size((9, 9), (3, 3), (1, 1), (1, 1), "same", view.shape)
    calls: list[int] = []
    search = convolution_norm._vector
    monkeypatch.setattr(
        convolution_norm, "_vector", lambda *given: calls.append(1) or search(*given)
    )
    found = operator_triplet(kernel, view, conv)
    exact = np.linalg.norm(explicit(block.reshape(9, 1, 2) * 4, conv), 2)
    assert found.sigma == pytest.approx(exact, rel=SIGMA)
    assert len(calls) == 1
    for index in (0, 1, 4):
        np.testing.assert_array_equal(found.u[index], found.u[2])


def test_many_blocks():
    """Sigma is the largest of all blocks, and each block's u leads to its own norm to 3 %."""
    kernel = np.random.default_rng(1).normal(size=(3, 3, 6, 2))
    view = MatrixView((9, 6, 2), (1, 0, 2), (6, 9, 2))
    conv = at_size((15, 14), (3, 3), (1, 1), (1, 1), "same", view.shape)
    norms = [np.linalg.norm(explicit(kernel[:, :, i].reshape(9, 1, 2), conv), 2) for i in range(6)]
    found = operator_triplet(kernel, view, conv)
    assert found.sigma == pytest.approx(max(norms), rel=SIGMA)
    assert found.u.shape == (6, 15, 14, 2)
    for i, exact in enumerate(norms):
        single = MatrixView.of((9, 2))
        reached = norm_by(kernel[:, :, i].reshape(9, 2), single, conv, found.u[i : i + 1])
        assert 0.97 * exact <= reached <= exact * (1 + 1e-6)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("extra", [None, 1])
def test_adjoint(padding, extra):
    """<A x, y> = <x, A' y>, on the plane, on the torus and for transposed layers."""
    rng = np.random.default_rng(2)
    taps = rng.normal(size=(6, 2, 3))
    strides, stack = (2, 3), (1, 12, 3)
    maps = [
        at_size((9, 8), (3, 2), strides, (1, 1), padding, stack),
        transposed_at_size((4, 5), (3, 2), strides, (1, 1), padding, stack, (extra, extra)),
        Convolution.over_all_sizes((3, 2), strides, (1, 1)),
        Convolution.over_all_sizes((3, 2), (1, 1), (2, 1)),
        Convolution.over_all_sizes((3, 2), (4, 4), (1, 1)),
    ]
    for conv in maps:
        x = rng.normal(size=(2, *conv.inputs, 2))
        y = rng.normal(size=(2, *conv.outputs, 3))
        image = forward(x, taps, conv)
        assert np.vdot(image, y) == pytest.approx(np.vdot(x, adjoint(y, taps, conv)), rel=1e-10)
        flat = x.reshape(2, -1) @ explicit(taps, conv)
        np.testing.assert_allclose(image.reshape(2, -1), flat, atol=1e-10)


def test_numbers_of_any_size():
    """Kernels of 1e-30 and 1e30, and blocks that far apart, are right; zero is zero."""
    kernel = np.random.default_rng(3).normal(size=(3, 2, 2))
    view = MatrixView.of(kernel.shape)
    conv = at_size((6,), (3,), (1,), (1,), "same", view.shape)
    exact = np.linalg.norm(explicit(kernel, conv), 2)
    for size in (1e-30, 1e30):
        assert operator_triplet(kernel * size, view, conv).sigma == pytest.approx(
            exact * size, rel=SIGMA
        )
    zero = operator_triplet(kernel * 0, view, conv)
    assert (zero.sigma, zero.zero) == (0.0, True)
    assert np.linalg.norm(zero.u) == pytest.approx(1, rel=1e-6)
    apart = np.stack([kernel[:, 0], kernel[:, 1] * 1e-30, kernel[:, 1] * 0], axis=1)
    blocks = MatrixView((3, 3, 2), (1, 0, 2), (3, 3, 2))
    found = operator_triplet(apart, blocks, conv)
    single = operator_triplet(kernel[:, :1], MatrixView.of((3, 1, 2)), conv)
    assert found.sigma == pytest.approx(single.sigma, rel=SIGMA)
    with pytest.raises(KernelError, match="1 NaN"):
        operator_triplet(np.where(kernel == kernel.max(), np.nan, kernel), view, conv)


def test_a_map_that_is_too_large_is_bounded_instead():
    """What would take too much memory, or has no size, is taken on a torus."""
    for sizes in ((1 << 20, 1 << 20), (None, 8), (2, 8)):
        conv = at_size(sizes, (3, 3), (1, 1), (1, 1), "valid", (1, 9, 1))
        assert conv.on_torus
        assert conv.outputs == (32, 32)
        assert conv.factor == pytest.approx(1.0196, rel=1e-4)
    with pytest.raises(SourceError, match="strides"):
        at_size((9, 9), (4, 4), (3, 3), (1 << 30, 1 << 30), "valid", (1, 16, 1))
    wide = Convolution.over_all_sizes((31, 31), (1, 1), (1, 1), 4096)
    assert wide.outputs == (120, 120)
    assert wide.factor == pytest.approx(math.sqrt(2), rel=1e-6)
