"""How a kernel is read as a stack of matrices `(b, m, n)`.

`m` is the input side, `n` the output side, `b` the blocks of a block-diagonal operator. A view is
data, not code: the same three tuples drive numpy in the file carrier and `keras.ops` in the layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MatrixView:
    """Reads a kernel as `kernel.reshape(split).transpose(axes).reshape(shape)`.

    Attributes:
        split: The shape that separates the axes to be reordered.
        axes: The permutation of the axes of `split`.
        shape: The resulting stack `(b, m, n)`.

    Example:
        >>> import numpy as np
        >>> MatrixView.of((3, 3, 8, 16)).matrix(np.zeros((3, 3, 8, 16))).shape
        (1, 72, 16)
    """

    split: tuple[int, ...]
    axes: tuple[int, ...]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, kernel: tuple[int, ...]) -> MatrixView:
        """Returns the usual view `(1, everything else, last axis)` of a kernel of that shape."""
        rows = 1
        for size in kernel[:-1]:
            rows *= size
        return cls((1, rows, kernel[-1]), (0, 1, 2), (1, rows, kernel[-1]))

    @property
    def in_order(self) -> bool:
        """Whether the stack lies in memory as the kernel does, so that no copy is needed."""
        return self.axes == tuple(range(len(self.axes)))

    def matrix(self, kernel: Any) -> Any:
        """Returns the stack `(b, m, n)` of a numpy array."""
        return kernel.reshape(self.split).transpose(self.axes).reshape(self.shape)
