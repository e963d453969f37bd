"""The spectrally normalised transposed convolutions."""

from __future__ import annotations

from typing import Any

import keras

from snconvert.layers.held import Holding
from snconvert.layers.spectral import register
from snconvert.rules import RULES


class SpectralConvTranspose(Holding):
    """What the transposed convolutions of all ranks share; listed before the Keras class.

    Computes `activation(conv_transpose(x, s(sigma) * W) + b)`. The kernel `(*k, out, in)` is read
    as the matrix `(k * out, in)` of the convolution whose adjoint the layer is, and `u`, on the
    side of the last axis, has shape `(1, in)`. The norm of the layer as a map lies between `sigma`
    and `sqrt(k) * sigma`.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer to inputs of shape `(batch, *spatial, in)`, or channels first."""
        with self.holding(training):
            return super().call(inputs)


@register
class SpectralConv1DTranspose(SpectralConvTranspose, keras.layers.Conv1DTranspose):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv1DTranspose` whose kernel is spectrally normalised.

    Computes `activation(conv_transpose(x, s(sigma) * W) + b)` with `s` by `mode`: `hard` is `bound
    / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar
    `gamma` that starts at sigma. The kernel `(k, out, in)` is read as the matrix `(k * out, in)`,
    and `u` has shape `(1, in)`. See `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.Conv1DTranspose`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.Conv1DTranspose`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv1DTranspose(4, 3, strides=2)
        >>> tuple(layer(np.ones((2, 5, 6), "float32")).shape), tuple(layer.u.shape)
        ((2, 11, 4), (1, 6))

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["Conv1DTranspose"]


@register
class SpectralConv2DTranspose(SpectralConvTranspose, keras.layers.Conv2DTranspose):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv2DTranspose` whose kernel is spectrally normalised.

    Computes `activation(conv_transpose(x, s(sigma) * W) + b)` with `s` by `mode`: `hard` is `bound
    / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar
    `gamma` that starts at sigma. The kernel `(height, width, out, in)` is read as the matrix
    `(height * width * out, in)`, and `u` has shape `(1, in)`. See `snconvert.layers.Spectral` for
    what training and inference do.

    Args:
        *args: Those of `keras.layers.Conv2DTranspose`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.Conv2DTranspose`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv2DTranspose(4, 3, padding="same", mode="cap")
        >>> tuple(layer(np.ones((1, 5, 5, 2), "float32")).shape)
        (1, 5, 5, 4)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["Conv2DTranspose"]


@register
class SpectralConv3DTranspose(SpectralConvTranspose, keras.layers.Conv3DTranspose):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv3DTranspose` whose kernel is spectrally normalised.

    Computes `activation(conv_transpose(x, s(sigma) * W) + b)` with `s` by `mode`: `hard` is `bound
    / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar
    `gamma` that starts at sigma. The kernel `(*k, out, in)` is read as the matrix `(k * out, in)`,
    `k` being the product of the kernel sizes, and `u` has shape `(1, in)`. See
    `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.Conv3DTranspose`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.Conv3DTranspose`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv3DTranspose(2, 2, mode="gain")
        >>> tuple(layer(np.ones((1, 3, 3, 3, 4), "float32")).shape)
        (1, 4, 4, 4, 2)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["Conv3DTranspose"]
