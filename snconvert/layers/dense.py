"""The spectrally normalised `Dense` and `EinsumDense`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from snconvert.compat.calls import current_call, training_of
from snconvert.kinds.table import RULES
from snconvert.layers.base import Spectral
from snconvert.layers.power_iteration import XP, input_direction, output_direction, times
from snconvert.layers.register import register

_FEW, _SHARE = 128, 8
"""Rows up to which one row more for `v` costs less than passes over the kernel for it alone: that
many, and a share of the kernel's shorter side, as the inputs are copied."""


@register
class SpectralDense(Spectral, keras.layers.Dense):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Dense` whose kernel is spectrally normalised.

    Computes `activation(s(sigma) * (x W) + b)`, with `sigma` the largest singular value of the
    kernel `W` of shape `(in, out)`; `u` has shape `(1, out)`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralDense(2, mode="hard", bound=1.0)
        >>> layer.build((None, 2))
        >>> layer.set_weights([np.diag([3.0, 4.0]), np.zeros(2), np.ones((1, 2))])
        >>> layer.converge()
        >>> np.asarray(layer.effective_kernel()).tolist()
        [[0.75, 0.0], [0.0, 1.0]]
    """

    rule = RULES["Dense"]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer to inputs of shape `(batch, ..., in)`."""
        if training and self.trainable and self._has_few_rows(inputs):
            outputs, factor = self._joint_product(inputs)
        else:
            outputs = ops.matmul(inputs, self.kernel)
            factor = self.kernel_scale("kernel", training)
        outputs = times(outputs, factor)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _has_few_rows(self, inputs: Any) -> bool:
        """Whether reading the kernel is what costs, as far as the static shape tells."""
        rows = inputs.shape[0]
        return (
            len(inputs.shape) == 2  # noqa: PLR2004 -- the rank of a matrix
            and (rows is None or rows <= max(_FEW, min(self.kernel.shape) // _SHARE))
            and not hasattr(inputs, "dense_shape")  # a sparse tensor of TensorFlow
            and {
                self.compute_dtype,
                self.kernel.dtype,
                keras.backend.standardize_dtype(inputs.dtype),
            }
            == {"float32"}
            and keras.backend.backend() != "jax"  # XLA fuses the products with what follows
        )

    def _joint_product(self, inputs: Any) -> tuple[Any, Any]:
        """Returns `x W` and `s(sigma)`, from the one product `[x; v] W`, and moves `u`."""
        u = self._u_rows("kernel")
        v = input_direction(self._matrix("kernel"), u, self.power_iterations)
        product = ops.matmul(ops.concatenate([inputs, v]), self.kernel)
        outputs, image = XP.split(product)
        norm, u = output_direction(image, u)
        self.u.assign(u)
        return outputs, self._scale_of("kernel", norm)


@register
class SpectralEinsumDense(Spectral, keras.layers.EinsumDense):  # type: ignore[misc] # keras has no types
    """A `keras.layers.EinsumDense` whose kernel is spectrally normalised.

    Computes `activation(s(sigma) * einsum(equation, x, W) + b)`. The kernel is read as a stack of
    matrices `(b, m, n)`: axes that input and output share are blocks, contracted axes the rows,
    axes of the kernel alone the columns. `sigma` is the largest singular value over the blocks, and
    `u` has shape `(b, n)`.

    Example:
        >>> layer = SpectralEinsumDense("abc,bcd->abd", output_shape=(7, 3))
        >>> layer.build((None, 7, 2))
        >>> tuple(layer.u.shape)
        (7, 3)
    """

    rule = RULES["EinsumDense"]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer to inputs that fit the equation."""
        if training is None:  # MultiHeadAttention of Keras 3.7 passes `__call__` by
            training = training_of(current_call())
        outputs = ops.einsum(self.equation, inputs, self.kernel)
        outputs = times(outputs, self.kernel_scale("kernel", training))
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)
