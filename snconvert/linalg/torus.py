"""A proved bound from above of the norm of a convolution as a map.

**Theorem.** A convolution that pads with zeros, of `O` outputs and strides `s`, reads inputs from
`-before` to `n - 1 + after` on an axis of `n`. On a torus of `N >= n + max(before, after)` numbers,
a multiple of `s` that is at least `O s`, what lies outside the input does not meet it: the map is
that of the torus, with inputs that are zero and outputs that are cut. So its norm is at most that
of the torus, the largest of `|M(w)|`, `w = 2 pi f / (N / s)`, with the symbol `M` of
`snconvert.linalg.gram_symbol`. What is read around the torus is zero, so it may change its phase by
any angle: frequencies that are shifted by half of their distance bound the norm as well.

On a torus of fewer frequencies `F` than that, the bound is the largest `|M(w)|` over the product of
`cos(pi D / (2 F))` of the axes, `D` the degree: see `norms_over_frequencies`.

**Proof.** Of the frequencies `c^2 - G(w)` is factorised, `L L* + E`, side by side, and the
remainder `E` computed, so that `G(w) <= c^2 + |E|`, as for matrices
(`snconvert.linalg.certificate`). With `L = X + i Y` the real part of `L L*` is `X X' + Y Y'`
and the imaginary one `Y X' - X Y'`, each computed as an inner product of `2 n` real terms, so that
they are off by at most `g(2 n) |L|_F^2` each, in the Frobenius norm, and together by
`g(3 n) |L|_F^2`. One half of each matrix stands for the whole, which is counted by a factor of 2,
as its Frobenius norm is at most the root of 2 times that.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from snconvert.core.convolution_map import Convolution, Sizes
from snconvert.core.magnitude import Magnitude
from snconvert.core.matrix_view import MatrixView
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError
from snconvert.linalg.blocks import Array
from snconvert.linalg.certificate import ROOM, SLACK, UNIT, gamma, is_proved, times_power
from snconvert.linalg.convolution_apply import ConvolutionBlock, adjoint, forward
from snconvert.linalg.convolution_norm import block_taps, taps_that_read
from snconvert.linalg.gram_symbol import GramSymbol
from snconvert.linalg.lanczos import start
from snconvert.linalg.one_thread import one_thread
from snconvert.linalg.proved_norm import proved_matrix_norm, scaled, slackened

_FINE = 64  # frequencies for each degree of the symbol: the bound is 0.03 % above the grid's
_DENSE = 1024  # order of the Gram matrix of the map itself up to which that is taken
_ENTRIES = 1 << 22  # numbers of the map itself
_WORK = 3e12  # multiplications that are affordable
_MOST = 1 << 25  # numbers of coefficients
_LONGEST, _TURNS = 1 << 18, 1 << 16  # frequencies of an axis, and of all but the last
_WIDTH = 128  # rows of a factor that are multiplied at once
_ROUNDS = 6  # of power iteration, to find the largest of many matrices


@one_thread()
def proved_convolution_norm(taps: Array, conv: Convolution) -> Magnitude:
    """Returns a bound of the norm of a convolution, or of the largest of its groups.

    The least of what is proved: the norm of the map's matrix to one part in a million where that
    is small, else that of the torus; or `sqrt(c) R` (`snconvert.core.convolution_map`). A
    transposed convolution has the norm of the convolution whose adjoint it is.

    Args:
        taps: Finite float64 numbers of any scale, `(b, k, m, n)`.
        conv: The map, at one size or over all sizes.

    Example:
        >>> conv = Convolution((2,), (1,), (1,), (0,), (3,), (2,))
        >>> round(proved_convolution_norm(np.ones((1, 2, 1, 1)), conv).value ** 2, 5)
        3.00001
    """
    taps, exponent = scaled(taps * taps_that_read(conv)[:, None, None])
    if not taps.any():
        return Magnitude(0.0, 0)
    bounds = [_value(taps.reshape(len(taps), -1, taps.shape[-1])) * math.sqrt(conv.overlap)]
    if conv.overlap > 1:
        bounds[0] *= 1.0 + 4 * UNIT
    try:
        if _is_small(taps, conv):
            bounds.append(_value(_explicit(taps, conv)))
        elif conv.overlap > 1:
            bounds.append(proved_torus_norm(taps, conv))
    except MemoryError:
        pass  # one of them takes none
    return Magnitude.of(min(bounds), exponent)


@one_thread()
def proved_operator_bounds(
    kernel: Array, view: MatrixView, conv: Convolution, triplet: Triplet, *, bfloat16: bool = False
) -> tuple[float, float]:
    """Returns a lower and an upper bound of the norm of a convolution, with sigma between them.

    Below it is what the found `u` reaches, `|A' u| / |u|`, within rounding; above, what
    `proved_convolution_norm` proves. Where the map is over all sizes they bound the norm at every
    size, which sigma bounds itself.

    Args:
        kernel: As for `leading_triplet`.
        view: How it is read as a stack `(b, k*m, n)`.
        conv: The map.
        triplet: What was found.
        bfloat16: As for `leading_triplet`.

    Raises:
        KernelError: Sigma is not between the bounds, to a part in a million: it is wrong.
    """
    sigma = triplet.sigma
    if triplet.zero:
        return 0.0, 0.0
    taps, exponents = block_taps(kernel, view, conv, bfloat16=bfloat16)
    blocks = zip(taps, triplet.u, map(int, exponents), strict=True)
    lower = max(times_power(_quotient(block, conv, u), exponent) for block, u, exponent in blocks)
    largest = int(exponents.max())
    bound = proved_convolution_norm(
        np.ldexp(taps, (exponents - largest)[:, None, None, None]), conv
    )
    upper = times_power(bound.mantissa, bound.exponent + largest)
    reached = lower * conv.factor
    if not sigma * (1.0 - SLACK) <= reached <= sigma * (1.0 + SLACK) or sigma > upper * conv.factor:
        raise KernelError(
            f"sigma {sigma:.9g} cannot be proved: the convolution's norm lies between {lower:.9g} "
            f"and {upper:.9g}",
            "Report it, with the kernel, as an error in snconvert",
        )
    return lower, max(upper, sigma)


def _quotient(taps: Array, conv: Convolution, u: Array) -> float:
    """Returns a lower bound of `|A' u| / |u|`.

    Each number of `A' u` is an inner product of at most `k n` terms, so that the whole is off by at
    most `g(k n) |(sum over t of |W_t|)| |u|`, and `| |W_t| | <= |W_t|_F`.
    """
    wide = u[None].astype(np.float64)
    image = ConvolutionBlock(taps, conv).image(wide)
    length, reached = float(np.linalg.norm(wide)), float(np.linalg.norm(image))
    all_taps = float(np.linalg.norm(taps, axis=(1, 2)).sum())
    hidden = gamma(len(taps) * taps.shape[-1]) * all_taps * length
    hidden += gamma(image.size + wide.size + 8) * reached
    return (reached - 2.0 * hidden) / length if length else 0.0


def _value(stack: Array) -> float:
    return proved_matrix_norm(stack).value or 0.0


def _is_small(taps: Array, conv: Convolution) -> bool:
    """Whether the map's own matrix is worth making."""
    count, _, m, n = taps.shape
    rows, columns = math.prod(conv.inputs) * m, math.prod(conv.outputs) * n
    small = min(rows, columns) <= _DENSE and count * rows * columns <= _ENTRIES
    return small and not conv.on_torus


def _explicit(taps: Array, conv: Convolution) -> Array:
    """Returns the matrix of each block, exactly, with the smaller side of the map as rows.

    Each number of it is a number of one tap, as no two taps read one input for one output.
    """
    inner, outer = (*conv.inputs, taps.shape[2]), (*conv.outputs, taps.shape[3])
    inside = math.prod(inner) <= math.prod(outer)
    shape, image = (inner, forward) if inside else (outer, adjoint)
    size = math.prod(shape)
    units = np.eye(size).reshape(size, *shape)
    return np.stack([image(units, block, conv).reshape(size, -1) for block in taps])


def proved_torus_norm(taps: Array, conv: Convolution) -> float:
    """Returns the bound by a torus; infinity where that takes too much time or memory.

    Args:
        taps: float64 `(b, k, m, n)`, with a largest number between 1/2 and 1.
        conv: The map.
    """
    grid, factor = torus_of(conv)
    if not _is_affordable(taps, conv, grid):
        return math.inf
    symbol = GramSymbol(taps, conv)
    shifts = [(0, 1) if d and not conv.on_torus else (0,) for d in conv.degrees]
    estimates = {halves: _largest(symbol, grid, halves) for halves in itertools.product(*shifts)}
    halves = min(estimates, key=lambda halves: estimates[halves])
    value, limits = estimates[halves], slackened(math.sqrt(estimates[halves]))
    limit = next(limits)
    for grams in symbol.grams(grid, halves):
        while not are_below(grams, limit, symbol):
            top = float(np.linalg.eigvalsh(grams).max())
            if top > value:
                value, limits = top, slackened(math.sqrt(top))
            limit = next(limits, 0.0)
            if not limit:
                return math.inf
    return limit * factor


def torus_of(conv: Convolution) -> tuple[Sizes, float]:
    """Returns how many frequencies each axis has, and the factor by which they bound the norm."""
    grid, factor = [], 1.0
    for axis, degree in enumerate(conv.degrees):
        stride, outputs = conv.strides[axis], conv.outputs[axis]
        size, before = conv.inputs[axis], conv.before[axis]
        around = max(before, conv.reach[axis] - before - size, 0)
        ring = outputs if conv.on_torus else max(outputs, -(-(size + around) // stride))
        count = ring if conv.on_torus else min(ring, _FINE * degree or 1)
        if degree and (conv.on_torus or count < ring):
            factor *= (1.0 + 8 * UNIT) / math.cos(math.pi * degree / (2 * count))
        grid.append(count)
    return tuple(grid), factor


def _is_affordable(taps: Array, conv: Convolution, grid: Sizes) -> bool:
    """Whether the coefficients fit, and are not too many, nor the frequencies."""
    count, taken, m, n = taps.shape
    rows = m * math.prod(conv.strides)
    order = min(rows, n)
    differences = [2 * k - 1 for k in conv.kernel]
    work = taken**2 * (max(rows, n) + 64)
    work += math.prod(grid) * (4 * order + 64 + sum(differences))
    return (
        count * order**2 * math.prod(differences) <= _MOST
        and count * order**2 * work <= _WORK
        and max(grid) <= _LONGEST
        and math.prod(grid[:-1]) <= _TURNS
    )


def _largest(symbol: GramSymbol, grid: Sizes, halves: Sizes) -> float:
    """Returns nearly the largest eigenvalue at all frequencies: one that there is."""
    best, found = 0.0, 0.0
    noise = start(0, symbol.order, 1).reshape(-1, 1).astype(complex)
    vectors = np.empty((0, symbol.order, 1), complex)
    for grams in symbol.grams(grid, halves):
        if len(vectors) != len(grams):  # else those of the frequencies beside these are near
            vectors = np.broadcast_to(noise, (len(grams), *noise.shape))
        lengths = np.ones((len(grams), 1, 1))
        for _ in range(_ROUNDS):
            vectors = grams @ vectors
            lengths = np.linalg.norm(vectors, axis=(1, 2), keepdims=True)
            vectors = np.where(lengths > 0, vectors / np.where(lengths > 0, lengths, 1.0), noise)
        index = int(lengths.argmax())
        if lengths[index] > found:
            found = float(lengths[index, 0, 0])
            best = max(best, float(np.linalg.eigvalsh(grams[index])[-1]))
    return best


def are_below(grams: Array, limit: float, symbol: GramSymbol) -> bool:
    """Proves that the symbol is at most `limit` at some frequencies.

    Args:
        grams: The Gram matrices at these frequencies.
        limit: What is to be proved.
        symbol: What made them.
    """

    def hidden(factor: float) -> float:
        return 4.0 * (symbol.hidden + gamma(3 * symbol.order + 4) * factor)

    return is_proved(limit, symbol.order, hidden, lambda shift: _factorise(grams, shift))


def _factorise(grams: Array, shift: float) -> tuple[float, float] | None:
    """Factorises `shift - G`, as `is_proved` asks for it."""
    grams = grams[np.linalg.norm(grams, axis=(1, 2)) * (1.0 + ROOM) > shift]
    if not len(grams):
        return 0.0, 0.0
    order = grams.shape[1]
    shifted = -grams
    shifted[:, np.arange(order), np.arange(order)] += shift
    try:
        factor = np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return None
    parts = factor.view(np.float64)  # (x, y) of each number
    across = (-1j * factor).view(np.float64)  # (y, -x)
    missed = np.zeros(len(grams))
    for first in range(0, order, _WIDTH):
        last = min(first + _WIDTH, order)
        rows = np.stack([parts[:, first:last, : 2 * last], across[:, first:last, : 2 * last]], 1)
        product = rows.reshape(len(rows), -1, 2 * last) @ parts[:, :last, : 2 * last].swapaxes(1, 2)
        product = product.reshape(len(rows), 2, last - first, last)
        piece = shifted[:, first:last, :last]
        for part, own in ((piece.real, product[:, 0]), (piece.imag, product[:, 1])):
            missed += 2.0 * np.square(part - own).sum(axis=(1, 2))
    return math.sqrt(missed.max()), float(np.square(parts).sum(axis=(1, 2)).max())
