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

from snconvert.core.magnitude import Magnitude
from snconvert.linalg.blocks import Array
from snconvert.lipschitz.arithmetic import ONE, product, total
from snconvert.lipschitz.arrays import Arrays, Kernel
from snconvert.lipschitz.constants import slopes_of
from snconvert.lipschitz.multipliers.kernels_in_use import (
    bound_of_block,
    bound_of_chain,
    identity,
    unit_of,
)
from snconvert.lipschitz.multipliers.symbol import Map
from snconvert.lipschitz.network import Linear, Slopes, Sum
from snconvert.lipschitz.norms import Norms, missed_norm
from snconvert.lipschitz.propagation import Rule
from snconvert.lipschitz.steps import Step, channels_axis

_LARGEST = 1 << 25  # numbers of a segment's kernels, which are in memory together

Interval = tuple[float, float]

_NONE: Interval = (1.0, 1.0)  # the slopes of nothing


class Segment(NamedTuple):
    """Kernels with activations between, of which nothing else reads what is inside.

    Attributes:
        kernels: The places of their steps, one at least.
        slopes: Of what is between each two, an interval that holds 0 and all slopes; of a
            residual block also of what is before the first one or behind the last one.
        source: The place of the tensor that they read.
        end: The place of the tensor that they make.
        shortcut: The place of a kernel that reads the same, and to whose output theirs is added;
            that of the source if it is added itself; `None` of a chain.
        first: Whether the first slopes are before the first kernel.
        last: Whether the last slopes are behind the last one.
        subtracts: Whether one of both is subtracted from the other.
    """

    kernels: tuple[int, ...]
    slopes: tuple[Interval, ...]
    source: int
    end: int
    shortcut: int | None = None
    first: bool = False
    last: bool = False
    subtracts: bool = False


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
                branch, shortcut = self._kernel_behind(end), self._kernel_behind(other)
                if branch is None:
                    continue
                if shortcut is None or shortcut[1] != _NONE:
                    shortcut = None
                source = other if shortcut is None else _source(self._steps[shortcut[0]])
                segment = self._walk(branch[0], source)
                if segment is None or (not segment.slopes and branch[1] == _NONE):
                    continue
                kernel = source if shortcut is None else shortcut[0]
                ends = segment.kernels if shortcut is None else (*segment.kernels, kernel)
                layouts = {_layout(self._steps[at]) for at in ends}
                if None in layouts or len(layouts) > 1:
                    continue
                if branch[1] != _NONE:
                    segment = segment._replace(
                        slopes=(*segment.slopes, _with_zero(branch[1])), last=True
                    )
                yield segment._replace(end=place, shortcut=kernel, subtracts=does.subtracts)
                break

    def _kernel_behind(self, place: int) -> tuple[int, Interval] | None:
        """Returns the place of the kernel that makes a tensor, and the slopes behind it."""
        interval = _NONE
        while self._readers[place] == 1:
            step = self._steps[place]
            if _kind(step) is not None:
                return place, interval
            own = self._slopes(step)
            if own is None:
                return None
            interval, place = _composed(own, interval), _source(step)
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
        source, interval = _source(step), _NONE
        begin = source
        while source != until and self._readers[source] == 1:
            other = self._steps[source]
            if _kind(other) is not None:
                if _kind(other) != kind or not _axes_meet(other, step):
                    break
                kernels.insert(0, source)
                slopes.insert(0, _with_zero(interval))
                step, interval = other, _NONE
                begin = _source(step)
            else:
                own = self._slopes(other)
                if own is None:
                    break
                interval = _composed(interval, own)
            source = _source(other)
        if until is not None and source != until:
            return None
        if until is None:
            return Segment(tuple(kernels), tuple(slopes), begin, place)
        first = interval != _NONE
        slopes[:0] = [_with_zero(interval)] if first else []
        return Segment(tuple(kernels), tuple(slopes), until, place, first=first)

    def _slopes(self, step: Step) -> Interval | None:
        """Returns the slopes of what a step does to each number, `None` if it does more."""
        does = step.operation.does
        if len(step.operation.inputs) != 1 or isinstance(does, Linear):
            return None
        if step.gone:
            return _NONE
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
        try:
            return self._rule(segment, norms, constants, seconds)
        except (MemoryError, np.linalg.LinAlgError):
            return None  # the rules of the graph do without

    def _rule(
        self, segment: Segment, norms: Norms, constants: Sequence[Magnitude | None], seconds: float
    ) -> Rule | None:
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
        if segment.subtracts:
            kernels[0] = kernels[0]._replace(stack=-kernels[0].stack)
        maps = [_map(k, self._steps[place]) for k, place in zip(kernels, places, strict=True)]
        shortcut = maps.pop() if own_shortcut else None
        last = kernels.pop() if own_shortcut else None
        unit = product(*(unit_of(kernel) for kernel in kernels))
        missed = [*self._missed(segment, kernels, constants)]
        if segment.shortcut is None:
            bound = bound_of_chain(maps, segment.slopes, seconds)
            factor = None if bound is None else total([product(bound, unit), *missed])
        else:
            if segment.first:
                maps.insert(0, identity(maps[0], read=True))
            if segment.last:
                maps.append(identity(maps[-1], read=False))
            factor = bound_of_block(maps, segment.slopes, unit, (shortcut, last), seconds)
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


def _map(kernel: Kernel, step: Step) -> Map:
    conv = step.convolution
    if conv is None:
        matrix: Array = kernel.stack[0]
        return matrix
    return kernel.stack.reshape(1, math.prod(conv.kernel), -1, kernel.stack.shape[2]), conv


def _kind(step: Step) -> str | None:
    """Returns what a step's kernel is to multipliers, `None` if it is nothing to them."""
    linear, conv = step.linear, step.convolution
    if linear is None or linear.transposed or linear.kernel.view.shape[0] != 1:
        return None
    if conv is None:
        return "dense"
    return None if conv.on_torus else f"{len(conv.kernel)}D"


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


def _layout(step: Step) -> tuple[str | None, int, int] | None:
    """Returns the kind of a step's map, and axis and rank; `None` if it moves the channels.

    What it makes can be added to what it reads, position by position, if it moves none.
    """
    linear, rank = step.operation.does, len(step.operation.sizes)
    if not isinstance(linear, Linear) or not rank or not _axes_meet(step, step):
        return None
    made = channels_axis(linear, behind=True)
    return None if made is None else (_kind(step), made % rank, rank)


def _with_zero(interval: Interval) -> Interval:
    return min(interval[0], 0.0), max(interval[1], 0.0)


def _composed(one: Interval, two: Interval) -> Interval:
    """Returns an interval that holds the products of the numbers of two."""
    if _NONE in (one, two):
        return two if one == _NONE else one
    ends = [a * b for a in one for b in two]
    return math.nextafter(min(ends), -math.inf), math.nextafter(max(ends), math.inf)
