"""The search for multipliers."""

from __future__ import annotations

import numpy as np

from snconvert.lipschitz.multipliers.search import gathered, improved, spread


class Squares:
    """Squares `|t - c_f|^2 + 1`, whose largest is least in the middle of the `c_f`."""

    def __init__(self, count: int, reach: float = np.inf) -> None:
        self.centres = np.random.default_rng(0).uniform(1, 9, (count, 2))
        self.reach = reach
        self.looked_at = 0

    def __call__(self, places, multipliers):
        point = np.concatenate(multipliers)
        away = point - self.centres[places]
        self.looked_at += len(away)
        squares = np.square(away).sum(axis=1) + 1
        if np.abs(away).max() > self.reach:
            return np.full(len(away), np.inf), [np.zeros(1), np.zeros(1)]
        return squares, list(2 * away[squares.argmax()][:, None])


def least(squares: Squares) -> float:
    grid = np.stack(np.meshgrid(*[np.linspace(1, 9, 100)] * 2), -1).reshape(-1, 2)
    away = np.square(grid[:, None] - squares.centres).sum(axis=2)
    return float(away.max(axis=1).min()) + 1


def test_the_largest_of_many_is_made_least() -> None:
    """The largest square of 300 frequencies is made least, though few are looked at."""
    squares = Squares(300)
    found = improved(squares, [np.array([8.0]), np.array([1.0])], 30)
    assert squares(slice(None), found)[0].max() < 1.02 * least(squares)
    assert squares.looked_at < 30 * 300


def test_what_is_not_defined_elsewhere_is_not_taken() -> None:
    """Multipliers that are none at a frequency that was not looked at are given up."""
    squares = Squares(2000, reach=8.5)
    start = [np.array([5.0]), np.array([5.0])]
    found = improved(squares, start, 30)
    assert squares(slice(None), found)[0].max() <= squares(slice(None), start)[0].max()


def test_too_few_evaluations() -> None:
    """With too few evaluations the multipliers stay as they are."""
    start = [np.array([5.0]), np.array([5.0])]
    assert improved(Squares(5), start, 19) is start


def test_copies() -> None:
    """Copies of channels have the multipliers of their channels, whose derivatives are the sums."""
    every = spread([np.array([1.0, 2.0]), np.array([3.0])], [2, 3])
    assert [each.tolist() for each in every] == [[1, 2, 1, 2], [3, 3, 3]]
    sums = gathered([np.array([1.0, 2.0, 10.0, 20.0]), np.ones(3)], [2, 3])
    assert [each.tolist() for each in sums] == [[11, 22], [3]]
