"""The spectrally normalised depthwise and separable convolutions."""

from __future__ import annotations

from typing import Any

import keras

from snconvert.kinds.table import RULES
from snconvert.layers.register import register
from snconvert.layers.swapped_kernel import SwappedKernels


class SpectralChannelwise(SwappedKernels):
    """The base of the depthwise and separable convolutions; listed before the Keras class.

    The depthwise kernel `(*k, in, multiplier)` is read as one matrix `(k, multiplier)` for each
    channel, `k` being the product of the kernel sizes; `sigma` is the largest singular value over
    the channels, and its `u` has shape `(in, multiplier)`.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer to inputs of shape `(batch, *spatial, in)`, or channels first."""
        with self.swapped(training):
            return super().call(inputs)


@register
class SpectralDepthwiseConv1D(SpectralChannelwise, keras.layers.DepthwiseConv1D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.DepthwiseConv1D` whose kernel is spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralDepthwiseConv1D(3, depth_multiplier=2)
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape), tuple(layer.u.shape)
        ((2, 7, 10), (5, 2))
    """

    rule = RULES["DepthwiseConv1D"]


@register
class SpectralDepthwiseConv2D(SpectralChannelwise, keras.layers.DepthwiseConv2D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.DepthwiseConv2D` whose kernel is spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralDepthwiseConv2D(3, mode="cap")
        >>> tuple(layer(np.ones((1, 8, 8, 4), "float32")).shape), tuple(layer.u.shape)
        ((1, 6, 6, 4), (4, 1))
    """

    rule = RULES["DepthwiseConv2D"]


@register
class SpectralSeparableConv1D(SpectralChannelwise, keras.layers.SeparableConv1D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.SeparableConv1D` whose two kernels are spectrally normalised.

    The pointwise kernel `(*1, in * multiplier, out)` is read as the matrix `(in * multiplier,
    out)`. Each kernel has its own sigma and `s`, by `depthwise_kernel_u` and `pointwise_kernel_u`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralSeparableConv1D(4, 3)
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 7, 4)
        >>> sorted(layer.spectral_norms())
        ['depthwise_kernel', 'pointwise_kernel']
    """

    rule = RULES["SeparableConv1D"]


@register
class SpectralSeparableConv2D(SpectralChannelwise, keras.layers.SeparableConv2D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.SeparableConv2D` whose two kernels are spectrally normalised.

    The pointwise kernel `(*1, in * multiplier, out)` is read as the matrix `(in * multiplier,
    out)`. Each kernel has its own sigma and `s`, by `depthwise_kernel_u` and `pointwise_kernel_u`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralSeparableConv2D(4, 3, depth_multiplier=2, mode="gain")
        >>> tuple(layer(np.ones((1, 8, 8, 3), "float32")).shape)
        (1, 6, 6, 4)
    """

    rule = RULES["SeparableConv2D"]
