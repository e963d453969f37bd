"""The mathematics of the layers: power iteration, sigma and the scale of a kernel.

For a stack of matrices `W` of shape `(b, m, n)` and `u` of shape `(b, n)`, one round is

    t = W u,  v = t / |t|,  z = v W,  sigma = max over blocks of |z|,  u' = z / |z|

with `v` and `u'` held constant, so that the gradient is `d sigma / d W = v u'` in the largest block
(Miyato et al. 2018, arXiv:1802.05957, eq. 12). All of it runs in float32.

A norm is kept as `length * unit`, where the constant `unit` is the largest entry, so that kernels
of 1e-30 and 1e30 neither underflow nor overflow, nor do their gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from snconvert.layers.operator import ConvolutionMap
from snconvert.matrix import MatrixView

TINY = 2.0**-120
"""What counts as 0: its reciprocal, also times a little, is still a float32 number."""


class Norm(NamedTuple):
    """A norm as the product of two float32 scalars.

    Attributes:
        length: The part that carries the gradient, above 0.
        unit: A constant; `TINY` if the norm is 0.
    """

    length: Any
    unit: Any

    @property
    def positive(self) -> Any:
        """Whether the norm is not 0."""
        return ops.greater(self.unit, TINY)

    @property
    def sigma(self) -> Any:
        """The norm itself, a float32 scalar."""
        return ops.where(self.positive, ops.multiply(self.length, self.unit), 0.0)


def stacked(kernel: Any, view: MatrixView) -> Any:
    """Returns the stack of a kernel: `(b, m, n)`, or `(m, n)` if `b` is 1."""
    if not view.in_order:
        kernel = ops.transpose(ops.reshape(kernel, view.split), view.axes)
    return ops.reshape(kernel, view.shape if view.shape[0] > 1 else view.shape[1:])


def power_iteration(matrix: Any, u: Any, rounds: int) -> tuple[Norm, Any]:
    """Does rounds of power iteration from `u`.

    Args:
        matrix: float32 `(b, m, n)` or `(m, n)`; or a convolution as a map.
        u: float32 `(b, n)`, unit rows.
        rounds: How many, at least 1.

    Returns:
        The norm `max |v W|`, differentiable in the matrix, and the next `u`, a constant. The row
        of a block of zeros stays as it is.

    Example:
        >>> import numpy as np
        >>> kernel = np.diag([3.0, 4.0]).astype("float32")
        >>> norm, u = power_iteration(kernel, np.full((1, 2), 0.5**0.5), 9)
        >>> round(float(norm.sigma), 2)
        4.0
    """
    v = input_direction(matrix, u, rounds)
    return output_direction(_onto_columns(matrix, v), u)


def input_direction(matrix: Any, u: Any, rounds: int) -> Any:
    """Returns `v` of the last round, float32 `(b, m)`, a constant.

    Args:
        matrix: As for `power_iteration`.
        u: As for `power_iteration`.
        rounds: As for `power_iteration`.
    """
    v = u = ops.convert_to_tensor(u, "float32")
    for done in range(rounds):
        if done:
            _, u = output_direction(_onto_columns(matrix, v), u)
        v, _ = _directions(_onto_rows(matrix, u), matrix.shape[-2] ** -0.5)
    return v


def output_direction(image: Any, u: Any) -> tuple[Norm, Any]:
    """Returns the norm, differentiable in the image, and the next `u`, a constant.

    Args:
        image: `v W`, float32 `(b, n)`.
        u: The `u` of before, which the row of a block of zeros keeps.
    """
    directions, norm = _directions(image, ops.convert_to_tensor(u, "float32"))
    return norm, directions


def current_norm(matrix: Any, u: Any) -> Norm:
    """Returns `max |W u|`, which equals sigma when `u` is the leading singular vector."""
    # A copy, which torch's backward pass finds unchanged after a training call has moved `u`.
    u = ops.copy(ops.convert_to_tensor(u, "float32"))
    _, norm = _directions(_onto_rows(matrix, u), 0.0)
    return norm


def scale(norm: Norm, mode: str, bound: float, gamma: Any = None) -> Any:
    """Returns `s(sigma)`, a float32 scalar; 1 for a kernel of zeros, which so can leave zero.

    Args:
        norm: The kernel's sigma.
        mode: `hard` (`bound / sigma`), `cap` (`min(1, bound / sigma)`) or `gain` (`gamma / sigma`).
        bound: Used by `hard` and `cap`.
        gamma: Float32 scalar, used by `gain`.
    """
    # One after the other: the product may leave the range of float32, the quotients do not.
    factor = ops.divide(ops.divide(bound if mode != "gain" else gamma, norm.length), norm.unit)
    if mode == "cap":
        factor = ops.minimum(factor, 1.0)
    return ops.where(norm.positive, factor, 1.0)


def times(tensor: Any, factor: Any) -> Any:
    """Returns `tensor * factor` in the tensor's dtype, multiplied in float32 at least.

    A factor rounded to bfloat16 would be wrong by up to 0.2 %; one within 1e-6 of 1 leaves a half
    precision tensor as it is, bit by bit.
    """
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    wide = keras.backend.result_type(dtype, "float32")
    return ops.cast(ops.multiply(ops.cast(tensor, wide), ops.cast(factor, wide)), dtype)


def _onto_rows(matrix: Any, u: Any) -> Any:
    """`W u` of shape `(b, m)`; without a batch axis it is up to three times as fast."""
    if isinstance(matrix, ConvolutionMap):
        return matrix.onto_rows(u)
    if len(matrix.shape) == 2:  # noqa: PLR2004 -- the rank of one matrix
        return ops.transpose(ops.matmul(matrix, ops.transpose(u)))
    return ops.squeeze(ops.matmul(matrix, ops.expand_dims(u, -1)), -1)


def _onto_columns(matrix: Any, v: Any) -> Any:
    """`v W` of shape `(b, n)`."""
    if isinstance(matrix, ConvolutionMap):
        return matrix.onto_columns(v)
    if len(matrix.shape) == 2:  # noqa: PLR2004 -- the rank of one matrix
        return ops.matmul(v, matrix)
    return ops.squeeze(ops.matmul(ops.expand_dims(v, -2), matrix), -2)


def _directions(rows: Any, otherwise: Any) -> tuple[Any, Norm]:
    """Returns the unit rows (`otherwise` for rows of zeros or NaN) and the largest norm."""
    unit = ops.maximum(ops.stop_gradient(ops.max(ops.abs(rows))), TINY)
    rows = ops.divide(rows, unit)
    square = ops.sum(ops.square(rows), axis=-1, keepdims=True)
    one = square.shape[0] == 1
    # At least 1, unless all is zero: then the gradient of the root would be infinite.
    length = ops.sqrt(ops.maximum(ops.reshape(square, ()) if one else ops.max(square), 0.5))
    root = length if one else ops.sqrt(ops.maximum(square, TINY))
    directions = ops.where(ops.greater(square, 0.0), ops.divide(rows, root), otherwise)
    return ops.stop_gradient(directions), Norm(length, unit)
