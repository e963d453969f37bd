"""Sigma and `u` of a convolution as the linear map that it is, at conversion.

Like the triplet of a matrix: block by block, on the side of the inputs or outputs that is smaller,
the Gram matrix and LAPACK up to an order of 128, above it block Lanczos in float32, and at the end
the Rayleigh quotient in float64.

Of many blocks only the largest needs this, as sigma is theirs. A Lanczos process of 24 rounds from
a random start, for all blocks side by side, finds each norm to about 1 % (Kuczynski & Wozniakowski
1992: on average `0.103 (ln(size) / 23)^2` of its square), and a `u` for blocks that stay behind.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from snconvert.convolution import Convolution
from snconvert.linalg.convolution import adjoint, forward
from snconvert.linalg.lanczos import leading_vector, start, top_pair
from snconvert.linalg.pieces import read
from snconvert.linalg.scan import Array
from snconvert.linalg.singular import Triplet
from snconvert.linalg.triplet import (
    Progress,
    checked_scan,
    flat_rows,
    quality,
    rounded_rows,
    seed_of,
)
from snconvert.matrix import MatrixView

_DIRECT = 128  # order up to which all eigenvalues take less time than Lanczos
_PRECISION = 2e-7  # of sigma**2
_LARGE = 1 << 18  # numbers of a side from which on maps wait for each other
_MEMORY = {False: 1 << 25, True: 3 << 25}  # bytes of Lanczos vectors, of small and large maps
_ROUNDS = 24  # of Lanczos for all blocks
_NEAR = 0.97  # of the largest norm by those rounds: what may be the largest after all
_BATCH = 1 << 23  # numbers of Lanczos vectors of blocks that are worked on at once


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
    found = checked_scan(kernel, bfloat16=bfloat16)
    taps, lift = _taps(view.matrix(kernel), found.exponent, conv, bfloat16=bfloat16)
    count, _, _, columns = taps.shape
    shape = (count, *conv.outputs, columns)
    u = flat_rows(count, math.prod(shape[1:])).reshape(shape)
    if found.zero:
        return Triplet(0.0, u, 0.0, zero=True)
    sigma, residual = np.zeros(count), np.zeros(count)
    for index in _candidates(taps, lift, conv, u):
        size = max(math.prod(conv.inputs) * taps.shape[2], math.prod(shape[1:]))
        with turn if turn is not None and size >= _LARGE else nullcontext():
            sigma[index], u[index], residual[index] = _single(taps[index], conv, progress)
        sigma[index] = math.ldexp(sigma[index], int(lift[index]))
    largest = int(sigma.argmax())
    with np.errstate(over="ignore"):
        norm = float(np.ldexp(sigma[largest], found.exponent)) * conv.factor
    return Triplet(norm, u, float(residual[largest]), zero=False)


def image_norm(
    kernel: Array, view: MatrixView, conv: Convolution, u: Array, *, bfloat16: bool = False
) -> float:
    """Returns what the layers take for sigma: `factor * max |A' u| / |u|` over the blocks.

    Args:
        kernel: As for `leading_triplet`, finite.
        view: How it is read as a stack.
        conv: The map `A`.
        u: float32 `(b, *conv.outputs, n)`.
        bfloat16: Whether the kernel's 16 bits are those of a bfloat16.

    Returns:
        The norm, computed in float64; a `u` of zeros adds nothing to it.
    """
    exponent = checked_scan(kernel, bfloat16=bfloat16).exponent
    taps, lift = _taps(view.matrix(kernel), exponent, conv, bfloat16=bfloat16)
    largest = 0.0
    for block, vector, raised in zip(taps, u.astype(np.float64), lift, strict=True):
        length = float(np.linalg.norm(vector))
        if length:
            length = float(np.linalg.norm(adjoint(vector[None], block, conv))) / length
        with np.errstate(over="ignore"):
            largest = max(largest, float(np.ldexp(length, raised + exponent)))
    return largest * conv.factor


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
    """Returns float64 taps `(b, k, m, n)`, each block with a maximum below 1, and its exponent."""
    stack = read(raw, exponent, np.empty(raw.shape), bfloat16=bfloat16)
    lift = np.frexp(np.abs(stack).max(axis=(1, 2)))[1]
    stack = stack * np.ldexp(1.0, -lift)[:, None, None]
    count, _, columns = stack.shape
    return stack.reshape(count, math.prod(conv.kernel), -1, columns), lift


def _candidates(taps: Array, lift: Array, conv: Convolution, u: Array) -> list[int]:
    """Returns the blocks that may be the largest, and sets `u` of the others."""
    nonzero = np.flatnonzero(taps.any(axis=(1, 2, 3)))
    size = math.prod(conv.outputs) * taps.shape[3]
    if len(nonzero) == 1 or size <= _DIRECT or math.prod(conv.inputs) * taps.shape[2] <= _DIRECT:
        return [int(index) for index in nonzero]
    norms = np.zeros(len(taps))
    step = max(1, _BATCH // (_ROUNDS * size))
    for first in range(0, len(nonzero), step):
        part = nonzero[first : first + step]
        norms[part], u[part] = _side_by_side(taps[part], conv)
    norms = np.ldexp(norms, lift)
    return [int(index) for index in np.flatnonzero(norms >= _NEAR * norms.max())]


def _side_by_side(taps: Array, conv: Convolution) -> tuple[Array, Array]:
    """Returns about the norm and `u` of blocks `(b, k, m, n)`, each by a Lanczos process."""
    count = len(taps)
    shape = (count, *conv.outputs, taps.shape[-1])
    many = taps.swapaxes(0, 1).astype(np.float32)
    basis = np.zeros((count, _ROUNDS, math.prod(shape[1:])), np.float32)
    projected = np.zeros((count, _ROUNDS, _ROUNDS))
    row = start(0, basis.shape[2], 1).repeat(count, 0)
    for index in range(_ROUNDS):
        length = np.linalg.norm(row, axis=1, keepdims=True)
        basis[:, index] = row / np.where(length > 0, length, 1)
        image = adjoint(basis[:, index].reshape(shape), many, conv)
        row = forward(image, many, conv).reshape(count, -1)
        known = basis[:, : index + 1]
        for again in (False, True):
            along = known @ row[:, :, None]
            row = row - (known.swapaxes(1, 2) @ along)[:, :, 0]
            if not again:
                projected[:, : index + 1, index] = along[:, :, 0]
    values, vectors = np.linalg.eigh(projected, UPLO="U")
    top = vectors[:, None, :, -1].astype(np.float32)
    u = rounded_rows((top @ basis)[:, 0].astype(np.float64))
    return np.sqrt(np.maximum(values[:, -1], 0)), u.reshape(shape)


def _single(taps: Array, conv: Convolution, progress: Progress) -> tuple[float, Array, float]:
    """Works on one block `(k, m, n)`."""
    shape = (*conv.outputs, taps.shape[-1])
    u = _vector(taps, conv, progress)
    u32 = rounded_rows(u.reshape(1, -1)).reshape(shape)
    u = u32.astype(np.float64)[None]
    image = adjoint(u, taps, conv)
    back = forward(image, taps, conv)
    sigma, residual = quality(*(x.reshape(1, -1) for x in (u, image, back)))
    return float(sigma[0]), u32, float(residual[0])


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

        seed = seed_of(single.reshape(-1, single.shape[-1]))
        vector = leading_vector(
            round_trip, order, seed, progress, precision=_PRECISION, memory=_MEMORY[order >= _LARGE]
        )
    if inside:
        return forward(vector.reshape(1, *shape), taps, conv)
    return vector
