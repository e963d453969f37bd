"""To be replaced."""

from __future__ import annotations

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.core.matrix_view import MatrixView
from snconvert.linalg.blocks import Array
from snconvert.linalg.certificate import proved_bounds
from snconvert.linalg.matrix_norm import leading_triplet
from snconvert.lipschitz.arithmetic import product, root


def proved_matrix_norm(matrix: Array) -> Magnitude:
    """Returns a proved bound of the norm of a matrix or stack."""
    stack = matrix.reshape(-1, *matrix.shape[-2:])
    if not stack.any():
        return Magnitude(0.0, 0)
    view = MatrixView(stack.shape, (0, 1, 2), stack.shape)
    return Magnitude.of(proved_bounds(stack, view, leading_triplet(stack, view))[1])


def proved_convolution_norm(taps: Array, conv: Convolution) -> Magnitude:
    """Returns a bound of the norm of a convolution."""
    b, k, m, n = taps.shape
    return product(
        proved_matrix_norm(taps.reshape(b, k * m, n)), root(Magnitude.of(float(conv.overlap)))
    )
