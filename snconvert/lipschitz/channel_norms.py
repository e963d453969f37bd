"""The norm of each channel of a depthwise convolution, so that it can be folded as a scale.

A depthwise convolution acts on each channel by itself, by a map of norm `n_c`: it is a map of norm
1 after, or before, a scale of the channels by `n_c`, and that goes into a kernel before or behind.

The norm is at most the largest length of the symbol `M_c(w)` on the torus of
`snconvert.linalg.torus`. Here `M_c(w)` is a vector, one number for each position within a stride
and each output channel, so that its length needs no proof of eigenvalues. Rounding: an angle is off
by `19 e` at most, sine and cosine by 4 units in the last place, so a phase by `26 e` an axis, and
sums of `k` terms by `g(k)`: in all by `(30 a + 2 k + 32) e` times the sum of the numbers' sizes,
for `a` axes.
"""

from __future__ import annotations

import math

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.linalg.blocks import Array
from snconvert.linalg.torus import torus_of
from snconvert.lipschitz.arithmetic import product, quotient, ratio
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.constants import Scale
from snconvert.lipschitz.norms import Norms, missed_norm
from snconvert.lipschitz.steps import Step

_BATCH = 1 << 22  # numbers of symbols that are worked on at once


def channel_norms(kernel: Kernel, conv: Convolution) -> Scale:
    """Returns a bound of the norm of each channel of a depthwise convolution, but for its factor.

    Args:
        kernel: The kernel, `(channels, k, multiplier)`.
        conv: The map.
    """
    grid, factor = torus_of(conv)
    axes = [_phases(conv, axis, count) for axis, count in enumerate(grid)]
    taps = kernel.stack
    step = max(1, _BATCH // (math.prod(p.size for p in axes) * taps.shape[2]))
    squares = np.concatenate(
        [_squares(taps[first : first + step], conv, axes) for first in range(0, len(taps), step)]
    )
    off = (30 * len(axes) + 2 * math.prod(conv.kernel) + 32) * 2.0**-53
    norms = (np.sqrt(squares) + off * np.abs(taps).sum(axis=(1, 2))) * factor
    missed = ratio(missed_norm(kernel, conv), Magnitude(0.5, kernel.exponent + 1))
    return Scale((norms + missed) * (1.0 + 2.0**-40) + 2.0**-900, kernel.exponent, 0)


def norms_to_fold(norms: Norms, step: Step) -> tuple[Scale, Magnitude] | None:
    """Returns the norms of a depthwise convolution's channels, and its kernel's factor."""
    kernel, conv, whole = norms.kernel(step), step.convolution, norms.folded(step)
    if kernel is None or conv is None or whole is None or not whole.mantissa:
        return None
    scale = channel_norms(kernel, conv)
    # None is above that of all, which is proved more closely where the map is small.
    highest = quotient(whole, product(kernel.factor, Magnitude(0.5, kernel.exponent + 1)))
    values = np.minimum(scale.values, highest.value or math.inf)
    return scale._replace(values=values), kernel.factor


def _phases(conv: Convolution, axis: int, count: int) -> Array:
    """Returns what an axis' taps are multiplied by, complex `(frequencies, stride, taps)`."""
    stride = conv.strides[axis]
    places = np.arange(conv.kernel[axis]) * conv.dilation[axis] - conv.before[axis]
    # A frequency and its negative have one norm on the first axis, as the kernel is real.
    waves = np.arange(count if axis else count // 2 + 1)
    angles = 2.0 * np.pi * ((waves[:, None] * (places // stride)) % count / count)
    phases = np.zeros((len(waves), stride, len(places)), complex)
    phases[:, places % stride, np.arange(len(places))] = np.cos(angles) + 1j * np.sin(angles)
    return phases


def _squares(taps: Array, conv: Convolution, axes: list[Array]) -> Array:
    """Returns the square of the largest length of the symbol of each channel."""
    symbol = taps.reshape(len(taps), *conv.kernel, -1)
    for phases in axes:
        symbol = np.tensordot(symbol, phases, (1, 2))
    # (channels, multiplier, frequencies, stride, frequencies, stride..)
    sizes = np.square(symbol.real) + np.square(symbol.imag)
    lengths = sizes.sum(axis=(1, *range(3, sizes.ndim, 2)))
    return np.asarray(lengths.reshape(len(taps), -1).max(axis=1))
