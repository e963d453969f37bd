"""Power iteration as a plain function, for layers and training loops of one's own.

It speaks to arrays in the language of whoever made them, numpy, TensorFlow, JAX or PyTorch, and so
does not ask which backend Keras uses, nor for Keras at all.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from snconvert.errors import OptionError
from snconvert.linalg.array_libraries import library_of
from snconvert.linalg.power_iteration import norm_and_directions, onto_columns, onto_rows, unit_rows

_MATRIX = 2  # the least rank of a kernel
_TINY = {"float32": 2.0**-126, "float64": 2.0**-1022}


def spectral_norm(kernel: Any, u: Any, iterations: int = 1) -> tuple[Any, Any]:
    """Estimates the largest singular value of a kernel by power iteration.

    One round is `t = W u`, `v = t / |t|`, `z = v W`, `sigma = |z|`, `u' = z / |z|`, with `v` and
    `u'` held constant, so that the gradient is Miyato's: `d sigma / d W = v u'`. It works inside
    `tf.function`, `jax.jit` and `torch.compile`.

    Args:
        kernel: An array or variable of numpy, TensorFlow, JAX, PyTorch or Keras, of rank 2 or more.
            It is read as the matrix `(everything else, last axis)`; if `u` has several rows, as the
            stack `(b, everything between, last axis)` of the blocks of a block-diagonal operator.
        u: Where to start: the `u` of the step before, or at first anything but zero; `(n,)` or
            `(1, n)` for one matrix, `(b, n)` for a stack.
        iterations: Rounds of power iteration. 0 takes `sigma = |W u| / |u|`, for inference: `u`
            stays as it is.

    Returns:
        Sigma, a scalar, the largest over the blocks, differentiable in the kernel; and the next
        `u`, a constant of the shape of `u`. Both are float32, or float64 if the kernel is. A kernel
        of zeros has sigma 0 and leaves `u` as it is; one with NaN has sigma NaN.

    Raises:
        OptionError: The shapes do not fit, or `iterations` is no whole number from 0 on.

    Example:
        >>> import numpy as np
        >>> sigma, u = spectral_norm(np.diag([3.0, 4.0]), np.ones(2), 9)
        >>> round(float(sigma), 2), np.abs(u).round(2).tolist()
        (4.0, [0.01, 1.0])

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, algorithm 1 and eq. 12.
    """
    kernel, u = _value(kernel), _value(u)
    xp = library_of(kernel)
    shape = _checked(kernel, u, iterations)
    dtype = _dtype(kernel)
    matrix = xp.reshape(xp.asarray(kernel, dtype, kernel), shape)
    shape_of_u = tuple(u.shape)
    u = xp.stop_gradient(xp.reshape(xp.asarray(u, dtype, kernel), (-1, shape[-1])))
    tiny = _TINY[dtype]
    if iterations == 0:
        image = onto_rows(xp, matrix, unit_rows(xp, u, None, tiny))
        norm, _ = norm_and_directions(xp, image, 0.0, tiny)
        return norm.sigma, xp.copy(xp.reshape(u, shape_of_u))
    for _ in range(iterations):
        v = unit_rows(xp, onto_rows(xp, matrix, u), shape[-2] ** -0.5, tiny)
        norm, u = norm_and_directions(xp, onto_columns(xp, matrix, v), u, tiny)
    return norm.sigma, xp.copy(xp.reshape(u, shape_of_u))


def _dtype(kernel: Any) -> str:
    """Returns the type to compute in."""
    name = str(getattr(kernel.dtype, "name", kernel.dtype))
    return "float64" if name.endswith("float64") else "float32"


def _checked(kernel: Any, u: Any, iterations: Any) -> tuple[int, ...]:
    """Returns the shape of the matrix, or of the stack of several."""
    shape, rows = tuple(kernel.shape), tuple(u.shape)
    blocks = rows[0] if len(rows) == _MATRIX else 1
    fits = 1 <= len(rows) <= _MATRIX <= len(shape) and rows[-1] == shape[-1]
    if not fits or (blocks > 1 and (blocks != shape[0] or len(shape) == _MATRIX)):
        raise OptionError(
            f"the kernel has the shape {shape}, and u {rows}",
            "Give a kernel of rank 2 or more, and a u of shape (n,) where n is its last axis, or"
            " (b, n) for a stack of b matrices",
        )
    if type(iterations) is not int or iterations < 0:
        raise OptionError(f"iterations is {iterations!r}", "Give a whole number from 0 on")
    between = shape[1:-1] if blocks > 1 else shape[:-1]
    matrix = (math.prod(between), shape[-1])
    return (blocks, *matrix) if blocks > 1 else matrix


def _value(array: Any) -> Any:
    """Returns the array of a Keras variable, or the argument as an array."""
    if isinstance(array, list | tuple):
        return import_module("numpy").asarray(array)
    return array.value if type(array).__module__.startswith("keras.") else array
