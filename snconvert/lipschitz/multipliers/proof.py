"""The proof that multipliers bound a chain.

For each activation, with `P` known and a `T`, exact numbers both, a `P'` of exact numbers is
proposed: what was computed, less `d T` for a small `d`. It is right if

    [ P + a b K* T K    -X* ]
    [      -X        T - P' ] >= 0,      X = (a + b) / 2 T K,

and the last step if `t P - K* K >= 0`; then `sqrt(t)` is the bound. Each is scaled by powers of two
to a diagonal near 1 and proved by `is_semidefinite`, with the error of its entries. With
`e = 2**-53`, in the 2-norm, after scaling (`s` of the first rows, `r` of the last):

- `X`: three roundings an entry: `4 e |r X s|_F`.
- the diagonal of `T - P'`, and each sum or product with `P`: one rounding: `2 e` times the
  Frobenius norm, or of a diagonal its largest entry.
- `a b K* T K`: three roundings and a product of matrices, `hidden` (semidefinite).
- Of a map known to `f` in the 2-norm: `max(r (a + b) / 2 T) max(s) f` in `X`, and in a product
  `A* A` with `A = sqrt(T) K s`, where `A` is off by `x = max(sqrt(T)) max(s) f`: `2 x |A|_F + x^2`.

If the proof fails for a small `d` it is tried with a larger one: what `d` loses is relative to `T`.
"""

from __future__ import annotations

import math

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import largest as largest_of
from snconvert.lipschitz.multipliers.estimate import (
    adjoint,
    bent,
    following,
    gram,
    identity,
    largest,
)
from snconvert.lipschitz.multipliers.segment import Segment
from snconvert.lipschitz.multipliers.semidefinite import (
    UNIT,
    Array,
    frobenius,
    is_semidefinite,
    product_error,
    rooms,
    unit_scale,
)

_CHUNK = 1 << 21  # numbers of the matrices that are proved at once


def proved(segment: Segment, multipliers: list[Array]) -> Magnitude | None:
    """Returns the bound that the multipliers prove, or `None`.

    Args:
        segment: The chain.
        multipliers: `T (n_i,)` of each activation, above zero.
    """
    step = max(1, _CHUNK // max(sum(stack.shape[1:]) ** 2 for stack in segment.maps))
    bounds = []
    for first in range(0, len(segment.maps[0]), step):
        bound = _proved(segment.at(slice(first, first + step)), multipliers)
        if bound is None:
            return None
        bounds.append(bound)
    return largest_of(bounds)


def _proved(segment: Segment, multipliers: list[Array]) -> Magnitude | None:
    weight = identity(segment)
    try:
        for index, multiplier in enumerate(multipliers):
            found = _next_weight(segment, index, weight, multiplier)
            if found is None:
                return None
            weight = found
        most = largest(gram(np.linalg.cholesky(weight), segment.maps[-1])[1])
    except np.linalg.LinAlgError:
        return None
    for room in rooms(len(weight[0])):
        limit = most * (1 + room)
        if _is_last(segment, weight, limit):
            # The root is rounded to the nearest.
            root = math.nextafter(math.sqrt(limit), math.inf)
            return Magnitude.of(root, segment.exponent)
    return None


def _next_weight(segment: Segment, index: int, weight: Array, multiplier: Array) -> Array | None:
    stack, slopes = segment.maps[index], segment.slopes[index]
    root = np.linalg.cholesky(bent(weight, stack, slopes, multiplier))
    computed = following(multiplier, slopes, gram(root, stack)[1])
    for room in rooms(sum(stack.shape[1:])):
        lower = np.array(computed)
        lower[:, range(len(multiplier)), range(len(multiplier))] -= room * multiplier
        if _is_next(segment, index, multiplier, weight, lower):
            return lower
    return None


def _is_next(
    segment: Segment, index: int, multiplier: Array, weight: Array, following_weight: Array
) -> bool:
    """Proves that `P'` follows `P`."""
    stack, (low, high) = segment.maps[index], segment.slopes[index]
    count, outputs, inputs = stack.shape
    first = bent(weight, stack, (low, high), multiplier)
    last = -following_weight
    last[:, range(outputs), range(outputs)] += multiplier
    s, r = unit_scale(first), unit_scale(last)
    matrix = np.zeros((count, inputs + outputs, inputs + outputs), stack.dtype)
    matrix[:, :inputs, :inputs] = s[:, :, None] * first * s[:, None]
    between = ((low + high) / 2 * multiplier)[:, None] * stack
    between = r[:, :, None] * between * s[:, None]
    matrix[:, inputs:, :inputs] = -between
    matrix[:, inputs:, inputs:] = r[:, :, None] * last * r[:, None]
    diagonal = np.diagonal(matrix, axis1=1, axis2=2).real
    bending = -low * high * multiplier
    error = (
        4 * UNIT * frobenius(between)
        + 2 * UNIT * (frobenius(matrix[:, :inputs, :inputs]) + diagonal.max(axis=1))
        + ((low + high) / 2 * multiplier * r).max(axis=1) * s.max(axis=1) * segment.errors[index]
        + product_error(stack * s[:, None], bending, segment.errors[index] * s.max(axis=1))
    )
    return is_semidefinite(matrix, error)


def _is_last(segment: Segment, weight: Array, limit: float) -> bool:
    """Proves that `t` is the square of a bound, `P` being the last weight."""
    stack = segment.maps[-1]
    whole = limit * weight
    s = unit_scale(whole)
    whole = s[:, :, None] * whole * s[:, None]
    scaled = stack * s[:, None]
    error = 4 * UNIT * (frobenius(whole) + frobenius(scaled) ** 2)
    error = error + product_error(
        scaled, np.ones(scaled.shape[1]), segment.errors[-1] * s.max(axis=1)
    )
    return is_semidefinite(whole - adjoint(scaled) @ scaled, error)
