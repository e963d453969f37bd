"""Sigma and `u` of a convolution as the linear map that it is, at conversion.

Like the triplet of a matrix: block by block, on the side of the inputs or outputs that is smaller,
the Gram matrix and LAPACK up to an order of 128, above it block Lanczos in float32, and at the end
the Rayleigh quotient in float64 of the `u` that is returned, `|A' u| / |u|`, the largest of all
blocks: no sigma is reported that no vector reaches.

Of many blocks only the largest needs this, as sigma is theirs; the others get a `u` by a short
Lanczos process, for all blocks side by side. Which blocks are left out does not rest on that
process, whose start may be nearly orthogonal to what it looks for, but on bounds from above:

- A block is skipped only if a bound of its norm is at most what another block's vector reaches.
  So the largest block is never skipped, unless it is the largest by less than 1e-7.
- The first bound is the sum of the norms of the taps, as each tap moves numbers without adding any.
- The second is the largest norm of the symbol on a grid of frequencies, see
  `norms_over_frequencies`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.triplet import Triplet
from snconvert.linalg.blocks import Array, read
from snconvert.linalg.convolution_apply import ConvolutionBlock, adjoint, forward
from snconvert.linalg.gram_symbol import norms_over_frequencies
from snconvert.linalg.lanczos import leading_vector, start, top_pair
from snconvert.linalg.matrix_norm import Progress, checked_scan, quality, rounded_rows
from snconvert.linalg.one_thread import one_thread

_DIRECT = 128  # order up to which all eigenvalues take less time than Lanczos
_PRECISION = 1e-7  # of sigma**2
_LARGE = 1 << 18  # numbers of a side from which on maps wait for each other
_MEMORY = {False: 1 << 25, True: 3 << 25}  # bytes of Lanczos vectors, of small and large maps
_ROUNDS = 24  # of Lanczos for all blocks
_LEFT = 1e-5  # of a vector's length: what orthogonalisation leaves of it is rounding errors
_EQUAL = 1e-7  # norms of blocks that differ by less are one
_BATCH = 1 << 23  # numbers of blocks that are worked on at once


@one_thread()
def operator_triplet(
    kernel: Array,
    view: MatrixView,
    conv: Convolution,
    *,
    bfloat16: bool = False,
    progress: Progress = None,
    turn: AbstractContextManager[Any] | None = None,
) -> Triplet:
    """Returns sigma, `u` and the residual of a convolution as a map.

    Args:
        kernel: As for `leading_triplet`.
        view: How it is read as a stack `(b, k*m, n)`.
        conv: The map.
        bfloat16: Whether the 16 bits are those of a bfloat16.
        progress: Called with the number of rounds so far, on large maps.
        turn: What the work on a large map waits for, where others work on maps at the same time.

    Returns:
        The triplet, with `u` of shape `(b, *conv.outputs, n)` and the residual of the largest
        block. Sigma is the map's norm times `conv.factor`, which is 1 unless it is on a torus.

    Raises:
        KernelError: It holds NaN or infinity, or numbers of another type, or none.

    Example:
        >>> conv = Convolution((2,), (1,), (1,), (0,), (3,), (2,))
        >>> round(operator_triplet(np.ones((2, 1, 1)), MatrixView.of((2, 1, 1)), conv).sigma**2, 6)
        3.0
    """
    scanned = checked_scan(kernel, bfloat16=bfloat16)
    taps, lift = _taps(view.matrix(kernel), scanned.exponent, conv, bfloat16=bfloat16)
    original = _distinct(taps, lift)
    shape = (*conv.outputs, taps.shape[3])
    # Of noise where a block is zero, as equal numbers would stay so in training on a torus.
    u = rounded_rows(start(0, math.prod(shape), 1)).reshape(1, *shape).repeat(len(taps), 0)
    some = np.flatnonzero(taps.any(axis=(1, 2, 3)))
    if not len(some):
        return Triplet(0.0, u, 0.0, zero=True)
    sigma = np.zeros(len(taps))
    if len(some) > 1:
        sigma[some], u[some] = _side_by_side(taps[some], conv)
        sigma = np.ldexp(sigma, lift)
    size = max(math.prod(conv.inputs) * taps.shape[2], math.prod(shape))
    for index in _candidates(taps, lift, conv, sigma):
        with turn if turn is not None and size >= _LARGE else nullcontext():
            vector = _vector(taps[index], conv, progress)
        row = rounded_rows(vector.reshape(1, -1)).reshape(1, *shape)
        reached = math.ldexp(_reached(taps[index : index + 1], conv, row)[0], int(lift[index]))
        if reached >= sigma[index]:
            sigma[index], u[index] = reached, row[0]
    largest = int(sigma.argmax())
    wide = u[largest].reshape(1, -1).astype(np.float64)
    _, residual = quality(wide, *ConvolutionBlock(taps[largest], conv).round_trip(wide))
    with np.errstate(over="ignore"):
        norm = float(np.ldexp(sigma[largest], scanned.exponent)) * conv.factor
    return Triplet(norm, u[original], float(residual[0]), zero=False)


def iterated(kernel: Array, view: MatrixView, conv: Convolution, u: Array, rounds: int) -> Array:
    """Returns `u` after rounds of power iteration, for when time is short.

    Args:
        kernel: float32; `u` stays as it is where it is not finite.
        view: How it is read as a stack.
        conv: The map.
        u: float32 `(b, *conv.outputs, n)`.
        rounds: How many.
    """
    largest = np.abs(kernel).max()
    if not np.isfinite(largest):
        return u
    count, _, columns = view.shape
    stack = view.matrix(kernel) / (largest or np.float32(1))
    many = stack.reshape(count, math.prod(conv.kernel), -1, columns).swapaxes(0, 1)
    for _ in range(rounds):
        image = forward(adjoint(u, many, conv), many, conv)
        length = np.sqrt(np.square(image).sum(axis=tuple(range(1, image.ndim)), keepdims=True))
        u = np.where(length > 0, image / np.where(length > 0, length, 1), u)
    return u


def block_taps(
    kernel: Array, view: MatrixView, conv: Convolution, *, bfloat16: bool = False
) -> tuple[Array, Array]:
    """Returns the taps of a finite kernel, float64 `(b, k, m, n)`, and the exponent of each block.

    A block is its taps times two to that power; the largest entry of each is below 1.
    """
    exponent = checked_scan(kernel, bfloat16=bfloat16).exponent
    taps, lift = _taps(view.matrix(kernel), exponent, conv, bfloat16=bfloat16)
    return taps, lift + exponent


def _taps(raw: Array, exponent: int, conv: Convolution, *, bfloat16: bool) -> tuple[Array, Array]:
    """Returns float64 taps `(b, k, m, n)`, each block with a maximum below 1, and its exponent.

    Taps that read nothing but the zeros around the input are zero: they change no output.
    """
    stack = read(raw, exponent, np.empty(raw.shape), bfloat16=bfloat16)
    count, _, columns = stack.shape
    taps = (
        stack.reshape(count, math.prod(conv.kernel), -1, columns)
        * taps_that_read(conv)[:, None, None]
    )
    lift = np.frexp(np.abs(taps).max(axis=(1, 2, 3)))[1]
    return np.ldexp(taps, -lift[:, None, None, None]), lift


def taps_that_read(conv: Convolution) -> Array:
    """Returns of each tap whether some output reads the input by it."""
    some = np.ones(1, bool)
    sizes = (conv.kernel, conv.strides, conv.dilation, conv.before, conv.inputs, conv.outputs)
    for k, s, d, before, inputs, outputs in zip(*sizes, strict=True):
        places = np.arange(outputs) * s + (np.arange(k) * d)[:, None] - before
        inside = conv.on_torus | ((places >= 0) & (places < inputs)).any(axis=1)
        some = (some[:, None] & inside).reshape(-1)
    return some


def _distinct(taps: Array, lift: Array) -> Array:
    """Sets blocks to zero that are another one times a power of two or its negative.

    Returns:
        For each block the one that stands for it, whose norm is not smaller.
    """
    known: dict[bytes, int] = {}
    original = np.arange(len(taps))
    for index in np.argsort(-lift, kind="stable"):
        block = taps[index]
        first = block.flat[(block != 0).argmax()]
        name = (block * np.copysign(1.0, first) + 0.0).tobytes()  # -0.0 + 0.0 is 0.0
        original[index] = known.setdefault(name, int(index))
    taps[original != np.arange(len(taps))] = 0.0
    return original


def _candidates(taps: Array, lift: Array, conv: Convolution, sigma: Array) -> Iterator[int]:
    """Yields the blocks whose norm is to be found, by what vectors reach up to then: `sigma`."""
    scale = np.ldexp(1.0, lift)
    bounds = np.linalg.norm(taps, axis=(2, 3)).sum(axis=1) * scale
    first = int((sigma if sigma.any() else bounds).argmax())
    yield first
    bounds[first] = 0.0
    for shift in (0.0,) if conv.on_torus else (0.0, 0.5):
        left = np.flatnonzero(bounds > sigma.max() * (1 + _EQUAL))
        if len(left):
            enough = sigma.max() / scale[left]
            closer = norms_over_frequencies(taps[left], conv, shift, enough) * scale[left]
            bounds[left] = np.minimum(bounds[left], closer)
    for index in np.argsort(-bounds, kind="stable"):
        if bounds[index] <= sigma.max() * (1 + _EQUAL):
            return
        yield int(index)


def _side_by_side(taps: Array, conv: Convolution) -> tuple[Array, Array]:
    """Returns a `u` of each block by a Lanczos process, and what it reaches."""
    shape = (*conv.outputs, taps.shape[-1])
    size = math.prod(shape)
    norms, u = np.empty(len(taps)), np.empty((len(taps), *shape), np.float32)
    step = max(1, _BATCH // (_ROUNDS * size))
    for first in range(0, len(taps), step):
        part = slice(first, first + step)
        u[part] = _ritz_vectors(taps[part].swapaxes(0, 1).astype(np.float32), conv, size)
        norms[part] = _reached(taps[part], conv, u[part])
    return norms, u


def _ritz_vectors(taps: Array, conv: Convolution, size: int) -> Array:
    """Returns nearly the leading vector of each block, float32, of taps `(k, b, m, n)`."""
    count = taps.shape[1]
    shape = (count, *conv.outputs, taps.shape[-1])
    rounds = min(_ROUNDS, size)
    basis = np.zeros((count, rounds, size), np.float32)
    projected = np.zeros((count, rounds, rounds))
    row = start(0, size, 1).repeat(count, 0)
    row /= np.linalg.norm(row, axis=1, keepdims=True)
    for index in range(rounds):
        basis[:, index] = row
        image = adjoint(row.reshape(shape), taps, conv)
        row = forward(image, taps, conv).reshape(count, -1)
        before = np.linalg.norm(row, axis=1, keepdims=True)
        known = basis[:, : index + 1]
        for again in (False, True):
            along = known @ row[:, :, None]
            row = row - (known.swapaxes(1, 2) @ along)[:, :, 0]
            if not again:
                projected[:, : index + 1, index] = along[:, :, 0]
        # Where nothing is left the space is invariant: zeros add nothing to it.
        length = np.linalg.norm(row, axis=1, keepdims=True)
        row = np.where(length > _LEFT * before, row / np.where(length > 0, length, 1), 0)
    _, vectors = np.linalg.eigh(projected, UPLO="U")
    top = vectors[:, None, :, -1].astype(np.float32)
    return rounded_rows((top @ basis)[:, 0].astype(np.float64)).reshape(shape)


def _reached(taps: Array, conv: Convolution, u: Array) -> Array:
    """Returns `|A' u| / |u|` of each block, in float64."""
    wide = u.astype(np.float64)
    image = adjoint(wide, taps.swapaxes(0, 1), conv)
    norms: Array = np.linalg.norm(image.reshape(len(u), -1), axis=1)
    norms /= np.linalg.norm(wide.reshape(len(u), -1), axis=1)
    return norms


def _vector(taps: Array, conv: Convolution, progress: Progress) -> Array:
    """Returns the leading vector on the output side, in float64, not of unit length."""
    inner = (*conv.inputs, taps.shape[-2])
    outer = (*conv.outputs, taps.shape[-1])
    inside = math.prod(inner) < math.prod(outer)
    shape = inner if inside else outer
    order = math.prod(shape)
    there, back = (forward, adjoint) if inside else (adjoint, forward)
    if order <= _DIRECT:
        images = there(np.eye(order).reshape(order, *shape), taps, conv).reshape(order, -1)
        vector: Array = top_pair((images @ images.T)[None])[1][0]
    else:
        single = taps.astype(np.float32)

        def round_trip(rows: Array) -> Array:
            done = np.empty(rows.shape, np.float32)
            for index in range(len(rows)):  # one by one, which takes less memory
                image = there(rows[index].reshape(1, *shape), single, conv)
                done[index] = back(image, single, conv).reshape(-1)
            return done

        vector = leading_vector(
            round_trip, order, progress, precision=_PRECISION, memory=_MEMORY[order >= _LARGE]
        )
    if inside:
        return forward(vector.reshape(1, *shape), taps, conv)
    return vector
