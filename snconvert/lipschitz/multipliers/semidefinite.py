"""The proof in float64 that Hermitian matrices are positive semidefinite.

Factorise `M - t = L L* + E` by Cholesky, with a small shift `t`. Whatever the factor is,
`M >= t - |E|`, so that `|E| <= t` is the proof: nothing depends on how LAPACK factorises. The
remainder is computed, and what rounding may hide in it is bounded by what holds of every product of
matrices, in any order of summation and with fused operations (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, section 3.5): with `e = 2**-53`, `g(k) = k e / (1 - k e)`,

    |fl(A B) - A B| <= g(k) |A| |B|   entry by entry,   k = the length of the sums.

The parts of a complex product are real sums of length `2 k`, each off by `g(2 k) |A| |B|` at most,
so together by `sqrt(2) g(2 k) |A| |B|`. And `| |L| |L*| |_2 <= |L|_F^2`, so

    |E|_2 <= |fl(E)|_F + sqrt(2) g(2 k) |L|_F^2 + e (max M_ii + |fl(E)|_F).

`hidden` takes the middle term with `k + 8` for `k`, and twice: that is for the roundings in these
bounds themselves, for the last term, and for what underflows (2**-1074 for each product). It is
smallest, compared to the matrix, when the diagonal is near 1; scaling by powers of two makes it so
and rounds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

UNIT = 2.0**-53
"""The unit roundoff of float64."""
_MOST_ROOM = 1e-3  # a proof that takes more is given up
_WIDTH = 512  # rows whose remainder is computed at once


def hidden(count: int, squares: Array, dtype: np.dtype[Any]) -> Array:
    """Returns what rounding may hide in a product of matrices, in the 2-norm.

    Args:
        count: The length of the sums.
        squares: Of a product `A A*` the square of the Frobenius norm of `A`.
        dtype: float64 or complex128.

    Example:
        >>> float(hidden(92, np.array(1.0), np.dtype("f8")) / UNIT)
        200.00000000000222
    """
    terms = 2 * (count + 8) * UNIT if dtype.kind == "c" else (count + 8) * UNIT
    return np.asarray(2 * terms / (1 - terms) * squares)


def product_error(stack: Array, weights: Array, off: Array | float = 0.0) -> Array:
    """Returns how far a computed `K* D K` may be from the truth, in the 2-norm.

    Args:
        stack: `K`, `(f, n, m)`.
        weights: The diagonal of `D`, `(n,)`, at least zero; with at most three roundings in `D K`.
        off: How far `K` itself may be from the truth, in the 2-norm; one number, or `(f,)`.
    """
    roots = np.sqrt(weights)
    squares = frobenius(roots[:, None] * stack) ** 2
    off = roots.max() * off
    known = hidden(stack.shape[1], squares, stack.dtype)
    return np.asarray(known + (2 * off * np.sqrt(squares) + off**2) * (1 + 1e-6))


def frobenius(stack: Array) -> Array:
    """Returns the Frobenius norm of each matrix."""
    return np.asarray(np.sqrt(np.square(np.abs(stack)).sum(axis=(-2, -1))))


def unit_scale(stack: Array) -> Array:
    """Returns powers of two `s` with `s^2 d` near 1, of the diagonals `d` above zero; else 1.

    Example:
        >>> unit_scale(np.diag([1.0, 3.0e10, 0.0]))
        array([1.00000000e+00, 7.62939453e-06, 1.00000000e+00])
    """
    diagonal = np.diagonal(stack, axis1=-2, axis2=-1).real
    _, exponents = np.frexp(np.where(diagonal > 0, diagonal, 1.0))
    return np.asarray(np.ldexp(1.0, -(exponents // 2)))


def rooms(size: int) -> Iterator[float]:
    """Yields what a bound, or a multiplier, may lose to rounding, relatively, to be proved.

    Args:
        size: The order of the matrices.
    """
    room = 4 * float(hidden(size, np.array(size), np.dtype("f8")))
    while room < _MOST_ROOM:
        yield room
        room *= 8


def is_semidefinite(matrix: Array, error: Array | float = 0.0) -> bool:
    """Proves that all of a stack of Hermitian matrices are positive semidefinite.

    Args:
        matrix: float64 or complex128 `(f, s, s)` with a diagonal near 1; read below the diagonal.
        error: How far the true matrices may be from them, in the 2-norm; one number, or `(f,)`.

    Returns:
        False if it cannot be proved.

    Example:
        >>> is_semidefinite(np.array([[[1.0, 0.0], [1.0 - 1e-9, 1.0]]]))
        True
        >>> is_semidefinite(np.array([[[1.0, 0.0], [1.0, 1.0]]]))
        False
    """
    size = matrix.shape[-1]
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1).real
    trace = diagonal.sum(axis=-1)
    shift = (1.25 * hidden(size, trace, matrix.dtype) + error) * (1 + 1e-6)
    shifted = np.array(matrix)
    shifted[:, range(size), range(size)] -= shift[:, None]
    try:
        factor = np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return False
    missed = np.zeros(len(matrix))
    for first in range(0, size, _WIDTH):
        end = min(first + _WIDTH, size)
        rows = shifted[:, first:end, :end]
        rows = rows - factor[:, first:end, :end] @ factor[:, :end, :end].conj().swapaxes(-1, -2)
        # What is above the diagonal was not read, and what is below stands for both.
        missed += 2 * np.square(np.abs(np.tril(rows, first))).sum(axis=(-2, -1))
    missed = np.sqrt(missed)
    squares = np.square(np.abs(factor)).sum(axis=(-2, -1))
    rest = missed * (1 + 1e-6) + hidden(size, squares, matrix.dtype) + error
    return bool(np.all(rest <= shift))
