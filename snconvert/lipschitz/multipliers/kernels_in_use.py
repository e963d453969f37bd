"""The bounds of segments by multipliers, with the factors and errors of kernels in use."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import ONE, product, total
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.multipliers.chain import chain_bound, convolution_chain_bound
from snconvert.lipschitz.multipliers.residual import residual_bound
from snconvert.lipschitz.multipliers.segment import Slopes
from snconvert.lipschitz.multipliers.symbol import Map
from snconvert.lipschitz.norms import missed_norm

_FARTHEST = 900  # powers of two by which slopes may be scaled


def bound_of_chain(maps: list[Map], slopes: Sequence[Slopes], seconds: float) -> Magnitude | None:
    """Returns the bound of a chain, but for its errors; `None` if multipliers prove none.

    Args:
        maps: Its maps, dense ones or convolutions.
        slopes: Between them.
        seconds: About how long to look for multipliers.
    """
    convolutions = [each for each in maps if isinstance(each, tuple)]
    if convolutions:
        return convolution_chain_bound(convolutions, slopes, seconds=seconds)
    kernels = [each for each in maps if not isinstance(each, tuple)]
    return chain_bound(kernels, slopes, seconds=seconds)


def bound_of_block(
    maps: list[Map],
    slopes: Sequence[Slopes],
    unit: Magnitude,
    shortcut: tuple[Map | None, Kernel | None],
    seconds: float,
) -> Magnitude | None:
    """Returns the bound of a residual block, but for its errors.

    Args:
        maps: Those of the branch.
        slopes: Between them.
        unit: What the branch is multiplied by.
        shortcut: The shortcut's map and kernel, if it has one.
        seconds: As for `bound_of_chain`.
    """
    whole, kernel = ONE, shortcut[1]
    if kernel is not None:
        if kernel.factor != ONE:
            return None  # of which only the largest value is known
        whole = unit_of(kernel)
        unit = unit._replace(exponent=unit.exponent - kernel.exponent)
    if abs(unit.exponent) > _FARTHEST:
        return None
    scale = math.ldexp(unit.mantissa, unit.exponent)
    low, high = slopes[0]
    first = math.nextafter(low * scale, -math.inf), math.nextafter(high * scale, math.inf)
    bound = residual_bound(maps, [first, *slopes[1:]], shortcut=shortcut[0], seconds=seconds)
    if bound is None:
        return None
    bound = product(bound, whole)
    if kernel is None:
        return bound
    conv = shortcut[0][1] if isinstance(shortcut[0], tuple) else None
    return total([bound, missed_norm(kernel, conv)])


def identity(other: Map, *, read: bool) -> Map:
    """Returns the identity on what a map reads, or on what it makes."""
    if not isinstance(other, tuple):
        return np.eye(other.shape[0 if read else 1])
    taps, conv = other
    ones, zeros = (1,) * len(conv.kernel), (0,) * len(conv.kernel)
    sizes = conv.inputs if read else conv.outputs
    same = Convolution(ones, ones, ones, zeros, sizes, sizes)
    return np.eye(taps.shape[2 if read else 3])[None, None], same


def unit_of(kernel: Kernel) -> Magnitude:
    """Returns what a chain with the stack of a kernel is multiplied by."""
    return product(kernel.factor, Magnitude(0.5, kernel.exponent + 1))
