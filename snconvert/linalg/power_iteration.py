"""One round of power iteration, on the arrays of any library.

For a stack of matrices `W` of shape `(b, m, n)` and unit rows `u` of shape `(b, n)`:

    t = W u,  v = t / |t|,  z = v W,  sigma = max over blocks of |z|,  u' = z / |z|

with `v` and `u'` held constant, so that `sigma = z . u'` has the gradient `d sigma / d W = v u'` in
the largest block (Miyato et al. 2018, arXiv:1802.05957, eq. 12), and costs one product backward.

A norm is kept as `length * unit`, where `unit` is the largest entry, so that kernels of 1e-30 and
1e30 neither underflow nor overflow, nor do their gradients. Both are constants; the gradient, of
any order, is that of their factor `ratio = (z . u') / sigma`, which is 1, so that nothing which
guards against extremes has to be differentiated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from snconvert.linalg.array_libraries import ArrayLibrary

_MATRIX = 2  # the rank of one matrix; without a batch axis it is up to three times as fast


class Norm(NamedTuple):
    """A norm as a product of scalars.

    Attributes:
        length: Its size in `unit`, a constant.
        unit: A constant, not 0.
        positive: Whether the norm counts as more than 0.
        ratio: 1, and what carries the gradient.
    """

    length: Any
    unit: Any
    positive: Any
    ratio: Any = 1.0

    @property
    def sigma(self) -> Any:
        """The norm itself, a scalar."""
        return self.length * self.unit * self.ratio


def onto_rows(xp: ArrayLibrary, matrix: Any, u: Any) -> Any:
    """Returns `W u` of shape `(b, m)`."""
    if len(matrix.shape) == _MATRIX:
        return xp.onto_rows(matrix, u)
    return xp.reshape(matrix @ xp.reshape(u, (*u.shape, 1)), tuple(matrix.shape[:2]))


def onto_columns(xp: ArrayLibrary, matrix: Any, v: Any) -> Any:
    """Returns `v W` of shape `(b, n)`."""
    if len(matrix.shape) == _MATRIX:
        return v @ matrix
    blocks, rows, columns = matrix.shape
    return xp.reshape(xp.reshape(v, (blocks, 1, rows)) @ matrix, (blocks, columns))


def unit_rows(xp: ArrayLibrary, rows: Any, otherwise: float | None, tiny: float) -> Any:
    """Returns rows of length 1, a constant.

    Args:
        xp: The library.
        rows: `(b, m)`.
        otherwise: What stands in rows of zeros or NaN, lest a `u` with `W u = 0` stay what it is;
            `None` leaves them.
        tiny: What counts as 0.
    """
    rows = xp.stop_gradient(rows)
    rows = rows / xp.maximum(xp.max(abs(rows)), tiny)
    lengths = xp.norm(rows)
    units = rows / xp.maximum(lengths, tiny)
    return units if otherwise is None else xp.where(lengths > 0, units, otherwise)


def norm_and_directions(
    xp: ArrayLibrary, rows: Any, otherwise: Any, tiny: float
) -> tuple[Norm, Any]:
    """Returns the largest length of rows, and their directions, constants.

    Args:
        xp: The library.
        rows: `(b, n)`.
        otherwise: The direction of rows of zeros or NaN.
        tiny: What counts as 0. Such a norm has no gradient.
    """
    largest = xp.max(abs(xp.stop_gradient(rows)))
    positive = largest > tiny
    unit = xp.where(positive, largest, 1.0)
    rows = rows / unit
    fixed = xp.stop_gradient(rows)
    lengths = xp.norm(fixed)
    directions = xp.where(lengths > 0, fixed / xp.maximum(lengths, tiny), otherwise)
    length = xp.max(lengths)
    # The largest length is 1 at least where the norm is positive.
    toward = xp.where(positive, directions / xp.maximum(length, 0.5), 0.0)
    along = rows * toward
    along = xp.sum(along) if along.shape[0] == 1 else xp.max(xp.sum_last(along))
    return Norm(length, unit, positive, along - xp.stop_gradient(along) + 1.0), directions
