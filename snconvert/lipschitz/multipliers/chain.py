"""The certified bound of a chain of layers, tighter than the product of their norms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.linalg.one_thread import one_thread
from snconvert.linalg.proved_norm import proved_matrix_norm
from snconvert.lipschitz.arithmetic import ONE, ZERO, order, product
from snconvert.lipschitz.multipliers.estimate import fast, squares_and_gradient
from snconvert.lipschitz.multipliers.proof import proved
from snconvert.lipschitz.multipliers.search import gathered, improved, spread
from snconvert.lipschitz.multipliers.segment import Segment, Slopes, prepared
from snconvert.lipschitz.multipliers.semidefinite import Array
from snconvert.lipschitz.multipliers.symbol import stacks

_CALL, _RATE = 4e-4, 1e10  # seconds of a step a layer, and operations a second
_FEWEST = 10  # evaluations that the fast multipliers and their proof are worth
_PROOF, _ALWAYS = 2.0, 20.0  # operations of a proof a cube of its order; seconds that may always be
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
        >>> from snconvert.lipschitz.arithmetic import product
        >>> kernels = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, -2.0], [0.0, 1.0]])
        >>> norms = [chain_bound([kernel], [], seconds=0.0) for kernel in kernels]
        >>> print(*norms, product(*norms), chain_bound(kernels, [(0.0, 1.0)], seconds=1.0))
        2.415 2.415 5.829 2.237
    """
    if not all(np.isfinite(kernel).all() for kernel in kernels):
        raise ValueError("a kernel holds numbers that are not finite")
    bound, begin = ONE, 0
    cuts = [*_cuts(kernels, seconds), len(kernels)]
    for end in cuts:
        inner = list(slopes[begin : end - 1])
        part = _part(list(kernels[begin:end]), inner, seconds / len(cuts))
        if end < len(kernels):
            part = product(part, Magnitude.of(max(-slopes[end - 1][0], slopes[end - 1][1], 0.0)))
        bound, begin = product(bound, part), end
    return bound


@one_thread()
def convolution_chain_bound(
    maps: Sequence[tuple[Array, Convolution]], slopes: Sequence[Slopes], *, seconds: float
) -> Magnitude | None:
    """Returns a certified bound of a chain of convolutions at their sizes.

    Args:
        maps: Taps, float64 `(1, k, m, n)`, exact and finite, and the convolution that they make.
        slopes: As for `chain_bound`.
        seconds: As for `chain_bound`.

    Returns:
        `None` if multipliers prove nothing: sizes are not known, or it would take too long.

    Raises:
        ValueError: A kernel is not finite.
    """
    if not all(taps.any() for taps, _ in maps):
        return ZERO
    found = stacks(maps)
    if found is None:
        return None
    segment = prepared(found.maps, found.errors, slopes[: len(maps) - 1], found.copies[:-1])
    if segment is None:
        return ZERO
    if seconds < _FEWEST * _seconds(segment):
        return None
    return segment_bound(segment._replace(exponent=segment.exponent + sum(found.powers)), seconds)


def _cuts(kernels: Sequence[Array], seconds: float) -> list[int]:
    """Returns the kernels before which the chain is cut: behind the widest layers."""
    sizes = [sum(kernel.shape) for kernel in kernels[:-1]]
    first = [2 * kernel.shape[1] for kernel in kernels[:-1]]  # at most, as it is made square
    cuts: list[int] = []
    index = -1
    while len(cuts) < len(sizes):
        if index + 1 < len(sizes):
            sizes[index + 1] = min(sizes[index + 1], first[index + 1])
        seconds_taken = _PROOF * sum(size**3 for size in sizes) / _RATE
        if max(sizes) <= _LARGEST and seconds_taken <= max(seconds, _ALWAYS):
            break
        index = int(np.argmax(sizes))
        sizes[index] = 0
        cuts.append(index + 1)
    return sorted(cuts)


def _part(kernels: list[Array], slopes: list[Slopes], seconds: float) -> Magnitude:
    if slopes:
        segment = prepared([kernel.T[None] for kernel in kernels], [0.0] * len(kernels), slopes)
        bound = ZERO if segment is None else segment_bound(segment, seconds)
        if bound is not None:
            return bound
    steep = [Magnitude.of(max(-low, high, 0.0)) for low, high in slopes]
    return product(*map(proved_matrix_norm, kernels), *steep)


def segment_bound(segment: Segment, seconds: float) -> Magnitude | None:
    """Returns the least bound that multipliers prove, or `None` if they prove none.

    Args:
        segment: The chain.
        seconds: As for `chain_bound`.
    """
    try:
        segment, multipliers = fast(segment)
        bounds = [proved(segment, multipliers)]
        better = _improved(segment, multipliers, seconds) if multipliers else multipliers
        if better is not multipliers:
            bounds.append(proved(segment, better))
    except (np.linalg.LinAlgError, MemoryError):
        return None
    return min(filter(None, bounds), key=order, default=None)


def _improved(segment: Segment, multipliers: list[Array], seconds: float) -> list[Array]:
    copies = segment.copies

    def evaluate(places: Array | slice, those: list[Array]) -> tuple[Array, list[Array]]:
        squares, gradient = squares_and_gradient(segment.at(places), spread(those, copies))
        return squares, gathered(gradient, copies)

    start = [each[: len(each) // count] for each, count in zip(multipliers, copies, strict=True)]
    better = improved(evaluate, start, seconds / _seconds(segment))
    return multipliers if better is start else spread(better, copies)


def _seconds(segment: Segment) -> float:
    """Returns about how long one step of the search takes."""
    operations = 0.0
    for stack in segment.maps:
        count, n, m = stack.shape
        complexity = 4 if stack.dtype.kind == "c" else 1
        operations += complexity * count * (m**3 + 2 * m * m * n + 2 * m * n * n)
    return _CALL * len(segment.maps) + operations / _RATE
