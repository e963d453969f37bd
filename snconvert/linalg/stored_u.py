"""What a layer makes of its kernel by the `u` that it stores, in float64.

Inference divides by `sigma_u = max |W u| / |u|` over the blocks: `u` counts as a direction, for
averaged or assigned weights leave it neither of length 1 nor on the leading singular vector.
`sigma_u` is never above sigma, so that the kernel in use, `s(sigma_u) W`, has the norm
`s(sigma_u) sigma`, which is the bound only where `u` is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.linalg.blocks import Array, Blocks
from snconvert.linalg.convolution_apply import adjoint, forward
from snconvert.linalg.convolution_norm import block_taps
from snconvert.linalg.one_thread import one_thread


class Normalisation(NamedTuple):
    """How a layer normalises one kernel.

    Attributes:
        u: Its `u`, of any floating-point type; `None` if what is stored is none.
        gamma: Its `gamma`, in mode `gain`.
        settings: Its settings. `None`: the layer computes with the stored kernel as it is, as under
            a constraint and in Keras' own wrapper.
    """

    u: Array | None
    gamma: float | None = None
    settings: Settings | None = None


class _Image(NamedTuple):
    """What one block makes of unit rows `u`, up to a power of two.

    Attributes:
        u: `(r, n)`.
        there: `W u`, `(r, m)`.
        back: `W' W u`, `(r, n)`.
        exponent: That of the power.
    """

    u: Array
    there: Array
    back: Array
    exponent: int


@one_thread()
def kernel_in_use(
    triplet: Triplet,
    kernel: Array,
    view: MatrixView,
    conv: Convolution | None,
    stored: Normalisation,
    *,
    bfloat16: bool = False,
) -> Triplet:
    """Returns the triplet of a kernel with `after` and the residual of the `u` that is stored.

    Both are NaN where that `u` cannot be used.

    Args:
        triplet: What the search has found for the kernel.
        kernel: As for `leading_triplet`.
        view: How it is read as a stack `(b, m, n)`.
        conv: The map whose norm sigma is, `None` for that of the matrix.
        stored: How the layer normalises it.
        bfloat16: Whether the kernel's 16 bits are those of a bfloat16.
    """
    u, gamma = stored.u, stored.gamma
    finite = math.isfinite(gamma or 0.0)
    if u is None or u.shape != triplet.u.shape or not (finite and np.isfinite(u).all()):
        return triplet._replace(residual=math.nan, after=math.nan)
    sigma_u, residual = triplet.sigma, triplet.residual
    if not triplet.zero and not np.array_equal(u, triplet.u):
        images = list(_images(kernel, view, conv, np.stack([u, triplet.u]), bfloat16=bfloat16))
        sigma_u = max(_lengths(image)[0] for image in images) * (conv.factor if conv else 1.0)
        if conv is not None:  # of the other blocks the search finds `u` to about 1 % only
            images = [max(images, key=lambda image: _lengths(image)[1])]
        residual = max(map(_residual, images))
    after = triplet.sigma
    if stored.settings is not None:
        after = stored.settings.sigma_after(triplet.sigma, sigma_u, gamma)
    return triplet._replace(residual=residual, after=after)


def shortfall(
    kernel: Array,
    view: MatrixView,
    conv: Convolution,
    u: Array,
    wanted: Array,
    *,
    bfloat16: bool = False,
) -> float:
    """Returns by how much less, in parts, a block's `u` reaches than a wanted one, at most."""
    images = _images(kernel, view, conv, np.stack([u, wanted]), bfloat16=bfloat16)
    lengths = [np.linalg.norm(image.there, axis=1) for image in images]
    return max((1.0 - float(one / two) for one, two in lengths if two > 0), default=0.0)


@one_thread()
def norm_by(
    kernel: Array,
    view: MatrixView,
    conv: Convolution | None,
    u: Array,
    *,
    bfloat16: bool = False,
) -> float:
    """Returns what a layer takes for sigma by its `u`: `max |W u| / |u|` over the blocks."""
    images = _images(kernel, view, conv, u[None], bfloat16=bfloat16)
    largest = max((_lengths(image)[0] for image in images), default=0.0)
    return largest * (conv.factor if conv else 1.0)


def _images(
    kernel: Array, view: MatrixView, conv: Convolution | None, u: Array, *, bfloat16: bool
) -> Iterator[_Image]:
    """Yields what each block that is not zero makes of its rows of several `u`."""
    count, m, n = view.shape
    rows = u.reshape(len(u), count, -1).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=2, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1.0)
    if conv is not None:
        taps, exponents = block_taps(kernel, view, conv, bfloat16=bfloat16)
        for index in map(int, np.flatnonzero(taps.any(axis=(1, 2, 3)))):
            own = rows[:, index]
            there = adjoint(own.reshape(len(u), *conv.outputs, n), taps[index], conv)
            back = forward(there, taps[index], conv)
            there, back = (x.reshape(len(u), -1) for x in (there, back))
            yield _Image(own, there, back, int(exponents[index]))
        return
    blocks = Blocks(kernel, view, bfloat16=bfloat16)
    for index in range(count):
        block = blocks.block(index)
        if not block.zero:
            own = rows[:, index]
            there, back = np.empty((len(u), m)), np.zeros((len(u), n))
            for part, piece in block.pieces(0, "f8"):
                there[:, part] = own @ piece.T
                back += there[:, part] @ piece
            yield _Image(own, there, back, block.exponent)


def _lengths(image: _Image) -> list[float]:
    """Returns `|W u|` of each row."""
    with np.errstate(over="ignore"):
        return [float(x) for x in np.ldexp(np.linalg.norm(image.there, axis=1), image.exponent)]


def _residual(image: _Image) -> float:
    """Returns `max(|W u - sigma v|, |W' v - sigma u|) / sigma` of the first row.

    Sigma is `|W u|` of the second row, the leading vector; `v = W u / |W u|` is the first row's.
    """
    length, sigma = np.linalg.norm(image.there, axis=1)
    across = image.back[0] / length if length > 0 else image.back[0]
    misses = abs(length - sigma), float(np.linalg.norm(across - sigma * image.u[0]))
    return float(max(misses) / sigma) if sigma > 0 else 0.0
