"""The proof in float64 that sigma is the norm of a kernel to one part in a million.

Lower bound: no image of a unit vector is longer than the norm, so `|W u| / |u|` is one.

Upper bound `c = sigma (1 + 1e-6)`: `c^2 - W'W` is positive semidefinite. With a shift `t` a little
below `c^2`, factorise `t - W'W = R'R + E`, by Cholesky, in place and in blocks of rows; then
`|W|^2 <= t + |E|`, whatever the factor is. The remainder `E` is computed along with it, so that
nothing depends on how LAPACK factorises and solves. What rounding may hide is bounded from what
holds of every product of matrices, in any order of summation and with fused operations (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.5):

    |fl(A'A) - A'A| <= g(k) |A|'|A|,   g(k) = k e / (1 - k e),   e = 2**-53,   k = rows of A

and `| |A|'|A| | <= |A|_F^2`. Those bounds are taken twice, for the roundings in the bounds, and
for underflow: it takes at most `2**-1074` of a product, where the largest number is at least
`2**-21`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from snconvert.core.matrix_view import MatrixView
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError
from snconvert.linalg.blocks import Array, Block, Blocks
from snconvert.linalg.one_thread import one_thread

SLACK = 1e-6
"""How far the proven bounds may be from sigma, relatively."""
UNIT = 2.0**-53
"""The unit roundoff of float64: `e` above."""
_WIDTH = 256  # rows of the Gram matrix that are factorised at once
_CHUNK = 512  # rows of the kernel that are multiplied at once
ROOM = 1e-7
"""Of the shift, left for the remainder."""


@one_thread()
def proved_bounds(
    kernel: Array, view: MatrixView, triplet: Triplet, *, bfloat16: bool = False
) -> tuple[float, float]:
    """Returns a lower and an upper bound of a kernel's norm, not more than `SLACK` from sigma.

    It takes the Gram matrix of the smaller side of a block in float64, and its factorisation in
    place: eight bytes times the square of that side.

    Args:
        kernel: As for `leading_triplet`.
        view: As for `leading_triplet`.
        triplet: What was found.
        bfloat16: As for `leading_triplet`.

    Raises:
        KernelError: It cannot be proved; sigma may be wrong.

    Example:
        >>> from snconvert.linalg.matrix_norm import leading_triplet
        >>> kernel, view = np.diag([3.0, 4.0]), MatrixView.of((2, 2))
        >>> proved_bounds(kernel, view, leading_triplet(kernel, view))[1]
        4.000004
    """
    sigma = triplet.sigma
    if triplet.zero:
        return 0.0, 0.0
    upper, lower = sigma * (1.0 + SLACK), 0.0
    blocks = Blocks(kernel, view, bfloat16=bfloat16)
    for index in range(view.shape[0]):
        block = blocks.block(index)
        if block.zero:
            continue
        bound, square = _rayleigh(block, triplet.u[index].astype(np.float64))
        lower = max(lower, times_power(bound, block.exponent))
        limit = times_power(upper, -block.exponent)
        try:
            proved = is_below(block, limit, square)
        except MemoryError:
            raise KernelError(
                f"the proof of sigma takes {8e-9 * min(block.shape) ** 2:.2g} GB of memory",
                "Leave out --certify",
            ) from None
        if not proved:
            raise KernelError(
                f"sigma {sigma:.9g} cannot be proved: the kernel's norm may be above {upper:.9g}",
                "Report it, with the kernel, as an error in snconvert",
            )
    if lower < sigma * (1.0 - SLACK):
        raise KernelError(
            f"sigma {sigma:.9g} cannot be proved: the kernel's norm may be as low as {lower:.9g}",
            "Report it, with the kernel, as an error in snconvert",
        )
    return lower, upper


def gamma(count: int) -> float:
    """Returns `g(k)` of the head of this module."""
    return count * UNIT / (1.0 - count * UNIT)


def times_power(value: float, exponent: int) -> float:
    """Returns `value * 2**exponent`, infinity above the numbers of float64."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.inf


def _rayleigh(block: Block, u: Array) -> tuple[float, float]:
    """Returns a lower bound of `|W u| / |u|`, and the square of the Frobenius norm."""
    m, n = block.shape
    image = square = 0.0
    for _, piece, there in block.images(u[None]):
        image += float(np.square(there).sum())
        square += float(np.square(piece).sum())
    length = float(np.linalg.norm(u))
    hidden = 2 * (gamma(n) * math.sqrt(square) * length + gamma(m + n + 4) * math.sqrt(image))
    return (math.sqrt(image) - hidden) / (length * (1.0 + 2 * gamma(n + 4))), square


def is_below(block: Block, limit: float, square: float) -> bool:
    """Proves that the norm of a block is at most `limit`.

    Args:
        block: The block.
        limit: What is to be proved.
        square: The square of its Frobenius norm, as computed.
    """
    side = block.longer
    length, size = block.shape[side], block.shape[1 - side]
    if square * (1.0 + 2 * gamma(length * size + 4)) < limit * limit:
        return True

    def hidden(factor: float) -> float:
        return 2 * (gamma(length + 4) * square + gamma(size + 4) * factor)

    return is_proved(limit, size, hidden, lambda shift: _factorise(gram(block, side), shift))


def is_proved(
    limit: float,
    size: int,
    hidden: Callable[[float], float],
    factorise: Callable[[float], tuple[float, float] | None],
) -> bool:
    """Proves that no eigenvalue of positive semidefinite matrices is above `limit**2`.

    Args:
        limit: What is to be proved.
        size: The order of the matrices.
        hidden: What rounding may hide, by the square of the Frobenius norm of the factor.
        factorise: Takes a shift; returns of the factor `R` of the shift less the matrix the
            Frobenius norm of what `R'R` misses, and the square of that of `R`, both the largest;
            `None` if there is no factor.
    """
    highest = limit * limit * (1.0 - 4 * UNIT)
    own = 16 * UNIT * highest  # of the subtraction from the shift, and of the sums here
    shift = highest * (1.0 - ROOM) - hidden(size * limit * limit) - own
    found = factorise(shift) if shift > 0 else None
    if found is None:
        return False
    remainder, factor = found
    return shift + remainder * (1.0 + ROOM) + hidden(factor) + own <= highest


def gram(block: Block, side: int) -> Array:
    """Returns the Gram matrix of the smaller side; below the diagonal blocks it is not filled."""
    size = block.shape[1 - side]
    gram = np.zeros((size, size))
    for chunk in chunks(block, side):
        for first in range(0, size, _WIDTH):
            own = slice(first, first + _WIDTH)
            gram[own, first:] += chunk[:, own].T @ chunk[:, first:]
    return gram


def chunks(block: Block, side: int, most: int = _CHUNK) -> Iterator[Array]:
    """Yields `(at most most, size)` rows at a time of a block, worth a product of matrices.

    Args:
        block: The block.
        side: The axis that is cut, as in `Block.pieces`.
        most: How many rows there may be; each chunk is valid until the next.
    """
    length, size = block.shape[side], block.shape[1 - side]
    buffer = np.empty((min(length, most), size))
    filled = 0
    for _, piece in block.pieces(side, "f8"):
        done = 0
        while done < len(piece):
            count = min(len(piece) - done, len(buffer) - filled)
            buffer[filled : filled + count] = piece[done : done + count]
            done, filled = done + count, filled + count
            if filled == len(buffer):
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]


def _factorise(gram: Array, shift: float) -> tuple[float, float] | None:
    """Writes the upper factor `R` of `shift - gram` over `gram`.

    Returns:
        The Frobenius norm of what `R'R` misses, and the square of that of `R`; `None` if the
        matrix is not positive definite.
    """
    missed = factor = 0.0
    for first in range(0, len(gram), _WIDTH):
        own = slice(first, first + _WIDTH)
        part = -gram[own, first:]
        count = len(part)
        part[:, :count][np.diag_indices(count)] += shift
        part -= gram[:first, own].T @ gram[:first, first:]
        try:
            root = np.linalg.cholesky(part[:, :count])
        except np.linalg.LinAlgError:
            return None
        row = gram[own, first:]
        row[:, :count] = root.T
        row[:, count:] = np.linalg.solve(root, part[:, count:])
        factor += float(np.square(row).sum())
        part -= root @ row
        missed += 2.0 * float(np.square(part).sum())  # it stands on both sides of the diagonal
    return math.sqrt(missed), factor
