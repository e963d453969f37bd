"""The spectrally normalised Keras layers; importing them imports keras and registers them."""

from __future__ import annotations

from snconvert.layers.conv import SpectralConv1D, SpectralConv2D, SpectralConv3D
from snconvert.layers.dense import SpectralDense
from snconvert.layers.einsum_dense import SpectralEinsumDense
from snconvert.layers.refusals import LayerOptionError, LayerUnsupportedError
from snconvert.layers.spectral import Spectral

__all__ = [
    "LayerOptionError",
    "LayerUnsupportedError",
    "Spectral",
    "SpectralConv1D",
    "SpectralConv2D",
    "SpectralConv3D",
    "SpectralDense",
    "SpectralEinsumDense",
]
