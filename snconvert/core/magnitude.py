"""Positive numbers beyond those of float64: the bounds of deep networks pass 1e308."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

_LOG10_2 = math.log10(2.0)
_BY_ROUNDING = 3e-6  # relatively: what proofs add to exact numbers


class Magnitude(NamedTuple):
    """A number `mantissa * 2**exponent`, zero or positive and finite.

    Attributes:
        mantissa: 0, or from 0.5 up to but not including 1, as `math.frexp` has it.
        exponent: The power of two; 0 of zero.

    Example:
        >>> Magnitude.of(48.35), str(Magnitude(0.5, 5000)), Magnitude(0.5, 5000).value
        (Magnitude(mantissa=0.75546875, exponent=6), '>1e308', None)
    """

    mantissa: float
    exponent: int

    @classmethod
    def of(cls, value: float, exponent: int = 0) -> Self:
        """Returns `value * 2**exponent`, exactly.

        Raises:
            ValueError: The value is negative, infinite or NaN.
        """
        if not 0.0 <= value < math.inf:
            raise ValueError(f"{value!r} is no magnitude")
        mantissa, own = math.frexp(value)
        return cls(mantissa, own + exponent if mantissa else 0)

    @property
    def value(self) -> float | None:
        """The number as a float rounded up, `None` where it is above those of float64."""
        try:
            value = math.ldexp(self.mantissa, self.exponent)
        except OverflowError:
            return None
        # Below the normal numbers `ldexp` rounds to the nearest one.
        exact = math.frexp(value) == (self.mantissa, self.exponent)
        return value if exact else math.nextafter(value, math.inf)

    @property
    def log10(self) -> float:
        """Its logarithm, to rounding; minus infinity of zero."""
        if not self.mantissa:
            return -math.inf
        return math.log10(self.mantissa) + self.exponent * _LOG10_2

    def as_json(self) -> dict[str, float | None]:
        """Returns its `value`, null above 1e308, and its `log10`, null of zero."""
        log10 = self.log10
        return {"value": self.value, "log10": None if math.isinf(log10) else log10}

    def __str__(self) -> str:
        """Returns four digits, rounded up, as bounds are printed; `>1e308` beyond float64.

        What is above four digits by rounding alone has seven: 1.000001, not 1.001.
        """
        from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal  # noqa: PLC0415 - rare

        if self.value is None:
            return ">1e308"
        exact = Decimal(self.value)
        beyond = exact - Context(4, ROUND_FLOOR).plus(exact)
        digits = 7 if 0 < beyond < exact * Decimal(_BY_ROUNDING) else 4
        rounded = float(Context(digits, ROUND_CEILING).plus(exact))
        return ">1e308" if rounded == math.inf else f"{rounded:.{digits}g}"
