"""One round of power iteration, on the arrays of any library.

For a stack of matrices `W` of shape `(b, m, n)` and unit rows `u` of shape `(b, n)`:

    t = W u,  v = t / |t|,  z = v W,  sigma = max over blocks of |z|,  u' = z / |z|

with `v` and `u'` held constant, so that `sigma = z . u'` has the gradient `d sigma / d W = v u'` in
the largest block (Miyato et al. 2018, arXiv:1802.05957, eq. 12), and costs one product backward.

A norm is kept as `length * unit`, where the constant `unit` is the largest entry, so that kernels
of 1e-30 and 1e30 neither underflow nor overflow, nor do their gradients.
"""

from __future__ import annotations

from typing import Any

from snconvert.spaces import Space

_MATRIX = 2  # the rank of one matrix; without a batch axis it is up to three times as fast


def onto_rows(space: Space, matrix: Any, u: Any) -> Any:
    """Returns `W u` of shape `(b, m)`."""
    if len(matrix.shape) == _MATRIX:
        return space.onto_rows(matrix, u)
    return space.reshape(matrix @ space.reshape(u, (*u.shape, 1)), tuple(matrix.shape[:2]))


def onto_columns(space: Space, matrix: Any, v: Any) -> Any:
    """Returns `v W` of shape `(b, n)`."""
    if len(matrix.shape) == _MATRIX:
        return v @ matrix
    blocks, rows, columns = matrix.shape
    return space.reshape(space.reshape(v, (blocks, 1, rows)) @ matrix, (blocks, columns))


def unit_rows(space: Space, rows: Any, otherwise: float, tiny: float) -> Any:
    """Returns rows of length 1, a constant.

    Args:
        space: The library.
        rows: `(b, m)`.
        otherwise: What stands in rows of zeros or NaN, lest a `u` with `W u = 0` stay what it is.
        tiny: What counts as 0.
    """
    rows = space.constant(rows)
    rows = rows / space.least(space.largest(abs(rows)), tiny)
    lengths = space.length(rows)
    return space.where(lengths > 0, rows / space.least(lengths, tiny), otherwise)


def norm_and_directions(space: Space, rows: Any, otherwise: Any, tiny: float) -> tuple[Any, ...]:
    """Returns the largest length of rows, and their directions.

    Args:
        space: The library.
        rows: `(b, n)`.
        otherwise: The direction of rows of zeros or NaN.
        tiny: What counts as 0.

    Returns:
        `length`, which carries the gradient, and the constants `unit`, `positive` and `directions`.
        The largest length is `length * unit`. Whether it is not zero says `positive`; if it is
        zero, `unit` is 1, so that no gradient through a quotient overflows.
    """
    largest = space.largest(abs(space.constant(rows)))
    positive = largest > tiny
    unit = space.where(positive, largest, 1.0)
    rows = rows / unit
    fixed = space.constant(rows)
    lengths = space.length(fixed)
    directions = space.where(lengths > 0, fixed / space.least(lengths, tiny), otherwise)
    along = space.total(rows * directions)
    length = space.reshape(along, ()) if along.shape[0] == 1 else space.largest(along)
    return length, unit, positive, directions
