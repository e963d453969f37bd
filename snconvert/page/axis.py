"""Axes of charts: where values stand, and where the lines with numbers are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

_DECADES = 1.5  # from so many on an axis is logarithmic
_LINES = 5
_LOWEST, _HIGHEST = -12.0, 308.0  # what is beyond, such as zero, stands at the end


class Tick(NamedTuple):
    """A line with a number.

    Attributes:
        at: Where it is, from 0 to 1.
        text: The number.
    """

    at: float
    text: str


class Axis(NamedTuple):
    """An axis for positive numbers, which are given by their logarithms to base 10.

    Attributes:
        low: The lower end: a logarithm, or on a linear axis a number.
        high: The upper end.
        logarithmic: Whether it is logarithmic.
    """

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, logarithms: Sequence[float]) -> Self:
        """Returns the axis on which numbers are seen well; a linear one begins at zero.

        Example:
            >>> Axis.of([0.0, 3.0]), Axis.of([0.0, 0.0])
            (Axis(low=0.0, high=3.0, logarithmic=True), Axis(low=0.0, high=1.0, logarithmic=False))
        """
        inner = [min(value, _HIGHEST) for value in logarithms if value > _LOWEST]
        low, high = min(inner, default=0.0), max(inner, default=0.0)
        if high - low > _DECADES:
            pad = 0.02 * (high - low)
            return cls(float(math.floor(low + pad)), float(math.ceil(high - pad)), True)
        return cls(0.0, 10.0**high, False)

    def place(self, logarithm: float) -> float:
        """Returns where a number stands, from 0 to 1.

        Example:
            >>> Axis(0.0, 4.0, True).place(2.0)
            0.5
        """
        value = logarithm if self.logarithmic else 10.0 ** min(logarithm, _HIGHEST)
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self) -> list[Tick]:
        """Returns the lines with numbers.

        Example:
            >>> [tick.text for tick in Axis(0.0, 3.0, True).ticks()]
            ['1', '10', '100', '1000']
            >>> [tick.text for tick in Axis(0.0, 2.3, False).ticks()]
            ['0', '0.5', '1', '1.5', '2']
        """
        if self.logarithmic:
            decades = max(1, math.ceil((self.high - self.low) / _LINES))
            values = [float(x) for x in range(int(self.low), int(self.high) + 1, decades)]
            texts = [f"{10.0**x:.4g}" if abs(x) < _LINES - 1 else f"1e{x:.0f}" for x in values]
        else:
            step = _step(self.high)
            values = [step * count for count in range(int(self.high / step + 1e-9) + 1)]
            texts = [f"{value:.4g}" for value in values]
        span = self.high - self.low
        return [
            Tick((value - self.low) / span, text) for value, text in zip(values, texts, strict=True)
        ]


def _step(high: float) -> float:
    """Returns the round number of which a few reach the end of the axis."""
    power = 10.0 ** math.floor(math.log10(high))
    return next(
        power * part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if high / (power * part) <= _LINES
    )
