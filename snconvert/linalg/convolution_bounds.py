"""Bounds from above of the norm of a convolution as a map, by its symbol on a grid of frequencies.

A map with `O` outputs an axis and a symbol `M(w)` (`snconvert.core.convolution_map`) of degree `D`
is a part, some rows and columns, of the convolution on a ring of `N >= O + D` outputs: no output
that is kept reads around the ring. The norm on the ring is the largest of `|M(2 pi f / N)|`,
`f = 0 .. N - 1`. What reads around it may as well change its phase by any angle, so frequencies
`2 pi (f + 1/2) / N` bound the norm, too. These come closer, as waves that vanish at both ends lie
between those of the ring.

A ring of fewer outputs bounds it with a factor: `|M(w) y|^2` is a trigonometric polynomial of
degree `D` between 0 and its maximum `p`, so it is at least `p cos(D d / 2)^2` at a distance of
`d <= pi / D` there (M. Riesz, for the polynomial less `p / 2`), and `d <= pi / N` on the grid.

On a torus the frequencies are its own, and the bound is the norm.
"""

from __future__ import annotations

import math

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.linalg.blocks import Array

_FINE = 16  # frequencies for each degree of the symbol: the bound is 0.5 % above the grid's
_BATCH = 1 << 23  # numbers of blocks that are worked on at once


def norms_over_frequencies(taps: Array, conv: Convolution, shift: float, enough: Array) -> Array:
    """Returns a bound of the norm of each block.

    Args:
        taps: `(b, k, m, n)`.
        conv: The map.
        shift: By which part of their distance the frequencies are shifted.
        enough: Of each block a bound that need not be closer.
    """
    factor, axes = 1.0, []
    for axis, degree in enumerate(conv.degrees):
        k, s, d = conv.kernel[axis], conv.strides[axis], conv.dilation[axis]
        ring = conv.outputs[axis] if conv.on_torus else conv.outputs[axis] + degree
        size = ring if conv.on_torus or not degree else min(ring, _FINE * degree)
        if size < ring:
            factor /= math.cos(math.pi * degree / (2 * size))
        # The kernel is real: a frequency and its negative have one norm.
        waves = np.arange(size if axis else size // 2 + 1) + shift
        places = np.arange(k) * d
        parts = np.zeros((len(waves), s, k), complex)
        turns = np.outer(waves, places // s) / size
        parts[:, places % s, np.arange(k)] = np.exp(2j * np.pi * turns)
        axes.append(parts)
    rank, (count, _, m, n) = len(axes), taps.shape
    order = [0, *range(3, 3 + 2 * rank, 2), *range(4, 4 + 2 * rank, 2), 1, 2]
    norms = np.empty(count)
    step = max(1, _BATCH // (math.prod(parts.shape[0] * parts.shape[1] for parts in axes) * m * n))
    for first in range(0, count, step):
        part = slice(first, first + step)
        symbol = taps[part].reshape(-1, *conv.kernel, m, n)
        for parts in axes:
            symbol = np.tensordot(symbol, parts, (1, 2))
        symbol = symbol.transpose(order).reshape(len(symbol), -1, math.prod(conv.strides) * m, n)
        across = symbol.conj().swapaxes(-1, -2)
        gram = across @ symbol if n <= symbol.shape[2] else symbol @ across
        # The root of the sum of the fourth powers of the eigenvalues, as a first bound.
        top = np.sqrt(np.linalg.norm(gram @ gram, axis=(-2, -1)))
        large = top > np.square(enough[part] / factor)[:, None]
        top[large] = np.linalg.eigvalsh(gram[large])[:, -1]
        norms[part] = np.sqrt(top.max(axis=1)) * factor
    return norms
