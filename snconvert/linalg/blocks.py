"""A kernel, read block by block in pieces of aligned, native, scaled float32 or float64.

A kernel may lie unaligned in a memory map, in half precision or in the other byte order. Each
piece is copied once into a buffer that fits a cache, whatever the kernel is, so that every kernel
takes the same arithmetic, no more than a few megabytes are allocated, and numbers from 1e-300 to
1e300 work: pieces are multiplied by a power of two, which is exact.

`scan` finds that power, and numbers that are not finite, in one pass: the bits of an IEEE number
without its sign are ordered as its magnitude, so an integer maximum finds both, at memory speed
for every format, byte order and alignment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from snconvert.core.matrix_view import MatrixView
from snconvert.errors import KernelError

Array = np.ndarray[Any, Any]
Pieces = Iterator[tuple[slice, Array]]

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
            "Convert the model before it is quantized, or leave the layer out with --exclude",
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


_PIECE = 1 << 17  # numbers: half a megabyte of float32 fits every L2 cache beside the vectors
_STRIP = 128  # numbers that are read at once, at least, from each line of the memory
_COPY = 1 << 24  # bytes: a kernel that lies in another order is copied up to here
_CALM = 20  # a maximum between 2**-20 and 2**20 needs no scaling


class Blocks:
    """The stack `(b, m, n)` of a kernel, read in pieces.

    Args:
        kernel: The kernel, as `scan` describes it.
        view: How it is read as a stack.
        bfloat16: Whether it is uint16 that holds bfloat16.
        scanned: What a pass over it has found, if there was one.

    Attributes:
        shape: `(b, m, n)`.
        stack: The stack in the kernel's own number format, or `None` where that would take a
            large copy.
    """

    def __init__(
        self, kernel: Array, view: MatrixView, *, bfloat16: bool, scanned: Scan | None = None
    ) -> None:
        self.shape = view.shape
        self._scanned = scanned if view.shape[0] == 1 else None
        self.bfloat16 = bfloat16
        self.stack: Array | None = None
        split = kernel.reshape(view.split).transpose(view.axes)
        self._groups = _groups(split.shape, view.shape)
        if view.in_order or self._groups is None or kernel.nbytes <= _COPY:
            self.stack = split.reshape(view.shape)
        self._split = split

    def block(self, index: int) -> Block:
        """Returns the matrix at `index` of the stack."""
        if self.stack is not None or self._groups is None:
            stack = self._split.reshape(self.shape) if self.stack is None else self.stack
            return Block(stack[index], self.shape[1:], 1, self._scanned, bfloat16=self.bfloat16)
        blocks, rows, _ = self._groups
        array = self._split[np.unravel_index(index, blocks) if blocks else ()]
        return Block(array, self.shape[1:], len(rows), self._scanned, bfloat16=self.bfloat16)


class Block:
    """One matrix `(m, n)`, read in pieces of rows or columns.

    Args:
        array: Its numbers; the first `axes` axes make up the rows, the others the columns.
        shape: `(m, n)`.
        axes: How many axes make up the rows.
        scanned: What a pass over it has found, if there was one.
        bfloat16: Whether it is uint16 that holds bfloat16.

    Attributes:
        exponent: What is read is `W * 2**-exponent`.
        zero: Whether all numbers are zero.
        lines: The axis along which whole lines of the memory follow each other.
        longer: The longer axis.
    """

    def __init__(
        self,
        array: Array,
        shape: tuple[int, ...],
        axes: int,
        scanned: Scan | None = None,
        *,
        bfloat16: bool,
    ) -> None:
        self.array = array
        self.shape = (shape[0], shape[1])
        self.bfloat16 = bfloat16
        self._axes = axes
        self.lines = int(array.ndim == 2 and array.strides[0] < array.strides[1])  # noqa: PLR2004
        self.longer = int(shape[0] < shape[1])
        scanned = scanned or scan(array, bfloat16=bfloat16)
        self.zero = scanned.zero
        self.exponent = scanned.exponent if abs(scanned.exponent) > _CALM else 0

    def pieces(self, side: int, dtype: str, part: int = 0, parts: int = 1) -> Pieces:
        """Yields slices of the rows (`side` 0) or columns (1) and what they hold.

        Args:
            side: The axis that is cut.
            dtype: `"f4"` or `"f8"`.
            part: Which part of them.
            parts: Of how many.

        Returns:
            Pieces `(slice, n)` of `W`, or `(slice, m)` of `W'`, each valid until the next.
        """
        length, width = self.shape[side], self.shape[1 - side]
        cut = side != self.lines  # a piece holds parts of all lines of the memory
        count = min(length, max(_STRIP if cut else 1, _PIECE // width))
        buffer = np.empty(count * width, dtype)
        first, last = (-(-length // count) * i // parts * count for i in (part, part + 1))
        for start in range(first, min(last, length), count):
            lines = slice(start, min(start + count, length))
            piece = self.array[self._index(lines, side)]
            piece = piece.reshape((-1, width) if side == 0 else (width, -1))
            room = buffer[: piece.size]
            out = room.reshape(piece.shape[::-1]).T if self.lines else room.reshape(piece.shape)
            out = read(piece, self.exponent, out, bfloat16=self.bfloat16)
            yield lines, out.T if side else out

    def images(self, rows: Array) -> Iterator[tuple[slice, Array, Array]]:
        """Yields slices of the rows of `W`, what they hold, and `W u` there; `u` are rows."""
        for part, piece in self.pieces(0, "f8"):
            yield part, piece, rows @ piece.T

    def image(self, rows: Array) -> Array:
        """Returns `W u` of rows `u`, `(r, m)`, in float64."""
        image = np.empty((len(rows), self.shape[0]))
        for part, _, there in self.images(rows):
            image[:, part] = there
        return image

    def round_trip(self, rows: Array) -> tuple[Array, Array]:
        """Returns `W u` of rows `u`, `(r, m)`, and `W'W u`, `(r, n)`, in float64."""
        image, back = np.empty((len(rows), self.shape[0])), np.zeros((len(rows), self.shape[1]))
        for part, piece, there in self.images(rows):
            image[:, part] = there
            back += there @ piece
        return image, back

    def _index(self, part: slice, side: int) -> tuple[Any, ...]:
        axes = slice(0, self._axes) if side == 0 else slice(self._axes, None)
        sizes = self.array.shape[axes]
        first = () if side == 0 else (slice(None),) * self._axes
        if len(sizes) == 1:
            return (*first, part)
        return (*first, *np.unravel_index(np.arange(part.start, part.stop), sizes))


def read(piece: Array, exponent: int, out: Array, *, bfloat16: bool) -> Array:
    """Returns `piece * 2**-exponent` as float32 or float64, in `out` or where it lies already.

    Exact but for float64 read as float32, and numbers `2**-126` below the largest.
    """
    if piece.dtype == out.dtype and not exponent and piece.flags.aligned and piece.flags.forc:
        return piece
    if out.dtype.itemsize == 8 and piece.dtype.itemsize < 8:  # noqa: PLR2004
        single = np.empty_like(out, "f4")
        np.copyto(out, read(piece, exponent, single, bfloat16=bfloat16))
        return out
    rest = -exponent
    if bfloat16:
        bits = out.view("u4")
        np.copyto(bits, piece)
        np.left_shift(bits, 16, out=bits)
    elif piece.dtype.itemsize == 2:  # noqa: PLR2004
        # numpy converts float16 number by number. Widening the sign and shifting puts exponent
        # and mantissa in place; the biases differ by 112.
        bits = out.view("i4")
        np.copyto(bits, piece.view(np.dtype("i2").newbyteorder(piece.dtype.byteorder)))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(out.view("u4"), np.uint32(0x8FFF_FFFF), out=out.view("u4"))
        rest += 112
    elif piece.dtype.itemsize == 8:  # noqa: PLR2004
        # 2**1074 is no float64: the smallest subnormals take a second factor.
        first = max(-1000, min(1000, rest))
        np.multiply(piece, np.float64(math.ldexp(1.0, first)), out=out, casting="same_kind")
        rest -= first
    else:
        np.copyto(out, piece)
    while rest:
        factor = max(-126, min(126, rest))
        np.multiply(out, out.dtype.type(math.ldexp(1.0, factor)), out=out)
        rest -= factor
    return out


def _groups(
    sizes: tuple[int, ...], shape: tuple[int, int, int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Splits the axes of a transposed kernel into those of `b`, `m` and `n`, if they can be."""
    groups: list[tuple[int, ...]] = []
    start = 0
    for side, total in enumerate(shape):
        stop = start + (side > 0)
        while stop < len(sizes) and math.prod(sizes[start:stop]) < total:
            stop += 1
        groups.append(tuple(sizes[start:stop]))
        start = stop
    groups[2] += tuple(sizes[start:])
    if tuple(math.prod(group) for group in groups) != shape or not all(groups[1:]):
        return None
    return groups[0], groups[1], groups[2]
