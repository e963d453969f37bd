"""All singular values of kernels, against LAPACK's float64 SVD."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.core.matrix_view import MatrixView
from snconvert.core.spectrum import LARGEST_ORDER, POINTS, Spectrum, cost_of, seconds_for
from snconvert.errors import KernelError
from snconvert.linalg import blocks, spectrum
from snconvert.linalg.matrix_norm import leading_triplet
from snconvert.linalg.spectrum import spectrum_of

EACH = 1e-6  # of each value, of the smallest, too
EPSILON = 2.0**-52


def exact(kernel: np.ndarray, view: MatrixView) -> np.ndarray:
    """All singular values by LAPACK, in falling order."""
    stack = view.matrix(kernel.astype("f8"))
    return np.sort(np.linalg.svd(stack, compute_uv=False), axis=None)[::-1]


def holds(kernel: np.ndarray, view: MatrixView | None = None, each: float = EACH) -> Spectrum:
    """The spectrum says what LAPACK's values say, by other formulas."""
    view = view or MatrixView.of(kernel.shape)
    values, found = exact(kernel, view), spectrum_of(kernel, view)
    floor = max(view.shape[1:]) * EPSILON * values[0]
    assert found.total == len(values)
    assert found.largest == pytest.approx(values[0], rel=1e-12)
    assert found.smallest == pytest.approx(values[-1], rel=each, abs=2 * floor)
    step = (len(values) - 1) / max(1, len(found.values) - 1)
    ranks = [round(index * step) for index in range(len(found.values))]
    assert found.values == pytest.approx(values[ranks], rel=each, abs=2 * floor)
    assert (found.values[0], found.values[-1]) == (found.largest, found.smallest)
    frobenius = float(np.square(kernel.astype("f8") / values[0]).sum())
    assert found.stable_rank == pytest.approx(frobenius, rel=1e-12)
    shares = values / values.sum()
    entropy = -sum(p * np.log(p) for p in shares if p > 0)
    assert found.effective_rank == pytest.approx(np.exp(entropy), rel=1e-6)
    if values[-1] > 2 * floor:
        assert found.condition == pytest.approx(values[0] / values[-1], rel=2 * each)
    return found


def of_values(values: np.ndarray, m: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(m + n)
    left = np.linalg.qr(rng.standard_normal((m, len(values))))[0]
    right = np.linalg.qr(rng.standard_normal((n, len(values))))[0]
    return (left * values) @ right.T


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes small kernels the way of large ones: in pieces, never copied whole."""
    monkeypatch.setattr(spectrum, "_TINY", 0)
    monkeypatch.setattr(spectrum, "DIRECT", 16)
    monkeypatch.setattr(blocks, "_COPY", 0)
    monkeypatch.setattr(blocks, "_PIECE", 1 << 10)
    monkeypatch.setattr(blocks, "_STRIP", 8)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 300), (300, 1), (9, 2), (64, 64), (90, 91), (300, 700), (500, 257)]
)
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8"])
def test_values_are_those_of_the_svd(shape: tuple[int, int], dtype: str) -> None:
    """Every value that is told is LAPACK's to a part in a million of itself, and so is what is
    made of them; at most 64 are told, the first and the last among them."""
    kernel = np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)
    assert len(holds(kernel).values) == min(*shape, POINTS)


@pytest.mark.parametrize("shape", [(300, 300), (700, 280), (280, 700)])
@pytest.mark.parametrize("smallest", [1.0, 1e-3, 5.6e-5, 4.6e-5, 1e-7, 1e-11])
@pytest.mark.parametrize("kind", ["even", "one large", "half"])
def test_small_values_are_right_too(shape: tuple[int, int], smallest: float, kind: str) -> None:
    """Whether the Gram matrix gives them or, below 6e-5 of the largest, the triangular factor."""
    count = min(shape)
    values = np.geomspace(1.0, smallest, count)
    if kind != "even":
        values = np.where(
            np.arange(count) < (1 if kind == "one large" else count // 2), 1, smallest
        )
    # What LAPACK itself makes of the smallest is right to 1e-15 of the largest.
    holds(of_values(values, *shape), each=max(EACH, 1e-13 / smallest))


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("shape", [(40, 40), (300, 30), (30, 300), (33, 1000), (200, 12)])
@pytest.mark.parametrize("decades", [0, 8])
def test_streaming_finds_the_same(shape: tuple[int, int], decades: int) -> None:
    """In rows or in strips, in chunks that do not divide the kernel."""
    rng = np.random.default_rng(3)
    kernel = rng.standard_normal(shape) * 10.0 ** -rng.uniform(0, decades, shape[1])
    holds(kernel.astype("f4"))


@given(
    st.lists(st.integers(1, 7), min_size=3, max_size=3),
    st.permutations([0, 1, 2]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_blocks_are_taken_together(sizes: list[int], axes: list[int], seed: int) -> None:
    """The values of all blocks of a stack make one spectrum, in whatever order it lies."""
    kernel = np.random.default_rng(seed).standard_normal(sizes)
    shape = tuple(sizes[axis] for axis in axes)
    holds(kernel, MatrixView(tuple(sizes), tuple(axes), shape))


@pytest.mark.usefixtures("streamed")
def test_blocks_one_by_one() -> None:
    """A block of zeros has zeros, and one that is next to nothing its own values."""
    kernel = np.random.default_rng(1).standard_normal((6, 20, 40))
    kernel[1], kernel[2] = 0.0, kernel[2] * 1e-30
    for axes, shape in (((0, 1, 2), (6, 20, 40)), ((1, 0, 2), (20, 6, 40))):
        found = holds(kernel, MatrixView((6, 20, 40), axes, shape))
        assert (found.smallest, found.condition) == (0.0, None) or axes[0]


@pytest.mark.parametrize("size", [5, 300])
@pytest.mark.parametrize("power", [-120, -60, 60, 120])
def test_powers_of_two_scale_the_values_exactly(size: int, power: int) -> None:
    """`W * 2**k` has the values of `W` times that, and the same ranks and condition, to the bit."""
    kernel = np.random.default_rng(5).standard_normal((size, size)).astype("f4").astype("f8")
    view = MatrixView.of(kernel.shape)
    one, other = spectrum_of(kernel, view), spectrum_of(np.ldexp(kernel, power), view)
    assert one is not None
    assert other is not None
    assert other.values == tuple(np.ldexp(one.values, power))
    assert (other.stable_rank, other.effective_rank) == (one.stable_rank, one.effective_rank)
    assert other.condition == one.condition


@pytest.mark.parametrize("size", [6, 300])
def test_numbers_at_the_ends_of_float64(size: int) -> None:
    """Columns of 1e-30 and of 1e30 in one kernel: the rank is that of the large ones."""
    kernel = np.random.default_rng(6).standard_normal((size, size))
    kernel[:, 1:] *= 1e-30
    kernel *= 1e30
    found = spectrum_of(kernel, MatrixView.of(kernel.shape))
    assert found is not None
    assert found.largest == pytest.approx(np.linalg.norm(kernel[:, 0]), rel=1e-12)
    assert (found.smallest, found.condition) == (0.0, None)
    assert found.stable_rank == pytest.approx(1.0)
    assert found.effective_rank == pytest.approx(1.0)


def test_half_precision() -> None:
    """The bits of bfloat16 mean what they mean."""
    single = np.random.default_rng(2).standard_normal((70, 50)).astype("f4")
    single = (single.view("u4") & 0xFFFF0000).view("f4")
    view = MatrixView.of(single.shape)
    bits = (single.view("u4") >> 16).astype("u2")
    assert spectrum_of(bits, view, bfloat16=True) == spectrum_of(single, view)


@pytest.mark.parametrize("shape", [(3, 4), (400, 300)])
def test_zeros_and_lacking_rank(shape: tuple[int, int]) -> None:
    """A kernel of zeros has no rank; one of rank 2 has that, and no condition."""
    view, count = MatrixView.of(shape), min(shape)
    zeros = (0.0,) * min(POINTS, count)
    assert spectrum_of(np.zeros(shape), view) == Spectrum(0, 0, 0, 0, None, zeros, count)
    found = spectrum_of(of_values(np.array([3.0, 3.0]), *shape).astype("f4"), view)
    assert found is not None
    assert found.stable_rank == pytest.approx(2, rel=1e-6)
    # Rounding to float32 has left noise, which is in the kernel.
    assert found.effective_rank == pytest.approx(2, rel=1e-3)
    kernel = np.ones(shape, "f4")
    found = spectrum_of(kernel, view)
    assert found is not None
    assert (found.smallest, found.condition) == (0.0, None)
    assert found.effective_rank == pytest.approx(1)


def test_sigma_is_the_largest() -> None:
    """It is what `leading_triplet` finds."""
    for shape in ((50, 60), (300, 290)):
        kernel = np.random.default_rng(4).standard_normal(shape).astype("f4")
        view = MatrixView.of(shape)
        found = spectrum_of(kernel, view)
        assert found is not None
        assert found.largest == pytest.approx(leading_triplet(kernel, view).sigma, rel=1e-9)


def test_what_has_no_spectrum() -> None:
    """NaN is an error as for sigma; a matrix that is too large has none, before it is read."""
    with pytest.raises(KernelError, match="1 NaN"):
        spectrum_of(np.array([[1.0, np.nan]]), MatrixView.of((1, 2)))
    size = LARGEST_ORDER + 1
    large = np.broadcast_to(np.float32(1), (size, size))
    assert spectrum_of(large, MatrixView.of(large.shape)) is None


def test_what_it_costs_is_said() -> None:
    """Nothing is said of what takes no time; large matrices wait for each other."""
    small, large = (1, 512, 512), (1, 4096, 4096)
    assert cost_of([small], 2) is None
    assert cost_of([], 2) is None
    assert cost_of([small] * 500, 2) == "spectra of 500 kernels, about 5 s"
    assert cost_of([small] * 500, 1) == "spectra of 500 kernels, about 10 s"
    assert cost_of([large], 8) == cost_of([large], 1) == "spectra of 1 kernel, about 10 s"
    assert cost_of([large] * 20, 8) == cost_of([large] * 20, 1)
    assert "min" in (cost_of([large] * 20, 1) or "")
    assert seconds_for((1, 300, 7000)) == seconds_for((1, 7000, 300))
    assert seconds_for((8, 9, 9)) == 8 * seconds_for((1, 9, 9))
