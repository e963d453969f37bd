"""A chain of linear maps and activations, prepared for multipliers.

The maps are stacks `K (f, n, m)`, one for each frequency of a torus; a dense kernel is a stack of
one. What follows is exact, or adds what it rounds to the bound:

- A neuron of dense layers whose row in a map is zero never changes, and one whose column in the
  next map is zero is never seen: both go. (Symbols may be zero by rounding.)
- Maps are scaled by powers of two.
- The first map, if it has more inputs than outputs, becomes a square `C` with `C C* >= K K*`: then
  `K = C D` with `|D| <= 1` (Douglas, Proc. AMS 17, 1966), so that a bound of the chain with `C` is
  one of the chain with `K`. Likewise the last map becomes `C` with `C* C >= K* K`, since
  `|K x| <= |C x|`. So the sizes of inputs and outputs cost nothing further on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from snconvert.lipschitz.multipliers.semidefinite import UNIT, Array, hidden, unit_scale

Slopes = tuple[float, float]


class Segment(NamedTuple):
    """A chain `K_1, phi_1, K_2, ..., K_n`.

    Attributes:
        maps: `n` stacks `(f, n_i, m_i)`, float64 or complex128, that act on columns.
        errors: Of each map, how far the true one may be in the 2-norm, at any frequency.
        slopes: The slopes `a <= 0 <= b` of the `n - 1` activations; the larger of `-a` and `b` is
            1/2 or more, and less than 1.
        exponent: The power of two by which the bound of the chain is to be multiplied.
        copies: Of each activation, how many copies of its channels there are, that take the same
            multipliers.
    """

    maps: tuple[Array, ...]
    errors: tuple[float, ...]
    slopes: tuple[Slopes, ...]
    exponent: int
    copies: tuple[int, ...]

    def at(self, places: Array | slice) -> Segment:
        """Returns the chain at some of the frequencies."""
        return self._replace(maps=tuple(stack[places] for stack in self.maps))

    def rescaled(self, exponents: list[int]) -> Segment:
        """Returns the same chain with the maps times `2**-k`, for the `k` of each."""
        # In two steps, as 2**-k may be beyond float64.
        maps = tuple(
            stack * math.ldexp(1.0, -(k // 2)) * math.ldexp(1.0, k // 2 - k)
            for stack, k in zip(self.maps, exponents, strict=True)
        )
        errors = tuple(math.ldexp(e, -k) for e, k in zip(self.errors, exponents, strict=True))
        return self._replace(maps=maps, errors=errors, exponent=self.exponent + sum(exponents))


def prepared(
    maps: list[Array],
    errors: list[float],
    slopes: Sequence[Slopes],
    copies: Sequence[int] | None = None,
) -> Segment | None:
    """Returns a chain as a segment, or `None` if it is constant.

    Args:
        maps: As in `Segment`, finite.
        errors: As in `Segment`.
        slopes: Those of the activations, finite; they are widened to hold 0.
        copies: As in `Segment`, of convolutions; `None` of dense maps, which are exact.
    """
    if any(low == high == 0 for low, high in slopes):
        return None
    scaled = [scaled_slopes(low, high) for low, high in slopes]
    counts = tuple(copies or [1] * len(slopes))
    if copies is None:
        maps = _living(maps)
    if any(not stack.size for stack in maps):
        return None
    powers = [math.frexp(float(np.abs(stack).max()))[1] for stack in maps]
    intervals, exponent = tuple(ends for ends, _ in scaled), sum(power for _, power in scaled)
    segment = Segment(tuple(maps), tuple(errors), intervals, exponent, counts).rescaled(powers)
    # What underflowed is covered as well: 2**-1074 for each number.
    maps, errors = list(segment.maps), [error + 2.0**-900 for error in segment.errors]
    if maps[0].shape[2] > maps[0].shape[1]:
        maps[0], errors[0] = square_root_of(maps[0], errors[0]), 0.0
    if maps[-1].shape[1] > maps[-1].shape[2]:
        adjoint = maps[-1].conj().swapaxes(1, 2)
        maps[-1], errors[-1] = square_root_of(adjoint, errors[-1]).conj().swapaxes(1, 2), 0.0
    return segment._replace(maps=tuple(maps), errors=tuple(errors))


def scaled_slopes(low: float, high: float) -> tuple[Slopes, int]:
    """Returns slopes times a power of two, as `Segment` has them, and that power.

    Example:
        >>> scaled_slopes(-0.5, 6.0)
        ((-0.0625, 0.75), 3)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    _, power = math.frexp(max(-low, high))
    # A slope that would underflow is widened.
    ends = [max(math.ldexp(abs(end), -power), 2.0**-60) if end else 0.0 for end in (low, high)]
    return (-ends[0], ends[1]), power


def _living(maps: list[Array]) -> list[Array]:
    """Leaves out the neurons that never change, and those that are never seen."""
    maps = list(maps)
    for index in range(len(maps) - 1):
        alive = np.any(maps[index], axis=(0, 2))
        maps[index], maps[index + 1] = maps[index][:, alive], maps[index + 1][:, :, alive]
    for index in reversed(range(len(maps) - 1)):
        alive = np.any(maps[index + 1], axis=(0, 1))
        maps[index], maps[index + 1] = maps[index][:, alive], maps[index + 1][:, :, alive]
    maps[0] = maps[0][:, :, np.any(maps[0], axis=(0, 1))]
    maps[-1] = maps[-1][:, np.any(maps[-1], axis=(0, 2))]
    return maps


def square_root_of(stack: Array, error: float = 0.0) -> Array:
    """Returns square `C` with `C C* >= K K*`, just above.

    With rows of `K` scaled to a length near 1, `C` is the factor of `K K* + d`, where `d` is twice
    what rounding hides in the products `C C*` and `K K*`, whose difference is then computed.

    Args:
        stack: `K`, `(f, n, m)`; no row is zero at all frequencies.
        error: How far the true `K` may be in the 2-norm.
    """
    rows = np.square(np.abs(stack)).sum(axis=2).max(axis=0)
    scale = unit_scale(np.diag(rows))
    scaled = stack * scale[:, None]
    error *= float(scale.max())
    count, length = stack.shape[1:]
    product = scaled @ scaled.conj().swapaxes(1, 2)
    squares = np.square(np.abs(scaled)).sum(axis=(1, 2))
    margin = 2 * error * np.sqrt(squares) + error * error
    margin = margin * (1 + 1e-6) + hidden(length, squares, stack.dtype)
    extra = 2 * (margin + 2 * hidden(count, squares + 1.0, stack.dtype))
    for _ in range(60):
        raised = np.array(product)
        raised[:, range(count), range(count)] += extra[:, None]
        try:
            root = np.linalg.cholesky(raised)
        except np.linalg.LinAlgError:
            extra = extra * 4
            continue
        above = root @ root.conj().swapaxes(1, 2) - product
        above[:, range(count), range(count)] -= extra[:, None]
        missed = np.sqrt(np.square(np.abs(above)).sum(axis=(1, 2)))
        own = np.square(np.abs(root)).sum(axis=(1, 2))
        rest = missed * (1 + 1e-6) + hidden(count, own, stack.dtype) + 4 * UNIT * own + margin
        if np.all(rest <= extra):
            return np.asarray(root / scale[:, None])
        extra = extra * 4
    raise np.linalg.LinAlgError("no square root was found")
