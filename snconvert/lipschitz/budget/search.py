"""The search for the bounds of layers; runs inside the guarded process.

There is one unknown, by which the bounds of all layers are multiplied: the bound of the network
rises with it. It is a float32 number, so that a bisection of the numbers there are ends exactly.
Multipliers are left out here: they make the bound smaller, but how much depends on the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from snconvert.core.magnitude import Magnitude
from snconvert.linalg.one_thread import one_thread
from snconvert.lipschitz.arithmetic import ONE, order
from snconvert.lipschitz.bound import Report, bound_by
from snconvert.lipschitz.budget.request import Budget, ConvertedKernel
from snconvert.lipschitz.budget.scaled_rules import ScaledRules
from snconvert.lipschitz.network import Network
from snconvert.weights.extent import Extent

_SLACK = 2.0**-13  # proofs of norms on another machine, by `verify`, may be that much wider
_ENOUGH = 0.99  # of what is wanted: weights of parts for other bounds give no more
_ROUNDS = 8
_LOWERED = 4  # rounds after which bounds are taken below what the rules ask for
_BITS, _POWERS = 23, 100  # bounds are float32 from 2**-100 to 2**100


@one_thread()
def budget(
    extent: Extent,
    network: Network,
    kernels: Sequence[ConvertedKernel],
    most: float,
    *,
    seconds: float = 30.0,
    report: Report = None,
) -> Budget:
    """Returns the largest multiple of bounds with which a network's bound is at most `most`.

    Args:
        extent: Where the weights file lies.
        network: The network without the conversion.
        kernels: The kernels that are converted.
        most: What is wanted of the bound.
        seconds: As for `network_bound`.
        report: As for `network_bound`.

    Raises:
        KernelError: It is not known what a layer will make of its kernel.
    """
    started = time.perf_counter()
    wanted = Magnitude.of(most * (1.0 - _SLACK))
    smallest, largest = _range([kernel.settings.bound for kernel in kernels])
    scale = 1.0
    best: tuple[float, ScaledRules] | None = None
    for turn in range(_ROUNDS):
        rules = ScaledRules(extent, network, kernels, scale, report)
        bound = rules.bound()
        if bound is None:
            return Budget(None, bound_by(rules.own, rules.folded, 0.0))
        if order(bound) <= order(Magnitude.of(most)):
            best = scale, rules
            if turn and order(bound) >= order(Magnitude.of(most * _ENOUGH)):
                break
        index = _largest(rules, wanted, smallest, largest)
        if index is None:
            break
        found = _number(index)
        if best is not None and found <= best[0]:
            break
        scale = found if turn < _LOWERED else found * 0.96875
    if best is None:
        return Budget(None, floor=rules.floor(_number(smallest), wanted))
    scale, rules = best
    result = bound_by(rules.own, rules.folded, seconds)
    return Budget(scale, result._replace(most=most, seconds=time.perf_counter() - started))


def _largest(rules: ScaledRules, wanted: Magnitude, smallest: int, largest: int) -> int | None:
    """Returns the index of the largest scale that is small enough, `None` if none is.

    Where all are: of the smallest one that changes nothing in mode `cap`, or else of 1.
    """

    def is_within(index: int) -> bool:
        bound = rules.bound(rules.factors(_number(index)))
        return bound is not None and order(bound) <= order(wanted)

    def changes(index: int) -> bool:
        factors = rules.factors(_number(index))
        return any(factors[path] != ONE for path in rules.caps)

    if not is_within(smallest):
        return None
    if not is_within(largest):
        return _last(is_within, smallest, largest)
    if rules.caps and changes(smallest):
        return _last(changes, smallest, largest) + 1
    return min(max(smallest, 0), largest)


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Returns the last index at which something holds that holds at `low`, but not at `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _number(index: int) -> float:
    """Returns a float32 number by its place among them, 0 of the number 1.

    Example:
        >>> _number(0), _number(1 << 23), _number(-1)
        (1.0, 2.0, 0.9999999403953552)
    """
    power, rest = divmod(index, 1 << _BITS)
    return math.ldexp((1 << _BITS) + rest, power - _BITS)


def _range(bounds: Sequence[float]) -> tuple[int, int]:
    """Returns the places of scales that leave all bounds within float32."""
    low, high = (math.frexp(f(bounds))[1] for f in (min, max))
    return (-_POWERS - low + 1) << _BITS, (_POWERS - high) << _BITS
