"""The few functions that numpy, TensorFlow, JAX and PyTorch spell differently.

For the formulas that are evaluated in every training step: run op by op, a function of the library
itself takes a fraction of the time that `keras.ops` takes to find it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from snconvert.errors import OptionError


class Space(NamedTuple):
    """The functions of one library."""

    array: Callable[[Any, str, Any], Any]
    """Converts to the named dtype, on the device of the array that comes last."""
    constant: Callable[[Any], Any]
    copy: Callable[[Any], Any]
    """Of what may be changed in place."""
    largest: Callable[[Any], Any]
    """The largest number."""
    least: Callable[[Any, float], Any]
    """The larger one of each number and a limit."""
    length: Callable[[Any], Any]
    """The Euclidean length along the last axis, which is kept; of a constant."""
    onto_rows: Callable[[Any, Any], Any]
    """`u W'` of rows `u` and a matrix `W`."""
    reshape: Callable[[Any, tuple[int, ...]], Any]
    split: Callable[[Any], Any]
    """All rows but the last, and the last."""
    sum: Callable[[Any], Any]
    """Of all numbers."""
    total: Callable[[Any], Any]
    """Sums the last axis, and keeps it."""
    where: Callable[..., Any]


def space_of(array: Any) -> Space:
    """Returns the functions of the library that made an array.

    Raises:
        OptionError: It is none of the four.
    """
    for cls in type(array).__mro__:
        made = _SPACES.get(cls.__module__.partition(".")[0])
        if made is not None:
            return made()
    raise OptionError(
        f"a {type(array).__name__} is no array of numpy, TensorFlow, JAX or PyTorch",
        "Give an array or a variable",
    )


def space_of_backend(name: str) -> Space:
    """Returns the functions of what Keras computes with.

    Raises:
        OptionError: It is none of the four.
    """
    if name not in _SPACES:
        raise OptionError(
            f"Keras runs on {name}, which the layers do not know",
            "Set KERAS_BACKEND to tensorflow, jax or torch",
        )
    return _SPACES[name]()


def _numpy() -> Space:
    import numpy as np  # noqa: PLC0415 - each library is imported when it is used

    return _like_numpy(np, constant=lambda x: x, copy=np.copy)


def _jax() -> Space:
    import jax  # noqa: PLC0415

    return _like_numpy(jax.numpy, constant=jax.lax.stop_gradient, copy=lambda x: x)


def _like_numpy(xp: Any, constant: Callable[[Any], Any], copy: Callable[[Any], Any]) -> Space:
    """Returns the functions of a library that has numpy's names."""

    def total(x: Any) -> Any:
        return xp.sum(x, axis=-1, keepdims=True)

    return Space(
        array=lambda x, dtype, _: xp.asarray(x, dtype),
        constant=constant,
        copy=copy,
        largest=xp.max,
        least=xp.maximum,
        length=lambda x: xp.sqrt(total(x * x)),
        onto_rows=lambda matrix, u: u @ matrix.T,
        reshape=xp.reshape,
        split=lambda x: (x[:-1], x[-1:]),
        sum=xp.sum,
        total=total,
        where=xp.where,
    )


def _tensorflow() -> Space:
    import tensorflow as tf  # noqa: PLC0415

    def total(x: Any) -> Any:
        return tf.reduce_sum(x, axis=-1, keepdims=True)

    return Space(
        array=lambda x, dtype, _: tf.cast(x, dtype),
        constant=tf.stop_gradient,
        copy=lambda x: x,
        largest=tf.reduce_max,
        least=tf.maximum,
        length=lambda x: tf.sqrt(total(x * x)),
        onto_rows=lambda matrix, u: tf.matmul(u, matrix, transpose_b=True),
        reshape=tf.reshape,
        split=lambda x: tf.split(x, [-1, 1]),
        sum=tf.reduce_sum,
        total=total,
        where=tf.where,
    )


def _torch() -> Space:
    import torch  # noqa: PLC0415

    return Space(
        array=lambda x, dtype, like: torch.as_tensor(
            x, dtype=getattr(torch, dtype), device=like.device
        ),
        constant=lambda x: x.detach(),
        copy=torch.clone,
        largest=torch.max,
        least=torch.clamp_min,
        length=lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True),
        onto_rows=lambda matrix, u: u @ matrix.t(),
        reshape=torch.reshape,
        split=lambda x: torch.split(x, [len(x) - 1, 1]),
        sum=torch.sum,
        total=lambda x: torch.sum(x, dim=-1, keepdim=True),
        where=torch.where,
    )


_SPACES: dict[str, Callable[[], Space]] = {
    "numpy": _numpy,
    "jax": _jax,
    "jaxlib": _jax,
    "tensorflow": _tensorflow,
    "torch": _torch,
}
"""By the package whose arrays they are for, which is also what Keras calls its backend."""
