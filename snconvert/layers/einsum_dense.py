"""The spectrally normalised `EinsumDense`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from snconvert.layers.power import times
from snconvert.layers.spectral import Spectral, register
from snconvert.rules import RULES


@register
class SpectralEinsumDense(Spectral, keras.layers.EinsumDense):  # type: ignore[misc] # keras has no types
    """A `keras.layers.EinsumDense` whose kernel is spectrally normalised.

    Computes `activation(s(sigma) * einsum(equation, x, W) + b)`. The kernel is read as a stack of
    matrices `(b, m, n)`: axes that input and output share are blocks, contracted axes the rows,
    axes of the kernel alone the columns; `sigma` is the largest singular value over the blocks, and
    `u` has shape `(b, n)`. `s` by `mode`: `hard` is `bound / sigma`, `cap` is `min(1, bound /
    sigma)`, `gain` is `gamma / sigma` with a trainable scalar `gamma` that starts at sigma. See
    `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.EinsumDense`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.EinsumDense`, without LoRA and quantisation.

    Example:
        >>> layer = SpectralEinsumDense("abc,bcd->abd", output_shape=(7, 3))
        >>> layer.build((None, 7, 2))
        >>> tuple(layer.u.shape)
        (7, 3)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["EinsumDense"]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer to inputs that fit the equation."""
        outputs = ops.einsum(self.equation, inputs, self.kernel)
        outputs = times(outputs, self.kernel_scale("kernel", training))
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)
