"""The matrix of a convolution, written out."""

from __future__ import annotations

import math

import numpy as np

from snconvert.core.convolution_map import Convolution


def explicit(taps: np.ndarray, conv: Convolution) -> np.ndarray:
    """The matrix of the map, written out number by number from the definition."""
    _, m, n = taps.shape
    matrix = np.zeros((*conv.inputs, m, *conv.outputs, n))
    for output in np.ndindex(*conv.outputs):
        for tap, index in zip(taps, np.ndindex(*conv.kernel), strict=True):
            place = tuple(
                o * s + t * d - b
                for o, s, t, d, b in zip(
                    output, conv.strides, index, conv.dilation, conv.before, strict=True
                )
            )
            if conv.on_torus:
                place = tuple(p % size for p, size in zip(place, conv.inputs, strict=True))
            if all(0 <= p < size for p, size in zip(place, conv.inputs, strict=True)):
                at = (*place, slice(None), *output, slice(None))
                matrix[at] += tap
    return matrix.reshape(math.prod(conv.inputs) * m, -1)
