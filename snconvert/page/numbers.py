"""Numbers as the page shows them, and as its tables are sorted by."""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence

from snconvert.core.magnitude import Magnitude

NONE = "–"
"""What stands where there is no number."""

_LEAST_SHARE = 0.001


def number(value: float | Magnitude | None) -> str:
    """Returns a number with four digits.

    Example:
        >>> number(2.34567), number(float("inf")), number(None), number(float("nan"))
        ('2.346', '>1e308', '–', '–')
    """
    if isinstance(value, Magnitude):
        return str(value)
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}>1e308"
    return f"{value:.4g}"


def proved(bounds: Sequence[float] | None) -> str:
    """Returns a proved interval, rounded outward to seven digits.

    Example:
        >>> proved((0.99999991, 1.00000011)), proved(None)
        ('0.9999999 to 1.000001', '–')
    """
    if bounds is None:
        return NONE
    ends = zip(bounds, (decimal.ROUND_FLOOR, decimal.ROUND_CEILING), strict=True)
    return " to ".join(_rounded(end, rounding) for end, rounding in ends)


def _rounded(value: float, rounding: str, digits: int = 7) -> str:
    if not math.isfinite(value):
        return number(value)
    with decimal.localcontext(prec=digits, rounding=rounding):
        return f"{float(+decimal.Decimal(value)):.{digits}g}"


def at_least(value: float) -> str:
    """Returns a lower bound, rounded down to four digits.

    Example:
        >>> at_least(27.9999), at_least(3e-5)
        ('27.99', '3e-05')
    """
    return _rounded(value, decimal.ROUND_FLOOR, digits=4)


def between(limits: Sequence[float] | None) -> str:
    """Returns a range.

    Example:
        >>> between((1.0, 3.0)), between((1.0, 1.0))
        ('1 to 3', '1')
    """
    return NONE if limits is None else " to ".join(dict.fromkeys(map(number, limits)))


def shape(sizes: Sequence[int] | None) -> str:
    """Returns a shape.

    Example:
        >>> shape((3, 3, 16, 32)), shape(())
        ('3×3×16×32', 'scalar')
    """
    if sizes is None:
        return NONE
    return "×".join(map(str, sizes)) or "scalar"


def rank(value: float | Magnitude | None) -> float | None:
    """Returns what tables are sorted by: the logarithm; `None` where there is no number.

    Example:
        >>> rank(100.0), rank(Magnitude.of(1.0, 5000)) > 1505, rank(float("nan"))
        (2.0, True, None)
    """
    if isinstance(value, Magnitude):
        value = value.log10
    elif value is not None and value > 0:
        value = math.log10(value)
    elif value == 0:
        value = -math.inf
    if value is None or math.isnan(value):
        return None
    return max(-1e9, min(value, 1e9))


def percent(share: float | None) -> str:
    """Returns a share in percent.

    Example:
        >>> percent(0.1234), percent(1.0), percent(0.00004), percent(None)
        ('12.3 %', '100 %', '< 0.1 %', '–')
    """
    if share is None or not math.isfinite(share):
        return NONE
    if 0 < share < _LEAST_SHARE:
        return "< 0.1 %"
    return f"{100 * share:.3g} %"
