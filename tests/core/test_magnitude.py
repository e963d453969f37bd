from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snconvert.core.magnitude import Magnitude

POSITIVE = st.floats(min_value=0.0, allow_infinity=False, allow_nan=False)


@given(POSITIVE, st.integers(-3000, 3000))
def test_a_value_is_never_below_the_number(value: float, exponent: int) -> None:
    """The number is exact, and as a float it is rounded up."""
    magnitude = Magnitude.of(value, exponent)
    exact = Fraction(value) * Fraction(2) ** exponent
    assert Fraction(magnitude.mantissa) * Fraction(2) ** magnitude.exponent == exact
    if magnitude.value is None:
        assert exact > Fraction(math.nextafter(math.inf, 0))
    else:
        assert Fraction(magnitude.value) >= exact
        assert exact == 0 or Fraction(math.nextafter(magnitude.value, 0.0)) < exact


@given(POSITIVE)
@example(0.0001)  # the decimal is below the float
def test_the_text_is_never_below_the_number(value: float) -> None:
    """Four digits, rounded up."""
    text = str(Magnitude.of(value))
    assert text == ">1e308" or Fraction(text) >= Fraction(value) > Fraction(text) * Fraction(
        "0.997"
    ) - Fraction("1e-323")


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1.0000009, "1.000001"), (1.00001, "1.001"), (48.3412, "48.35")]
)
def test_what_a_proof_adds_is_no_digit_of_its_own(value: float, text: str) -> None:
    assert str(Magnitude.of(value)) == text


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_what_is_no_magnitude_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no magnitude"):
        Magnitude.of(value)
