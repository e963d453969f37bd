"""Spectral normalization as a constraint; see `snconvert.layers.constraint`."""

from snconvert.layers.constraint import SpectralNorm

__all__ = ["SpectralNorm"]
