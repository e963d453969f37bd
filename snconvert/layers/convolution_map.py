"""A convolution as a map on flat rows, and its adjoint, for the power iteration of the layers.

The same sum over taps as in `snconvert.linalg.convolution_apply`, as operations that every backend
has and differentiates. So there is no gradient of a convolution's input, which TensorFlow on CPU
does not have with dilation, and the data format does not matter.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from keras import ops

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView


class ConvolutionMap:
    """The map of a kernel: from the side of `v`, its inputs, to that of `u`, its outputs.

    Args:
        stack: float32 `(b, k*m, n)` or `(k*m, n)`, the kernel in its matrix view.
        view: The view.
        conv: The map.

    Attributes:
        shape: `(b, numbers of the input, numbers of the output)` of its blocks.
    """

    def __init__(self, stack: Any, view: MatrixView, conv: Convolution) -> None:
        count, rows, self._columns = view.shape
        size = math.prod(conv.kernel)
        self._rows, self._conv = rows // size, conv
        taps = ops.reshape(stack, (count, size, self._rows, self._columns))
        self._taps = [taps[:, index] if count > 1 else taps[0, index] for index in range(size)]
        self.shape = (
            count,
            math.prod(conv.inputs) * self._rows,
            math.prod(conv.outputs) * self._columns,
        )

    def onto_columns(self, v: Any) -> Any:
        """Returns the outputs `(b, outputs)` of the convolution for rows `(b, inputs)`."""
        conv, count = self._conv, self.shape[0]
        room = self._placed(ops.reshape(v, (count, *conv.inputs, self._rows)))
        total = None
        for tap, index in zip(self._taps, itertools.product(*map(range, conv.kernel)), strict=True):
            axes = zip(index, conv.dilation, conv.strides, conv.outputs, strict=True)
            part = room[
                (slice(None), *(slice(i * d, i * d + (o - 1) * s + 1, s) for i, d, s, o in axes))
            ]
            image = _product(part, tap)
            total = image if total is None else ops.add(total, image)
        return ops.reshape(total, (count, -1))

    def onto_rows(self, u: Any) -> Any:
        """Returns the outputs `(b, inputs)` of the adjoint for rows `(b, outputs)`.

        Inputs whose places leave the same rest by the stride are read by the same taps: each rest
        is a convolution without stride, and the results are interleaved.
        """
        conv, count, rank = self._conv, self.shape[0], len(self._conv.kernel)
        degrees = conv.degrees
        ends = [(0, 0), *((d, d) for d in degrees), (0, 0)]
        room = ops.pad(ops.reshape(u, (count, *conv.outputs, self._columns)), ends)
        size = tuple(o + d for o, d in zip(conv.outputs, degrees, strict=True))
        phases: dict[tuple[int, ...], Any] = {}
        for tap, index in zip(self._taps, itertools.product(*map(range, conv.kernel)), strict=True):
            places = [i * d for i, d in zip(index, conv.dilation, strict=True)]
            phase = tuple(p % s for p, s in zip(places, conv.strides, strict=True))
            starts = [d - p // s for d, p, s in zip(degrees, places, conv.strides, strict=True)]
            part = room[
                (slice(None), *(slice(f, f + n) for f, n in zip(starts, size, strict=True)))
            ]
            image = _product(part, ops.swapaxes(tap, -1, -2))
            phases[phase] = ops.add(phases[phase], image) if phase in phases else image
        nothing = ops.zeros((count, math.prod(size), self._rows), "float32")
        every = itertools.product(*map(range, conv.strides))
        stack = ops.stack([phases.get(phase, nothing) for phase in every])
        stack = ops.reshape(stack, (*conv.strides, count, *size, self._rows))
        order = [rank, *(a for axis in range(rank) for a in (rank + 1 + axis, axis)), 2 * rank + 1]
        long = [n * s for n, s in zip(size, conv.strides, strict=True)]
        whole = ops.reshape(ops.transpose(stack, order), (count, *long, self._rows))
        return ops.reshape(self._taken(whole), (count, -1))

    def _placed(self, inputs: Any) -> Any:
        """Returns the inputs with their padding, as far as the outputs read it."""
        conv = self._conv
        ends = [(0, 0)]
        for axis, (before, size, reach) in enumerate(
            zip(conv.before, conv.inputs, conv.reach, strict=True), start=1
        ):
            ahead = (slice(None),) * axis
            long = min(size, reach - before)
            if conv.on_torus and reach > size:
                extra = inputs[(*ahead, slice(0, reach - size))]
                inputs = ops.concatenate([inputs, extra], axis=axis)
                long = reach
            elif long < size:
                inputs = inputs[(*ahead, slice(0, long))]
            ends.append((before, reach - before - long))
        return ops.pad(inputs, [*ends, (0, 0)]) if any(map(any, ends)) else inputs

    def _taken(self, whole: Any) -> Any:
        """Returns the adjoint of `_placed`; behind what the outputs read, `whole` is zero."""
        conv = self._conv
        ends = [(0, 0)]
        for axis, (before, size) in enumerate(zip(conv.before, conv.inputs, strict=True), start=1):
            ahead, total = (slice(None),) * axis, whole.shape[axis]
            if conv.on_torus and total > size:
                kept = whole[(*ahead, slice(0, size))]
                extra = whole[(*ahead, slice(size, total))]
                rest = [(0, 0)] * len(whole.shape)
                rest[axis] = (0, size - (total - size))
                whole, long = ops.add(kept, ops.pad(extra, rest)), size
            else:
                long = min(size, total - before)
                whole = whole[(*ahead, slice(before, before + long))]
            ends.append((0, size - long))
        return ops.pad(whole, [*ends, (0, 0)]) if any(map(any, ends)) else whole


def _product(part: Any, tap: Any) -> Any:
    """Returns `(b, *s, m)` times `(m, n)` or `(b, m, n)`, as `(b, s, n)`."""
    count, rows = part.shape[0], part.shape[-1]
    if rows == 1:  # of a channel by itself
        return ops.multiply(ops.reshape(part, (count, -1, 1)), tap)
    if len(tap.shape) == 2:  # noqa: PLR2004 -- one matrix: one product, of two axes
        image = ops.matmul(ops.reshape(part, (-1, rows)), tap)
        return ops.reshape(image, (count, -1, tap.shape[-1]))
    return ops.matmul(ops.reshape(part, (count, -1, rows)), tap)
