"""Sigma and `u` of a kernel, at conversion.

With `s = min(m, n)` and `W` scaled by a power of two, the leading eigenvector of `W'W` or `WW'`,
whichever is of order `s`, comes from

- `s <= 128`: the Gram matrix in float64 and LAPACK;
- `s <= 256`, or 512 for a large kernel: the Gram matrix and block Lanczos on it;
- else: block Lanczos on `x -> W'(W x)`, one pass over the kernel for each round. A large kernel
  that is nearly square takes the side that reads whole lines of the memory.

The last two multiply in float32. A pass in float64 then takes sigma as the Rayleigh quotient
`|W u| / |u|` of the stored `u`, whose error is the square of the vector's, and the residual.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from mmap import mmap

import numpy as np

from snconvert.core.matrix_view import MatrixView
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError
from snconvert.linalg.blocks import Array, Block, Blocks, Scan, read, scan
from snconvert.linalg.lanczos import leading_vector, times, top_pair
from snconvert.linalg.one_thread import one_thread

_DIRECT = 128  # order up to which all eigenvalues take less time than Lanczos
_GRAM = {True: 256, False: 512}  # and the Gram matrix less than passes, over kept pieces or not
_KEPT = 1 << 22  # numbers of a kernel that are kept as float32 between the passes
_TINY = 1 << 13  # numbers of a block up to which many blocks are worked on at once
_BATCH = 1 << 18  # numbers that are worked on at once
_DIVISIBLE = 1 << 23  # numbers: passes that take long enough to wait for several processes
_PARTS = 8  # of a large kernel: their sums are the same, however many processes make them
Progress = Callable[[int], None] | None
Together = Callable[
    [Callable[[int], object], int], AbstractContextManager[Callable[[], Iterable[object]]]
]
"""Takes work, and for how many parts it is; each call in the block does it for all of them."""


@contextmanager
def alone(work: Callable[[int], object], parts: int) -> Iterator[Callable[[], Iterable[object]]]:
    """Does the work for one part after the other, in this process."""
    yield lambda: map(work, range(parts))


@one_thread()
def leading_triplet(
    kernel: Array,
    view: MatrixView,
    *,
    bfloat16: bool = False,
    progress: Progress = None,
    together: Together = alone,
) -> Triplet:
    """Returns sigma, `u` and the residual of a kernel.

    The kernel may lie unaligned, in any byte order, in a memory map: it is read in pieces. The
    same numbers give the same bytes, whatever their alignment, byte order and number format.

    Args:
        kernel: float16, float32, float64, or uint16 that holds bfloat16; not written to.
        view: How it is read as a stack `(b, m, n)`.
        bfloat16: Whether the 16 bits are those of a bfloat16.
        progress: Called with the number of passes so far, on large kernels.
        together: What works on the parts of a large kernel.

    Returns:
        The triplet; sigma may lie outside the range of float32.

    Raises:
        KernelError: It holds NaN or infinity, or numbers of another type, or none.

    Example:
        >>> import numpy as np
        >>> triplet = leading_triplet(np.diag([3.0, 4.0]), MatrixView.of((2, 2)))
        >>> triplet.sigma, np.abs(triplet.u).round(6).tolist()
        (4.0, [[0.0, 1.0]])
    """
    scanned = checked_scan(kernel, bfloat16=bfloat16)
    count, m, n = view.shape
    if scanned.zero:
        return Triplet(0.0, flat_rows(count, n), 0.0, zero=True)
    blocks = Blocks(kernel, view, bfloat16=bfloat16, scanned=scanned)
    sigma, u, residual = np.zeros(count), flat_rows(count, n), np.zeros(count)
    if blocks.stack is not None and m * n <= _TINY and min(m, n) <= _DIRECT:
        step = max(1, _BATCH // (m * n))
        for first in range(0, count, step):
            part = slice(first, first + step)
            sigma[part], u[part], residual[part] = _stack(
                blocks.stack[part], scanned.exponent, bfloat16=bfloat16
            )
    else:
        for index in range(count):
            block = blocks.block(index)
            if not block.zero:
                sigma[index], u[index], residual[index] = _single(block, progress, together)
    return Triplet(float(sigma.max()), u, float(residual.max()), zero=False)


def has_parts(view: MatrixView) -> bool:
    """Whether the blocks of a kernel are worth being worked on by several processes each."""
    _, m, n = view.shape
    return m * n >= _DIVISIBLE and min(m, n) > _GRAM[False]


def checked_scan(kernel: Array, *, bfloat16: bool) -> Scan:
    """Returns the scan of a kernel that has a norm.

    Raises:
        KernelError: It holds NaN or infinity, or numbers of another type, or none.
    """
    if not kernel.size:
        raise KernelError(
            f"the kernel of shape {kernel.shape} holds no numbers", "Leave it out with --exclude"
        )
    scanned = scan(kernel, bfloat16=bfloat16)
    if scanned.nonfinite:
        raise KernelError(
            f"the kernel holds {scanned.nonfinite} NaN or infinite"
            f" number{'' if scanned.nonfinite == 1 else 's'} among {kernel.size}",
            "Train or repair the layer first, or leave it out with --exclude",
        )
    return scanned


def _stack(raw: Array, exponent: int, *, bfloat16: bool) -> tuple[Array, Array, Array]:
    """Returns sigma, `u` and the residual of many small blocks at once, all in float64."""
    matrix = read(raw, exponent, np.empty(raw.shape), bfloat16=bfloat16)
    # Each block by itself: beside a large one, the squares of a small one would vanish.
    lift = np.frexp(np.abs(matrix).max(axis=(1, 2)))[1]
    matrix = np.ldexp(matrix, -lift[:, None, None])
    across = matrix.transpose(0, 2, 1)
    if matrix.shape[1] < matrix.shape[2]:
        _, v = top_pair(matrix @ across)
        u = (v[:, None, :] @ matrix)[:, 0]
        zero = ~u.any(axis=1)
        u[zero] = 1.0
    else:
        _, u = top_pair(across @ matrix)
    u32 = rounded_rows(u)
    u = u32.astype(np.float64)
    image = (matrix @ u[:, :, None])[:, :, 0]
    back = (across @ image[:, :, None])[:, :, 0]
    sigma, residual = quality(u, image, back)
    with np.errstate(over="ignore"):
        return np.ldexp(sigma, lift + exponent), u32, residual


def _single(block: Block, progress: Progress, together: Together) -> tuple[float, Array, float]:
    """Returns sigma, `u` and the residual of one block, read in pieces."""
    side, u = _vector(block, progress, together)
    if side == 1:
        u = np.concatenate([piece @ u for _, piece in block.pieces(1, "f8")])
    u32 = rounded_rows(u[None])
    u = u32.astype(np.float64)
    sigma, residual = quality(u, *block.round_trip(u))
    with np.errstate(over="ignore"):
        return float(np.ldexp(sigma[0], block.exponent)), u32[0], float(residual[0])


def _vector(block: Block, progress: Progress, together: Together) -> tuple[int, Array]:
    """Returns 0 and the leading eigenvector of `W'W`, or 1 and that of `WW'`, in float64.

    The number is that of the axis of `W` which is cut into pieces.
    """
    side = block.longer
    size = block.shape[1 - side]
    kept = block.shape[0] * block.shape[1] <= _KEPT
    if size <= _DIRECT:
        gram = np.zeros((size, size))
        for _, piece in block.pieces(side, "f8"):
            gram += piece.T @ piece
        return side, top_pair(gram[None])[1][0]
    if size <= _GRAM[kept]:
        gram = np.zeros((size, size))
        for _, piece in block.pieces(side, "f4"):
            gram += piece.T @ piece
        single = gram.astype(np.float32)
        return side, leading_vector(lambda rows: times(rows, single), size, progress)
    if kept:
        pieces = [np.array(piece, order="C") for _, piece in block.pieces(side, "f4")]
        return side, leading_vector(lambda rows: _round_trip(rows, pieces), size, progress)
    if block.shape[1 - block.lines] <= 2 * block.shape[block.lines]:
        side = block.lines  # whole lines are read twice as fast as strips

    size = block.shape[1 - side]
    rows, sums = _shared((2, size), "f4"), _shared((_PARTS, 2, size), "f8")

    def work(index: int) -> None:
        pieces = block.pieces(side, "f4", index, _PARTS)
        sums[index] = _round_trip(rows, (piece for _, piece in pieces))

    with together(work, _PARTS) as compute:

        def apply(vectors: Array) -> Array:
            rows[:] = vectors
            for _ in compute():
                pass
            total: Array = sums.sum(axis=0)
            return total

        return side, leading_vector(apply, size, progress)


def _shared(shape: tuple[int, ...], dtype: str) -> Array:
    """Returns an array that forks of this process will share with it."""
    count = math.prod(shape)
    return np.frombuffer(mmap(-1, count * np.dtype(dtype).itemsize), dtype).reshape(shape)


def _round_trip(rows: Array, pieces: Iterable[Array]) -> Array:
    """Returns `X W'W`, float64 `(2, s)`, of two float32 rows `X`."""
    result = np.zeros(rows.shape)
    for piece in pieces:
        result += times(times(rows, piece, transposed=True), piece)
    return result


def flat_rows(count: int, size: int) -> Array:
    """Returns float32 unit rows of equal numbers."""
    return np.full((count, size), 1 / np.sqrt(size), np.float32)


def rounded_rows(u: Array) -> Array:
    """Returns float32 unit rows whose largest entry is positive."""
    largest = np.take_along_axis(u, np.abs(u).argmax(axis=1)[:, None], axis=1)
    length = np.linalg.norm(u, axis=1, keepdims=True)
    unit: Array = (u / np.copysign(length, largest)).astype(np.float32)
    return unit


def quality(u: Array, image: Array, back: Array) -> tuple[Array, Array]:
    """Returns sigma and the residual from `u`, `W u` and `W'W u`, one block a row."""
    length = np.linalg.norm(image, axis=1)
    sigma = length / np.linalg.norm(u, axis=1)
    safe = np.where(sigma > 0, sigma, 1.0)
    here = np.abs(length - sigma)
    there = np.linalg.norm(
        back / np.where(length > 0, length, 1.0)[:, None] - sigma[:, None] * u, axis=1
    )
    return sigma, np.maximum(here, there) / safe
