"""Reads the blocks of a kernel piece by piece as aligned, native, scaled float32 or float64.

A kernel may lie unaligned in a memory map, in half precision or in the other byte order. Each
piece is copied once into a buffer that fits a cache, whatever the kernel is, so that every kernel
takes the same arithmetic, no more than a few megabytes are allocated, and numbers from 1e-300 to
1e300 work: pieces are multiplied by a power of two, which is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from snconvert.linalg.scan import Array, Scan, scan
from snconvert.matrix import MatrixView

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
        found: What a pass over it has found, if there was one.

    Attributes:
        shape: `(b, m, n)`.
        stack: The stack in the kernel's own number format, or `None` where that would take a
            large copy.
    """

    def __init__(
        self, kernel: Array, view: MatrixView, *, bfloat16: bool, found: Scan | None = None
    ) -> None:
        self.shape = view.shape
        self._found = found if view.shape[0] == 1 else None
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
            return Block(stack[index], self.shape[1:], 1, self._found, bfloat16=self.bfloat16)
        blocks, rows, _ = self._groups
        place = np.unravel_index(index, blocks) if blocks else ()
        array = self._split[place]
        return Block(array, self.shape[1:], len(rows), self._found, bfloat16=self.bfloat16)


class Block:
    """One matrix `(m, n)`, read in pieces of rows or columns.

    Args:
        array: Its numbers; the first `axes` axes make up the rows, the others the columns.
        shape: `(m, n)`.
        axes: How many axes make up the rows.
        found: What a pass over it has found, if there was one.
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
        found: Scan | None = None,
        *,
        bfloat16: bool,
    ) -> None:
        self.array = array
        self.shape = (shape[0], shape[1])
        self.bfloat16 = bfloat16
        self._axes = axes
        self.lines = int(array.ndim == 2 and array.strides[0] < array.strides[1])  # noqa: PLR2004
        self.longer = int(shape[0] < shape[1])
        found = found or scan(array, bfloat16=bfloat16)
        self.zero = found.zero
        self.exponent = found.exponent if abs(found.exponent) > _CALM else 0

    def pieces(self, side: int, dtype: str) -> Iterator[tuple[slice, Array]]:
        """Yields slices of the rows (`side` 0) or columns (1) and what they hold.

        Args:
            side: The axis that is cut.
            dtype: `"f4"` or `"f8"`.

        Returns:
            Pieces `(slice, n)` of `W`, or `(slice, m)` of `W'`, each valid until the next.
        """
        length, width = self.shape[side], self.shape[1 - side]
        cut = side != self.lines  # a piece holds parts of all lines of the memory
        count = min(length, max(_STRIP if cut else 1, _PIECE // width))
        buffer = np.empty(count * width, dtype)
        for start in range(0, length, count):
            part = slice(start, min(start + count, length))
            piece = self.array[self._index(part, side)]
            piece = piece.reshape((-1, width) if side == 0 else (width, -1))
            room = buffer[: piece.size]
            out = room.reshape(piece.shape[::-1]).T if self.lines else room.reshape(piece.shape)
            out = read(piece, self.exponent, out, bfloat16=self.bfloat16)
            yield part, out.T if side else out

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
