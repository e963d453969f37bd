"""L-BFGS."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, rosen, rosen_der

from snconvert.lipschitz.multipliers.minimum import minimise


def test_a_smooth_function() -> None:
    """The minimum of Rosenbrock's function is found as scipy finds it."""
    start = np.linspace(-1.5, 1.5, 8)
    best = minimise(lambda x: (float(rosen(x)), rosen_der(x)), start, 2000)
    reference = minimize(rosen, start, jac=rosen_der, method="L-BFGS-B")
    assert rosen(best) <= max(1e-4, float(reference.fun))


def test_a_function_with_kinks() -> None:
    """The minimum of a largest eigenvalue is found, at which it has no gradient."""
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((4, 6, 6))
    parts += parts.swapaxes(1, 2)
    parts -= np.trace(parts, axis1=1, axis2=2)[:, None, None] * np.eye(6) / 6

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        values, vectors = np.linalg.eigh(np.tensordot(x, parts, 1))
        return float(values[-1]), np.einsum("i,kij,j->k", vectors[:, -1], parts, vectors[:, -1])

    best = minimise(function, np.ones(4), 2000)
    assert 0 <= function(best)[0] < 1e-3 * function(np.ones(4))[0]


def test_the_best_point_counts_and_the_number_of_calls_is_kept() -> None:
    """The best point of all that were seen is returned, after as many calls as are allowed."""
    seen = []

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        value = float(np.sum(x**4 - x**2 + 0.1 * x))
        seen.append((value, x))
        return value, 4 * x**3 - 2 * x + 0.1

    best = minimise(function, np.array([0.1, 2.0]), 7)
    assert len(seen) == 7
    assert best is min(seen, key=lambda pair: pair[0])[1]


def test_where_it_is_not_defined() -> None:
    """A function that is infinite next to the start is minimised on the side where it is not."""

    def barrier(x: np.ndarray) -> tuple[float, np.ndarray]:
        if x[0] <= 1:
            return np.inf, np.zeros(1)
        return float(x[0] - np.log(x[0] - 1)), 1 - 1 / (x - 1)

    assert abs(minimise(barrier, np.array([1.001]), 300)[0] - 2) < 1e-2
    assert minimise(lambda x: (0.0, np.zeros_like(x)), np.ones(3), 50).tolist() == [1, 1, 1]
