"""The spectrally normalised depthwise and separable convolutions."""

from __future__ import annotations

from typing import Any

import keras

from snconvert.kinds.table import RULES
from snconvert.layers.base import register
from snconvert.layers.swapped_kernel import Holding


class SpectralChannelwise(Holding):
    """What the depthwise and separable convolutions share; listed before the Keras class."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer to inputs of shape `(batch, *spatial, in)`, or channels first."""
        with self.holding(training):
            return super().call(inputs)


@register
class SpectralDepthwiseConv1D(SpectralChannelwise, keras.layers.DepthwiseConv1D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.DepthwiseConv1D` whose kernel is spectrally normalised.

    Computes `activation(depthwise_conv(x, s(sigma) * W) + b)` with `s` by `mode`: `hard` is `bound
    / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar
    `gamma` that starts at sigma. The kernel `(k, in, multiplier)` is read as one matrix `(k,
    multiplier)` for each channel; `sigma` is the largest singular value over the channels, and `u`
    has shape `(in, multiplier)`. See `snconvert.layers.Spectral` for what training and inference
    do.

    Args:
        *args: Those of `keras.layers.DepthwiseConv1D`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.DepthwiseConv1D`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralDepthwiseConv1D(3, depth_multiplier=2)
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape), tuple(layer.u.shape)
        ((2, 7, 10), (5, 2))

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["DepthwiseConv1D"]


@register
class SpectralDepthwiseConv2D(SpectralChannelwise, keras.layers.DepthwiseConv2D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.DepthwiseConv2D` whose kernel is spectrally normalised.

    Computes `activation(depthwise_conv(x, s(sigma) * W) + b)` with `s` by `mode`: `hard` is `bound
    / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar
    `gamma` that starts at sigma. The kernel `(height, width, in, multiplier)` is read as one matrix
    `(height * width, multiplier)` for each channel; `sigma` is the largest singular value over the
    channels, and `u` has shape `(in, multiplier)`. See `snconvert.layers.Spectral` for what
    training and inference do.

    Args:
        *args: Those of `keras.layers.DepthwiseConv2D`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.DepthwiseConv2D`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralDepthwiseConv2D(3, mode="cap")
        >>> tuple(layer(np.ones((1, 8, 8, 4), "float32")).shape), tuple(layer.u.shape)
        ((1, 6, 6, 4), (4, 1))

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["DepthwiseConv2D"]


@register
class SpectralSeparableConv1D(SpectralChannelwise, keras.layers.SeparableConv1D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.SeparableConv1D` whose two kernels are spectrally normalised.

    The depthwise kernel `(k, in, multiplier)`, read as one matrix `(k, multiplier)` for each
    channel, and the pointwise kernel `(1, in * multiplier, out)`, each by its own sigma, `u`
    (`depthwise_kernel_u`, `pointwise_kernel_u`) and `s`, by `mode`: `hard` is `bound / sigma`,
    `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar `gamma` that
    starts at sigma. See `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.SeparableConv1D`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.SeparableConv1D`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralSeparableConv1D(4, 3)
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 7, 4)
        >>> sorted(layer.spectral_norms())
        ['depthwise_kernel', 'pointwise_kernel']

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["SeparableConv1D"]


@register
class SpectralSeparableConv2D(SpectralChannelwise, keras.layers.SeparableConv2D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.SeparableConv2D` whose two kernels are spectrally normalised.

    The depthwise kernel `(height, width, in, multiplier)`, read as one matrix `(height * width,
    multiplier)` for each channel, and the pointwise kernel `(1, 1, in * multiplier, out)`, each by
    its own sigma, `u` (`depthwise_kernel_u`, `pointwise_kernel_u`) and `s`, by `mode`: `hard` is
    `bound / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable
    scalar `gamma` that starts at sigma. See `snconvert.layers.Spectral` for what training and
    inference do.

    Args:
        *args: Those of `keras.layers.SeparableConv2D`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.SeparableConv2D`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralSeparableConv2D(4, 3, depth_multiplier=2, mode="gain")
        >>> tuple(layer(np.ones((1, 8, 8, 3), "float32")).shape)
        (1, 6, 6, 4)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["SeparableConv2D"]
