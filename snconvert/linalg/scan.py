"""One pass over a kernel: numbers that are not finite, and the largest magnitude.

The bits of an IEEE number without its sign are ordered as its magnitude, so an integer maximum
finds both, at memory speed for every format, byte order and alignment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from snconvert.errors import KernelError

Array = np.ndarray[Any, Any]

_CHUNK = 1 << 19  # bytes: stays in the L2 cache
_HALF, _BFLOAT, _SINGLE, _DOUBLE = 0x7C00, 0x7F80, 0x7F80_0000, 0x7FF0_0000_0000_0000
"""The bits of infinity; anything above is NaN."""


class Scan(NamedTuple):
    """What a pass over a kernel found.

    Attributes:
        nonfinite: How many numbers are NaN or infinite.
        exponent: The smallest integer with `max |W| < 2**exponent`; 0 for a kernel of zeros
            and for one that is not finite.
        zero: Whether all numbers are zero.
    """

    nonfinite: int
    exponent: int
    zero: bool


def scan(kernel: Array, *, bfloat16: bool = False) -> Scan:
    """Counts what is not finite and finds the magnitude of the largest number.

    Args:
        kernel: float16, float32 or float64 in any byte order and alignment, or uint16 that holds
            bfloat16; of any shape and strides.
        bfloat16: Whether the 16 bits are those of a bfloat16.

    Raises:
        KernelError: The numbers are of another type.

    Example:
        >>> scan(np.array([0.75, -3.0], "float16"))
        Scan(nonfinite=0, exponent=2, zero=False)
    """
    infinity = _infinity(kernel.dtype, bfloat16=bfloat16)
    kind = np.dtype(f"u{kernel.dtype.itemsize}")
    mask = kind.type((1 << (8 * kind.itemsize - 1)) - 1)
    largest = nonfinite = 0
    for part in _parts(kernel):
        bits = part.view(kind.newbyteorder(part.dtype.byteorder)).astype(kind)
        np.bitwise_and(bits, mask, out=bits)
        top = int(bits.max())
        if top >= infinity:
            nonfinite += int(np.count_nonzero(bits >= kind.type(infinity)))
        largest = max(largest, top)
    if nonfinite or not largest:
        return Scan(nonfinite, 0, not largest)
    if bfloat16:
        largest, kind = largest << 16, np.dtype("u4")
    number = np.array(largest, kind).view(f"f{kind.itemsize}").astype("f8")
    return Scan(0, int(np.frexp(number)[1]), zero=False)


def _infinity(dtype: np.dtype[Any], *, bfloat16: bool) -> int:
    if bfloat16 and dtype.kind == "u" and dtype.itemsize == 2:  # noqa: PLR2004
        return _BFLOAT
    known = {2: _HALF, 4: _SINGLE, 8: _DOUBLE}
    if bfloat16 or dtype.kind != "f" or dtype.itemsize not in known:
        raise KernelError(
            f"the kernel holds numbers of type {dtype}, where float16, bfloat16, float32 or "
            "float64 was expected",
            "Convert the model before it is quantised, or leave the layer out with --exclude",
        )
    return known[dtype.itemsize]


def _parts(array: Array) -> Iterator[Array]:
    """Yields the numbers of `array` in pieces of about `_CHUNK` bytes, without copying them."""
    count = max(1, _CHUNK // array.dtype.itemsize)
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        for start in range(0, flat.size, count):
            yield flat[start : start + count]
    elif array.size <= count:
        yield array
    elif array.shape[0] == 1:
        yield from _parts(array[0])
    else:
        rows = max(1, count * array.shape[0] // array.size)
        for start in range(0, array.shape[0], rows):
            part = array[start : start + rows]
            yield from [part] if part.size <= count else _parts(part)
