"""The preparation of a chain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snconvert.lipschitz.multipliers.segment import prepared, square_root_of


@given(st.integers(1, 5), st.integers(6, 40), st.integers(0, 10**6), st.integers(-60, 0))
def test_a_square_root_is_just_above(count: int, length: int, seed: int, power: int) -> None:
    """`C C* - K K*` is positive semidefinite and small, also with rows of very different size."""
    rng = np.random.default_rng(seed)
    stack = rng.standard_normal((2, count, length)) + 1j * rng.standard_normal((2, count, length))
    stack[:, 0] *= 2.0**power
    rows = np.linalg.norm(stack, axis=2).max(axis=0)
    root = square_root_of(stack)
    wide, tall = stack.astype(np.clongdouble), root.astype(np.clongdouble)
    above = tall @ tall.conj().swapaxes(1, 2) - wide @ wide.conj().swapaxes(1, 2)
    relative = (above / rows[:, None] / rows).astype(np.complex128)
    values = np.linalg.eigvalsh(relative)
    assert values.min() > 0
    assert values.max() < 1e-9


def test_an_error_is_covered() -> None:
    """The square root is above every matrix within the error."""
    rng = np.random.default_rng(1)
    stack, other = rng.standard_normal((2, 1, 4, 9))
    other *= 1e-3 / np.linalg.norm(other[0], 2)
    root = square_root_of(stack, 1e-3)
    for sign in (1, -1):
        moved = stack + sign * other
        above = root @ root.swapaxes(1, 2) - moved @ moved.swapaxes(1, 2)
        assert np.linalg.eigvalsh(above).min() > 0


def test_dead_neurons_go() -> None:
    """Neurons that never change or are never seen are left out, one behind the other."""
    first, second, third = np.ones((1, 3, 2)), np.ones((1, 4, 3)), np.ones((1, 2, 4))
    first[:, 0] = 0  # never changes
    second[:, 1, 1:] = 0  # reads only that one
    third[:, :, 2] = 0  # is never seen
    segment = prepared([first, second, third], [0.0] * 3, [(0.0, 1.0)] * 2)
    assert segment is not None
    assert [stack.shape[1:] for stack in segment.maps] == [(2, 2), (2, 2), (2, 2)]


@pytest.mark.parametrize("place", range(3))
def test_a_constant_chain(place: int) -> None:
    """A chain with a kernel of zeros, or an activation that is constant, is no segment."""
    maps = [np.ones((1, 2, 2))] * 3
    slopes = [(0.0, 1.0)] * 2
    assert prepared([*maps[:place], 0 * maps[0], *maps[place + 1 :]], [0.0] * 3, slopes) is None
    assert prepared(maps[:2], [0.0] * 2, [(0.0, 0.0)]) is None


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_scaling_by_powers_of_two_is_exact(one: int, two: int, steep: int) -> None:
    """Powers of two in kernels and slopes go to the exponent, and nothing else changes."""
    maps = list(np.random.default_rng(0).standard_normal((2, 1, 3, 3)))
    plain = prepared(maps, [0.0] * 2, [(-0.25, 1.0)])
    scaled = prepared(
        [np.ldexp(maps[0], one), np.ldexp(maps[1], two)],
        [0.0] * 2,
        [(-np.ldexp(0.25, steep), np.ldexp(1.0, steep))],
    )
    assert plain is not None
    assert scaled is not None
    assert scaled.exponent == plain.exponent + one + two + steep
    assert all(np.array_equal(a, b) for a, b in zip(plain.maps, scaled.maps, strict=True))
    assert plain.slopes == scaled.slopes == ((-0.125, 0.5),)
