"""Parts of a Concatenate before a linear map.

A kernel `W = [W_1 .. W_p]` on the parts `x_j` of a concatenation has, for all `d_j > 0`,

    |sum of W_j dx_j| <= |[W_1 d_1 .. W_p d_p]| root of the sum of (|dx_j| / d_j)^2,

and is at most `sum of |W_j| |dx_j|`. With bounds `L_j` of the parts, `d_j = 1` is the rule of the
graph; `d_j = root of (L_j / |W_j|)` is never above that sum, and `d_j = 1 / |W_j|` may be less yet.
What acts on each number or channel by itself may stand between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import ONE, largest, product, quotient, ratio
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.constants import Scale
from snconvert.lipschitz.kernels import scaled
from snconvert.lipschitz.network import Concatenate, Linear
from snconvert.lipschitz.propagation import Rule, Value
from snconvert.lipschitz.steps import Step, axis_before, channels, channels_axis, passes

_SMALLEST = 2.0**-60  # of the scales, relative to the largest
_MOST = 256  # parts; where a flattened concatenation has more, it stays whole
_LONGEST = 64  # steps between a concatenation and what reads it


class Part(NamedTuple):
    """A part of what a kernel reads.

    Attributes:
        source: The place of the tensor.
        weight: What it is multiplied by, at most, on its way to the kernel.
        channels: How many of the kernel's input channels it is.
    """

    source: int
    weight: Magnitude
    channels: int


class Parts(NamedTuple):
    """All that a kernel reads.

    Attributes:
        parts: In the order of the channels.
        steps: The places of the kernel's step and of those up to the concatenation.
    """

    parts: tuple[Part, ...]
    steps: tuple[int, ...]


class Concatenations:
    """The parts of all concatenations of a network, nested ones flattened.

    Args:
        steps: The steps of the network.
        constants: Their constants.
    """

    def __init__(self, steps: Sequence[Step], constants: Sequence[Magnitude | None]) -> None:
        self._steps, self._constants = steps, constants
        self._parts: dict[int, list[Part]] = {}
        for place, step in enumerate(steps):
            does = step.operation.does
            if isinstance(does, Concatenate):
                parts = self._flattened(step, does)
                if parts is not None:
                    self._parts[place] = parts

    def before(self, place: int) -> Parts | None:
        """Returns the parts that a kernel reads, `None` if these are not several.

        Args:
            place: That of the kernel's step.
        """
        step = self._steps[place]
        while step.merged is not None:
            step = step.merged
        linear = step.operation.does
        if not isinstance(linear, Linear) or linear.transposed or linear.kernel.view.shape[0] != 1:
            return None
        axis = channels_axis(linear, behind=False)
        found = self._traced(step.operation.inputs[0], axis)
        if found is None or sum(p.channels for p in found.parts) != channels(linear, behind=False):
            return None
        return Parts(found.parts, (place, *found.steps))

    def _flattened(self, step: Step, does: Concatenate) -> list[Part] | None:
        parts: list[Part] = []
        repeats = does.repeats or (1.0,) * len(step.operation.inputs)
        for source, repeat in zip(step.operation.inputs, repeats, strict=True):
            weight, sizes = Magnitude.of(repeat), self._steps[source].operation.sizes
            size = sizes[does.axis] if -len(sizes) <= does.axis < len(sizes) else None
            if size is None:
                return None
            nested = self._traced(source, does.axis)
            inner = nested.parts if nested is not None else ()
            if inner and sum(p.channels for p in inner) == size and len(inner) <= _MOST:
                parts += [p._replace(weight=product(weight, p.weight)) for p in inner]
            else:
                parts.append(Part(source, weight, size))
        return parts if len(parts) <= _MOST else None

    def _traced(self, place: int, axis: int | None) -> Parts | None:
        """Returns the parts of a tensor along an axis, `None` if it is no concatenation."""
        weight, between = ONE, list[int]()
        while len(between) < _LONGEST:
            step, constant = self._steps[place], self._constants[place]
            does, rank = step.operation.does, len(step.operation.sizes)
            if axis is None or constant is None:
                return None
            between.append(place)
            if isinstance(does, Concatenate):
                if place not in self._parts or (does.axis - axis) % max(1, rank):
                    return None
                found = self._parts[place]
                parts = [p._replace(weight=product(weight, p.weight)) for p in found]
                return Parts(tuple(parts), tuple(between))
            if not passes(step, axis, rank):
                return None
            weight = product(weight, constant)
            axis, place = axis_before(step, axis), step.operation.inputs[0]
        return None


def rules_of_parts(
    found: Parts,
    kernel: Kernel,
    step: Step,
    values: Sequence[Value | None],
    norm: Callable[[Kernel], Magnitude],
) -> list[Rule]:
    """Returns the rules for what a kernel makes of parts.

    Args:
        found: The parts.
        kernel: The kernel, with what is folded into it.
        step: Its step.
        values: The bounds of the tensors before it.
        norm: Returns the proved norm of a kernel that makes the step's map, of all input channels
            or of some.
    """
    conv = step.convolution
    taps = kernel.stack.reshape(math.prod(conv.kernel) if conv else 1, -1, kernel.stack.shape[2])
    edges = np.cumsum([0, *(part.channels for part in found.parts)])
    norms, bounds = [], []
    for part, first, last in zip(found.parts, edges[:-1], edges[1:], strict=True):
        value = values[part.source]
        if value is None:
            return []
        bounds.append(product(part.weight, value.joint))
        piece = taps[:, first:last].reshape(1, -1, taps.shape[2])
        norms.append(norm(kernel._replace(stack=piece)))
    terms = tuple(
        (part.source, product(part.weight, n)) for part, n in zip(found.parts, norms, strict=True)
    )
    rules = [Rule(ONE, terms, "sum", found.steps)]
    for power in (0.5, 0.0):
        sizes = [_scale_of(n, bound, power) for n, bound in zip(norms, bounds, strict=True)]
        top = largest(size for size in sizes if size is not None)
        if not top.mantissa:
            continue
        scales = [0.0 if size is None else max(_SMALLEST, ratio(size, top)) for size in sizes]
        rows = np.repeat(scales, [part.channels for part in found.parts])
        factor = norm(scaled(kernel, conv, Scale(rows, 0, 0), last=False))
        weighted = tuple(
            (part.source, quotient(part.weight, Magnitude.of(scale)))
            for part, scale in zip(found.parts, scales, strict=True)
            if scale
        )
        rules.append(Rule(factor, weighted, "root", found.steps))
    return rules


def _scale_of(norm: Magnitude, bound: Magnitude, power: float) -> Magnitude | None:
    """Returns `bound**power / norm**(1 - power)` about; `None` for a part that adds nothing."""
    if not norm.mantissa or not bound.mantissa:
        return None
    exponent = power * bound.log10 - (1.0 - power) * norm.log10
    whole = math.floor(exponent / math.log10(2.0))
    return Magnitude.of(10.0 ** (exponent - whole * math.log10(2.0)), whole)
