"""Following the leading singular vector of a kernel that each training step changes.

A round of power iteration reads the kernel twice, `t = W u` and `z = t W`. Where another singular
value overtakes the largest one, it needs many rounds to leave the vector of the old one. The same
two readings carry a second vector at hardly any cost: the direction `p` in which `u` has moved
last. The best vector in the span of both is that of a two by two matrix, so that

    T = orthonormal rows of [W u, W p],  Z = T W,  u' = leading right singular vector of Z,
    sigma = |u' component of Z|,  p' = the part of u' across u

which is LOBPCG without a preconditioner (Knyazev 2001, SIAM J. Sci. Comput. 23(2), algorithm 4.1)
for `W' W`. With `p = 0` it is power iteration.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from snconvert.iteration import Norm
from snconvert.layers.power import TINY


def follow(matrix: Any, u: Any, p: Any, rounds: int) -> tuple[Norm, Any, Any]:
    """Does rounds from `u` and `p`; there is no gradient.

    Args:
        matrix: float32 `(b, m, n)` or `(m, n)`.
        u: float32 `(b, n)`, unit rows.
        p: float32 `(b, n)`, rows of length 1 or 0.
        rounds: How many, at least 1.

    Returns:
        The largest norm of the stack, the next `u` and the next `p`. The row of a block of zeros
        stays as it is.

    Example:
        >>> import numpy as np
        >>> kernel, u = np.diag([3.0, 4.0]).astype("float32"), np.full((1, 2), 0.5**0.5, "float32")
        >>> norm, u, p = follow(kernel, u, np.zeros((1, 2), "float32"), 2)
        >>> round(float(norm.sigma), 4)
        4.0
    """
    if len(matrix.shape) == 2:  # noqa: PLR2004 -- the rank of one matrix
        matrix = ops.expand_dims(matrix, 0)
    norm = Norm(0.0, 1.0, False)
    for _ in range(rounds):
        rows, _ = _scaled(ops.matmul(ops.stack([u, p], axis=1), ops.swapaxes(matrix, 1, 2)))
        first = _unit(rows[:, 0])
        second = _unit(_across(rows[:, 1], first))
        columns, unit = _scaled(ops.matmul(ops.stack([first, second], axis=1), matrix))
        one, two = columns[:, 0], columns[:, 1]
        angle = 0.5 * ops.arctan2(2.0 * _dot(one, two), _dot(one, one) - _dot(two, two))
        best = ops.cos(angle) * one + ops.sin(angle) * two
        length = ops.sqrt(_dot(best, best))
        found = ops.where(ops.greater(length, 0.0), ops.divide_no_nan(best, length), u)
        norm = Norm(ops.max(length), unit, unit > TINY)
        u, p = found, _unit(_across(found, u))
    return norm, u, p


def _scaled(rows: Any) -> tuple[Any, Any]:
    """The rows by their largest entry, and it: the square of 1e-30 is no float32 number."""
    unit = ops.maximum(ops.max(ops.abs(rows)), TINY)
    return ops.divide(rows, unit), unit


def _dot(one: Any, two: Any) -> Any:
    return ops.sum(ops.multiply(one, two), axis=-1, keepdims=True)


def _unit(rows: Any) -> Any:
    """Rows of length 1; those of zeros stay."""
    return ops.divide_no_nan(rows, ops.sqrt(_dot(rows, rows)))


def _across(rows: Any, unit: Any) -> Any:
    """What of the rows is orthogonal to unit rows."""
    return rows - _dot(rows, unit) * unit
