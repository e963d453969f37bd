"""The inputs of a `Dense` and `v`, both times the kernel, as cheaply as the backend can."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from snconvert.layers.power import SPACE

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

_FEW = 128
"""Rows up to which one product more for `v` costs less than a pass over the kernel for it alone."""

_FEW_TRACED = 8
"""The same where such a pass costs no pass more in the gradient."""


def products(inputs: Any, v: Any, kernel: Any) -> tuple[Any, Any]:
    """Returns `x W` and `v W`.

    Few rows cost what reading the kernel costs, and `[x; v] W` reads it once. With more rows an odd
    one takes longer than a pass over the kernel. Left to themselves the gradients of two products
    are two products, of which `v` times its own is as large as the kernel, and their sum; as
    `[x; v]' [dy; dz]` they are one.

    Args:
        inputs: float32 `(rows, in)`.
        v: float32 `(1, in)`, a constant.
        kernel: float32 `(in, out)`.

    Returns:
        float32 `(rows, out)` and `(1, out)`.
    """
    rows = inputs.shape[0]
    # Run op by op, a gradient of one's own would find one for inputs that need none, too.
    traced = keras.backend.backend() == "tensorflow" and not tf.executing_eagerly()
    if rows is not None and rows <= (_FEW_TRACED if traced else _FEW):
        outputs, image = SPACE.split(ops.matmul(ops.concatenate([inputs, v]), kernel))
        return outputs, image
    if traced:
        return _with_one_gradient(inputs, v, kernel)
    return ops.matmul(inputs, kernel), ops.matmul(v, kernel)


def _with_one_gradient(inputs: Any, v: Any, kernel: Any) -> tuple[Any, Any]:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def both(inputs: Any, kernel: Any) -> tuple[tuple[Any, Any], Any]:
        def gradients(outer: Any, image: Any) -> tuple[Any, Any]:
            left, right = tf.concat([inputs, v], 0), tf.concat([outer, image], 0)
            return (
                tf.matmul(outer, kernel, transpose_b=True),
                tf.matmul(left, right, transpose_a=True),
            )

        return (tf.matmul(inputs, kernel), tf.matmul(v, kernel)), gradients

    found: tuple[Any, Any] = both(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel))
    return found
