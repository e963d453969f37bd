"""Block Lanczos on kernels that are made to mislead it."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from snconvert.core.matrix_view import MatrixView
from snconvert.linalg import lanczos
from snconvert.linalg.lanczos import leading_vector, start, times
from snconvert.linalg.matrix_norm import leading_triplet

SIGMA = 1e-6  # relative, against LAPACK's float64 SVD
Generator = np.random.Generator


def clustered(rng: Generator, size: int) -> np.ndarray:
    """Returns up to five values close to each other above a random bulk."""
    values = rng.uniform(0, 1, size) ** 10.0 ** rng.uniform(-3, 1)
    values[: rng.integers(1, 6)] += 10.0 ** rng.uniform(-7, -1)
    return values


def close_pair(rng: Generator, size: int) -> np.ndarray:
    return np.r_[
        1, 1 - 10.0 ** rng.uniform(-8, -0.3), rng.uniform(0, rng.uniform(0.05, 1), size - 2)
    ]


def near_equal(rng: Generator, size: int) -> np.ndarray:
    return 1 + 10.0 ** rng.uniform(-7, -2) * rng.standard_normal(size)


def stairs(rng: Generator, size: int) -> np.ndarray:
    return np.repeat(rng.uniform(0, 1, 5) ** 0.1, size // 5 + 1)[:size]


def steep(rng: Generator, size: int) -> np.ndarray:
    return np.exp(-np.arange(size) / 10.0 ** rng.uniform(0, 2.5))


def flat(rng: Generator, size: int) -> np.ndarray:
    return np.linspace(1, 1 - 10.0 ** rng.uniform(-6, -1), size)


def above_many(rng: Generator, size: int) -> np.ndarray:
    return np.r_[1, np.full(size - 1, 1 - 10.0 ** rng.uniform(-7, -2))]


def rank_one(_: Generator, size: int) -> np.ndarray:
    return np.r_[1, np.zeros(size - 1)]


SPECTRA = [clustered, close_pair, near_equal, stairs, steep, flat, above_many, rank_one]


def adversarial(index: int) -> np.ndarray:
    """Returns a kernel of one of the spectra; by turns also of the rest.

    Leading vectors that are nearly orthogonal to the known rows that the search begins with, rows
    and columns of zeros, planted rows and numbers, scales from subnormal to huge.
    """
    rng = np.random.default_rng(index)
    size = int(rng.integers(130, 330))
    m, n = (size, size + int(rng.integers(0, 90)))[:: rng.choice([-1, 1])]
    values = np.sort(np.abs(SPECTRA[index % len(SPECTRA)](rng, size)))[::-1]
    left, right = (_orthonormal(rng, length, size, hidden=index % 3 == 0) for length in (m, n))
    kernel = (left * values) @ right.T
    if index % 5 == 1:
        kernel[rng.integers(0, m, m // 3)] = 0
        kernel[:, rng.integers(0, n, n // 3)] = 0
    if index % 5 == 2:
        kernel[rng.integers(m)] *= 10.0 ** rng.uniform(-4, 4)
        kernel[rng.integers(m), rng.integers(n)] = 10.0 ** rng.uniform(-3, 1)
    scale = rng.choice([1.0, 1.0, 1e-44, 1e-38, 1e-30, 1e-3, 1e30, 1e36])
    return (kernel / np.abs(kernel).max() * scale).astype("f4")


def _orthonormal(rng: Generator, length: int, count: int, *, hidden: bool) -> np.ndarray:
    """Returns orthonormal columns; if hidden, the first is nearly orthogonal to the start rows."""
    columns = rng.standard_normal((length, count))
    if hidden:
        rows = np.linalg.qr(start(0, length, 2).astype("f8").T)[0]
        for _ in range(2):
            columns[:, 0] -= rows @ (rows.T @ columns[:, 0])
        columns[:, 0] += 10.0 ** rng.uniform(-12, -2) * np.sqrt(length) * rows[:, 0]
    return np.linalg.qr(columns)[0]


def missed(count: int, first: int = 0) -> dict[int, float]:
    """Returns of which of so many kernels sigma is off by more than it may be, and by how much."""
    found = {}
    for index in range(first, first + count):
        kernel = adversarial(index)
        largest = np.abs(kernel).max().astype("f8")
        exact = np.linalg.svd(kernel / largest, compute_uv=False)[0] * largest
        off = abs(leading_triplet(kernel, MatrixView.of(kernel.shape)).sigma / exact - 1)
        if off > SIGMA:
            found[index] = off
    return found


def test_some_adversarial_spectra() -> None:
    """Sigma of 48 kernels, each kind twice and more, is LAPACK's to 1e-6."""
    assert missed(48) == {}


@pytest.mark.slow
def test_adversarial_spectra() -> None:
    """Sigma of 2400 kernels is LAPACK's to 1e-6."""
    assert missed(2400, first=48) == {}


@functools.cache
def _hidden(second: float, rest: float) -> np.ndarray:
    """Returns a symmetric matrix whose leading vector the start rows do not have in them."""
    rng = np.random.default_rng(0)
    basis = _orthonormal(rng, 300, 300, hidden=False)
    rows = np.linalg.qr(start(0, 300, 2).astype("f8").T)[0]
    leading = basis[:, 0]
    for _ in range(2):
        leading -= rows @ (rows.T @ leading)
    basis = np.linalg.qr(np.c_[leading, basis[:, 1:]])[0]
    return ((basis * np.r_[1.5, second, np.linspace(rest, 0, 298)]) @ basis.T).astype("f4")


@pytest.mark.parametrize(
    ("second", "rest"), [(1.0, 0.9), (1.4, 0.1), (1.499, 0.1), (1.49, 1.4), (1.4, 1.2)]
)
def test_a_start_orthogonal_to_the_leading_vector_does_not_fool_it(
    second: float, rest: float
) -> None:
    """Lanczos finds an eigenvector of which the first rows hold nothing but rounding errors."""
    matrix = _hidden(second, rest)
    found = leading_vector(lambda rows: rows @ matrix, 300)
    assert found @ matrix @ found == pytest.approx(1.5, rel=SIGMA)


def test_start_vectors_depend_on_the_whole_kernel() -> None:
    """The noise that the search begins with is another one where one number is, any of them."""
    matrix = _hidden(1.0, 0.9).copy()
    blocks: list[np.ndarray] = []

    def apply(rows: np.ndarray) -> np.ndarray:
        blocks.append(rows.copy())
        return rows @ matrix

    leading_vector(apply, 300)
    rounds = len(blocks)
    matrix *= 4
    leading_vector(apply, 300)
    matrix[299, 298] *= 1.01
    leading_vector(apply, 300)
    first, second = blocks[1], blocks[rounds + 1]
    np.testing.assert_array_equal(first, second)  # a power of two is no other kernel
    third = blocks[2 * rounds + 1]
    assert np.abs(first @ third.T).max() < 0.3


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("shape", [(40, 30), (800, 700), (0, 9)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_products_by_two_rows(
    pairs: bool, shape: tuple[int, int], order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products by two rows are numpy's in float64, to float32 rounding."""
    monkeypatch.setattr(lanczos, "PAIRS", pairs)
    rng = np.random.default_rng(0)
    matrix = np.asarray(rng.standard_normal(shape), "f4", order=order)
    for factor, transposed in ((matrix, False), (matrix.T, True)):
        rows = rng.standard_normal((2, len(factor))).astype("f4")
        product = times(rows, matrix, transposed=transposed)
        assert product.dtype == np.float32
        np.testing.assert_allclose(product, rows.astype("f8") @ factor, rtol=0, atol=1e-4)
