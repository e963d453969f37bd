"""The `u` that a fresh layer starts from.

In numpy, as small steps on the host take a tenth of the time of single operations of a backend.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from snconvert.convolution import Convolution
from snconvert.errors import KernelError
from snconvert.linalg.operator import iterated, operator_triplet
from snconvert.linalg.triplet import leading_triplet
from snconvert.matrix import MatrixView

_EXACT = 1 << 20  # numbers of a kernel up to which the exact vector takes below 0.1 s
_QUICK = 1 << 27  # multiplications that take about 0.1 s
_ROUNDS = 30  # of power iteration for a larger kernel: sigma is 0.3 to 1.5 % low

Array = np.ndarray[Any, Any]


def random_u(view: MatrixView, conv: Convolution | None = None) -> Array:
    """Returns float32 `(b, n)` or `(b, *conv.outputs, n)`, blocks of length 1, always the same."""
    count, _, n = view.shape
    outputs = conv.outputs if conv else ()
    u = np.random.default_rng(0).normal(size=(count, math.prod(outputs) * n))
    unit: Array = (u / np.linalg.norm(u, axis=-1, keepdims=True)).astype("float32")
    return unit.reshape(count, *outputs, n)


def warm_u(
    kernel: Array, view: MatrixView, conv: Convolution | None = None, *, exact: bool = False
) -> Array:
    """Returns a `u` by which sigma is right to about 1 %, or of a large map as far as time allows.

    A saved model builds its layers before it loads their weights, so this has to be quick.

    Args:
        kernel: float32.
        view: How it is read as a stack `(b, m, n)`.
        conv: The convolution whose norm is sigma, if it is not that of the stack.
        exact: Take the time that a large map needs.

    Returns:
        float32 unit rows `(b, n)`, or blocks `(b, *conv.outputs, n)`; random ones for a kernel that
        is not finite.

    Example:
        >>> u = warm_u(np.diag([3.0, 4.0]).astype("float32"), MatrixView.of((2, 2)))
        >>> np.abs(u).round(6).tolist()
        [[0.0, 1.0]]
    """
    if conv is not None:
        return _warm_map(kernel, view, conv, exact=exact)
    if kernel.size <= _EXACT:
        try:
            return leading_triplet(kernel, view).u
        except KernelError:
            return random_u(view)
    matrix, u = view.matrix(kernel), random_u(view)[..., None]
    for _ in range(_ROUNDS):
        image = matrix.swapaxes(1, 2) @ _directions(matrix @ u)
        if not np.isfinite(image).all() or not image.any(axis=1).all():
            break
        u = _directions(image)
    return u[..., 0].astype("float32", copy=False)


def _warm_map(kernel: Array, view: MatrixView, conv: Convolution, *, exact: bool) -> Array:
    work = kernel.size * math.prod(conv.outputs)
    if not exact and work > _QUICK // _ROUNDS:
        rounds = min(_ROUNDS, _QUICK // work)
        return iterated(kernel, view, conv, random_u(view, conv), rounds)
    try:
        return operator_triplet(kernel, view, conv).u
    except KernelError:
        return random_u(view, conv)


def _directions(columns: Array) -> Array:
    # The largest entry first, as the square of 1e-30 is no float32 number.
    largest = np.abs(columns).max(axis=1, keepdims=True)
    columns = columns / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(columns, axis=1, keepdims=True)
    directions: Array = columns / np.where(length > 0, length, 1)
    return directions
