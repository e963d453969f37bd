"""The minimum of a function by L-BFGS, for a function that need not be smooth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from snconvert.lipschitz.multipliers.semidefinite import Array

_PAIRS = 30  # differences of steps and gradients that are kept
_FALL, _TURN = 1e-4, 0.9  # of the slope: how much of it a step must win, and how much may be left
_WAIT, _STALLED = 50, 1e-4  # it ends when so many evaluations have won no more than that
_NARROW = 1e-9  # of a step: between such there is a kink, and none satisfies both conditions

Function = Callable[[Array], tuple[float, Array]]


class _Seen:
    """A function that remembers the best point, and when it is time to end."""

    def __init__(self, function: Function, evaluations: int) -> None:
        self.function = function
        self.left = evaluations
        self.best: Array = np.zeros(0)
        self.least = self.mark = math.inf
        self.waited = 0
        self.over = False

    def at(self, point: Array) -> tuple[float, Array]:
        value, gradient = self.function(point)
        if value < self.least:
            self.best, self.least = point, value
        self.left -= 1
        self.waited += 1
        if self.waited == _WAIT:
            self.over = self.mark - self.least <= _STALLED
            self.mark, self.waited = self.least, 0
        self.over |= self.left <= 0
        return value, gradient


def minimise(function: Function, start: Array, evaluations: int) -> Array:
    """Returns the best point that L-BFGS sees.

    Steps satisfy the weak Wolfe conditions, found by bisection, which is what BFGS needs on
    functions with kinks such as a largest eigenvalue (Lewis & Overton, Math. Programming 141,
    2013, algorithm 2.6).

    Args:
        function: Returns the value and the gradient; infinity where it is not defined.
        start: float64 `(n,)`, where it is defined.
        evaluations: How many times the function may be called.

    Example:
        >>> kink = lambda x: (abs(x[0] - 1) + x[1] ** 2, np.array([np.sign(x[0] - 1), 2 * x[1]]))
        >>> np.allclose(minimise(kink, np.array([5.0, 3.0]), 200), [1, 0], atol=1e-3)
        True
    """
    seen = _Seen(function, evaluations)
    point = start
    value, gradient = seen.at(start)
    pairs: list[tuple[Array, Array, float]] = []
    while not seen.over:
        direction = -_by_inverse_hessian(gradient, pairs)
        step = 1.0 if pairs else 0.5 / max(float(np.abs(direction).max()), 1e-300)
        length, reached, turned = _stepped(seen, point, direction, step, (value, gradient))
        if not reached < value:
            if not pairs:
                break
            pairs = []
            continue
        change, bend = length * direction, turned - gradient
        curvature = float(change @ bend)
        if curvature > 1e-12 * float(np.linalg.norm(change) * np.linalg.norm(bend)):
            pairs = [*pairs[1 - _PAIRS :], (change, bend, curvature)]
        point, value, gradient = point + change, reached, turned
    return seen.best


def _stepped(
    seen: _Seen, point: Array, direction: Array, step: float, here: tuple[float, Array]
) -> tuple[float, float, Array]:
    """Returns the length of a step that satisfies the conditions, and the function behind it."""
    value, gradient = here
    slope = float(gradient @ direction)
    if not slope < 0:
        return 0.0, value, gradient
    low, high = 0.0, math.inf
    while True:
        reached, turned = seen.at(point + step * direction)
        if not reached <= value + _FALL * step * slope:
            high = step
        elif float(turned @ direction) < _TURN * slope:
            low = step
        else:
            break
        if seen.over or high - low <= _NARROW * high:
            break
        step = 2 * low if high == math.inf else (low + high) / 2
    return step, reached, turned


def _by_inverse_hessian(gradient: Array, pairs: list[tuple[Array, Array, float]]) -> Array:
    """Returns the gradient times the inverse of the Hessian that the pairs tell of."""
    product = gradient
    parts = []
    for change, bend, curvature in reversed(pairs):
        part = float(change @ product) / curvature
        product = product - part * bend
        parts.append(part)
    if pairs:
        _, bend, curvature = pairs[-1]
        product = product * (curvature / float(bend @ bend))
    for (change, bend, curvature), part in zip(pairs, reversed(parts), strict=True):
        product = product + (part - float(bend @ product) / curvature) * change
    return product
