"""The norm of a kernel that a layer can store, and its proof: of its matrix, or of its map."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError
from snconvert.linalg.blocks import Array
from snconvert.linalg.certificate import proved_bounds
from snconvert.linalg.convolution_norm import operator_triplet
from snconvert.linalg.matrix_norm import Together, alone, leading_triplet
from snconvert.linalg.torus import proved_operator_bounds

_SMALLEST, _LARGEST = (float(limit) for limit in (np.finfo("f4").tiny, np.finfo("f4").max))


def kernel_triplet(
    kernel: Array,
    view: MatrixView,
    conv: Convolution | None,
    *,
    bfloat16: bool = False,
    turn: AbstractContextManager[Any] | None = None,
    together: Together = alone,
) -> Triplet:
    """Returns sigma, `u` and the residual of a kernel, as float32 layers can hold them.

    Args:
        kernel: As for `leading_triplet`.
        view: How it is read as a stack `(b, m, n)`.
        conv: The map whose norm sigma is, `None` for that of the matrix.
        bfloat16: Whether the 16 bits are those of a bfloat16.
        turn: As for `operator_triplet`.
        together: As for `leading_triplet`.

    Raises:
        KernelError: As `leading_triplet` does; or the norm is no normal float32 number.
    """
    triplet = leading_triplet(kernel, view, bfloat16=bfloat16, together=together)
    if conv is not None:
        mapped = operator_triplet(kernel, view, conv, bfloat16=bfloat16, turn=turn)
        triplet = mapped._replace(matrix_norm=triplet.sigma)
    if not triplet.zero and not _SMALLEST <= triplet.sigma <= _LARGEST:
        raise KernelError(
            f"the kernel's norm is {triplet.sigma:.3g}, which float32 cannot hold",
            "Rescale the kernel, or leave the layer out with --exclude",
        )
    return triplet


def kernel_bounds(
    kernel: Array,
    view: MatrixView,
    conv: Convolution | None,
    triplet: Triplet,
    *,
    bfloat16: bool = False,
) -> tuple[float, float]:
    """Returns a proved lower and upper bound of the norm of a kernel.

    Args:
        kernel: As for `kernel_triplet`.
        view: How it is read as a stack.
        conv: As for `kernel_triplet`.
        triplet: What that has found.
        bfloat16: Whether the 16 bits are those of a bfloat16.

    Raises:
        KernelError: As `proved_bounds` and `proved_operator_bounds` do.
    """
    if conv is None:
        return proved_bounds(kernel, view, triplet, bfloat16=bfloat16)
    return proved_operator_bounds(kernel, view, conv, triplet, bfloat16=bfloat16)
