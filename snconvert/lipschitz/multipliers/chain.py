"""The certified bound of a chain of dense layers, tighter than the product of their norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.linalg.one_thread import one_thread
from snconvert.lipschitz.multipliers.estimate import fast, value_and_gradient
from snconvert.lipschitz.multipliers.minimum import minimise
from snconvert.lipschitz.multipliers.proof import proved
from snconvert.lipschitz.multipliers.segment import Segment, prepared
from snconvert.lipschitz.multipliers.semidefinite import Array

Slopes = tuple[float, float]

_CALL, _RATE = 4e-4, 1e10  # seconds of a step a layer, and operations a second
_EVALUATIONS = 20, 4000  # with fewer it is not begun, and more win nothing
_LARGEST = 4608  # order of a matrix up to which it is proved: the memory is 0.7 GB then


@one_thread()
def chain_bound(kernels: Sequence[Array], slopes: Sequence[Slopes], *, seconds: float) -> Magnitude:
    """Returns a certified bound of `x -> W_1 -> phi_1 -> W_2 -> ... -> W_n`.

    It is at most the product of the layers' norms, but for 1e-5 of rounding. Where a layer is too
    wide for multipliers the chain is cut behind it, and the bounds of the parts are multiplied.

    Args:
        kernels: `W_i`, float64 `(m_i, n_i)`, exact and finite, used as `y = x W`.
        slopes: Of the `n - 1` activations, or more, an interval that holds 0 and all their slopes.
        seconds: About how long to look for better multipliers than the fast ones. It is counted in
            operations, not by the clock, so that the bound is the same whatever else is running.

    Raises:
        ValueError: A kernel is not finite.

    Example:
        >>> kernels = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, -2.0], [0.0, 1.0]])
        >>> norms = [chain_bound([kernel], [], seconds=0.0) for kernel in kernels]
        >>> print(*norms, times(*norms), chain_bound(kernels, [(0.0, 1.0)], seconds=1.0))
        2.415 2.415 5.829 2.237
    """
    bound, begin = Magnitude.of(1.0), 0
    cuts = [*_cuts(kernels), len(kernels)]
    for end in cuts:
        inner = [(min(low, 0.0), max(high, 0.0)) for low, high in slopes[begin : end - 1]]
        part = _part(list(kernels[begin:end]), inner, seconds / len(cuts))
        if end < len(kernels):
            part = times(part, Magnitude.of(max(-slopes[end - 1][0], slopes[end - 1][1], 0.0)))
        bound, begin = times(bound, part), end
    return bound


def _cuts(kernels: Sequence[Array]) -> list[int]:
    """Returns the kernels before which the chain is cut."""
    cuts: list[int] = []
    for index, kernel in enumerate(kernels[:-1]):
        inputs, outputs = kernel.shape
        if cuts[-1:] == [index] or index == 0:
            inputs = min(inputs, outputs)
        if inputs + outputs > _LARGEST:
            cuts.append(index + 1)
    return cuts


def _part(kernels: list[Array], slopes: list[Slopes], seconds: float) -> Magnitude:
    segment = prepared([kernel.T[None] for kernel in kernels], [0.0] * len(kernels), slopes)
    if segment is None:
        return Magnitude.of(0.0)
    bound = segment_bound(segment, seconds)
    if bound is not None:
        return bound
    if not slopes:
        raise np.linalg.LinAlgError("the norm of a kernel cannot be proved")
    bound = Magnitude.of(1.0)
    for index, kernel in enumerate(kernels):
        bound = times(bound, _part([kernel], [], 0.0))
        if index:
            bound = times(bound, Magnitude.of(max(-slopes[index - 1][0], slopes[index - 1][1])))
    return bound


def times(one: Magnitude, other: Magnitude) -> Magnitude:
    """Returns a product, rounded up.

    Example:
        >>> times(Magnitude.of(3.0), Magnitude.of(0.5)).value > 1.5
        True
    """
    mantissa = one.mantissa * other.mantissa
    if not mantissa:
        return Magnitude.of(0.0)
    return Magnitude.of(math.nextafter(mantissa, math.inf), one.exponent + other.exponent)


def segment_bound(segment: Segment, seconds: float) -> Magnitude | None:
    """Returns the least bound that multipliers prove, or `None` if they prove none.

    Args:
        segment: The chain.
        seconds: As for `chain_bound`.
    """
    try:
        segment, multipliers = fast(segment)
    except np.linalg.LinAlgError:
        return None
    bounds = [proved(segment, multipliers)]
    evaluations = min(int(seconds / _seconds(segment)), _EVALUATIONS[1])
    if multipliers and evaluations >= _EVALUATIONS[0]:
        bounds.append(proved(segment, _improved(segment, multipliers, evaluations)))
    return min(filter(None, bounds), key=lambda bound: bound.log10, default=None)


def _improved(segment: Segment, multipliers: list[Array], evaluations: int) -> list[Array]:
    """Returns the multipliers that L-BFGS finds from given ones, by their logarithms."""
    ends = np.cumsum([len(each) for each in multipliers])[:-1]

    def logarithm(point: Array) -> tuple[float, Array]:
        here = np.split(np.exp(np.clip(point, -200, 200)), ends)
        square, gradient = value_and_gradient(segment, here)
        if not 0 < square < math.inf:
            return math.inf, np.zeros_like(point)
        slope = np.concatenate([t * g for t, g in zip(here, gradient, strict=True)])
        return math.log(square), slope / square

    best = minimise(logarithm, np.log(np.concatenate(multipliers)), evaluations)
    return list(np.split(np.exp(np.clip(best, -200, 200)), ends))


def _seconds(segment: Segment) -> float:
    """Returns about how long one step of the search takes."""
    operations = 0.0
    for stack in segment.maps:
        count, n, m = stack.shape
        complexity = 4 if stack.dtype.kind == "c" else 1
        operations += complexity * count * (m**3 + 2 * m * m * n + 2 * m * n * n)
    return _CALL * len(segment.maps) + operations / _RATE
