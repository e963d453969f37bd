"""The spectrally normalised convolutions, plain and transposed."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from snconvert.kinds.table import RULES
from snconvert.layers.base import Spectral
from snconvert.layers.power_iteration import shares, times
from snconvert.layers.register import register
from snconvert.layers.swapped_kernel import SwappedKernels

_BATCH = 32
"""Examples in a batch whose size a graph does not say."""


class SpectralConv(Spectral):
    """The base of the convolutions of all ranks; listed before the Keras class.

    Computes `activation(conv(x, s(sigma) * W) + b)`. The kernel `(*k, in / groups, out)` is read as
    the matrices `(groups, k * in / groups, out / groups)`, `k` being the product of the kernel
    sizes; `sigma` is the largest singular value over the groups, and `u` has shape `(groups, out /
    groups)`. The norm of the convolution as a map lies between `sigma` and `sqrt(k) * sigma`.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer to inputs of shape `(batch, *spatial, in)`, or channels first."""
        factor = self.kernel_scale("kernel", training)
        around = self._has_large_kernel(inputs)
        if around:
            before, factor = shares(factor)
            inputs = inputs * before
        kernel = self.kernel if around else times(self.kernel, factor)
        padding = self.padding
        if padding == "causal":
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            spatial = 1 if self.data_format == "channels_last" else 2
            inputs = ops.pad(inputs, [(before if axis == spatial else 0, 0) for axis in range(3)])
            padding = "valid"
        outputs = ops.conv(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        if around:
            outputs = outputs * factor
        if self.use_bias:
            shape = [1] * (self.rank + 2)
            shape[-1 if self.data_format == "channels_last" else 1] = self.filters
            outputs = ops.add(outputs, ops.reshape(self.bias, shape))
        return outputs if self.activation is None else self.activation(outputs)

    def _has_large_kernel(self, inputs: Any) -> bool:
        """Whether the kernel is more numbers than inputs and outputs, which then are scaled.

        Half precision may not hold what the raw kernel gives.
        """
        dtypes = {self.compute_dtype, self.kernel.dtype}
        if dtypes != {"float32"} or keras.backend.standardize_dtype(inputs.dtype) != "float32":
            return False
        batch, *sizes = inputs.shape
        if None in sizes:
            return False
        spatial = sizes[:-1] if self.data_format == "channels_last" else sizes[1:]
        places = math.prod(-(-n // stride) for n, stride in zip(spatial, self.strides, strict=True))
        numbers = math.prod(sizes) + places * self.filters
        large: bool = (batch or _BATCH) * numbers < math.prod(self.kernel.shape)
        return large


@register
class SpectralConv1D(SpectralConv, keras.layers.Conv1D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv1D` whose kernel is spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv1D(4, 3, padding="causal")
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 9, 4)
    """

    rule = RULES["Conv1D"]


@register
class SpectralConv2D(SpectralConv, keras.layers.Conv2D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv2D` whose kernel is spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv2D(6, 3, groups=3, mode="cap", bound=2.0)
        >>> tuple(layer(np.ones((1, 8, 8, 9), "float32")).shape), tuple(layer.u.shape)
        ((1, 6, 6, 6), (3, 2))
    """

    rule = RULES["Conv2D"]


@register
class SpectralConv3D(SpectralConv, keras.layers.Conv3D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv3D` whose kernel is spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv3D(2, 2, mode="gain")
        >>> tuple(layer(np.ones((1, 4, 4, 4, 3), "float32")).shape)
        (1, 3, 3, 3, 2)
    """

    rule = RULES["Conv3D"]


class SpectralConvTranspose(SwappedKernels):
    """The base of the transposed convolutions of all ranks; listed before the Keras class.

    Computes `activation(conv_transpose(x, s(sigma) * W) + b)`. The kernel `(*k, out, in)` is read
    as the matrix `(k * out, in)` of the convolution whose adjoint the layer is, `k` being the
    product of the kernel sizes; `u`, on the side of the last axis, has shape `(1, in)`. The norm of
    the layer as a map lies between `sigma` and `sqrt(k) * sigma`.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer to inputs of shape `(batch, *spatial, in)`, or channels first."""
        with self.swapped(training):
            return super().call(inputs)


@register
class SpectralConv1DTranspose(SpectralConvTranspose, keras.layers.Conv1DTranspose):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv1DTranspose` whose kernel is spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv1DTranspose(4, 3, strides=2)
        >>> tuple(layer(np.ones((2, 5, 6), "float32")).shape), tuple(layer.u.shape)
        ((2, 11, 4), (1, 6))
    """

    rule = RULES["Conv1DTranspose"]


@register
class SpectralConv2DTranspose(SpectralConvTranspose, keras.layers.Conv2DTranspose):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv2DTranspose` whose kernel is spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv2DTranspose(4, 3, padding="same", mode="cap")
        >>> tuple(layer(np.ones((1, 5, 5, 2), "float32")).shape)
        (1, 5, 5, 4)
    """

    rule = RULES["Conv2DTranspose"]


@register
class SpectralConv3DTranspose(SpectralConvTranspose, keras.layers.Conv3DTranspose):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Conv3DTranspose` whose kernel is spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConv3DTranspose(2, 2, mode="gain")
        >>> tuple(layer(np.ones((1, 3, 3, 3, 4), "float32")).shape)
        (1, 4, 4, 4, 2)
    """

    rule = RULES["Conv3DTranspose"]
