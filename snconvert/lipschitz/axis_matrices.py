"""The small matrices of averages and resizing along one axis, and bounds of their norms.

What a layer does to an image is the product of one such matrix an axis, so that its norm is the
product of theirs. Where Keras' backends differ (interpolation by cubics, the border, which
neighbour is nearest), the largest norm counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.linalg.blocks import Array
from snconvert.linalg.proved_norm import proved_matrix_norm
from snconvert.lipschitz.arithmetic import largest, product, quotient, root, total, widened

_LARGEST = 4096  # rows or columns up to which the matrix is made
_PROVED = 512  # and up to which its norm is proved; above, rows and columns bound it
_ROUNDINGS = 64  # of an entry, relative to the largest of its row
_CUBICS = (-0.5, -0.75)  # of TensorFlow and JAX, of PyTorch


def axis_norm(name: str, arguments: tuple[int | str | None, ...]) -> Magnitude | None:
    """Returns a bound of the norm of one axis' matrix; `None` if the axis is too long or strange.

    Args:
        name: As `snconvert.lipschitz.network.AxisMatrices` lists them.
        arguments: As listed there.

    Example:
        >>> round(axis_norm("average", (9, 3, 1, "same")).value ** 2, 4)
        1.0129
    """
    rule = _RULES.get(name)
    return None if rule is None else rule(*arguments)


def _average(size: int | None, pool: int, stride: int, padding: str) -> Magnitude | None:
    if min(pool, stride) < 1:
        return None
    if size is None:
        # Each row sums to 1; a window at the border may hold one number less by each step.
        windows = -(-pool // stride)
        if padding == "valid":
            return root(quotient(Magnitude.of(float(windows)), Magnitude.of(float(pool))))
        return root(Magnitude.of(float(windows)))
    if max(size, pool) > _LARGEST:
        return None
    before, count = 0, (size - pool) // stride + 1
    if padding == "same":
        count = -(-size // stride)
        before = max((count - 1) * stride + pool - size, 0) // 2
    if count < 1:
        return None
    starts = np.arange(count) * stride - before
    bound = _bound(_windows(size, starts, starts + pool))
    if padding == "valid":
        return bound
    # PyTorch repeats the number at the border instead, where the padding is no equal one.
    repeated = _spread(starts, np.full((count, pool), 1.0 / pool), np.arange(pool), size)
    return largest([bound, _bound(repeated)])


def _adaptive_average(size: int | None, outputs: int) -> Magnitude | None:
    if size is None or not 1 <= outputs <= _LARGEST or not 1 <= size <= _LARGEST:
        return None
    places = np.arange(outputs)
    return _bound(_windows(size, places * size // outputs, -(-(places + 1) * size // outputs)))


def _windows(size: int, starts: Array, ends: Array) -> Array:
    """Returns the matrix of averages over windows, cut at the border."""
    inputs = np.arange(size)
    inside = (inputs >= starts[:, None]) & (inputs < ends[:, None])
    averages: Array = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    return averages


def _resize(size: int | None, outputs: int, interpolation: str) -> Magnitude | None:
    if size is None or not 1 <= size <= _LARGEST or not 1 <= outputs <= _LARGEST:
        return None
    return _largest(_interpolations(size, outputs, interpolation))


def _upsample(size: int | None, times: int, interpolation: str) -> Magnitude | None:
    if interpolation == "nearest":
        return root(Magnitude.of(float(times)))
    if size is not None:
        return _resize(size, size * times, interpolation)
    # From some size on, the border and the pattern between the borders do not change any more.
    bounds = [
        _by_rows_and_columns(matrix)
        for longest in range(1, 17)
        for matrix in _interpolations(longest, longest * times, interpolation)
    ]
    return largest(bounds) if bounds else None


def _interpolations(size: int, outputs: int, interpolation: str) -> Iterator[Array]:
    """Yields the matrices that the backends may use, without anti-aliasing."""
    places = (np.arange(outputs) + 0.5) * (size / outputs) - 0.5
    if interpolation == "nearest":
        for nearest in (np.floor(places + 0.5), np.floor(np.arange(outputs) * (size / outputs))):
            yield _spread(nearest, np.ones((outputs, 1)), np.zeros(1, int), size)
        return
    kernels: list[tuple[int, Callable[[Array], Array]]]
    if interpolation == "bilinear":
        kernels = [(1, lambda x: np.maximum(0.0, 1.0 - np.abs(x)))]
    elif interpolation == "bicubic":
        kernels = [(2, lambda x, a=a: _cubic(x, a)) for a in _CUBICS]  # type: ignore[misc]
    elif interpolation in {"lanczos3", "lanczos5"}:
        radius = int(interpolation[-1])
        kernels = [(radius, lambda x: np.sinc(x) * np.sinc(x / radius) * (np.abs(x) < radius))]
    else:
        return
    for radius, weight in kernels:
        offsets = np.arange(1 - radius, radius + 1)
        first = np.floor(places)
        weights = weight(places[:, None] - first[:, None] - offsets)
        weights /= weights.sum(axis=1, keepdims=True)
        yield _spread(first, weights, offsets, size)  # what is outside is the number at the border
        inside = (first[:, None] + offsets >= 0) & (first[:, None] + offsets < size)
        cut = weights * inside
        yield _spread(first, cut / cut.sum(axis=1, keepdims=True), offsets, size)


def _cubic(x: Array, a: float) -> Array:
    """Returns the convolution kernel of Keys (1981), eq. 4, of parameter `a`."""
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = a * (((x - 5.0) * x + 8.0) * x - 4.0)
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))  # noqa: PLR2004


def _spread(first: Array, weights: Array, offsets: Array, size: int) -> Array:
    matrix = np.zeros((len(first), size))
    columns = np.clip(first[:, None].astype(int) + offsets, 0, size - 1)
    np.add.at(matrix, (np.arange(len(first))[:, None], columns), weights)
    return matrix


def _largest(matrices: Iterator[Array]) -> Magnitude | None:
    bounds = [_bound(matrix) for matrix in matrices]
    return largest(bounds) if bounds else None


def _bound(matrix: Array) -> Magnitude:
    """Returns a bound of the norm of a matrix whose entries are a few roundings off."""
    if max(matrix.shape) > _PROVED:
        return _by_rows_and_columns(matrix)
    off = widened(float(np.linalg.norm(matrix)), matrix.size)
    hidden = product(off, Magnitude.of(_ROUNDINGS * 2.0**-53))
    return total([proved_matrix_norm(matrix), hidden])


def _by_rows_and_columns(matrix: Array) -> Magnitude:
    """Returns the root of the largest absolute sums of a row and of a column (Schur's test)."""
    sums = [float(np.abs(matrix).sum(axis=axis).max()) for axis in (0, 1)]
    roundings = _ROUNDINGS * 4 + max(matrix.shape)
    return root(product(*(widened(value, roundings) for value in sums)))


_RULES: dict[str, Callable[..., Magnitude | None]] = {
    "average": _average,
    "adaptive_average": _adaptive_average,
    "resize": _resize,
    "upsample": _upsample,
}
