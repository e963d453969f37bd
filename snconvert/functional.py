"""Power iteration as a plain function, for layers and training loops of one's own.

It speaks to arrays in the language of whoever made them, numpy, TensorFlow, JAX or PyTorch, and so
does not ask which backend Keras uses, nor for Keras at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from snconvert.errors import OptionError

_MATRIX = 2  # the least rank of a kernel


class _Space(NamedTuple):
    """The few functions that the four kinds of arrays spell differently."""

    array: Callable[[Any, str, Any], Any]
    """Converts to the named dtype, on the device of the array that comes last."""
    constant: Callable[[Any], Any]
    largest: Callable[[Any], Any]
    reshape: Callable[[Any, tuple[int, ...]], Any]
    sqrt: Callable[[Any], Any]
    total: Callable[[Any], Any]
    """Sums the last axis, and keeps it."""
    turned: Callable[[Any], Any]
    """Swaps the two axes of a matrix."""
    where: Callable[..., Any]


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
        iterations: Rounds of power iteration. 0 takes `sigma = |W u|`, for inference: `u` must be
            of length 1 and stays as it is.

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
    space = _space_of(kernel)
    shape = _checked(kernel, u, iterations)
    dtype = _dtype(kernel)
    matrix = space.reshape(space.array(kernel, dtype, kernel), shape)
    given = tuple(u.shape)
    u = space.constant(space.reshape(space.array(u, dtype, kernel), (-1, shape[-1])))
    if iterations == 0:
        return _directions(space, _onto_rows(space, matrix, u), 0.0)[1], space.reshape(u, given)
    sigma = None
    for _ in range(iterations):
        v, _ = _directions(space, _onto_rows(space, matrix, u), shape[-2] ** -0.5)
        u, sigma = _directions(space, _onto_columns(space, matrix, v), u)
    return sigma, space.reshape(u, given)


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


def _onto_rows(space: _Space, matrix: Any, u: Any) -> Any:
    """`W u` of shape `(b, m)`."""
    if len(matrix.shape) == _MATRIX:
        return space.turned(matrix @ space.turned(u))
    return space.reshape(matrix @ space.reshape(u, (*u.shape, 1)), tuple(matrix.shape[:2]))


def _onto_columns(space: _Space, matrix: Any, v: Any) -> Any:
    """`v W` of shape `(b, n)`."""
    if len(matrix.shape) == _MATRIX:
        return v @ matrix
    blocks, rows, columns = matrix.shape
    return space.reshape(space.reshape(v, (blocks, 1, rows)) @ matrix, (blocks, columns))


def _directions(space: _Space, rows: Any, otherwise: Any) -> tuple[Any, Any]:
    """Returns the unit rows (`otherwise` for rows of zeros or NaN) and the largest length."""
    # The largest entry first, as the square of 1e-30 is no float32 number.
    largest = space.constant(space.largest(abs(rows)))
    unit = space.where(largest > 0, largest, 1.0)
    rows = rows / unit
    square = space.total(rows * rows)
    zero = square == 0
    # The root of 1 in place of that of 0, whose gradient is infinite.
    root = space.sqrt(space.where(zero, 1.0, square))
    directions = space.constant(space.where(square > 0, rows / root, otherwise))
    return directions, space.largest(space.where(zero, 0.0, root)) * unit


def _value(array: Any) -> Any:
    """Returns the array of a Keras variable, or the argument as an array."""
    if isinstance(array, list | tuple):
        return import_module("numpy").asarray(array)
    return array.value if type(array).__module__.startswith("keras.") else array


def _space_of(array: Any) -> _Space:
    for cls in type(array).__mro__:
        made = _SPACES.get(cls.__module__.partition(".")[0])
        if made is not None:
            return made()
    raise OptionError(
        f"a {type(array).__name__} is no array of numpy, TensorFlow, JAX or PyTorch",
        "Give an array or a variable",
    )


def _numpy() -> _Space:
    import numpy as np  # noqa: PLC0415 - each kind is imported when there is one

    return _Space(
        array=lambda x, dtype, _: np.asarray(x, dtype),
        constant=lambda x: x,
        largest=np.max,
        reshape=np.reshape,
        sqrt=np.sqrt,
        total=lambda x: np.sum(x, axis=-1, keepdims=True),
        turned=np.transpose,
        where=np.where,
    )


def _jax() -> _Space:
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415

    return _Space(
        array=lambda x, dtype, _: jnp.asarray(x, dtype),
        constant=jax.lax.stop_gradient,
        largest=jnp.max,
        reshape=jnp.reshape,
        sqrt=jnp.sqrt,
        total=lambda x: jnp.sum(x, axis=-1, keepdims=True),
        turned=jnp.transpose,
        where=jnp.where,
    )


def _tensorflow() -> _Space:
    import tensorflow as tf  # noqa: PLC0415

    return _Space(
        array=lambda x, dtype, _: tf.cast(x, dtype),
        constant=tf.stop_gradient,
        largest=tf.reduce_max,
        reshape=tf.reshape,
        sqrt=tf.sqrt,
        total=lambda x: tf.reduce_sum(x, axis=-1, keepdims=True),
        turned=tf.transpose,
        where=tf.where,
    )


def _torch() -> _Space:
    import torch  # noqa: PLC0415

    return _Space(
        array=lambda x, dtype, like: torch.as_tensor(
            x, dtype=getattr(torch, dtype), device=like.device
        ),
        constant=lambda x: x.detach(),
        largest=torch.max,
        reshape=torch.reshape,
        sqrt=torch.sqrt,
        total=lambda x: torch.sum(x, dim=-1, keepdim=True),
        turned=lambda x: x.mT,
        where=torch.where,
    )


_SPACES: dict[str, Callable[[], _Space]] = {
    "numpy": _numpy,
    "jax": _jax,
    "jaxlib": _jax,
    "tensorflow": _tensorflow,
    "torch": _torch,
}
