"""The Lipschitz constants of single operations, without what is folded into them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.linalg.blocks import Array
from snconvert.lipschitz.arithmetic import ONE, product, quotient, root, widened
from snconvert.lipschitz.arrays import Arrays
from snconvert.lipschitz.axis_matrices import axis_norm
from snconvert.lipschitz.network import (
    AxisMatrices,
    Constant,
    Diagonal,
    Does,
    GroupNorm,
    Slopes,
    StoredArray,
    Unbounded,
)

_NO_MATRIX = "no bound is known for it at sizes that are not known or very large"
_NEGATIVE = "its variance is negative"
_SMALL = 2.0**-500  # far above where rounding is no longer relative
_NO_EPSILON = "its variance and epsilon may be zero"


class Scale(NamedTuple):
    """The scale of each channel: `values * 2**exponent`, with their signs.

    Attributes:
        values: float64, one for each channel or one for all; the largest of the size of 1.
        exponent: The power of two.
        roundings: How many operations of each value have rounded.
    """

    values: Array
    exponent: int
    roundings: int = 6

    @property
    def largest(self) -> Magnitude:
        """A bound of the largest of them."""
        top = float(np.abs(self.values).max(initial=0.0))
        return product(widened(top, self.roundings), Magnitude(0.5, self.exponent + 1))


def scale_of(diagonal: Diagonal, arrays: Arrays) -> Scale | str:
    """Returns the scale of a diagonal operation, or why it has none."""
    gamma = _values(diagonal.gamma, arrays, "gamma")
    if isinstance(gamma, str):
        return gamma
    exponent = math.frexp(float(np.abs(gamma).max(initial=0.0)))[1]
    gamma = np.ldexp(gamma, -exponent)
    if diagonal.variance is None:
        return Scale(gamma, exponent, 0)
    variance = _values(diagonal.variance, arrays, "variance")
    if isinstance(variance, str):
        return variance
    if gamma.size not in {1, variance.size} and variance.size != 1:
        return "its gamma and its variance have different sizes"
    if (variance < 0).any():
        return _NEGATIVE
    least = max(0.0, diagonal.least)
    roots = np.maximum(np.sqrt(variance / 4 + max(0.0, diagonal.epsilon) / 4) * 2, least)
    if diagonal.epsilon < 0 or not (roots > 0).all():
        return _NO_EPSILON
    top = math.frexp(float(roots.max() if diagonal.inverted else roots.min()))[1]
    roots = np.ldexp(roots, -top)
    values = gamma * roots if diagonal.inverted else gamma / roots
    if gamma.any() and np.abs(values).max() < _SMALL:
        return "its gamma and its variance differ by too many orders of magnitude"
    return Scale(values, exponent + (top if diagonal.inverted else -top))


def constant_of(does: Does, arrays: Arrays) -> Magnitude | str:
    """Returns the constant of an operation without a kernel, or why it has none.

    That of inputs, sums, concatenations and extrema is 1: their rules have weights.
    """
    if isinstance(does, Unbounded):
        return does.reason
    if isinstance(does, Constant):
        known = 0.0 <= does.value < math.inf
        return Magnitude.of(does.value) if known else "its constant is no finite number"
    if isinstance(does, Slopes):
        interval = slopes_of(does, arrays)
        return interval if isinstance(interval, str) else Magnitude.of(max(map(abs, interval)))
    if isinstance(does, Diagonal):
        scale = scale_of(does, arrays)
        return scale if isinstance(scale, str) else scale.largest
    if isinstance(does, GroupNorm):
        return _group_norm(does, arrays)
    if isinstance(does, AxisMatrices):
        result = ONE
        for name, arguments in does.axes:
            norm = axis_norm(name, arguments)
            if norm is None:
                return _NO_MATRIX
            result = product(result, norm)
        return result
    return ONE


def slopes_of(does: Slopes, arrays: Arrays) -> tuple[float, float] | str:
    """Returns the least and the greatest slope of an activation, or why there are none."""
    low, high = does.low, does.high
    if does.alpha is not None:
        alpha = arrays.numbers(does.alpha, "alpha")
        if isinstance(alpha, str):
            return alpha
        low = min(low, float(alpha.min(initial=high)))
        high = max(high, float(alpha.max(initial=low)))
    if not -math.inf < low <= high < math.inf:
        return "its slopes are no finite numbers"
    return low, high


def _group_norm(does: GroupNorm, arrays: Arrays) -> Magnitude | str:
    if not 0.0 < does.epsilon < math.inf:
        return _NO_EPSILON
    above = ONE
    if does.gamma is not None:
        gamma = arrays.numbers(does.gamma, "gamma")
        if isinstance(gamma, str):
            return gamma
        above = Magnitude.of(float(np.abs(gamma).max(initial=0.0)))
    return root(quotient(product(above, above), Magnitude.of(does.epsilon)))


def _values(source: StoredArray | tuple[float, ...], arrays: Arrays, name: str) -> Array | str:
    if isinstance(source, StoredArray):
        numbers = arrays.numbers(source, name)
        return numbers if isinstance(numbers, str) else numbers.reshape(-1)
    values = np.array(source, float)
    return values if np.isfinite(values).all() else f"its {name} holds NaN or infinite numbers"
