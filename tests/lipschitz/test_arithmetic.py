"""Arithmetic on magnitudes is exact, or rounded upward by less than a part in 2**52."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz import arithmetic

numbers = st.builds(
    Magnitude.of,
    st.floats(0.5, 1.0, exclude_max=True) | st.sampled_from([0.0, 0.5]),
    st.integers(-3000, 3000),
)


def exact(magnitude: Magnitude) -> Fraction:
    return Fraction(magnitude.mantissa) * Fraction(2) ** magnitude.exponent


def holds(result: Magnitude, wanted: Fraction) -> bool:
    """Whether a result is at least what is wanted, and less than 2**-52 of it above."""
    return wanted <= exact(result) <= wanted * (1 + Fraction(1, 2**52))


@given(numbers, numbers)
def test_products_and_quotients(one: Magnitude, two: Magnitude) -> None:
    """Products and quotients are rounded upward."""
    assert holds(arithmetic.product(one, two), exact(one) * exact(two))
    if two.mantissa:
        assert holds(arithmetic.quotient(one, two), exact(one) / exact(two))


@given(st.lists(numbers, max_size=5))
def test_sums_and_lengths(terms: list[Magnitude]) -> None:
    """Sums are rounded upward, and so are lengths, by their squares."""
    wanted = sum(map(exact, terms), Fraction(0))
    assert holds(arithmetic.total(terms), wanted)
    square = sum((exact(term) ** 2 for term in terms), Fraction(0))
    result = exact(arithmetic.length(terms)) ** 2
    assert square <= result <= square * (1 + Fraction(5, 2**52))
    assert exact(arithmetic.largest(terms)) == max(map(exact, terms), default=0)


@given(numbers)
def test_roots(square: Magnitude) -> None:
    """Roots are rounded upward; that of a square is exact."""
    result = arithmetic.root(square)
    assert exact(result) ** 2 >= exact(square)
    assert exact(result) ** 2 <= exact(square) * (1 + Fraction(1, 2**51))


@pytest.mark.parametrize("value", [1.0, 3.0, 0.1])
def test_what_is_exact_stays_exact(value: float) -> None:
    """A product with one, a sum with zero and the root of a square lose nothing."""
    magnitude = Magnitude.of(value)
    assert arithmetic.product(magnitude, arithmetic.ONE) == magnitude
    assert arithmetic.total([magnitude, arithmetic.ZERO]) == magnitude
    assert arithmetic.root(Magnitude.of(9.0)).value == 3.0


def test_a_small_term_may_carry() -> None:
    """What is far below the largest term counts in full where the others end in ones."""
    ones = 1.0 - 2.0**-53
    terms = [arithmetic.ONE, *(Magnitude(ones, exponent) for exponent in (-52, -105, -158))]
    terms.append(Magnitude(0.5, -200))
    assert holds(arithmetic.total(terms), sum(map(exact, terms), Fraction(0)))


def test_what_was_computed_is_widened() -> None:
    """A computed number is widened by what its roundings may have hidden."""
    value = math.sqrt(2.0) * math.sqrt(3.0)
    assert exact(arithmetic.widened(value, 3)) ** 2 > 6
    assert arithmetic.ratio(Magnitude.of(1.0), Magnitude.of(4.0)) == 0.25
