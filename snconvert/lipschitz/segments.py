"""Segments of a network that multipliers bound: chains of kernels, and residual blocks.

A kernel in use is `s (W + E)`: `W` in float64, `s` known to an interval, `E` what rounding missed.
A smaller `s` only makes slopes smaller that hold 0, so each `s` counts with its largest value: as a
factor of a chain's bound, which is homogeneous in each kernel, or of the slopes in a residual
block. The errors add `|E_i|` times the other kernels' norms and the slopes, one for each kernel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import ONE, product, total
from snconvert.lipschitz.arrays import Arrays, Kernel
from snconvert.lipschitz.constants import slopes_of
from snconvert.lipschitz.folding import Step, channels_axis
from snconvert.lipschitz.multipliers.chain import chain_bound
from snconvert.lipschitz.multipliers.residual import residual_bound
from snconvert.lipschitz.multipliers.symbol import Map
from snconvert.lipschitz.network import Linear, Slopes, Sum
from snconvert.lipschitz.norms import Norms, missed_norm
from snconvert.lipschitz.propagation import Rule

_LARGEST = 1 << 25  # numbers of a segment's kernels, which are in memory together
_FARTHEST = 900  # powers of two by which slopes may be scaled

Interval = tuple[float, float]


class Segment(NamedTuple):
    """Kernels with activations between, of which nothing else reads what is inside.

    Attributes:
        kernels: The places of their steps, one at least.
        slopes: Of what is between each two, an interval that holds 0 and all slopes; of a
            residual block that begins with activations, first of all those of these.
        source: The place of the tensor that they read.
        end: The place of the tensor that they make.
        shortcut: The place of a kernel that reads the same, and to whose output theirs is added;
            that of the source if it is added itself; `None` of a chain.
    """

    kernels: tuple[int, ...]
    slopes: tuple[Interval, ...]
    source: int
    end: int
    shortcut: int | None = None


class Segments:
    """The segments of a network.

    Args:
        steps: Its steps.
        outputs: The places of its outputs.
        arrays: The arrays of the file.

    Attributes:
        found: The longest chains, and the residual blocks.
    """

    def __init__(self, steps: Sequence[Step], outputs: Sequence[int], arrays: Arrays) -> None:
        self._steps, self._arrays = steps, arrays
        self._readers = [0] * len(steps)
        for place in itertools.chain(outputs, *(step.operation.inputs for step in steps)):
            self._readers[place] += 1
        self.found = [*self._chains(), *self._residual_blocks()]

    def _chains(self) -> Iterator[Segment]:
        inside: set[int] = set()
        for place in reversed(range(len(self._steps))):
            if place not in inside and (segment := self._walk(place)) is not None:
                inside.update(segment.kernels)
                if len(segment.kernels) > 1:
                    yield segment

    def _residual_blocks(self) -> Iterator[Segment]:
        for place, step in enumerate(self._steps):
            does, inputs = step.operation.does, step.operation.inputs
            if not isinstance(does, Sum) or does.weights != (1.0, 1.0):
                continue
            for end, other in (inputs, inputs[::-1]):
                last, shortcut = self._kernel_behind(end), self._kernel_behind(other)
                source = other if shortcut is None else _source(self._steps[shortcut])
                segment = None if last is None else self._walk(last, source)
                if segment is not None and segment.slopes:
                    shortcut = source if shortcut is None else shortcut
                    yield segment._replace(end=place, shortcut=shortcut)
                    break

    def _kernel_behind(self, place: int) -> int | None:
        """Returns the place of the kernel that makes a tensor which is read once."""
        while self._readers[place] == 1:
            step = self._steps[place]
            if _kind(step) is not None:
                return place
            if not step.gone or isinstance(step.operation.does, Linear):
                return None
            place = step.operation.inputs[0]
        return None

    def _walk(self, place: int, until: int | None = None) -> Segment | None:
        """Returns the kernels from one backward, as far as they go or up to a tensor.

        Args:
            place: That of the last kernel.
            until: That of the tensor that they have to read.
        """
        step = self._steps[place]
        kind, kernels, slopes = _kind(step), [place], list[Interval]()
        if kind is None:
            return None
        source, interval = _source(step), (1.0, 1.0)
        begin = source
        while source != until and self._readers[source] == 1:
            other = self._steps[source]
            if _kind(other) is not None:
                if _kind(other) != kind or not _axes_meet(other, step):
                    break
                kernels.insert(0, source)
                slopes.insert(0, (min(interval[0], 0.0), max(interval[1], 0.0)))
                step, interval = other, (1.0, 1.0)
                begin = _source(step)
            else:
                own = self._slopes(other)
                if own is None:
                    break
                interval = _composed(interval, own)
            source = _source(other)
        if until is not None and source != until:
            return None
        if until is not None and interval != (1.0, 1.0):
            slopes.insert(0, (min(interval[0], 0.0), max(interval[1], 0.0)))
        return Segment(tuple(kernels), tuple(slopes), begin if until is None else until, place)

    def _slopes(self, step: Step) -> Interval | None:
        """Returns the slopes of what a step does to each number, `None` if it does more."""
        does = step.operation.does
        if len(step.operation.inputs) != 1 or isinstance(does, Linear):
            return None
        if step.gone:
            return 1.0, 1.0
        interval = slopes_of(does, self._arrays) if isinstance(does, Slopes) else ""
        return None if isinstance(interval, str) else interval

    def rule(
        self, segment: Segment, norms: Norms, constants: Sequence[Magnitude | None], seconds: float
    ) -> Rule | None:
        """Returns the rule of a segment by multipliers, `None` if it has none.

        Args:
            segment: The segment.
            norms: The kernels.
            constants: The constants of all steps.
            seconds: About how long to look for multipliers.
        """
        places = list(segment.kernels)
        own_shortcut = segment.shortcut is not None and segment.shortcut != segment.source
        if own_shortcut:
            places.append(segment.shortcut or 0)
        kernels: list[Kernel] = []
        for place in places:
            kernel = norms.kernel(self._steps[place])
            if kernel is None or sum(k.stack.size for k in (*kernels, kernel)) > _LARGEST:
                return None
            kernels.append(kernel)
        maps = [_map(k, self._steps[place]) for k, place in zip(kernels, places, strict=True)]
        shortcut = maps.pop() if own_shortcut else None
        last = kernels.pop() if own_shortcut else None
        unit = product(*(_unit(kernel) for kernel in kernels))
        missed = [*self._missed(segment, kernels, constants)]
        if segment.shortcut is None:
            bound = _chain_bound(maps, segment.slopes, seconds)
            factor = None if bound is None else total([product(bound, unit), *missed])
        else:
            factor = _residual_bound(maps, segment.slopes, unit, (shortcut, last), seconds)
            factor = None if factor is None else total([factor, *missed])
        return None if factor is None else Rule(factor, ((segment.source, ONE),))

    def _missed(
        self, segment: Segment, kernels: Sequence[Kernel], constants: Sequence[Magnitude | None]
    ) -> Iterator[Magnitude]:
        """Yields of each kernel what its error adds."""
        steep = [Magnitude.of(max(-low, high)) for low, high in segment.slopes]
        for index, (place, kernel) in enumerate(zip(segment.kernels, kernels, strict=True)):
            others = [constants[place] for place in segment.kernels]
            own = missed_norm(kernel, self._steps[place].convolution)
            others[index] = product(kernel.factor, own)
            yield product(ONE, *steep, *(other for other in others if other is not None))


def _chain_bound(maps: list[Map], slopes: Sequence[Interval], seconds: float) -> Magnitude | None:
    convolutions = [each for each in maps if isinstance(each, tuple)]
    if convolutions:
        return None
    kernels = [each for each in maps if not isinstance(each, tuple)]
    return chain_bound(kernels, slopes, seconds=seconds)


def _residual_bound(
    maps: list[Map],
    slopes: Sequence[Interval],
    unit: Magnitude,
    shortcut: tuple[Map | None, Kernel | None],
    seconds: float,
) -> Magnitude | None:
    """Returns the bound of a residual block, but for its errors.

    Args:
        maps: Those of the branch.
        slopes: Between them, or one more in front.
        unit: What the branch is multiplied by.
        shortcut: The shortcut's map and kernel, if it has one.
        seconds: As for `Segments.rule`.
    """
    whole, kernel = ONE, shortcut[1]
    if kernel is not None:
        if kernel.factor != ONE:
            return None  # of which only the largest value is known
        whole = _unit(kernel)
        unit = unit._replace(exponent=unit.exponent - kernel.exponent)
    if abs(unit.exponent) > _FARTHEST:
        return None
    scale = math.ldexp(unit.mantissa, unit.exponent)
    low, high = slopes[0]
    first = math.nextafter(low * scale, -math.inf), math.nextafter(high * scale, math.inf)
    if len(slopes) == len(maps):
        maps = [_identity(maps[0]), *maps]
    bound = residual_bound(maps, [first, *slopes[1:]], shortcut=shortcut[0], seconds=seconds)
    if bound is None:
        return None
    bound = product(bound, whole)
    if kernel is None:
        return bound
    conv = shortcut[0][1] if isinstance(shortcut[0], tuple) else None
    return total([bound, missed_norm(kernel, conv)])


def _identity(first: Map) -> Map:
    """Returns the identity on what a map reads."""
    if not isinstance(first, tuple):
        return np.eye(len(first))
    taps, conv = first
    ones, zeros = (1,) * len(conv.kernel), (0,) * len(conv.kernel)
    same = Convolution(ones, ones, ones, zeros, conv.inputs, conv.inputs)
    return np.eye(taps.shape[2])[None, None], same


def _map(kernel: Kernel, step: Step) -> Map:
    conv = step.convolution
    if conv is None:
        return kernel.stack[0]
    return kernel.stack.reshape(1, math.prod(conv.kernel), -1, kernel.stack.shape[2]), conv


def _unit(kernel: Kernel) -> Magnitude:
    """Returns what a chain with the stack of a kernel is multiplied by."""
    return product(kernel.factor, Magnitude(0.5, kernel.exponent + 1))


def _kind(step: Step) -> str | None:
    """Returns what a step's kernel is to multipliers, `None` if it is nothing to them."""
    linear, conv = step.linear, step.convolution
    if linear is None or linear.transposed or linear.kernel.view.shape[0] != 1:
        return None
    if conv is None:
        return "dense"
    return None if conv.on_torus else "convolution"


def _source(step: Step) -> int:
    """Returns the place of what a step reads, with what is merged into it."""
    while step.merged is not None:
        step = step.merged
    return step.operation.inputs[0]


def _axes_meet(one: Step, two: Step) -> bool:
    """Whether the channels that a kernel makes are those that another one reads."""
    while two.merged is not None:
        two = two.merged
    a, b = one.operation.does, two.operation.does
    if not isinstance(a, Linear) or not isinstance(b, Linear):
        return False
    made, read = channels_axis(a, behind=True), channels_axis(b, behind=False)
    if made is None or read is None:
        return False
    return (made - read) % max(1, len(one.operation.sizes)) == 0


def _composed(one: Interval, two: Interval) -> Interval:
    """Returns an interval that holds the products of the numbers of two."""
    if one == (1.0, 1.0):
        return two
    if two == (1.0, 1.0):
        return one
    ends = [a * b for a in one for b in two]
    return math.nextafter(min(ends), -math.inf), math.nextafter(max(ends), math.inf)
