"""Proved bounds of any matrix, against LAPACK and, for tiny ones, exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.core.magnitude import Magnitude
from snconvert.linalg import proved_norm
from snconvert.linalg.proved_norm import proved_matrix_norm

ROUNDING = 1e-13  # of LAPACK's norm


def spectral(matrix: np.ndarray) -> Fraction:
    """LAPACK's norm of a stack, whatever its scale."""
    exponent = int(np.frexp(np.abs(matrix).max())[1])
    near = np.ldexp(np.ldexp(matrix, -exponent // 2), -exponent - (-exponent // 2))
    return Fraction(float(np.linalg.norm(near, 2, axis=(-2, -1)).max())) * Fraction(2) ** exponent


def exactly(bound: Magnitude) -> Fraction:
    return Fraction(bound.mantissa) * Fraction(2) ** bound.exponent


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(1, 1), (4, 3), (1, 9), (9, 1), (3, 5, 4), (140, 150), (300, 20)]),
    scale=st.sampled_from([-1074, -1060, -1022, -500, 0, 500, 1010, 1020]),
    decay=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_it_is_within_a_part_in_a_million(
    shape: tuple[int, ...], scale: int, decay: float, seed: int
) -> None:
    """For all shapes and spectra, from the subnormal numbers to those whose norm is no float64."""
    numbers = np.random.default_rng(seed).uniform(-1, 1, shape)
    numbers *= np.exp(-decay * np.linspace(0, 1, shape[-1]))
    matrix = np.ldexp(numbers, scale)
    if not matrix.any():
        matrix.flat[0] = 5e-324
    ratio = exactly(proved_matrix_norm(matrix)) / spectral(matrix)
    assert 1 - ROUNDING <= ratio <= 1 + Fraction(1, 10**6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(10**6), 10**6), min_size=4, max_size=4))
def test_it_is_no_less_than_exact_arithmetic_says(entries: list[int]) -> None:
    """Of a matrix of two rows, by fractions: all of `c^2 - W'W` is positive semidefinite."""
    matrix = np.array(entries, float).reshape(2, 2)
    square = exactly(proved_matrix_norm(matrix)) ** 2
    a, b, c, d = map(Fraction, entries)
    corner, side, other = square - a * a - c * c, square - b * b - d * d, a * b + c * d
    assert corner >= 0
    assert side >= 0
    assert corner * side >= other * other


def test_zeros() -> None:
    """The norm of zeros is 0, alone and beside others."""
    assert proved_matrix_norm(np.zeros((3, 4))) == Magnitude(0.0, 0)
    stack = np.stack([np.zeros((2, 2)), np.eye(2), 1e-310 * np.eye(2)])
    assert exactly(proved_matrix_norm(stack)) == pytest.approx(1, rel=1e-6)


def test_there_is_always_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate that is too low is passed by, and where nothing can be proved the Frobenius norm
    bounds the norm."""
    matrix = np.random.default_rng(0).normal(size=(30, 20))
    norm, search = float(spectral(matrix)), proved_norm.leading_triplet

    def low(*arguments: object) -> object:
        found = search(*arguments)
        return found._replace(sigma=found.sigma * 0.99)

    monkeypatch.setattr(proved_norm, "leading_triplet", low)
    assert norm <= float(exactly(proved_matrix_norm(matrix))) <= norm * 1.02
    frobenius = float(np.linalg.norm(matrix))
    monkeypatch.setattr(proved_norm, "is_below", lambda *_: False)
    assert frobenius <= float(exactly(proved_matrix_norm(matrix))) <= frobenius * (1 + 2e-6)

    def full(*_: object) -> bool:
        raise MemoryError

    monkeypatch.setattr(proved_norm, "is_below", full)
    assert frobenius <= float(exactly(proved_matrix_norm(matrix))) <= frobenius * (1 + 2e-6)
