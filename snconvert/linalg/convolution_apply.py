"""A convolution and its adjoint, applied tap by tap.

Each tap is one product of a strided slice with a small matrix, so that nothing larger than the
inputs is made, and strides, dilation, padding and groups are only a matter of which slice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.linalg.blocks import Array

_STRIP = 1 << 17  # numbers of the outputs that are worked on at once


class ConvolutionBlock(NamedTuple):
    """One block of a convolution as a map `A'`: from its outputs to its inputs.

    Attributes:
        taps: float64 `(k, m, n)`.
        conv: The map.
        exponent: The block is what the taps make times two to this power.
    """

    taps: Array
    conv: Convolution
    exponent: int = 0

    def image(self, rows: Array) -> Array:
        """Returns `A' u` of rows `u`, `(r, outputs * n)`, in float64, as rows."""
        outputs = rows.reshape(len(rows), *self.conv.outputs, -1)
        return adjoint(outputs, self.taps, self.conv).reshape(len(rows), -1)

    def round_trip(self, rows: Array) -> tuple[Array, Array]:
        """Returns `A' u` and `A A' u` of rows `u`, in float64, as rows."""
        image = self.image(rows)
        inputs = image.reshape(len(rows), *self.conv.inputs, -1)
        return image, forward(inputs, self.taps, self.conv).reshape(len(rows), -1)


def forward(inputs: Array, taps: Array, conv: Convolution) -> Array:
    """Returns what the convolution makes of each input.

    Args:
        inputs: `(r, *conv.inputs, m)`.
        taps: `(k, m, n)` for all, or `(k, r, m, n)`, one block for each input.
        conv: The map.

    Returns:
        `(r, *conv.outputs, n)`.
    """
    room = _placed(inputs, conv)
    count, columns = len(inputs), taps.shape[-1]
    result = np.empty((count, *conv.outputs, columns), inputs.dtype)
    for strip in _strips(conv, count * columns):
        place = result[:, strip]
        total = np.zeros((count, place[0, ..., 0].size, columns), inputs.dtype)
        for tap, slices in zip(taps, _slices(conv, strip), strict=True):
            total += _product(room[slices].reshape(count, -1, room.shape[-1]), tap)
        place[...] = total.reshape(place.shape)
    return result


def adjoint(outputs: Array, taps: Array, conv: Convolution) -> Array:
    """Returns what the adjoint of the convolution makes of each output.

    Args:
        outputs: `(r, *conv.outputs, n)`.
        taps: `(k, m, n)` for all, or `(k, r, m, n)`, one block for each output.
        conv: The map.

    Returns:
        `(r, *conv.inputs, m)`.
    """
    count, rows = len(outputs), taps.shape[-2]
    room = np.zeros((count, *conv.reach, rows), outputs.dtype)
    across = taps.swapaxes(-1, -2)
    for strip in _strips(conv, count * rows):
        piece = np.ascontiguousarray(outputs[:, strip])
        shape = (*piece.shape[:-1], rows)
        piece = piece.reshape(count, -1, piece.shape[-1])
        for tap, slices in zip(across, _slices(conv, strip), strict=True):
            room[slices] += _product(piece, tap).reshape(shape)
    return _taken(room, conv)


def _product(piece: Array, tap: Array) -> Array:
    """`(r, s, m)` times `(m, n)` or `(r, m, n)`."""
    result: Array
    if piece.shape[-1] == 1:
        result = piece * tap
    elif tap.ndim == 2:  # noqa: PLR2004 -- one matrix for all: one product
        result = (piece.reshape(-1, piece.shape[-1]) @ tap).reshape(*piece.shape[:-1], -1)
    else:
        result = piece @ tap
    return result


def _strips(conv: Convolution, numbers: int) -> Iterator[slice]:
    """Yields slices of the first axis of the outputs."""
    size = conv.outputs[0]
    step = max(1, _STRIP // max(1, math.prod(conv.outputs[1:]) * numbers))
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def _slices(conv: Convolution, strip: slice) -> Iterator[tuple[slice, ...]]:
    """Yields for each tap, in the order of the kernel, what it reads for a strip of outputs."""
    parts = [strip, *(slice(0, size) for size in conv.outputs[1:])]
    for tap in itertools.product(*map(range, conv.kernel)):
        yield (
            slice(None),
            *(
                slice(
                    part.start * stride + index * step,
                    (part.stop - 1) * stride + index * step + 1,
                    stride,
                )
                for index, part, stride, step in zip(
                    tap, parts, conv.strides, conv.dilation, strict=True
                )
            ),
        )


def _placed(inputs: Array, conv: Convolution) -> Array:
    """Returns the inputs with what is around them, as far as the outputs read."""
    if conv.on_torus:
        ends = [(0, reach - size) for reach, size in zip(conv.reach, conv.inputs, strict=True)]
        if any(end < 0 for _, end in ends):
            cut = tuple(slice(0, min(r, n)) for r, n in zip(conv.reach, conv.inputs, strict=True))
            inputs = inputs[(slice(None), *cut)]
            ends = [(0, max(0, end)) for _, end in ends]
        return np.pad(inputs, [(0, 0), *ends, (0, 0)], mode="wrap")
    room = np.zeros((len(inputs), *conv.reach, inputs.shape[-1]), inputs.dtype)
    inside, kept = _overlap(conv)
    room[inside] = inputs[kept]
    return room


def _taken(room: Array, conv: Convolution) -> Array:
    """The adjoint of `_placed`."""
    if conv.on_torus:
        for axis, size in enumerate(conv.inputs, start=1):
            ahead = (slice(None),) * axis
            extra = room.shape[axis] - size
            if extra > 0:
                room[(*ahead, slice(0, extra))] += room[(*ahead, slice(size, None))]
                room = room[(*ahead, slice(0, size))]
    result = np.zeros((len(room), *conv.inputs, room.shape[-1]), room.dtype)
    inside, kept = _overlap(conv)
    result[kept] = room[inside]
    return result


def _overlap(conv: Convolution) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Returns where the input lies in what the outputs read, and how much of it they read."""
    inside: list[slice] = [slice(None)]
    kept: list[slice] = [slice(None)]
    for before, size, reach in zip(conv.before, conv.inputs, conv.reach, strict=True):
        long = min(size, reach - before)
        inside.append(slice(before, before + long))
        kept.append(slice(0, long))
    return tuple(inside), tuple(kept)
