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

**Strides.** To take each `s`-th output adds up the frequencies that look the same then:
`y(w) = s^(-1/2) sum_q M(w_q) x(w_q)`, `w_q = w + 2 pi q / s` on the finer torus. So with the
frequencies of the coarsest torus, those of each finer one that fold onto them stand side by side,
as *copies* of the channels: a convolution before the strides is a matrix with a block for each
copy, one with strides adds up several. The multipliers of a channel are the same in all copies.

**Rounding**, with `e = 2**-53`. Sine and cosine of `2 pi k / N`, `0 <= k < N` an integer, are off
by `e` at most (`snconvert.linalg.gram_symbol.roots`), so a phase by `sqrt(2) e`; a complex product
rounds by `sqrt(2) g(2)`, so that a product of phases, one for each axis, is off by less than `6 e`
an axis. The sum is a product of matrices of length `k`, for its real and imaginary parts; the root
and the division by it take 4 roundings, and as many blocks as are added up, over their root, are
off by no more than one. So

    |fl(M) - M|_2 <= (6 axes e + 4 e + 2 g(k + 8)) sum_t |W_t|_F.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from snconvert.core.convolution_map import Convolution, Sizes
from snconvert.linalg.gram_symbol import roots
from snconvert.lipschitz.multipliers.semidefinite import UNIT, Array, hidden

Map = Array | tuple[Array, Convolution]
"""A dense kernel `(m, n)`, or taps `(1, k, m, n)` with their convolution: float64, exact."""

_MOST = 1 << 24  # numbers of all maps at all frequencies: 256 MB


class Stacks(NamedTuple):
    """Maps as stacks of matrices.

    Attributes:
        maps: Of each, `(f, n, m)`, that acts on columns.
        errors: Of each, how far the true one may be from it in the 2-norm.
        powers: Of each, the power of two by which it is to be multiplied.
        copies: Of each, how many copies of its output channels there are.
    """

    maps: list[Array]
    errors: list[float]
    powers: list[int]
    copies: list[int]


def stacks(maps: Sequence[Map], shortcut: Map | None = None) -> Stacks | None:
    """Returns the maps of a chain, and of a shortcut around it, all dense or all convolutions.

    Args:
        maps: The chain.
        shortcut: What reads the same as the first, and makes what the last makes: it comes last.

    Returns:
        `None` if there is no torus for them, or they are too large.

    Raises:
        ValueError: A kernel is not finite.
    """
    every = [*maps, *([shortcut] if shortcut is not None else [])]
    arrays = [each[0] if isinstance(each, tuple) else each for each in every]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a kernel holds numbers that are not finite")
    powers = [math.frexp(float(np.abs(array).max(initial=0.0)))[1] for array in arrays]
    arrays = [np.ldexp(array, -power) for array, power in zip(arrays, powers, strict=True)]
    convolutions = [each[1] for each in every if isinstance(each, tuple)]
    if not convolutions:
        # What underflows in scaling is 2**-1074 a number.
        ones = [1] * len(every)
        return Stacks([array.T[None] for array in arrays], [2.0**-900] * len(every), powers, ones)
    if len(convolutions) < len(every) or any(conv.on_torus for conv in convolutions):
        return None
    levels = _levels(convolutions[: len(maps)])
    if any(conv.strides != levels[0] for conv in convolutions[len(maps) :]):
        return None
    ends = [*itertools.pairwise(levels), (levels[0], levels[-1])][: len(every)]
    torus = torus_of(convolutions, ends)
    copies = [(math.prod(finer), math.prod(coarser)) for finer, coarser in ends]
    numbers = sum(a[0, 0].size * x * y for a, (x, y) in zip(arrays, copies, strict=True))
    if math.prod(torus) * numbers > 2 * _MOST:
        return None
    at = frequencies(torus)
    made = [
        _folded(array, conv, torus, at, *between)
        for array, conv, between in zip(arrays, convolutions, ends, strict=True)
    ]
    found, errors = [stack for stack, _ in made], [error for _, error in made]
    return Stacks(found, errors, powers, [coarser for _, coarser in copies])


def _levels(convolutions: Sequence[Convolution]) -> list[Sizes]:
    """Returns how much finer than the last torus that of each tensor is, on each axis."""
    levels = [(1,) * len(convolutions[0].kernel)]
    for conv in reversed(convolutions):
        levels.insert(0, tuple(a * s for a, s in zip(levels[0], conv.strides, strict=True)))
    return levels


def torus_of(
    convolutions: Sequence[Convolution], ends: Sequence[tuple[Sizes, Sizes]]
) -> tuple[int, ...]:
    """Returns the sizes of the coarsest torus that is large enough for each of some convolutions.

    Args:
        convolutions: The convolutions.
        ends: Of each, how much finer the tori of its input and its output are.
    """
    sizes = [1] * len(convolutions[0].kernel)
    for conv, (finer, coarser) in zip(convolutions, ends, strict=True):
        for axis, (size, before) in enumerate(zip(conv.inputs, conv.before, strict=True)):
            after = conv.reach[axis] - before - size
            around = -(-(size + max(before, after)) // finer[axis])
            sizes[axis] = max(sizes[axis], around, -(-conv.outputs[axis] // coarser[axis]))
    return tuple(sizes)


def _folded(
    taps: Array, conv: Convolution, torus: Sizes, at: Array, finer: Sizes, coarser: Sizes
) -> tuple[Array, float]:
    """Returns the matrices of a convolution between tori that are finer than that of `at`."""
    inputs, outputs = math.prod(finer), math.prod(coarser)
    shifts = np.stack(np.unravel_index(np.arange(inputs), finer), -1)
    every = at[:, None] + shifts * np.array(torus)
    fine = tuple(n * a for n, a in zip(torus, finer, strict=True))
    stack, error = symbol(taps, conv, fine, every.reshape(-1, len(torus)))
    if inputs == 1:
        return stack, error
    n, m = stack.shape[1:]
    stack = stack.reshape(len(at), inputs, n, m) / math.sqrt(inputs // outputs)
    goes_to = np.ravel_multi_index(tuple((shifts % np.array(coarser)).T), coarser)
    whole = np.zeros((len(at), outputs, n, inputs, m), stack.dtype)
    for copy in range(inputs):
        whole[:, goes_to[copy], :, copy] = stack[:, copy]
    return whole.reshape(len(at), outputs * n, inputs * m), error


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
        conv: The convolution, whose strides do not count here.
        torus: The sizes of the torus of its input.
        at: The frequencies, integers `(f, axes)`.

    Returns:
        complex128 `(f, n, m)`, and the bound.

    Example:
        >>> conv = Convolution((3,), (1,), (1,), (1,), (8,), (8,))
        >>> at = frequencies([9])
        >>> np.round(symbol(np.ones((1, 3, 1, 1)), conv, [9], at)[0][:, 0, 0].real, 2)
        array([ 3.  ,  2.53,  1.35,  0.  , -0.88])
    """
    (count, m, n) = taps.shape[1:]
    phases = np.ones((len(at), 1), np.complex128)
    for axis, size in enumerate(torus):
        offsets = np.arange(conv.kernel[axis]) * conv.dilation[axis] - conv.before[axis]
        turns = (at[:, axis, None] * offsets) % size
        cos, sin = roots(size)
        own = cos[turns] + 1j * sin[turns]
        phases = (phases[:, :, None] * own[:, None, :]).reshape(len(at), -1)
    stack = (phases @ taps.reshape(count, m * n)).reshape(-1, m, n).swapaxes(1, 2)
    total = float(np.sqrt(np.square(taps).sum(axis=(0, 2, 3))).sum())
    error = (6 * len(torus) + 4) * UNIT * total + float(
        hidden(count, np.array(total), np.dtype("f8"))
    )
    return np.ascontiguousarray(stack), error * (1 + 1e-6) + math.ldexp(1.0, -1000)
