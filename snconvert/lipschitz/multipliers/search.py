"""The search for better multipliers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from snconvert.lipschitz.multipliers.minimum import minimise
from snconvert.lipschitz.multipliers.semidefinite import Array

_LEAST, _MOST = 20, 4000  # evaluations: with fewer it is not begun, and more win nothing
_SOME = 24  # frequencies that are looked at: the largest, and as many even ones
_ROUNDS = 3
_ENOUGH = 1.005  # by how much others may be above those that are looked at, in the square
_RANGE = 200.0  # of the logarithms

Evaluate = Callable[[Array | slice, list[Array]], tuple[Array, list[Array]]]


def spread(multipliers: list[Array], copies: Sequence[int]) -> list[Array]:
    """Returns multipliers of channels as those of all their copies."""
    return [np.tile(each, count) for each, count in zip(multipliers, copies, strict=True)]


def gathered(gradient: list[Array], copies: Sequence[int]) -> list[Array]:
    """Returns derivatives by the multipliers of copies as those by the channels'."""
    return [
        each.reshape(count, -1).sum(axis=0) for each, count in zip(gradient, copies, strict=True)
    ]


def improved(evaluate: Evaluate, multipliers: list[Array], evaluations: float) -> list[Array]:
    """Returns the multipliers that L-BFGS finds from given ones, by their logarithms.

    Of many frequencies it looks at some, then at those that turn out to be above them.

    Args:
        evaluate: Takes places of frequencies, or a slice, and multipliers; returns the squares of
            the bounds, one for each frequency, infinity where the multipliers are none, and the
            derivatives of the largest.
        multipliers: With which all squares are finite.
        evaluations: How many times all frequencies may be evaluated.

    Returns:
        Those with the least square at all frequencies; the given ones where the evaluations are too
        few.
    """
    every = slice(None)
    values, _ = evaluate(every, multipliers)
    count = len(values)
    best, least = multipliers, float(values.max())
    places = np.unique(
        np.r_[np.argsort(-values)[:_SOME], np.linspace(0, count - 1, _SOME).astype(int)]
    )
    for _ in range(_ROUNDS):
        allowed = min(evaluations * count / len(places) / _ROUNDS, _MOST)
        if len(places) == count:
            allowed = min(evaluations, _MOST)
        if allowed < _LEAST:
            break
        found = _minimised(evaluate, places, best, int(allowed))
        values, _ = evaluate(every, found)
        reached = float(values.max())
        if reached < least:
            best, least = found, reached
        inside = float(evaluate(places, found)[0].max())
        if len(places) == count or reached <= _ENOUGH * inside:
            break
        if reached == math.inf:
            values = np.array([evaluate(np.array([k]), found)[0][0] for k in range(count)])
        places = np.union1d(places, np.argsort(-values)[:_SOME])
    return best


def _minimised(
    evaluate: Evaluate, places: Array, multipliers: list[Array], evaluations: int
) -> list[Array]:
    ends = np.cumsum([len(each) for each in multipliers])[:-1]

    def logarithm(point: Array) -> tuple[float, Array]:
        here = np.split(np.exp(np.clip(point, -_RANGE, _RANGE)), ends)
        squares, gradient = evaluate(places, here)
        square = float(squares.max())
        if not 0 < square < math.inf:
            return math.inf, np.zeros_like(point)
        slope = np.concatenate([t * g for t, g in zip(here, gradient, strict=True)])
        return math.log(square), slope / square

    best = minimise(logarithm, np.log(np.concatenate(multipliers)), evaluations)
    return list(np.split(np.exp(np.clip(best, -_RANGE, _RANGE)), ends))
