"""The CRC-32 of changed bytes, from the CRC-32 of the unchanged ones.

CRC-32 is linear: for messages of equal length, `crc(a) ^ crc(b)` depends on `a ^ b` alone. Where a
few blocks of a large file change, its new CRC follows from the old one and the blocks, without a
second pass: a block whose change has the CRC `d` and is followed by `t` bytes contributes `d * x^(8
t)` modulo the polynomial.

Reference: crc32_combine in zlib's crc32.c (multmodp, x2nmodp).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = np.uint32(0xEDB88320)
_ONE = np.uint32(1 << 31)  # x^0: the bits are reflected


def crc_of_changed(crc: int, changes: NDArray[np.uint32], tails: NDArray[np.uint64]) -> int:
    """Returns the CRC-32 of a message after some of its blocks changed.

    Args:
        crc: The CRC-32 of the message before.
        changes: uint32 (k,): for each changed block, `crc32(old block) ^ crc32(new block)`.
        tails: uint64 (k,): the number of bytes that follow each block.

    Example:
        >>> import zlib
        >>> change = zlib.crc32(b"quick") ^ zlib.crc32(b"brown")
        >>> crc = crc_of_changed(
        ...     zlib.crc32(b"the quick fox"), np.uint32([change]), np.uint64([len(" fox")])
        ... )
        >>> crc == zlib.crc32(b"the brown fox")
        True
    """
    shifted = _multiply(changes, _power(tails))
    return crc ^ int(np.bitwise_xor.reduce(shifted, initial=np.uint32(0)))


def _multiply(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Returns `a * b` modulo the polynomial, elementwise."""
    product = np.zeros_like(b)
    for bit in range(31, -1, -1):
        product ^= np.where((a >> np.uint32(bit)) & np.uint32(1), b, np.uint32(0))
        b = (b >> np.uint32(1)) ^ np.where(b & np.uint32(1), _POLYNOMIAL, np.uint32(0))
    return product


def _power(lengths: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Returns `x^(8 * length)` modulo the polynomial, elementwise."""
    power = np.full(lengths.shape, _ONE)
    square = np.full(1, 1 << 23, np.uint32)  # x^8
    rest = lengths.copy()
    while rest.any():
        odd = (rest & np.uint64(1)).astype(bool)
        power[odd] = _multiply(power[odd], np.broadcast_to(square, int(odd.sum())))
        square = _multiply(square, square)
        rest >>= np.uint64(1)
    return power
