"""The leading eigenvector of a large symmetric positive semidefinite operator.

Block Lanczos with two vectors, full reorthogonalisation and thick restarts (Golub & Underwood 1977;
Wu & Simon 2000). Reading the matrix costs more than multiplying it, so the second vector is free;
it saves a third of the rounds and finds both members of a close pair, where a single vector can
settle on the wrong one.

The start vectors are noise whose seed is drawn from images under the operator: neither chance nor
design can make them orthogonal to what is looked for, as that would change the last bits of the
images, and with them the noise.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np

from snconvert.linalg.blocks import Array
from snconvert.linalg.one_thread import PAIRS

# Of the residual: what is enough, as rounding in float32 ends its fall at 1.5e-8; what is enough if
# its square over the gap to the next eigenvalue, about the error of the largest, is; and that.
# Near a multiple of 1 the residual of any vector is small, and tells nothing but with the gap.
_LIMITS = (3e-8, 8e-7, 1e-9)
_LEAST = 8  # rounds: a start almost orthogonal to the leading vector needs them
_MOST = 1000  # rounds: what is not found by then is told by its residual
_BASIS = 1 << 24  # bytes of Lanczos vectors
_SHORTEST = {True: 32, False: 8}  # Lanczos vectors, for a vector or only a value
_LONGEST = 384  # Lanczos vectors: more cost more than a restart
_UNPACKED = 500_000  # numbers: OpenBLAS' limit is 1e6 multiplications
_GOLDEN = 0x9E37_79B9_7F4A_7C15


def leading_vector(
    apply: Callable[[Array], Array],
    size: int,
    progress: Callable[[int], None] | None = None,
    *,
    precision: float | None = None,
    memory: int = _BASIS,
) -> Array:
    """Returns a unit eigenvector of the largest eigenvalue.

    Rayleigh-Ritz over the block Krylov space: `theta, s` is the top eigenpair of `Q A Q'`, the
    vector `s Q`, and `|s_last R| / theta` its residual, with `R` the part of `A q` outside.

    Args:
        apply: Maps float32 rows `X (2, size)` to `X A`.
        size: The order of the operator, at least 32.
        progress: Called with the number of rounds so far.
        precision: How exact the eigenvalue is to be, relatively, where the vector need not be
            better than that takes: by its residual squared over the gap to the next one. `None`:
            the residual itself is to be 1e-6 as well, so that the vector can be stored.
        memory: Bytes that the Lanczos vectors may take, with at least 8 of them.

    Returns:
        float64 `(size,)`.
    """
    # Two dimensions stay free, so that there is always something left for the next block.
    longest = min(_LONGEST, max(_SHORTEST[precision is None], memory // (4 * size)), size - 2) & ~1
    least, most, exact = _LIMITS if precision is None else (precision, 1.0, precision)
    basis = np.empty((longest, size), np.float32)
    projected = np.zeros((longest, longest))
    seed = _seed_of(np.asarray(apply(start(0, size, 2)), np.float32))
    basis[:2], _ = _orthonormal(start(seed, size, 2), basis[:0], seed)
    used, check, checked, before = 2, min(_LEAST, longest // 2), 0, 1.0
    for rounds in range(1, _MOST + 1):
        active, last = basis[:used], slice(used - 2, used)
        block = np.asarray(apply(active[last]), np.float32)
        inside = times(block, active, transposed=True)
        block -= times(inside, active)
        block, outside = _orthonormal(block, active, seed + rounds)
        projected[last, :used] = inside
        projected[:used, last] = inside.T
        full = used + 2 > longest
        if full or rounds >= check or rounds == _MOST:
            theta, top = top_pair(projected[None, :used, :used])
            residual = float(np.linalg.norm(outside @ top[0, last])) / max(float(theta[0]), 1e-300)
            enough = most
            if residual <= most:
                second = float(np.linalg.eigvalsh(projected[:used, :used])[-2])
                gap = 1.0 - second / max(float(theta[0]), 1e-300)
                enough = max(least, min(most, math.sqrt(exact * max(gap, 0.0))))
            if (residual <= enough and rounds >= _LEAST) or rounds == _MOST:
                break
            check = rounds + _wait(residual, enough, before, rounds - checked)
            before, checked = residual, rounds
            if progress is not None:
                progress(rounds)
        if full:
            used = _restart(basis, projected)
        basis[used : used + 2] = block
        used += 2
    vector = np.empty(size)
    for part in _columns(size):
        vector[part] = top[0] @ basis[:used, part].astype(np.float64)
    return vector / np.linalg.norm(vector)


def times(rows: Array, matrix: Array, *, transposed: bool = False) -> Array:
    """Returns `R W`, or `R W'` if transposed, of two float32 rows.

    OpenBLAS packs a matrix before it multiplies it by two rows, which takes longer than two
    products with one row each; but for its kernels for AVX-512, on small matrices.
    """
    factor = matrix.T if transposed else matrix
    if PAIRS and matrix.flags.c_contiguous and matrix.size <= _UNPACKED:
        return rows @ factor
    products = np.empty((2, factor.shape[1]), np.float32)
    for row, product in zip(rows, products, strict=True):
        np.dot(row, factor, out=product)
    return products


def _seed_of(images: Array) -> int:
    """Draws a seed from the bits of float32 rows, whatever power of two they are multiplied by."""
    scaled = images / np.abs(images).max(initial=np.float32(1e-30))
    return zlib.crc32(scaled[0]) << 32 | zlib.crc32(scaled[1])


def _wait(residual: float, enough: float, before: float, rounds: int) -> int:
    """Returns after how many rounds to look again, from how far the residual fell in the last."""
    fall = math.log(before / residual) / rounds if 0 < residual < before else 0.1
    return max(2, min(12, int(0.8 * math.log(max(residual, enough) / enough) / fall)))


def top_pair(gram: Array) -> tuple[Array, Array]:
    """Returns the largest eigenvalue of each symmetric matrix and a unit vector for it.

    The eigenvalue is LAPACK's; two rounds of inverse iteration just above it give the vector, for
    less than half of what all eigenvectors cost.

    Args:
        gram: float64 `(b, s, s)`, positive semidefinite; a zero matrix gives `ones / sqrt(s)`.

    Returns:
        Eigenvalues `(b,)` and vectors `(b, s)`.
    """
    size = gram.shape[-1]
    values = np.linalg.eigvalsh(gram)[:, -1] if size > 1 else gram[:, 0, 0]
    zero = values <= 0
    shift = np.where(zero, 1.0, values * (1 + 1e-12))
    shifted = shift[:, None, None] * np.eye(size) - gram
    vectors = np.broadcast_to(start(0, size, 1)[0].astype(np.float64), (len(gram), size))
    vectors = np.where(zero[:, None], 1.0, vectors)
    for _ in range(1 if size == 1 else 2):
        vectors = np.linalg.solve(shifted, vectors[:, :, None])[:, :, 0]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return values, vectors


def start(seed: int, size: int, count: int) -> Array:
    """Returns float32 rows `(count, size)` of fixed noise in [-1, 1): splitmix64.

    Written out, because a library's generators may change from one version to the next, and with
    them the bytes of every `u`.
    """
    state = np.arange(1, count * size + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    state += np.uint64(seed * 0x632B_E59B_D9B4_E019 & 0xFFFF_FFFF_FFFF_FFFF)
    for shift, factor in ((30, 0xBF58_476D_1CE4_E5B9), (27, 0x94D0_49BB_1331_11EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    noise = (state >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return noise.reshape(count, size)


def _orthonormal(rows: Array, basis: Array, seed: int) -> tuple[Array, Array]:
    """Makes two rows orthonormal, and orthogonal to `basis`, in place.

    Where cancellation left little but rounding errors, one round is not enough: it ends when a
    round leaves the rows as long as they were. A row of which nothing is left gives way to noise,
    with a zero in `R`.

    Returns:
        The rows `Q`, and the upper triangular `R` with `rows = R' Q`.
    """
    factor = _pair(rows)
    for row in (0, 1):
        if not factor[row, row]:
            rows[row] = start(seed + 1, rows.shape[1], 2)[row] / np.float32(math.sqrt(len(rows.T)))
    for _ in range(8):
        rows -= times(times(rows, basis, transposed=True), basis)
        again = _pair(rows)
        factor = again @ factor
        if min(again[0, 0], again[1, 1]) > 0.5:  # noqa: PLR2004
            break
    return rows, factor


def _pair(rows: Array) -> Array:
    """Gram-Schmidt of two rows in place; returns the upper triangular `R` of `rows = R' Q`."""
    one, two = rows
    length = math.sqrt(one.dot(one))
    if length:
        one *= 1 / length
    along = float(one.dot(two))
    two -= along * one
    rest = math.sqrt(two.dot(two))
    if rest:
        two *= 1 / rest
    return np.array([[length, along], [0.0, rest]])


def _restart(basis: Array, projected: Array) -> int:
    """Keeps the upper quarter of the Ritz vectors; returns how many these are."""
    longest = len(basis)
    keep = max(4, longest // 4) & ~1
    values, vectors = np.linalg.eigh(projected)
    turn = np.ascontiguousarray(vectors[:, -keep:].T, np.float32)
    for part in _columns(basis.shape[1]):
        basis[:keep, part] = turn @ basis[:, part]
    projected[:] = 0
    projected[np.arange(keep), np.arange(keep)] = values[-keep:]
    return keep


def _columns(size: int) -> list[slice]:
    return [slice(first, first + 4096) for first in range(0, size, 4096)]
