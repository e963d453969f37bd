"""Folding scales into kernels and merging linear maps, before any norm is taken.

A scale `D` of the channels commutes with whatever acts on each channel by itself: `D phi(W x)` has
the secants `S D W` with `S` those of `phi`, so `D` goes back into the output channels of `W`, or
forward into the input channels of all the kernels that read it. Then `|D W|` counts, which is at
most `max |d| |W|`. Two linear maps in a row count as one, by `|V W| <= |V| |W|`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.constants import Scale
from snconvert.lipschitz.network import Diagonal, Linear, Network, Slopes
from snconvert.lipschitz.steps import Step, axis_before, fits, passes

_LARGEST = {True: 1 << 22, False: 1 << 20}  # numbers of a dense kernel, or of another, in merging
_LONGEST = 256  # steps that a scale passes at most


class Folding:
    """The steps of a network, with all scales folded that can be.

    Args:
        network: The network.
        scales: Of each diagonal operation that has one, its scale, by its place.

    Attributes:
        steps: The steps, as many as there are operations.
    """

    def __init__(self, network: Network, scales: dict[int, Scale]) -> None:
        self.steps = [Step(operation) for operation in network.operations]
        self._outputs = {place for _, place in network.outputs}
        self._readers: list[list[int]] = [[] for _ in self.steps]
        for place, operation in enumerate(network.operations):
            for source in operation.inputs:
                self._readers[source].append(place)
        for place, scale in scales.items():
            self._fold(place, scale)

    def merge(self, kernel: Callable[[Step], Kernel | None]) -> None:
        """Merges linear maps in a row.

        Args:
            kernel: Returns the kernel of a step as it is now, `None` if it cannot be had.
        """
        for step in self.steps:
            if step.linear is None or len(step.operation.inputs) != 1:
                continue
            first = self._source(step)
            if first is not None and self._can_merge(first, step):
                a, b = kernel(first), kernel(step)
                if a is not None and b is not None:
                    step.merged, first.gone, first.scaled = first, True, True

    def fold_channels(self, norms: Callable[[Step], tuple[Scale, Magnitude] | None]) -> None:
        """Folds the norms of the channels of depthwise convolutions into other kernels.

        Args:
            norms: Returns the norms of a step's channels, and what its constant is besides.
        """
        for place, step in enumerate(self.steps):
            linear = step.depthwise
            found = None if linear is None else norms(step)
            if linear is None or found is None:
                continue
            scale, rest = found
            axis = linear.channels_axis
            passed = self._back(place, axis, scale)
            if passed is None:
                values = np.repeat(scale.values, linear.kernel.view.shape[2])
                passed = self._forward(place, axis, scale._replace(values=values))
            if passed is not None:
                step.rest = rest
                for other in passed:
                    self.steps[other].scaled = True

    def _source(self, step: Step) -> Step | None:
        """Returns the linear step whose output a step reads, but for steps that do nothing."""
        place = step.operation.inputs[0]
        while self._alone(place):
            source = self.steps[place]
            if source.linear is not None:
                return source
            if not (source.gone and source.merged is None) and not _is_identity(source):
                return None
            if len(source.operation.inputs) != 1 or isinstance(source.operation.does, Linear):
                return None
            place = source.operation.inputs[0]
        return None

    def _can_merge(self, first: Step, second: Step) -> bool:
        a, b = first.linear, second.linear
        if a is None or b is None or a.transposed or b.transposed:
            return False
        rank = len(first.operation.sizes)
        if len(second.operation.sizes) != rank:
            return False
        read = b.channels_axis if b.convolution else b.inputs_axis
        if a.channels_axis is None or read is None or (a.channels_axis - read) % max(rank, 1):
            return False
        blocks, _, columns = a.kernel.view.shape
        others, inputs, outputs = b.kernel.view.shape
        pointwise = b.convolution is None or (
            math.prod(b.convolution.kernel) == 1 and set(b.convolution.strides) == {1}
        )
        size = _numbers_read(first) * outputs
        return (
            pointwise
            and others == 1
            and blocks * columns == inputs
            and (blocks == 1 or a.convolution is not None)
            and size <= _LARGEST[first.convolution is None]
        )

    def _alone(self, place: int) -> bool:
        return len(self._readers[place]) == 1 and place not in self._outputs

    def _fold(self, place: int, scale: Scale) -> None:
        step = self.steps[place]
        does = step.operation.does
        axis = does.axis if isinstance(does, Diagonal) else None
        if axis is None and scale.values.size > 1:
            return
        passed = self._back(place, axis, scale) or self._forward(place, axis, scale)
        if passed is None:
            return
        step.gone = True
        for other in passed:
            self.steps[other].scaled = True

    def _back(self, place: int, axis: int | None, scale: Scale) -> list[int] | None:
        """Moves a scale back; returns the places that it passed, `None` if it cannot be moved."""
        passed: list[int] = []
        source = self.steps[place].operation.inputs[0]
        while self._alone(source) and len(passed) < _LONGEST:
            passed.append(source)
            step = self.steps[source]
            if step.linear is not None:
                if not fits(step, scale, axis, behind=True, rank=len(step.operation.sizes)):
                    return None
                step.behind.append(scale)
                return passed
            if not passes(step, axis, len(step.operation.sizes)):
                return None
            axis, source = axis_before(step, axis), step.operation.inputs[0]
        return None

    def _forward(self, place: int, axis: int | None, scale: Scale) -> list[int] | None:
        """Moves a scale forward into all that reads it; returns as `_back`."""
        passed, ends, waiting = [place], [], [(place, axis)]
        while waiting:
            current, axis = waiting.pop()
            if current in self._outputs or len(passed) > _LONGEST:
                return None
            rank = len(self.steps[current].operation.sizes)
            for reader in self._readers[current]:
                step = self.steps[reader]
                if step.linear is not None:
                    if not fits(step, scale, axis, behind=False, rank=rank):
                        return None
                    ends.append(step)
                elif passes(step, axis, rank):
                    passed.append(reader)
                    waiting.append((reader, axis_before(step, axis)))
                else:
                    return None
        for step in ends:
            step.before.append(scale)
        return passed


def _numbers_read(step: Step) -> int:
    """Returns how many numbers each output of a step's kernel reads, of all blocks together."""
    while step.merged is not None:
        step = step.merged
    does = step.operation.does
    return math.prod(does.kernel.view.shape[:2]) if isinstance(does, Linear) else 0


def _is_identity(step: Step) -> bool:
    does = step.operation.does
    return isinstance(does, Slopes) and does.low == does.high == 1.0 and does.alpha is None
