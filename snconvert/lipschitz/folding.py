"""Folding scales into kernels and merging linear maps, before any norm is taken.

A scale `D` of the channels commutes with whatever acts on each channel by itself: `D phi(W x)` has
the secants `S D W` with `S` those of `phi`, so `D` goes back into the output channels of `W`, or
forward into the input channels of all the kernels that read it. Then `|D W|` counts, which is at
most `max |d| |W|`. Two linear maps in a row count as one, by `|V W| <= |V| |W|`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from snconvert.core.convolution_map import Convolution
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.constants import Scale
from snconvert.lipschitz.network import (
    AxisMatrices,
    Constant,
    Diagonal,
    Linear,
    Network,
    Operation,
    Slopes,
)

_LARGEST = {True: 1 << 22, False: 1 << 20}  # numbers of a dense kernel, or of another, in merging
_HELD = 1 << 25  # numbers of a kernel of which several copies may be held
_LONGEST = 256  # steps that a scale passes at most


@dataclass(eq=False)
class Step:
    """An operation with what is folded into it.

    Attributes:
        operation: The operation.
        behind: Scales of the output channels of its kernel.
        before: Scales of its input channels.
        merged: The step whose kernel comes before its own in one linear map.
        gone: Whether it was folded into another one: what is left does nothing.
        scaled: Whether its output is that of the operation only up to a scale of the channels.
    """

    operation: Operation
    behind: list[Scale] = field(default_factory=list)
    before: list[Scale] = field(default_factory=list)
    merged: Step | None = None
    gone: bool = False
    scaled: bool = False

    @property
    def linear(self) -> Linear | None:
        """Its kernel, if it has one of its own and still is there."""
        does = self.operation.does
        return does if isinstance(does, Linear) and not self.gone else None

    @property
    def convolution(self) -> Convolution | None:
        """The map that its kernel makes, with what is merged into it."""
        does = self.operation.does
        first = self.merged.convolution if self.merged else None
        return first or (does.convolution if isinstance(does, Linear) else None)

    @property
    def as_it_is(self) -> bool:
        """Whether nothing was folded into it."""
        return not (self.behind or self.before or self.merged)


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
        (blocks, rows, columns), (others, inputs, outputs) = (
            a.kernel.view.shape,
            b.kernel.view.shape,
        )
        pointwise = b.convolution is None or (
            math.prod(b.convolution.kernel) == 1 and set(b.convolution.strides) == {1}
        )
        size = rows * blocks * outputs
        return (
            pointwise
            and others == 1
            and blocks * columns == inputs
            and (blocks == 1 or a.convolution is not None)
            and size <= _LARGEST[a.convolution is None]
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
                if not _fits(step, scale, axis, behind=True, rank=len(step.operation.sizes)):
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
                    if not _fits(step, scale, axis, behind=False, rank=rank):
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


def _is_identity(step: Step) -> bool:
    does = step.operation.does
    return isinstance(does, Slopes) and does.low == does.high == 1.0 and does.alpha is None


def passes(step: Step, axis: int | None, rank: int) -> bool:
    """Whether a step acts on each channel by itself.

    Args:
        step: The step.
        axis: The axis of the channels; `None` where all numbers are scaled as one.
        rank: Of the tensor whose axis it is, the step's input or output.
    """
    does = step.operation.does
    if len(step.operation.inputs) != 1 or (step.gone and isinstance(does, Linear)):
        return False
    if isinstance(does, Slopes | Diagonal):
        return True
    if not isinstance(does, Constant | AxisMatrices) or axis is None:
        return isinstance(does, Constant | AxisMatrices)
    return does.channels_axis is not None and (does.channels_axis - axis) % max(1, rank) == 0


def axis_before(step: Step, axis: int | None) -> int | None:
    """Returns the axis of the channels on the other side of a step that they pass.

    It may have another rank there, as around a pooling over all positions.
    """
    does = step.operation.does
    return (
        does.channels_axis
        if axis is not None and isinstance(does, Constant | AxisMatrices)
        else axis
    )


def _fits(step: Step, scale: Scale, axis: int | None, *, behind: bool, rank: int) -> bool:
    """Whether a scale fits the output (or input) channels of a step's kernel."""
    linear = step.linear
    if linear is not None and math.prod(linear.kernel.view.shape) > _HELD:
        return False
    if linear is None or (scale.values.size == 1 and axis is None):
        return linear is not None
    own = channels_axis(linear, behind=behind)
    if own is None or axis is None or (own - axis) % max(1, rank):
        return False
    return scale.values.size in {1, channels(linear, behind=behind)}


def channels_axis(linear: Linear, *, behind: bool) -> int | None:
    """Returns the axis of a kernel's output (or input) channels."""
    return linear.channels_axis if behind or linear.convolution else linear.inputs_axis


def channels(linear: Linear, *, behind: bool) -> int:
    """Returns how many output (or input) channels a kernel tells apart."""
    blocks, rows, columns = linear.kernel.view.shape
    if linear.convolution is None:
        return columns if behind else rows
    rows //= math.prod(linear.convolution.kernel)
    return blocks * (columns if behind != linear.transposed else rows)
