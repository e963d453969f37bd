"""The spectrally normalised Keras layers; importing them imports keras and registers them."""

from __future__ import annotations

from snconvert.layers.attention import SpectralGroupQueryAttention, SpectralMultiHeadAttention
from snconvert.layers.base import Spectral
from snconvert.layers.conv import (
    SpectralConv1D,
    SpectralConv1DTranspose,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralConv3D,
    SpectralConv3DTranspose,
)
from snconvert.layers.dense import SpectralDense, SpectralEinsumDense
from snconvert.layers.depthwise import (
    SpectralDepthwiseConv1D,
    SpectralDepthwiseConv2D,
    SpectralSeparableConv1D,
    SpectralSeparableConv2D,
)
from snconvert.layers.embedding import SpectralEmbedding, SpectralReversibleEmbedding
from snconvert.layers.errors import LayerOptionError, LayerUnsupportedError
from snconvert.layers.recurrent import (
    SpectralConvLSTM1D,
    SpectralConvLSTM2D,
    SpectralConvLSTM3D,
    SpectralGRU,
    SpectralGRUCell,
    SpectralLSTM,
    SpectralLSTMCell,
    SpectralSimpleRNN,
    SpectralSimpleRNNCell,
)

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
