"""The CRC-32 of changed bytes, from the CRC-32 of the unchanged ones.

CRC-32 is linear: for messages of equal length, `crc(a) ^ crc(b)` depends on `a ^ b` alone. Where a
few blocks of a large file change, its new CRC follows from the old one and the blocks, without a
second pass: a block whose change has the CRC `d` and is followed by `t` bytes contributes `d * x^(8
t)` modulo the polynomial. The sum over the blocks is taken by Horner's rule from the first to the
last, so that what is raised to a power are the distances between them, of which few differ.

Reference: crc32_combine in zlib's crc32.c (multmodp, x2nmodp).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31  # x^0: the bits are reflected
_ONES = 0xFFFFFFFF


def crc_of_changed(crc: int, changes: Iterable[tuple[int, int]]) -> int:
    """Returns the CRC-32 of a message after some of its blocks changed.

    Args:
        crc: The CRC-32 of the message before.
        changes: For each changed block, the number of bytes that follow it and `crc32(old block) ^
            crc32(new block)`.

    Example:
        >>> import zlib
        >>> change = zlib.crc32(b"quick") ^ zlib.crc32(b"brown")
        >>> crc = crc_of_changed(zlib.crc32(b"the quick fox"), [(len(" fox"), change)])
        >>> crc == zlib.crc32(b"the brown fox")
        True
    """
    total = last = 0
    for tail, change in sorted(changes, reverse=True):
        total = _multiply(total, _power(last - tail)) if total else 0
        total, last = total ^ change, tail
    return crc ^ _multiply(total, _power(last))


def crc_with_zeros(crc: int, size: int) -> int:
    """Returns the CRC-32 of a message after `size` zero bytes were appended to it.

    Example:
        >>> import zlib
        >>> crc_with_zeros(zlib.crc32(b"fox"), 2) == zlib.crc32(b"fox" + bytes(2))
        True
    """
    return _multiply(crc ^ _ONES, _power(size)) ^ _ONES


def crc_without(crc: int, tail: int, size: int) -> int:
    """Returns the CRC-32 of a message after its end was cut off.

    Args:
        crc: The CRC-32 of the message before.
        tail: The CRC-32 of what was cut off.
        size: Its length in bytes.

    Example:
        >>> import zlib
        >>> crc_without(zlib.crc32(b"the fox"), zlib.crc32(b" fox"), 4) == zlib.crc32(b"the")
        True
    """
    # The polynomial is primitive: x^(2^32 - 1) = 1, so that this power undoes x^(8 * size).
    return _multiply(crc ^ tail, _power(-size % _ONES))


def _multiply(a: int, b: int) -> int:
    """Returns `a * b` modulo the polynomial."""
    product, bit = 0, _ONE
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@lru_cache(maxsize=4096)
def _power(length: int) -> int:
    """Returns `x^(8 * length)` modulo the polynomial."""
    power, square = _ONE, 1 << 23  # x^8
    while length:
        if length & 1:
            power = _multiply(power, square)
        square = _multiply(square, square)
        length >>= 1
    return power
