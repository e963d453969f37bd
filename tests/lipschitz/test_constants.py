"""Constants of single operations: exact ones rounded upward, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from linear_networks import Builder

from snconvert.lipschitz import network as n
from snconvert.lipschitz.arrays import Arrays
from snconvert.lipschitz.constants import Scale, constant_of, scale_of, slopes_of

GAMMA = np.array([1.0, -3.0, 0.5], "f4")
VARIANCE = np.array([4.0, 0.25, 0.01], "f4")


def made(folder: Path, make: Callable, *arrays: np.ndarray):
    """What a function of an operation and the arrays returns; the operation gets stored arrays."""
    function, operation = make
    with Builder(folder) as b:
        names = [b.array(array) for array in arrays]
        x = b.input(3)
        b.output(b.add("Any", lambda s: operation(*(s[name] for name in names)), (x,), (3,)))
        network = b.output(1)
        return function(network.operations[1].does, Arrays(b.extent))


def scale(folder: Path, operation: Callable, *arrays: np.ndarray) -> Scale | str:
    return made(folder, (scale_of, operation), *arrays)


def test_a_batch_normalisation(tmp_path: Path) -> None:
    """Its scale is gamma over the root, with the signs; the largest is a bound."""
    result = scale(tmp_path, lambda g, v: n.Diagonal(-1, g, v, 1e-3), GAMMA, VARIANCE)
    assert isinstance(result, Scale)
    wanted = GAMMA.astype("g") / np.sqrt(VARIANCE.astype("g") + np.longdouble(1e-3))
    assert np.allclose(np.ldexp(result.values, result.exponent), wanted.astype(float), rtol=1e-15)
    largest = result.largest.value
    assert largest is not None
    assert abs(wanted).max() <= largest <= abs(wanted).max() * (1 + 1e-14)


def test_a_normalisation(tmp_path: Path) -> None:
    """The root is at least what the layer caps it at; inverted, it multiplies."""
    tiny = np.array([1e-20, 4.0, 0.0], "f4")
    result = scale(tmp_path, lambda v: n.Diagonal(-1, (1.0,), v, least=1e-7), tiny)
    assert isinstance(result, Scale)
    assert result.largest.value == pytest.approx(1e7, rel=1e-12)
    result = scale(tmp_path, lambda v: n.Diagonal(-1, (1.0,), v, least=1e-7, inverted=True), tiny)
    assert isinstance(result, Scale)
    assert result.largest.value == pytest.approx(2.0, rel=1e-12)
    assert np.allclose(np.ldexp(result.values, result.exponent), [1e-7, 2.0, 1e-7])


def test_constants_are_exact(tmp_path: Path) -> None:
    """A Rescaling loses nothing."""
    result = scale(tmp_path, lambda: n.Diagonal(None, (1 / 255,)))
    assert isinstance(result, Scale)
    assert result.largest.value == 1 / 255


@pytest.mark.parametrize(
    ("gamma", "variance", "epsilon", "reason"),
    [
        (GAMMA, np.array([1.0, -1e-9, 1.0], "f4"), 1e-3, "variance is negative"),
        (GAMMA, np.array([1.0, np.nan, 1.0], "f4"), 1e-3, "variance holds NaN"),
        (np.array([1.0, np.inf, 1.0], "f4"), VARIANCE, 1e-3, "gamma holds NaN"),
        (GAMMA, np.array([1.0, 0.0, 1.0], "f4"), 0.0, "may be zero"),
        (GAMMA, VARIANCE, -1e-3, "may be zero"),
        (GAMMA, np.ones(2, "f4"), 1e-3, "different sizes"),
        (np.array([1, 2, 3]), VARIANCE, 1e-3, "numbers of type int64"),
        (np.array([1.0, 0, 0]), np.array([1e306, 1, 1]), 1e-3, "orders of magnitude"),
    ],
)
def test_a_scale_that_has_none(
    tmp_path: Path, gamma: np.ndarray, variance: np.ndarray, epsilon: float, reason: str
) -> None:
    """Statistics that cannot be give the reason."""
    result = scale(tmp_path, lambda g, v: n.Diagonal(-1, g, v, epsilon), gamma, variance)
    assert isinstance(result, str)
    assert reason in result


def test_slopes_that_are_stored(tmp_path: Path) -> None:
    """The interval widens to hold what is stored."""
    alpha = np.array([0.5, -2.0, 1.25], "f4")
    for operation, wanted in (
        (lambda a: n.Slopes(0.0, 1.0, a), (-2.0, 1.25)),
        (lambda a: n.Slopes(1.0, 1.0, a), (-2.0, 1.25)),
    ):
        assert made(tmp_path, (slopes_of, operation), alpha) == wanted
        constant = made(tmp_path, (constant_of, operation), alpha)
        assert constant.value == 2.0
    result = made(tmp_path, (slopes_of, lambda a: n.Slopes(0.0, 1.0, a)), np.array([np.nan], "f4"))
    assert "alpha holds NaN" in result


def test_a_group_normalisation(tmp_path: Path) -> None:
    """It is the largest gamma over the root of epsilon, which has to be above zero."""
    constant = made(tmp_path, (constant_of, lambda g: n.GroupNorm(g, 1e-3)), GAMMA)
    assert constant.value == pytest.approx(3 / 1e-3**0.5, rel=1e-15)
    assert constant.value >= 3 / np.sqrt(np.longdouble(1e-3))
    assert made(tmp_path, (constant_of, lambda: n.GroupNorm(None, 1.0))).value == 1.0
    for epsilon in (0.0, -1.0, float("nan")):
        assert "zero" in made(tmp_path, (constant_of, lambda e=epsilon: n.GroupNorm(None, e)))


def test_averages(tmp_path: Path) -> None:
    """The norms of the axes multiply; a size that is not known may leave none."""
    axes = (("average", (9, 3, 1, "same")), ("upsample", (4, 2, "nearest")))
    constant = made(tmp_path, (constant_of, lambda: n.AxisMatrices(axes)))
    assert constant.value == pytest.approx(1.0129**0.5 * 2**0.5, rel=1e-4)
    unknown = (("resize", (None, 4, "bilinear")),)
    assert isinstance(made(tmp_path, (constant_of, lambda: n.AxisMatrices(unknown))), str)
