"""The `u` that a fresh layer starts from.

In numpy, as small steps on the host take a tenth of the time of single operations of a backend.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.errors import KernelError
from snconvert.linalg.convolution_norm import iterated, operator_triplet
from snconvert.linalg.matrix_norm import leading_triplet

_EXACT = 1 << 20  # numbers of a kernel up to which the exact vector takes below 0.1 s
_QUICK = 1 << 27  # multiplications that take about 0.1 s
_WAVES = 8  # frequencies an axis to choose from, of a map for which there is no time
_FEWEST = 3  # rounds of power iteration on a torus
_ROUNDS = 30  # of power iteration for a larger kernel: sigma is 0.3 to 1.5 % low

Array = np.ndarray[Any, Any]


def random_u(view: MatrixView, conv: Convolution | None = None) -> Array:
    """Returns a random `u` as `warm_u` does, always the same."""
    count, _, n = view.shape
    outputs = conv.outputs if conv else ()
    u = np.random.default_rng(0).normal(size=(count, math.prod(outputs) * n))
    unit: Array = (u / np.linalg.norm(u, axis=-1, keepdims=True)).astype("float32")
    return unit.reshape(count, *outputs, n)


def warm_u(
    kernel: Array, view: MatrixView, conv: Convolution | None = None, *, exact: bool = False
) -> Array:
    """Returns a `u` by which sigma is right to about 1 %, of a large map to about 5 %.

    Args:
        kernel: float32.
        view: How it is read as a stack `(b, m, n)`.
        conv: The convolution whose norm is sigma, if it is not that of the stack.
        exact: Take the time that a large kernel or map needs.

    Returns:
        float32 unit rows `(b, n)`, or blocks `(b, *conv.outputs, n)`; random ones for a kernel that
        is not finite.

    Raises:
        KernelError: With `exact`, the kernel is not finite.

    Example:
        >>> u = warm_u(np.diag([3.0, 4.0]).astype("float32"), MatrixView.of((2, 2)))
        >>> np.abs(u).round(6).tolist()
        [[0.0, 1.0]]
    """
    if conv is not None:
        return _warm_map(kernel, view, conv, exact=exact)
    if exact or kernel.size <= _EXACT:
        try:
            return leading_triplet(kernel, view).u
        except KernelError:
            if exact:
                raise
            return random_u(view)
    matrix, u = view.matrix(kernel), random_u(view)[..., None]
    for _ in range(_ROUNDS):
        image = matrix.swapaxes(1, 2) @ _directions(matrix @ u)
        if not np.isfinite(image).all() or not image.any(axis=1).all():
            break
        u = _directions(image)
    return u[..., 0].astype("float32", copy=False)


def _warm_map(kernel: Array, view: MatrixView, conv: Convolution, *, exact: bool) -> Array:
    if not exact and kernel.size * math.prod(conv.outputs) > _QUICK // _ROUNDS:
        return _tiled(kernel, view, conv)
    try:
        return operator_triplet(kernel, view, conv).u
    except KernelError:
        if exact:
            raise
        return random_u(view, conv)


def _tiled(kernel: Array, view: MatrixView, conv: Convolution) -> Array:
    """Returns the leading vector of a small torus, repeated: a wave of the strongest frequency.

    Away from its border a large map does to waves what a torus does; a sine keeps off the border.
    """
    outputs = tuple(max(_WAVES, 2 * degree) if degree else 1 for degree in conv.degrees)
    inputs = tuple(n * s for n, s in zip(outputs, conv.strides, strict=True))
    none = (0,) * len(outputs)
    small = replace(conv, before=none, inputs=inputs, outputs=outputs, on_torus=True)
    work = kernel.size * math.prod(outputs)
    rounds = max(_FEWEST, min(_ROUNDS, 4 * _QUICK // work))
    u = iterated(kernel, view, small, random_u(view, small), rounds)
    for axis, (size, period) in enumerate(zip(conv.outputs, outputs, strict=True), start=1):
        u = np.take(u, np.arange(size) % period, axis)
        if not conv.on_torus:
            window = np.sin(np.pi * np.arange(1, size + 1, dtype="float32") / (size + 1))
            u = u * window.reshape(-1, *(1,) * (u.ndim - axis - 1))
    length = np.sqrt(np.square(u).sum(axis=tuple(range(1, u.ndim)), keepdims=True))
    unit: Array = (u / length).astype("float32")
    return unit


def _directions(columns: Array) -> Array:
    # The largest entry first, as the square of 1e-30 is no float32 number.
    largest = np.abs(columns).max(axis=1, keepdims=True)
    columns = columns / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(columns, axis=1, keepdims=True)
    directions: Array = columns / np.where(length > 0, length, 1)
    return directions
