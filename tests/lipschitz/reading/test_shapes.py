"""The sizes behind layers."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snconvert.errors import SourceError
from snconvert.lipschitz.reading.shapes import (
    Sizes,
    axis_from_end,
    broadcast,
    concatenated,
    inverse_root,
    product,
    repeats,
    reshaped,
    root,
    windows,
)


@given(st.integers(0, 2**60))
def test_roots_are_rounded_up(number: int) -> None:
    """A root is never below the true one, nor two steps above it; 1 over it likewise."""
    up = Fraction(root(number)) ** 2
    assert up >= number
    assert Fraction(math.nextafter(math.nextafter(root(number), 0), 0)) ** 2 <= number
    if number:
        over = Fraction(inverse_root(number)) ** 2
        assert over * number >= 1
        assert over * number <= 1 + Fraction(1, 2**49)  # three roundings up, squared


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(3, 4), (4,)], (3, 4)),
        ([(1, 4), (3, 1)], (3, 4)),
        ([(None, 4), (1, 4)], (None, 4)),
        ([(None,), (5,)], (5,)),
    ],
)
def test_broadcasting(shapes: list[Sizes], expected: Sizes) -> None:
    """Sizes are those of numpy, with the larger of what is known."""
    assert broadcast(shapes) == expected


def test_what_may_be_repeated_is_not_known() -> None:
    """An axis of unknown size may be 1, and be repeated."""
    assert repeats((None, 4), (3, 4)) is None
    assert repeats((1, 4), (None, 4)) is None
    assert repeats((4,), (3, 4)) == root(3)


def test_joined_axes() -> None:
    """Sizes along the axis add up, the others have to be equal where they are known."""
    assert concatenated([(2, 3), (4, 3)], -2) == (6, 3)
    assert concatenated([(2, None), (2, 3)], -1) == (2, None)
    assert concatenated([(None, 3), (4, 5)], -1) == (4, 8)
    with pytest.raises(SourceError, match="do not fit"):
        concatenated([(2, 3), (3, 3)], -1)
    with pytest.raises(SourceError, match="different numbers of axes"):
        concatenated([(2, 3), (3,)], -1)


def test_reshapes() -> None:
    """One size may be -1; what cannot be known is not."""
    assert reshaped((6, 4), [3, -1]) == (3, 8)
    assert reshaped((None, 4), [-1, 2]) == (None, 2)
    assert reshaped((0, 4), [0, 7]) == (0, 7)
    for target in ([5, -1], [25], [0, -1], "x", [2.0], [-2]):
        with pytest.raises(SourceError):
            reshaped((6, 4), target)


def test_axes_and_windows_that_are_none() -> None:
    """Hostile axes, windows and sizes are errors."""
    for axis in (4, -5, 1.0, None, True):
        with pytest.raises(SourceError, match="has no axis"):
            axis_from_end(axis, 3)
    with pytest.raises(SourceError, match="does not fit"):
        windows(2, 3, 1, "valid")
    with pytest.raises(SourceError, match="larger than can be"):
        product([2**40] * 3)
