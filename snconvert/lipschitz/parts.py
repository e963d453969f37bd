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
from snconvert.lipschitz.folding import Step, axis_before, channels, channels_axis, passes
from snconvert.lipschitz.kernels import scaled
from snconvert.lipschitz.network import Concatenate, Linear
from snconvert.lipschitz.propagation import Rule, Value

_SMALLEST = 2.0**-60  # of the scales, relative to the largest


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


def parts_before(
    steps: Sequence[Step], constants: Sequence[Magnitude | None], place: int
) -> Parts | None:
    """Returns the parts that the kernel at a place reads, `None` if these are not several.

    Args:
        steps: The steps of the network.
        constants: Their constants.
        place: That of a step with a kernel.
    """
    step = steps[place]
    while step.merged is not None:
        step = step.merged
    linear = step.operation.does
    if not isinstance(linear, Linear) or linear.transposed or linear.kernel.view.shape[0] != 1:
        return None
    source = step.operation.inputs[0]
    between = [place]
    found = _parts(steps, constants, source, channels_axis(linear, behind=False), between)
    if len(found) < 2 or sum(part.channels for part in found) != channels(linear, behind=False):  # noqa: PLR2004
        return None
    return Parts(tuple(found), tuple(between))


def _parts(
    steps: Sequence[Step],
    constants: Sequence[Magnitude | None],
    place: int,
    axis: int | None,
    between: list[int],
) -> list[Part]:
    """Returns the parts of a tensor, nested concatenations flattened; none if it has no parts."""
    weight = ONE
    while True:
        step, rank = steps[place], len(steps[place].operation.sizes)
        does, constant = step.operation.does, constants[place]
        if axis is None or constant is None:
            return []
        if isinstance(does, Concatenate):
            break
        if not passes(step, axis, rank):
            return []
        weight = product(weight, constant)
        between.append(place)
        axis, place = axis_before(step, axis), step.operation.inputs[0]
    if (does.axis - axis) % max(1, rank):
        return []
    between.append(place)
    parts: list[Part] = []
    repeats = does.repeats or (1.0,) * len(step.operation.inputs)
    for source, repeat in zip(step.operation.inputs, repeats, strict=True):
        own = product(weight, Magnitude.of(repeat))
        sizes = steps[source].operation.sizes
        size = sizes[axis] if -len(sizes) <= axis < len(sizes) else None
        if size is None:
            return []
        nested = _parts(steps, constants, source, axis, [])
        if nested and sum(part.channels for part in nested) == size:
            parts += [part._replace(weight=product(own, part.weight)) for part in nested]
        else:
            parts.append(Part(source, own, size))
    return parts


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
