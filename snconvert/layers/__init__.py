"""The spectrally normalised Keras layers; importing them imports keras and registers them."""

from __future__ import annotations

from snconvert.layers.attention import (
    SpectralGroupQueryAttention,
    SpectralMultiHeadAttention,
)
from snconvert.layers.cells import (
    SpectralGRUCell,
    SpectralLSTMCell,
    SpectralSimpleRNNCell,
)
from snconvert.layers.conv import (
    SpectralConv1D,
    SpectralConv2D,
    SpectralConv3D,
)
from snconvert.layers.conv_lstm import (
    SpectralConvLSTM1D,
    SpectralConvLSTM2D,
    SpectralConvLSTM3D,
)
from snconvert.layers.conv_transpose import (
    SpectralConv1DTranspose,
    SpectralConv2DTranspose,
    SpectralConv3DTranspose,
)
from snconvert.layers.dense import SpectralDense
from snconvert.layers.depthwise_conv import (
    SpectralDepthwiseConv1D,
    SpectralDepthwiseConv2D,
    SpectralSeparableConv1D,
    SpectralSeparableConv2D,
)
from snconvert.layers.einsum_dense import SpectralEinsumDense
from snconvert.layers.embedding import (
    SpectralEmbedding,
    SpectralReversibleEmbedding,
)
from snconvert.layers.refusals import (
    LayerOptionError,
    LayerUnsupportedError,
)
from snconvert.layers.rnn import (
    SpectralGRU,
    SpectralLSTM,
    SpectralSimpleRNN,
)
from snconvert.layers.spectral import Spectral

__all__ = [
    "LayerOptionError",
    "LayerUnsupportedError",
    "Spectral",
    "SpectralConv1D",
    "SpectralConv1DTranspose",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralConv3D",
    "SpectralConv3DTranspose",
    "SpectralConvLSTM1D",
    "SpectralConvLSTM2D",
    "SpectralConvLSTM3D",
    "SpectralDense",
    "SpectralDepthwiseConv1D",
    "SpectralDepthwiseConv2D",
    "SpectralEinsumDense",
    "SpectralEmbedding",
    "SpectralGRU",
    "SpectralGRUCell",
    "SpectralGroupQueryAttention",
    "SpectralLSTM",
    "SpectralLSTMCell",
    "SpectralMultiHeadAttention",
    "SpectralReversibleEmbedding",
    "SpectralSeparableConv1D",
    "SpectralSeparableConv2D",
    "SpectralSimpleRNN",
    "SpectralSimpleRNNCell",
]
