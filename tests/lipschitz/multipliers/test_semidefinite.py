"""The proof that matrices are positive semidefinite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_chains import exactly_semidefinite

from snconvert.lipschitz.multipliers.semidefinite import hidden, is_semidefinite, unit_scale


@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(-17, -9), st.booleans())
def test_what_is_proved_is_true(seed: int, size: int, distance: float, above: bool) -> None:
    """A matrix at any distance from singular is semidefinite if that was proved."""
    factor = np.random.default_rng(seed).standard_normal((size, size - 1))
    matrix = factor @ factor.T
    matrix /= matrix.diagonal().max()
    matrix += np.eye(size) * 10.0**distance * (1 if above else -1)
    matrix = np.tril(matrix) + np.tril(matrix, -1).T
    proved = is_semidefinite(matrix[None])
    assert not proved or exactly_semidefinite(matrix)
    if above and distance > -13:
        assert proved


@pytest.mark.parametrize("size", [3, 600])
@pytest.mark.parametrize("kind", [np.float64, np.complex128])
def test_it_is_sharp(size: int, kind: type) -> None:
    """A matrix is proved at 1e-8 above singular and not at 1e-8 below, in a stack with others."""
    rng = np.random.default_rng(size)
    factor = rng.standard_normal((size, size)) + 1j * rng.standard_normal((size, size))
    basis = np.linalg.qr(factor if kind is np.complex128 else factor.real)[0]
    values = np.linspace(0, 1, size)
    matrix = (basis * values) @ basis.conj().T
    eye = np.eye(size)
    assert is_semidefinite(np.stack([eye.astype(kind), matrix + 1e-8 * eye]))
    assert not is_semidefinite(np.stack([eye.astype(kind), matrix - 1e-8 * eye]))
    assert is_semidefinite(np.stack([matrix + 1e-4 * eye]), 9e-5)
    assert not is_semidefinite(np.stack([matrix + 1e-4 * eye]), np.array([1.1e-4]))


def test_only_the_lower_half_is_read() -> None:
    """What stands above the diagonal changes nothing."""
    matrix = np.array([[[1.0, 9.0], [0.5, 1.0]]])
    assert is_semidefinite(matrix)


@pytest.mark.parametrize("entry", [0.0, -1.0, np.nan, np.inf])
def test_what_is_no_matrix_is_not_proved(entry: float) -> None:
    """A zero, negative or non-finite diagonal is not proved."""
    with np.errstate(invalid="ignore"):
        assert not is_semidefinite(np.array([[[1.0, 0.0], [0.0, entry]]]))


@given(st.integers(1, 40), st.integers(0, 10**6), st.booleans())
def test_hidden_covers_a_product(length: int, seed: int, complex_numbers: bool) -> None:
    """The error of a product of matrices is below what is allowed for it."""
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((5, length)) * 10.0 ** rng.integers(-6, 6, (5, length))
    if complex_numbers:
        factor = factor + 1j * rng.standard_normal((5, length))
    wide = factor.astype(np.clongdouble)
    error = np.linalg.norm((factor @ factor.conj().T - wide @ wide.conj().T).astype(complex))
    assert error <= hidden(length, np.square(np.abs(factor)).sum(), factor.dtype)


@given(st.floats(1e-300, 1e300))
def test_unit_scale(number: float) -> None:
    """The scale is a power of two that brings a number near 1."""
    scale = float(unit_scale(np.array([[number]]))[0])
    assert np.frexp(scale)[0] == 0.5
    assert 0.25 <= number * scale * scale <= 2
