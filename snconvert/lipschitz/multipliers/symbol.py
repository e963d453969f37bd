"""Convolutions as stacks of matrices: one for each frequency of a torus.

**Theorem.** A convolution that pads with zeros reads inputs from `-before` to `n - 1 + after` on an
axis of `n`. On a torus of `N >= n + max(before, after)` positions what lies outside the input does
not meet it, so the map is that of the torus, with inputs that are zero outside `n` positions and
outputs that are cut. In a chain, cutting is covered by the inequality of the activation behind it
(`estimate`): where an output is cut `dw = 0`, and `(0 - a dz) T (b dz - 0) = -a b T dz^2 >= 0`. So
a chain on zero padded images is bounded as the one on a torus that is large enough for each layer,
with multipliers that are the same at all positions; and behind the last layer, or after the sum of
a residual block, cutting is a projection. On the torus each frequency is by itself:

    M(w) = sum over taps t of W_t' exp(i w . (t dilation - before)).

Kernels are real, so that `M(-w)` is the conjugate of `M(w)`: half the frequencies stand for all.

**Rounding**, with `e = 2**-53`. An angle `2 pi k / N`, `0 <= k < N` an integer, is computed with
three roundings: it is off by `2 pi * 3 e < 19 e`; sine and cosine by 4 units in the last place at
most, so a phase by `26 e`; a product of phases, one for each axis, by `30 e` an axis. The sum is a
product of matrices of length `k`, for its real and imaginary parts. So

    |fl(M) - M|_F <= (30 axes e + 2 g(k + 8)) sum_t |W_t|_F.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.lipschitz.multipliers.semidefinite import UNIT, Array, hidden

Map = Array | tuple[Array, Convolution]
"""A dense kernel `(m, n)`, or taps `(1, k, m, n)` with their convolution: float64, exact."""

_MOST = 1 << 24  # numbers of all maps at all frequencies: 256 MB


def stacks(maps: Sequence[Map]) -> tuple[list[Array], list[float], list[int]] | None:
    """Returns maps as stacks of matrices that act on columns, all dense or all convolutions.

    Args:
        maps: The maps.

    Returns:
        Of each map the stack `(f, n, m)`, how far the true one may be from it in the 2-norm, and
        the power of two by which it is to be multiplied; `None` if there is no torus for them, or
        they are too large.

    Raises:
        ValueError: A kernel is not finite.
    """
    arrays = [each[0] if isinstance(each, tuple) else each for each in maps]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a kernel holds numbers that are not finite")
    powers = [math.frexp(float(np.abs(array).max(initial=0.0)))[1] for array in arrays]
    arrays = [np.ldexp(array, -power) for array, power in zip(arrays, powers, strict=True)]
    convolutions = [each[1] for each in maps if isinstance(each, tuple)]
    if not convolutions:
        # What underflows in scaling is 2**-1074 a number.
        return [array.T[None] for array in arrays], [2.0**-900] * len(maps), powers
    torus = torus_of(convolutions) if len(convolutions) == len(maps) else None
    numbers = sum(array[0, 0].size for array in arrays)
    if torus is None or math.prod(torus) * numbers > 2 * _MOST:
        return None
    at = frequencies(torus)
    made = [
        symbol(array, conv, torus, at) for array, conv in zip(arrays, convolutions, strict=True)
    ]
    return [stack for stack, _ in made], [error for _, error in made], powers


def torus_of(convolutions: Sequence[Convolution]) -> tuple[int, ...] | None:
    """Returns the sizes of a torus that is large enough for each of some convolutions.

    Returns:
        `None` if there is none: a convolution with strides, or one over all sizes.
    """
    sizes = [0] * len(convolutions[0].kernel)
    for conv in convolutions:
        if conv.on_torus or any(s != 1 for s in conv.strides):
            return None
        for axis, (size, before) in enumerate(zip(conv.inputs, conv.before, strict=True)):
            after = conv.reach[axis] - before - size
            sizes[axis] = max(sizes[axis], conv.outputs[axis], size + max(before, after))
    return tuple(sizes)


def frequencies(torus: Sequence[int]) -> Array:
    """Returns the frequencies `w N / 2 pi` of a torus, integers `(f, axes)`, of `w`, `-w` one."""
    every = np.stack(np.meshgrid(*map(np.arange, torus), indexing="ij"), -1)
    every = every.reshape(-1, len(torus))
    opposite = np.ravel_multi_index(tuple((-every % np.array(torus)).T), tuple(torus))
    return np.asarray(every[np.arange(len(every)) <= opposite])


def symbol(taps: Array, conv: Convolution, torus: Sequence[int], at: Array) -> tuple[Array, float]:
    """Returns `M(w)` at some frequencies, and how far it may be from the truth in the 2-norm.

    Args:
        taps: float64 `(1, k, m, n)`, `k` in the order of the kernel's positions.
        conv: The convolution, with strides of 1.
        torus: The sizes of the torus.
        at: The frequencies, integers `(f, axes)`.

    Returns:
        complex128 `(f, n, m)`, and the bound.

    Example:
        >>> conv = Convolution((3,), (1,), (1,), (1,), (8,), (8,))
        >>> at = frequencies([9])
        >>> np.round(symbol(np.ones((1, 3, 1, 1)), conv, [9], at)[0][:, 0, 0].real, 2)
        array([ 3.  ,  2.53,  1.35, -0.  , -0.88])
    """
    (count, m, n) = taps.shape[1:]
    phases = np.ones((len(at), 1), np.complex128)
    for axis, size in enumerate(torus):
        offsets = np.arange(conv.kernel[axis]) * conv.dilation[axis] - conv.before[axis]
        angles = 2 * np.pi * ((at[:, axis, None] * offsets) % size / size)
        own = np.cos(angles) + 1j * np.sin(angles)
        phases = (phases[:, :, None] * own[:, None, :]).reshape(len(at), -1)
    stack = (phases @ taps.reshape(count, m * n)).reshape(-1, m, n).swapaxes(1, 2)
    total = float(np.sqrt(np.square(taps).sum(axis=(0, 2, 3))).sum())
    error = 30 * len(torus) * UNIT * total + float(hidden(count, np.array(total), np.dtype("f8")))
    return np.ascontiguousarray(stack), error * (1 + 1e-6) + math.ldexp(1.0, -1000)
