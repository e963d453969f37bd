"""Segments of a network that multipliers bound: chains of kernels with activations between.

A kernel in use is `s (W + E)`: `W` in float64, `s` known to an interval, `E` what rounding missed.
The bound of a chain is homogeneous in each kernel, so it is that of the `W` times the largest `s`,
as a smaller `s` only makes slopes smaller that hold 0. The errors add `|E_i|` times the other
kernels' norms and the slopes, one for each kernel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import ONE, product, total
from snconvert.lipschitz.arrays import Arrays, Kernel
from snconvert.lipschitz.constants import slopes_of
from snconvert.lipschitz.folding import Step, channels_axis
from snconvert.lipschitz.multipliers.chain import chain_bound
from snconvert.lipschitz.network import Linear, Slopes
from snconvert.lipschitz.norms import Norms
from snconvert.lipschitz.propagation import Rule

_LARGEST = 1 << 25  # numbers of a chain's kernels, which are in memory together

Interval = tuple[float, float]


class Chain(NamedTuple):
    """Kernels with activations between, of which nothing else reads what is inside.

    Attributes:
        kernels: The places of their steps.
        slopes: Of what is between each two, an interval that holds 0 and all slopes.
        steps: The places of all steps, from the first kernel to the last.
    """

    kernels: tuple[int, ...]
    slopes: tuple[Interval, ...]
    steps: tuple[int, ...]


class Segments:
    """The segments of a network.

    Args:
        steps: Its steps.
        outputs: The places of its outputs.
        arrays: The arrays of the file.

    Attributes:
        chains: The longest chains of dense kernels.
    """

    def __init__(self, steps: Sequence[Step], outputs: Sequence[int], arrays: Arrays) -> None:
        self._steps, self._arrays = steps, arrays
        self._readers = [0] * len(steps)
        for place in itertools.chain(outputs, *(step.operation.inputs for step in steps)):
            self._readers[place] += 1
        chains: dict[int, Chain] = {}
        for place in range(len(steps)):
            link = self._link(place)
            if link is not None:
                source, slopes, between = link
                before = chains.pop(source, Chain((source,), (), (source,)))
                chains[place] = Chain(
                    (*before.kernels, place),
                    (*before.slopes, slopes),
                    (*before.steps, *between, place),
                )
        self.chains = tuple(chains.values())

    def _link(self, place: int) -> tuple[int, Interval, list[int]] | None:
        """Returns the kernel before that at a place, the slopes between, and places there."""
        step = self._steps[place]
        if not _is_dense(step):
            return None
        between = [*_merged_places(self._steps, step)]
        interval = (1.0, 1.0)
        source = _first(step).operation.inputs[0]
        while self._readers[source] == 1:
            other = self._steps[source]
            if _is_dense(other):
                meets = _axes_meet(other, _first(step))
                low, high = interval
                return (source, (min(low, 0.0), max(high, 0.0)), between) if meets else None
            own = (1.0, 1.0) if other.gone else self._slopes(other)
            if own is None or len(other.operation.inputs) != 1:
                return None
            interval = _composed(interval, own)
            between.append(source)
            source = other.operation.inputs[0]
        return None

    def _slopes(self, step: Step) -> Interval | None:
        does = step.operation.does
        interval = slopes_of(does, self._arrays) if isinstance(does, Slopes) else ""
        return None if isinstance(interval, str) else interval

    def rule(
        self, chain: Chain, norms: Norms, constants: Sequence[Magnitude | None], seconds: float
    ) -> Rule | None:
        """Returns the rule of a chain by multipliers, `None` if it has none.

        Args:
            chain: The chain.
            norms: The kernels.
            constants: The constants of all steps.
            seconds: About how long to look for multipliers.
        """
        kernels: list[Kernel] = []
        for place in chain.kernels:
            kernel = norms.kernel(self._steps[place])
            if kernel is None or sum(k.stack.size for k in (*kernels, kernel)) > _LARGEST:
                return None
            kernels.append(kernel)
        bound = chain_bound([kernel.stack[0] for kernel in kernels], chain.slopes, seconds=seconds)
        whole = product(bound, *(_unit(kernel) for kernel in kernels))
        factor = total([whole, *self._missed(chain, kernels, constants)])
        source = _first(self._steps[chain.kernels[0]]).operation.inputs[0]
        return Rule(factor, ((source, ONE),), "root", chain.steps)

    @staticmethod
    def _missed(
        chain: Chain, kernels: Sequence[Kernel], constants: Sequence[Magnitude | None]
    ) -> Iterator[Magnitude]:
        """Yields of each kernel what its error adds."""
        steep = [Magnitude.of(max(-low, high)) for low, high in chain.slopes]
        for index, kernel in enumerate(kernels):
            others = [constants[place] for place in chain.kernels]
            others[index] = product(kernel.factor, kernel.missed)
            yield product(ONE, *steep, *(other for other in others if other is not None))


def _unit(kernel: Kernel) -> Magnitude:
    """Returns what a chain with the stack of a kernel is multiplied by."""
    return product(kernel.factor, Magnitude(0.5, kernel.exponent + 1))


def _is_dense(step: Step) -> bool:
    """Whether a step is one matrix that acts on the channels of each position."""
    linear = step.linear
    return linear is not None and step.convolution is None and linear.kernel.view.shape[0] == 1


def _first(step: Step) -> Step:
    """Returns the first of the steps that are merged into one."""
    while step.merged is not None:
        step = step.merged
    return step


def _merged_places(steps: Sequence[Step], step: Step) -> Iterator[int]:
    while step.merged is not None:
        step = step.merged
        yield steps.index(step)


def _axes_meet(one: Step, two: Step) -> bool:
    """Whether the channels that a kernel makes are those that another one reads."""
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
