"""All singular values of a kernel, in float64, read in pieces.

With `s` the smaller side of a block, two ways lead to its values:

- The root of the eigenvalues of the Gram matrix of order `s`. It is summed in pieces, and the
  fastest way by four times (see `benchmarks/spectra.py`), but squares: what lies `x` times below
  the largest value is right to some `x**2 * 2**-48` of itself (Golub and Van Loan, Matrix
  Computations, 2013, section 8.6.1; the power of two is measured), so that it serves where the
  smallest is no less than 6e-5 of it.
- Else the singular values of `R`, the triangular factor of a QR factorisation that takes rows in
  chunks (TSQR: Demmel, Grigori, Hoemmen and Langou, arXiv:0808.2664). Its values are those of the
  block to `max(m, n) * 2**-52` of the largest. Above order 4096 its memory and time would be out
  of proportion: there the first way serves for all.

What is below the error of its way counts as zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snconvert.core.matrix_view import MatrixView
from snconvert.core.spectrum import DIRECT, LARGEST_ORDER, POINTS, Spectrum
from snconvert.linalg.blocks import Array, Block, Blocks, read
from snconvert.linalg.certificate import chunks, gram
from snconvert.linalg.matrix_norm import checked_scan
from snconvert.linalg.one_thread import one_thread

_EXACT = 4096  # order up to which it is taken at all
_FAINT = 6e-5  # of the largest value: down to it the Gram matrix gives 1e-6 of each
_TINY = 1 << 13  # numbers of a block up to which many blocks are worked on at once
_BATCH = 1 << 18  # numbers that are worked on at once
_EPSILON = 2.0**-52


@one_thread()
def spectrum_of(kernel: Array, view: MatrixView, *, bfloat16: bool = False) -> Spectrum | None:
    """Returns what the singular values of a kernel say; of several blocks those of all together.

    Each value is right to a part in a million, or to `max(m, n) * 2**-52` of its block's largest;
    above order 4096, to a part in a million of its block's largest. Memory: twice the square of the
    smaller side, in float64; up to order 4096 up to seven times.

    Args:
        kernel: As for `leading_triplet`.
        view: How it is read as a stack `(b, m, n)`.
        bfloat16: As for `leading_triplet`.

    Returns:
        The spectrum, `None` where the smaller side is above `LARGEST_ORDER`.

    Raises:
        KernelError: As for `leading_triplet`.

    Example:
        >>> spectrum = spectrum_of(np.diag([4.0, 2.0]), MatrixView.of((2, 2)))
        >>> spectrum.values, spectrum.condition, spectrum.stable_rank
        ((4.0, 2.0), 2.0, 1.25)
    """
    scanned = checked_scan(kernel, bfloat16=bfloat16)
    count, m, n = view.shape
    if min(m, n) > LARGEST_ORDER:
        return None
    values = np.zeros((count, min(m, n)))
    if not scanned.zero:
        blocks = Blocks(kernel, view, bfloat16=bfloat16, scanned=scanned)
        if blocks.stack is not None and m * n <= _TINY:
            step = max(1, _BATCH // (m * n))
            for first in range(0, count, step):
                part = blocks.stack[first : first + step]
                part = read(part, scanned.exponent, np.empty(part.shape), bfloat16=bfloat16)
                found = _rounded(np.linalg.svd(part, compute_uv=False), max(m, n) * _EPSILON)
                values[first : first + step] = np.ldexp(found, scanned.exponent)
        else:
            for index in range(count):
                block = blocks.block(index)
                if not block.zero:
                    values[index] = np.ldexp(_values(block), block.exponent)
    return _described(np.sort(values, axis=None)[::-1])


def _values(block: Block) -> Array:
    """Returns the singular values of a block, scaled as it is read, in falling order."""
    side = block.longer
    size = block.shape[1 - side]
    if size > DIRECT:
        squares = np.linalg.eigvalsh(gram(block, side), UPLO="U")[::-1]
        found = np.sqrt(squares.clip(min=0.0))
        if found[-1] > _FAINT * found[0] or size > _EXACT:
            return _rounded(found, np.sqrt(size * _EPSILON / 2))
    factor: Any = np.empty((0, size))
    for chunk in chunks(block, side, max(size, DIRECT)):
        factor = np.linalg.qr(np.concatenate([factor, chunk]), mode="r")
    return _rounded(np.linalg.svd(factor, compute_uv=False), block.shape[side] * _EPSILON)


def _rounded(values: Array, error: float) -> Array:
    """Returns values in falling order; those below their error, relative to the first, are 0."""
    return np.where(values > error * values[..., :1], values, 0.0)


def _described(values: Array) -> Spectrum:
    largest, smallest = float(values[0]), float(values[-1])
    shown = np.linspace(0, len(values) - 1, min(POINTS, len(values))).round().astype(int)
    curve = tuple(values[shown].tolist())
    if not largest:
        return Spectrum(0.0, 0.0, 0.0, 0.0, None, curve, len(values))
    parts = values / largest
    shares = parts[parts > 0] / parts.sum()
    return Spectrum(
        largest,
        smallest,
        float(np.square(parts).sum()),
        float(np.exp(-(shares * np.log(shares)).sum())),
        largest / smallest if smallest else None,
        curve,
        len(values),
    )
