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
from snconvert.linalg.blocks import Array, Block, Blocks
from snconvert.linalg.convolution_apply import ConvolutionBlock
from snconvert.linalg.convolution_norm import block_taps
from snconvert.linalg.one_thread import one_thread


class Normalisation(NamedTuple):
    """How a layer normalises one kernel.

    Attributes:
        u: Its `u`, of any floating-point type; `None` if what is stored cannot be one.
        gamma: Its `gamma`, in mode `gain`.
        settings: Its settings. `None`: the layer computes with the stored kernel as it is, as under
            a constraint and in Keras' own wrapper.
    """

    u: Array | None
    gamma: float | None = None
    settings: Settings | None = None


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
        rows = _unit_rows(np.stack([u, triplet.u]), view.shape[0])
        norms, residuals = [], []
        for index, block in blocks_of(kernel, view, conv, bfloat16=bfloat16):
            image, back = block.round_trip(rows[:, index])
            norms.append(_lengths(image, block.exponent))
            residuals.append(_residual(rows[:, index], image, back))
        sigma_u = max(norm for norm, _ in norms) * (conv.factor if conv else 1.0)
        if conv is not None:  # of the other blocks the search finds `u` to about 1 % only
            largest = max(range(len(norms)), key=lambda index: norms[index][1])
            residuals = [residuals[largest]]
        residual = max(residuals)
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
    """Returns by what part `|W u|` of a block falls short of that of a wanted `u`, at most."""
    rows = _unit_rows(np.stack([u, wanted]), view.shape[0])
    blocks = blocks_of(kernel, view, conv, bfloat16=bfloat16)
    norms = [np.linalg.norm(block.image(rows[:, index]), axis=1) for index, block in blocks]
    return max((1.0 - float(one / two) for one, two in norms if two > 0), default=0.0)


@one_thread()
def norm_by(
    kernel: Array,
    view: MatrixView,
    conv: Convolution | None,
    u: Array,
    *,
    bfloat16: bool = False,
) -> float:
    """Returns sigma as a layer computes it from its `u`: `max |W u| / |u|` over the blocks."""
    rows = _unit_rows(u[None], view.shape[0])
    norms = [
        _lengths(block.image(rows[:, index]), block.exponent)[0]
        for index, block in blocks_of(kernel, view, conv, bfloat16=bfloat16)
    ]
    return max(norms, default=0.0) * (conv.factor if conv else 1.0)


def blocks_of(
    kernel: Array, view: MatrixView, conv: Convolution | None, *, bfloat16: bool
) -> Iterator[tuple[int, Block | ConvolutionBlock]]:
    """Yields index and block of each block of the kernel that is not zero."""
    if conv is not None:
        taps, exponents = block_taps(kernel, view, conv, bfloat16=bfloat16)
        for index in map(int, np.flatnonzero(taps.any(axis=(1, 2, 3)))):
            yield index, ConvolutionBlock(taps[index], conv, int(exponents[index]))
        return
    blocks = Blocks(kernel, view, bfloat16=bfloat16)
    for index in range(view.shape[0]):
        block = blocks.block(index)
        if not block.zero:
            yield index, block


def _unit_rows(u: Array, count: int) -> Array:
    """Returns `u` as float64 rows of length 1, `(r, b, n)`; a row of zeros stays."""
    rows = u.reshape(len(u), count, -1).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=2, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1.0)
    return rows


def _lengths(image: Array, exponent: int) -> list[float]:
    """Returns `|W u|` of each row."""
    with np.errstate(over="ignore"):
        return [float(x) for x in np.ldexp(np.linalg.norm(image, axis=1), exponent)]


def _residual(u: Array, image: Array, back: Array) -> float:
    """Returns `max(|W u - sigma v|, |W' v - sigma u|) / sigma` of the first row.

    Sigma is `|W u|` of the second row, the leading vector; `v = W u / |W u|` is the first row's.
    """
    length, sigma = np.linalg.norm(image, axis=1)
    across = back[0] / length if length > 0 else back[0]
    misses = abs(length - sigma), float(np.linalg.norm(across - sigma * u[0]))
    return float(max(misses) / sigma) if sigma > 0 else 0.0
