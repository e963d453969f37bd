"""The largest singular value of a kernel, its vectors, and what is proved of it, as a value.

Apart from the search for these, as the process that only passes them on does without numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from snconvert.core.spectrum import Spectrum

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Triplet(NamedTuple):
    """The largest singular value of a kernel, and the leading vectors of its blocks.

    Attributes:
        sigma: The largest singular value over all blocks.
        u: float32 `(b, n)`, unit rows on the output side, the largest entry positive; the row of a
            block of zeros is `1 / sqrt(n)`. Of a convolution as a map, `(b, *outputs, n)`, with
            noise for a block that is zero.
        residual: The largest `max(|W u - sigma v|, |W' v - sigma u|) / sigma` over the blocks, in
            float64, of the `u` given here and `v = W u / |W u|`; or of the one that is stored.
        zero: Whether the whole kernel, or the map that it makes, is zero.
        bounds: Proved lower and upper bound of sigma, if a proof was asked for.
        matrix_norm: The norm of the matrix view, where sigma is another.
        after: The norm of the kernel that the layer computes with, by the `u` that it stores;
            `None` where it stores none.
        spectrum: The singular values of the matrix view, if they were asked for.
    """

    sigma: float
    u: NDArray[Any]
    residual: float
    zero: bool
    bounds: tuple[float, float] | None = None
    matrix_norm: float | None = None
    after: float | None = None
    spectrum: Spectrum | None = None

    @property
    def spectral_norm(self) -> float:
        """The norm of the matrix view."""
        return self.sigma if self.matrix_norm is None else self.matrix_norm

    @property
    def norm_in_use(self) -> float:
        """The norm of the kernel that the layer computes with by now; NaN where it is not known."""
        return self.sigma if self.after is None else self.after


def joint_bounds(
    bounds: Sequence[tuple[float, float] | None],
) -> tuple[float, float] | None:
    """Returns proved bounds of the largest norm of several kernels; `None` unless all have some.

    Args:
        bounds: The proved bounds of the norm of each kernel, `None` without a proof.
    """
    proved = [pair for pair in bounds if pair is not None]
    if not proved or len(proved) < len(bounds):
        return None
    return max(low for low, _ in proved), max(high for _, high in proved)
