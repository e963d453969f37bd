"""A proved bound from above of the norm of any matrix: always one, and as a rule within 1e-6."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.core.matrix_view import MatrixView
from snconvert.linalg.blocks import Array, Block, Blocks, read, scan
from snconvert.linalg.certificate import SLACK, is_below, times_power
from snconvert.linalg.matrix_norm import leading_triplet
from snconvert.linalg.one_thread import one_thread

_WIDEST = 1.0  # slack from which on the Frobenius norm is taken


@one_thread()
def proved_matrix_norm(matrix: Array) -> Magnitude:
    """Returns a bound of the 2-norm of a matrix, or of the largest of a stack of matrices.

    The search for the norm gives an estimate, and `snconvert.linalg.certificate` proves that the
    norm is at most a part in a million above it. Where rounding leaves no room for that, as it may
    for a matrix of millions of rows and a flat spectrum, the bound is the least of `1 + 2e-6`,
    `1 + 4e-6`, .. times the estimate that can be proved, and in the end the Frobenius norm.

    Args:
        matrix: Finite float64 numbers of any scale, `(m, n)` or `(b, m, n)`.

    Example:
        >>> proved_matrix_norm(np.diag([3.0, 4.0])).value
        4.0000036
    """
    stack, exponent = scaled(matrix.reshape(-1, *matrix.shape[-2:]))
    if not stack.any():
        return Magnitude(0.0, 0)
    view = MatrixView(stack.shape, (0, 1, 2), stack.shape)
    estimate = leading_triplet(stack, view).sigma
    blocks = [(block, _square(block)) for block in _blocks(stack, view)]
    try:
        for limit in slackened(estimate):
            if all(is_below(b, times_power(limit, -b.exponent), square) for b, square in blocks):
                return Magnitude.of(limit, exponent)
    except MemoryError:
        pass  # the Frobenius norm takes none
    largest = max(math.ldexp(math.sqrt(square), block.exponent) for block, square in blocks)
    return Magnitude.of(largest * (1.0 + SLACK), exponent)


def scaled(numbers: Array) -> tuple[Array, int]:
    """Returns finite float64 numbers times a power of two, the largest below 1, and that power.

    A number `2**-1022` below the largest may be rounded, by `2**-1074`.
    """
    numbers = np.ascontiguousarray(numbers, np.float64)
    exponent = scan(numbers, bfloat16=False).exponent
    return read(numbers, exponent, np.empty(numbers.shape), bfloat16=False), exponent


def slackened(estimate: float) -> Iterator[float]:
    """Yields limits above the estimate of a norm, that of `SLACK` first."""
    slack = 0.9 * SLACK  # the estimate may be above the norm, by rounding
    while slack < _WIDEST:
        yield estimate * (1.0 + slack)
        slack *= 2.0


def _blocks(stack: Array, view: MatrixView) -> Iterator[Block]:
    blocks = Blocks(stack, view, bfloat16=False)
    return (block for block in map(blocks.block, range(len(stack))) if not block.zero)


def _square(block: Block) -> float:
    return sum(float(np.square(piece).sum()) for _, piece in block.pieces(0, "f8"))
