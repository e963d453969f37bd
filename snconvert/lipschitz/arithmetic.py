"""Arithmetic on magnitudes, in which every result is the exact one, rounded upward to 53 bits.

A mantissa is an integer of 53 bits, so that Python's integers do without any error analysis, and
what is exact stays exact: the sum of 1 and 1 is 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from snconvert.core.magnitude import Magnitude

_BITS = 53
_GAP = 200  # bits below the largest term from which on terms are rounded

ZERO, ONE = Magnitude(0.0, 0), Magnitude(0.5, 1)


def product(*factors: Magnitude) -> Magnitude:
    """Returns the product of magnitudes.

    Example:
        >>> str(product(Magnitude.of(1e300), Magnitude.of(1e300))), product(ONE, ZERO).value
        ('>1e308', 0.0)
    """
    result = factors[0]
    for factor in factors[1:]:
        if not result.mantissa or not factor.mantissa:
            return ZERO
        number = _integer(result) * _integer(factor)
        result = _rounded(number, result.exponent + factor.exponent - 2 * _BITS)
    return result


def quotient(above: Magnitude, below: Magnitude) -> Magnitude:
    """Returns `above / below`.

    Raises:
        ZeroDivisionError: What is below is zero.
    """
    number = -(-(_integer(above) << _GAP) // _integer(below))
    return _rounded(number, above.exponent - below.exponent - _GAP)


def root(square: Magnitude) -> Magnitude:
    """Returns the square root of a magnitude."""
    odd = square.exponent % 2
    number = _integer(square) << (_BITS + odd)
    nearest = math.isqrt(number)
    nearest += nearest * nearest < number
    return _rounded(nearest, (square.exponent - odd) // 2 - _BITS)


def total(terms: Iterable[Magnitude]) -> Magnitude:
    """Returns the sum of magnitudes.

    Example:
        >>> total([ONE, ONE]).value, total([ONE, Magnitude(0.5, -5000)]).value
        (2.0, 1.0000000000000002)
    """
    some = [term for term in terms if term.mantissa]
    if not some:
        return ZERO
    lowest = max(term.exponent for term in some) - _GAP
    number = 0
    for term in some:
        shift = term.exponent - lowest
        number += _integer(term) << shift if shift >= 0 else -(-_integer(term) >> -shift)
    return _rounded(number, lowest - _BITS)


def length(terms: Iterable[Magnitude]) -> Magnitude:
    """Returns the root of the sum of squares of magnitudes."""
    some = [term for term in terms if term.mantissa]
    return some[0] if len(some) == 1 else root(total(product(term, term) for term in some))


def order(magnitude: Magnitude) -> tuple[bool, int, float]:
    """Returns a key by which magnitudes are sorted by size."""
    return magnitude.mantissa > 0, magnitude.exponent, magnitude.mantissa


def largest(magnitudes: Iterable[Magnitude]) -> Magnitude:
    """Returns the largest of magnitudes; zero of none."""
    return max(magnitudes, key=order, default=ZERO)


def least(magnitudes: Iterable[Magnitude]) -> Magnitude:
    """Returns the least of magnitudes, one at least."""
    return min(magnitudes, key=order)


def ratio(part: Magnitude, whole: Magnitude) -> float:
    """Returns `part / whole` to rounding, as a weight in what proves nothing; 0 of a zero whole."""
    if not part.mantissa or not whole.mantissa:
        return 0.0
    gap = min(1000, part.exponent - whole.exponent)
    return math.ldexp(part.mantissa / whole.mantissa, gap)


def widened(value: float, roundings: int) -> Magnitude:
    """Returns a bound of a number that was computed from exact ones.

    Args:
        value: What was computed, with neither underflow nor overflow.
        roundings: How many of its operations rounded, each by a factor of at most `1 + 2**-53`;
            at most 2**20.
    """
    return product(Magnitude.of(value), Magnitude.of(1.0 + 2.0**-52 * roundings))


def _integer(magnitude: Magnitude) -> int:
    return int(math.ldexp(magnitude.mantissa, _BITS))


def _rounded(number: int, exponent: int) -> Magnitude:
    """Returns `number * 2**exponent`, rounded upward."""
    extra = number.bit_length() - _BITS
    if extra > 0:
        number, exponent = -(-number >> extra), exponent + extra
    return Magnitude.of(float(number), exponent)
