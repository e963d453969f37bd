"""The spectrally normalised Keras layers, for models that are built by hand.

`SpectralDense`, `SpectralConv2D` and the others take the arguments of `keras.layers.Dense`,
`keras.layers.Conv2D` and so on, and four of their own: `mode`, `bound`, `power_iterations` and
`norm`. They are instances of the Keras class, stand wherever it can, and run on every backend. A
training step finds the kernel's largest singular value sigma, by power iteration from the stored
vector `u`, and computes with the kernel divided by it. `snconvert.bake(model)` makes them plain.

Importing this package imports keras and registers the layers: a file that holds them is loaded
with `import snconvert` and `keras.saving.load_model`.

Example:
    The critic of a GAN, whose kernels have the norm 1:

    >>> import keras, numpy as np, snconvert
    >>> critic = keras.Sequential([
    ...     keras.Input((28, 28, 1)),
    ...     snconvert.SpectralConv2D(16, 3, strides=2, activation="leaky_relu"),
    ...     keras.layers.Flatten(),
    ...     snconvert.SpectralDense(1),
    ... ])
    >>> tuple(critic(np.ones((2, 28, 28, 1), "float32")).shape)
    (2, 1)
    >>> kernel = keras.ops.convert_to_numpy(critic.layers[-1].effective_kernel())
    >>> round(float(np.linalg.norm(kernel, 2)), 3)
    1.0
    >>> [type(layer).__name__ for layer in snconvert.bake(critic).layers]
    ['Conv2D', 'Flatten', 'Dense']
"""

from __future__ import annotations

from snconvert.compat.layers import has_layer
from snconvert.layers.attention import SpectralGroupQueryAttention as SpectralGroupQueryAttention
from snconvert.layers.attention import SpectralMultiHeadAttention as SpectralMultiHeadAttention
from snconvert.layers.base import Spectral as Spectral
from snconvert.layers.conv import SpectralConv1D as SpectralConv1D
from snconvert.layers.conv import SpectralConv1DTranspose as SpectralConv1DTranspose
from snconvert.layers.conv import SpectralConv2D as SpectralConv2D
from snconvert.layers.conv import SpectralConv2DTranspose as SpectralConv2DTranspose
from snconvert.layers.conv import SpectralConv3D as SpectralConv3D
from snconvert.layers.conv import SpectralConv3DTranspose as SpectralConv3DTranspose
from snconvert.layers.dense import SpectralDense as SpectralDense
from snconvert.layers.dense import SpectralEinsumDense as SpectralEinsumDense
from snconvert.layers.depthwise import SpectralDepthwiseConv1D as SpectralDepthwiseConv1D
from snconvert.layers.depthwise import SpectralDepthwiseConv2D as SpectralDepthwiseConv2D
from snconvert.layers.depthwise import SpectralSeparableConv1D as SpectralSeparableConv1D
from snconvert.layers.depthwise import SpectralSeparableConv2D as SpectralSeparableConv2D
from snconvert.layers.embedding import SpectralEmbedding as SpectralEmbedding
from snconvert.layers.errors import LayerOptionError as LayerOptionError
from snconvert.layers.errors import LayerUnsupportedError as LayerUnsupportedError
from snconvert.layers.recurrent import SpectralConvLSTM1D as SpectralConvLSTM1D
from snconvert.layers.recurrent import SpectralConvLSTM2D as SpectralConvLSTM2D
from snconvert.layers.recurrent import SpectralConvLSTM3D as SpectralConvLSTM3D
from snconvert.layers.recurrent import SpectralGRU as SpectralGRU
from snconvert.layers.recurrent import SpectralGRUCell as SpectralGRUCell
from snconvert.layers.recurrent import SpectralLSTM as SpectralLSTM
from snconvert.layers.recurrent import SpectralLSTMCell as SpectralLSTMCell
from snconvert.layers.recurrent import SpectralSimpleRNN as SpectralSimpleRNN
from snconvert.layers.recurrent import SpectralSimpleRNNCell as SpectralSimpleRNNCell

if has_layer("ReversibleEmbedding"):
    from snconvert.layers.embedding import (
        SpectralReversibleEmbedding as SpectralReversibleEmbedding,
    )

__all__ = [name for name in dir() if name.startswith(("Layer", "Spectral"))]
