"""The leading singular vectors of a kernel that training changes, followed from look to look.

Rayleigh-Ritz over a block Krylov space that begins with the vectors of the last look instead of
noise: with orthonormal rows `Q`, images `B = Q W'` and `G = B B'`, the top eigenpairs `theta, s` of
`G` give the vectors `s Q` and sigma = `sqrt(theta)`, which is never above the norm. What `s Q W'W`
has outside of `Q` extends `Q` (Davidson 1975; without a preconditioner it is block Lanczos). Two
vectors are followed, so that one which overtakes the leading one is known by then; and a scout does
one round of power iteration a look, for one that is orthogonal to both.
"""

from __future__ import annotations

import math

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.linalg.blocks import Array, Block
from snconvert.linalg.convolution_apply import ConvolutionBlock
from snconvert.linalg.kernel_norm import kernel_triplet
from snconvert.linalg.lanczos import start
from snconvert.linalg.matrix_norm import checked_scan
from snconvert.linalg.one_thread import one_thread
from snconvert.linalg.stored_u import blocks_of, norm_by

_DIRECT = 1 << 13  # numbers of a kernel up to which all eigenvalues take no longer
_SINGLE = 4  # bytes of a number whose square is a float64 number
_FIRST = 24  # rounds of the first look, which begins with noise
_LATER = 6
_ENOUGH = 1e-3  # of the residual: the error of sigma is about its square
_NOISE = 0.1  # in the scout, lest it settle
_LEAST = 1e-9  # of theta: what is shorter is rounding, and no direction


class Follower:
    """Sigma of one kernel, look by look, for a small part of the time of an exact search.

    Args:
        view: How the kernel is read as a stack `(b, m, n)`.
        conv: The map whose norm sigma is, `None` for that of the matrix.

    Example:
        >>> follower = Follower(MatrixView.of((512, 64)), None)
        >>> kernel = np.eye(512, 64) * np.arange(1.0, 65.0)
        >>> round(follower(kernel), 3), round(follower(2 * kernel), 3)
        (64.0, 128.0)
    """

    def __init__(self, view: MatrixView, conv: Convolution | None) -> None:
        self._view, self._conv = view, conv
        self._rows: dict[int, Array] = {}

    @one_thread()
    def __call__(self, kernel: Array, *, bfloat16: bool = False) -> float:
        """Returns sigma of the kernel as it is now.

        Args:
            kernel: As for `leading_triplet`.
            bfloat16: Whether the kernel's 16 bits are those of a bfloat16.

        Raises:
            KernelError: It holds NaN or infinity, or numbers of another type, or none.
        """
        view, conv = self._view, self._conv
        if conv is None and (view.shape[0] > 1 or kernel.size <= _DIRECT):
            direct = _is_small(kernel, bfloat16=bfloat16)
            sigma = _by_gram(view.matrix(kernel)) if direct else math.nan
            if math.isfinite(sigma):
                return sigma
            return kernel_triplet(kernel, view, None, bfloat16=bfloat16).sigma
        checked_scan(kernel, bfloat16=bfloat16)
        blocks = blocks_of(kernel, view, conv, bfloat16=bfloat16)
        sigma = max((self._followed(index, block) for index, block in blocks), default=0.0)
        return sigma * conv.factor if conv else sigma

    def _followed(self, index: int, block: Block | ConvolutionBlock) -> float:
        """Returns the norm of a block."""
        known = self._rows.get(index)
        size = self._view.shape[2] * math.prod(self._conv.outputs if self._conv else ())
        rows = start(index, size, 3) if known is None else known
        basis = np.empty((0, size))
        images, backs = [], []
        for _ in range(_FIRST if known is None else _LATER):
            new = _new_directions(rows, basis)
            if not len(new):
                break
            basis = np.concatenate([basis, new])
            image, back = _products(block, new)
            images.append(image)
            backs.append(back)
            every = np.concatenate(images)
            theta, vectors = np.linalg.eigh(every @ every.T)
            top = vectors[:, :-3:-1].T
            rows = top @ np.concatenate(backs) - theta[:-3:-1, None] * (top @ basis)
            residual = float(np.linalg.norm(rows[0]) / theta[-1]) if theta[-1] > 0 else 0.0
            rows = rows / max(theta[-1], 1e-300)
            if residual <= _ENOUGH:
                break
        scout = backs[0][-1] / max(float(np.linalg.norm(backs[0][-1])), 1e-300)
        scout += _NOISE * start(index + 1, size, 1)[0] / math.sqrt(size)
        self._rows[index] = np.stack([*(top @ basis), scout]).astype(np.float32)
        return float(np.ldexp(np.sqrt(max(theta[-1], 0.0)), block.exponent))


def norm_along(
    kernel: Array,
    view: MatrixView,
    conv: Convolution | None,
    u: Array,
    *,
    bfloat16: bool = False,
) -> float:
    """Returns what `norm_by` does, for small matrices in a third of its time."""
    if conv is not None or not _is_small(kernel, bfloat16=bfloat16):
        return norm_by(kernel, view, conv, u, bfloat16=bfloat16)
    rows = u.astype(np.float64)
    image = view.matrix(kernel).astype(np.float64) @ rows[:, :, None]
    lengths = np.sqrt((rows * rows).sum(1))
    return float(max(np.sqrt((image * image).sum(axis=(1, 2))) / np.where(lengths, lengths, 1.0)))


def _is_small(kernel: Array, *, bfloat16: bool) -> bool:
    return not bfloat16 and kernel.dtype.itemsize <= _SINGLE and kernel.size <= _DIRECT


def _by_gram(stack: Array) -> float:
    """Returns the largest norm of small matrices of float32 numbers, or less."""
    stack = stack.astype(np.float64)
    across = stack.swapaxes(1, 2)
    gram = stack @ across if stack.shape[1] < stack.shape[2] else across @ stack
    # Not LAPACK on what is not finite; the caller says what is wrong.
    return math.sqrt(max(np.linalg.eigvalsh(gram)[:, -1])) if np.isfinite(gram).all() else math.nan


def _products(block: Block | ConvolutionBlock, rows: Array) -> tuple[Array, Array]:
    """Returns `W u` and `W'W u` of rows `u`, of a matrix in float32."""
    if isinstance(block, ConvolutionBlock):
        return block.round_trip(rows)
    single = rows.astype(np.float32)
    image, back = np.empty((len(rows), block.shape[0])), np.zeros(rows.shape)
    for part, piece in block.pieces(0, "f4"):
        for i, u in enumerate(single):  # a product by two vectors takes longer than two products
            there = piece @ u
            image[i, part] = there
            back[i] += there @ piece
    return image, back


def _new_directions(rows: Array, basis: Array) -> Array:
    """Returns orthonormal rows that span what some rows have outside of an orthonormal basis."""
    kept = basis
    for row in rows.astype(np.float64):
        rest = row - (row @ kept.T) @ kept
        rest -= (rest @ kept.T) @ kept  # once more, for what cancellation has left
        length = np.linalg.norm(rest)
        if length > _LEAST:
            kept = np.concatenate([kept, rest[None] / length])
    return kept[len(basis) :]
