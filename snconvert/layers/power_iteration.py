"""The mathematics of the layers: power iteration, sigma and the scale of a kernel, in float32.

See `snconvert.linalg.power_iteration` for the formulas.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from snconvert.compat import float64_norms
from snconvert.compat.float64_norms import TINY, Float64Norm
from snconvert.core.matrix_view import MatrixView
from snconvert.layers.convolution_map import ConvolutionMap
from snconvert.linalg import power_iteration as float32_norms
from snconvert.linalg.array_libraries import library_of_backend
from snconvert.linalg.power_iteration import onto_columns, onto_rows

XP = library_of_backend(keras.backend.backend())
"""The functions of Keras' backend."""

WIDE = keras.backend.backend() == "tensorflow"
"""Whether lengths are float64: JAX has no such numbers unless told so, PyTorch not everywhere."""

Norm = Float64Norm | float32_norms.Norm
"""A norm as the layers keep it between its computation and the scale."""


def stacked(kernel: Any, view: MatrixView) -> Any:
    """Returns the stack of a kernel: `(b, m, n)`, or `(m, n)` if `b` is 1."""
    if not view.in_order:
        kernel = ops.transpose(ops.reshape(kernel, view.split), view.axes)
    shape = view.shape if view.shape[0] > 1 else view.shape[1:]
    return kernel if tuple(kernel.shape) == shape else ops.reshape(kernel, shape)


def power_iteration(matrix: Any, u: Any, rounds: int) -> tuple[Norm, Any]:
    """Does rounds of power iteration from `u`.

    Args:
        matrix: float32 `(b, m, n)` or `(m, n)`; or a convolution as a map.
        u: float32 `(b, n)`, directions.
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
        matrix: float32 `(b, m, n)` or `(m, n)`; or a convolution as a map.
        u: float32 `(b, n)`, directions.
        rounds: Rounds of power iteration, at least 1.
    """
    v = u = ops.convert_to_tensor(u, "float32")
    for done in range(rounds):
        if done:
            _, u = output_direction(_onto_columns(matrix, v), u)
        v = _unit_rows(_onto_rows(matrix, u), matrix.shape[-2] ** -0.5)
    return v


def output_direction(image: Any, u: Any) -> tuple[Norm, Any]:
    """Returns the norm, differentiable in the image, and the next `u`, a constant.

    Args:
        image: `v W`, float32 `(b, n)`.
        u: The `u` of before, which the row of a block of zeros keeps.
    """
    return _norm_and_directions(image, ops.convert_to_tensor(u, "float32"))


def current_norm(matrix: Any, u: Any) -> Norm:
    """Returns `max |W u| / |u|`, which is sigma when `u` is along the leading singular vector.

    Weights that were averaged have a `u` shorter than 1. One of zeros gives the norm 0.

    This reads the kernel once more. A `v` kept from training would share the product with the
    inputs, but after the optimizer's step it is that of the kernel before: sigma would depend on
    more than kernel and `u`, which files, `get_weights` and `bake` hold, so that a model and its
    copy would differ.
    """
    u = _unit_rows(ops.convert_to_tensor(u, "float32"), None)
    return _norm_and_directions(_onto_rows(matrix, u), 0.0)[0]


def scale(norm: Norm, mode: str, bound: float, gamma: Any = None) -> Any:
    """Returns `s(sigma)`, a float32 scalar; 1 for a kernel of zeros, which so can leave zero.

    Args:
        norm: The kernel's sigma.
        mode: `hard` (`bound / sigma`), `cap` (`min(1, bound / sigma)`) or `gain` (`gamma / sigma`).
        bound: Used by `hard` and `cap`.
        gamma: Float32 scalar, used by `gain`.
    """
    if isinstance(norm, Float64Norm):
        return float64_norms.scale(norm, mode, bound, gamma)
    # One after the other: the product may leave the range of float32, the quotients do not.
    above = bound if mode != "gain" else ops.convert_to_tensor(gamma, "float32")
    # A length is 1 at least unless all is zero: what is divided by it stays finite.
    factor = above / XP.maximum(norm.length, 0.5) / norm.unit
    factor = XP.where(norm.positive, factor, 1.0)
    if mode != "cap":
        return factor / norm.ratio
    # The constant first, which may be infinite: its product with a gradient of 0 would be NaN.
    return ops.minimum(factor, 1.0) / XP.where(factor <= 1.0, norm.ratio, 1.0)


def times(tensor: Any, factor: Any) -> Any:
    """Returns `tensor * factor` in the tensor's dtype, multiplied in float32 at least.

    A factor rounded to bfloat16 would be wrong by up to 0.2 %; one within 1e-6 of 1 leaves a half
    precision tensor as it is, bit by bit.
    """
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "float32":
        return tensor * factor
    wide = keras.backend.result_type(dtype, "float32")
    return ops.cast(ops.multiply(ops.cast(tensor, wide), ops.cast(factor, wide)), dtype)


def shares(factor: Any) -> tuple[Any, Any]:
    """Returns two factors, a constant and what carries the gradient, with a factor as product.

    Of about the same size, so that inputs times the one, a kernel of 1e36 or 1e-36, and outputs
    times the other stay in the range of float32.
    """
    constant = XP.maximum(abs(XP.stop_gradient(factor)), TINY) ** 0.5
    return constant, factor / constant


def _onto_rows(matrix: Any, u: Any) -> Any:
    """Returns `W u`, of shape `(b, m)`."""
    if isinstance(matrix, ConvolutionMap):
        return matrix.onto_rows(u)
    return onto_rows(XP, matrix, u)


def _onto_columns(matrix: Any, v: Any) -> Any:
    """Returns `v W`, of shape `(b, n)`."""
    if isinstance(matrix, ConvolutionMap):
        return matrix.onto_columns(v)
    return onto_columns(XP, matrix, v)


def _unit_rows(rows: Any, otherwise: float | None) -> Any:
    if WIDE:
        return float64_norms.unit_rows(rows, otherwise)
    return float32_norms.unit_rows(XP, rows, otherwise, TINY)


def _norm_and_directions(rows: Any, otherwise: Any) -> tuple[Norm, Any]:
    if WIDE:
        return float64_norms.norm_and_directions(rows, otherwise)
    return float32_norms.norm_and_directions(XP, rows, otherwise, TINY)
