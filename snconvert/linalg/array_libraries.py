"""The few functions that numpy, TensorFlow, JAX and PyTorch spell differently.

For the formulas that are evaluated in every training step: run op by op, a function of the library
itself takes a fraction of the time that `keras.ops` takes to find it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from snconvert.errors import OptionError


class ArrayLibrary(NamedTuple):
    """The functions of one library."""

    asarray: Callable[[Any, str, Any], Any]
    """Converts to the named dtype, on the device of the array that comes last."""
    stop_gradient: Callable[[Any], Any]
    copy: Callable[[Any], Any]
    """Copies an array, where the library changes arrays in place."""
    max: Callable[[Any], Any]
    """The largest number."""
    maximum: Callable[[Any, float], Any]
    """The larger one of each number and a limit."""
    norm: Callable[[Any], Any]
    """The Euclidean length along the last axis, which is kept; it is not differentiated."""
    onto_rows: Callable[[Any, Any], Any]
    """`u W'` of rows `u` and a matrix `W`."""
    reshape: Callable[[Any, tuple[int, ...]], Any]
    split: Callable[[Any], Any]
    """All rows but the last, and the last."""
    sum: Callable[[Any], Any]
    """The sum of all numbers."""
    sum_last: Callable[[Any], Any]
    """The sum along the last axis, which is kept."""
    where: Callable[..., Any]


def library_of(array: Any) -> ArrayLibrary:
    """Returns the functions of the library that made an array.

    Raises:
        OptionError: It is none of the four.
    """
    for cls in type(array).__mro__:
        library = _LIBRARIES.get(cls.__module__.partition(".")[0])
        if library is not None:
            return library()
    raise OptionError(
        f"a {type(array).__name__} is no array of numpy, TensorFlow, JAX or PyTorch",
        "Give an array or a variable",
    )


def library_of_backend(name: str) -> ArrayLibrary:
    """Returns the functions of what Keras computes with.

    Raises:
        OptionError: It is none of the four.
    """
    if name not in _LIBRARIES:
        raise OptionError(
            f"Keras runs on {name}, which the layers do not know",
            "Set KERAS_BACKEND to tensorflow, jax or torch",
        )
    return _LIBRARIES[name]()


def _numpy() -> ArrayLibrary:
    import numpy as np  # noqa: PLC0415 - each library is imported when it is used

    return _like_numpy(np, stop_gradient=lambda x: x, copy=np.copy)


def _jax() -> ArrayLibrary:
    import jax  # noqa: PLC0415

    return _like_numpy(jax.numpy, stop_gradient=jax.lax.stop_gradient, copy=lambda x: x)


def _like_numpy(
    xp: Any, stop_gradient: Callable[[Any], Any], copy: Callable[[Any], Any]
) -> ArrayLibrary:
    """Returns the functions of a library that has numpy's names."""

    def sum_last(x: Any) -> Any:
        return xp.sum(x, axis=-1, keepdims=True)

    return ArrayLibrary(
        asarray=lambda x, dtype, _: xp.asarray(x, dtype),
        stop_gradient=stop_gradient,
        copy=copy,
        max=xp.max,
        maximum=xp.maximum,
        norm=lambda x: xp.sqrt(sum_last(x * x)),
        onto_rows=lambda matrix, u: u @ matrix.T,
        reshape=xp.reshape,
        split=lambda x: (x[:-1], x[-1:]),
        sum=xp.sum,
        sum_last=sum_last,
        where=xp.where,
    )


def _tensorflow() -> ArrayLibrary:
    import tensorflow as tf  # noqa: PLC0415

    def sum_last(x: Any) -> Any:
        return tf.reduce_sum(x, axis=-1, keepdims=True)

    return ArrayLibrary(
        asarray=lambda x, dtype, _: tf.cast(x, dtype),
        stop_gradient=tf.stop_gradient,
        copy=lambda x: x,
        max=tf.reduce_max,
        maximum=tf.maximum,
        norm=lambda x: tf.sqrt(sum_last(x * x)),
        onto_rows=lambda matrix, u: tf.matmul(u, matrix, transpose_b=True),
        reshape=tf.reshape,
        split=lambda x: tf.split(x, [-1, 1]),
        sum=tf.reduce_sum,
        sum_last=sum_last,
        where=tf.where,
    )


def _torch() -> ArrayLibrary:
    import torch  # noqa: PLC0415

    return ArrayLibrary(
        asarray=lambda x, dtype, like: torch.as_tensor(
            x, dtype=getattr(torch, dtype), device=like.device
        ),
        stop_gradient=lambda x: x.detach(),
        copy=torch.clone,
        max=torch.max,
        maximum=torch.clamp_min,
        norm=lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True),
        onto_rows=lambda matrix, u: u @ matrix.t(),
        reshape=torch.reshape,
        split=lambda x: torch.split(x, [len(x) - 1, 1]),
        sum=torch.sum,
        sum_last=lambda x: torch.sum(x, dim=-1, keepdim=True),
        where=torch.where,
    )


_LIBRARIES: dict[str, Callable[[], ArrayLibrary]] = {
    "numpy": _numpy,
    "jax": _jax,
    "jaxlib": _jax,
    "tensorflow": _tensorflow,
    "torch": _torch,
}
"""By the package whose arrays they are for, which is also what Keras calls its backend."""
