"""The steps of a network: its operations with what is folded into them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.constants import Scale
from snconvert.lipschitz.network import (
    AxisMatrices,
    Constant,
    Diagonal,
    Linear,
    Operation,
    Slopes,
)

_HELD = 1 << 25  # numbers of a kernel of which several copies may be held


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
        rest: Its constant after the norms of its channels were folded into other kernels; `None`
            where they were not.
    """

    operation: Operation
    behind: list[Scale] = field(default_factory=list)
    before: list[Scale] = field(default_factory=list)
    merged: Step | None = None
    gone: bool = False
    scaled: bool = False
    rest: Magnitude | None = None

    @property
    def linear(self) -> Linear | None:
        """Its kernel, if it has one of its own, into which scales may go."""
        does = self.operation.does
        there = not self.gone and self.rest is None
        return does if isinstance(does, Linear) and there else None

    @property
    def depthwise(self) -> Linear | None:
        """Its kernel, if that acts on each channel by itself."""
        does = self.operation.does
        if not isinstance(does, Linear) or does.convolution is None or does.transposed:
            return None
        blocks, rows, _ = does.kernel.view.shape
        alone = blocks > 1 and rows == math.prod(does.convolution.kernel)
        return does if alone and self.merged is None and not self.gone else None

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


def passes(step: Step, axis: int | None, rank: int) -> bool:
    """Whether a step acts on each channel by itself.

    Args:
        step: The step.
        axis: The axis of the channels; `None` where all numbers are scaled as one.
        rank: Of the tensor whose axis it is, the step's input or output.
    """
    does = step.operation.does
    if len(step.operation.inputs) != 1:
        return False
    if isinstance(does, Linear):
        own = does.channels_axis
        if step.rest is None or does.kernel.view.shape[2] != 1 or own is None or axis is None:
            return False
        return (own - axis) % max(1, rank) == 0
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


def fits(step: Step, scale: Scale, axis: int | None, *, behind: bool, rank: int) -> bool:
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
