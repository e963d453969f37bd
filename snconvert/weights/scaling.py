"""Arrays of the output that are arrays of the input times a factor, computed piece by piece.

So a kernel of any size is scaled, or stored a second time, without being held in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from snconvert.weights.contents import Dataset
from snconvert.weights.extent import Extent

Array = np.ndarray[Any, Any]


class Fill(NamedTuple):
    """Bytes of the output that come from an array of the input.

    Attributes:
        offset: Where the array begins in the output's weights.
        dataset: The array in the input, stored in one piece.
        factor: What each number is multiplied by, rounded to float32; in float32 at least, and
            rounded to nearest in the array's own type. A factor of 1 changes no bit.
    """

    offset: int
    dataset: Dataset
    factor: float

    @property
    def end(self) -> int:
        """Where the array ends in the output's weights."""
        return self.offset + self.dataset.nbytes

    def read(self, extent: Extent, low: int, high: int) -> memoryview:
        """Returns what the output's weights hold from `low` to `high`, both within the array.

        Args:
            extent: The weights of the input.
            low: The first byte, perhaps in the middle of a number.
            high: The byte behind the last.
        """
        width = 2 if self.dataset.dtype == "bfloat16" else np.dtype(self.dataset.dtype).itemsize
        first = (low - self.offset) // width * width
        last = -(-(high - self.offset) // width) * width
        data = bytearray(last - first)
        extent.pread_into(memoryview(data), (self.dataset.offset or 0) + first)
        scale(memoryview(data), self.dataset, self.factor)
        start = low - self.offset - first
        return memoryview(data)[start : start + high - low]


def scale(data: memoryview, dataset: Dataset, factor: float) -> None:
    """Multiplies the numbers in a buffer, as `Fill` says.

    Args:
        data: Numbers as they are stored, one or more.
        dataset: Their type and byte order.
        factor: By what.
    """
    if factor == 1.0:
        return
    order = "<" if dataset.byteorder == "little" else ">"
    kind = "u2" if dataset.dtype == "bfloat16" else np.dtype(dataset.dtype).str[1:]
    numbers = np.frombuffer(data, order + kind)
    with np.errstate(over="ignore", under="ignore"):
        numbers[:] = narrowed(widened(numbers, dataset.dtype) * np.float32(factor), dataset.dtype)


def widened(numbers: Array, dtype: str) -> Array:
    """Returns stored numbers in the type in which they are multiplied: float32 at least.

    Args:
        numbers: float16, float32, float64, or uint16 that holds bfloat16.
        dtype: What they are.
    """
    if dtype == "bfloat16":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.result_type(numbers.dtype, np.float32))


def narrowed(numbers: Array, dtype: str) -> Array:
    """Returns numbers rounded to nearest, ties to even, in the type in which they are stored.

    Args:
        numbers: What `widened` returns, or a multiple of it; not NaN.
        dtype: The type.
    """
    if dtype == "bfloat16":
        bits = numbers.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return numbers.astype(dtype)
