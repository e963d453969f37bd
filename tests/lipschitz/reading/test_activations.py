"""The slopes of activations: the constants by arithmetic of 40 digits, all of them by Keras."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest

from snconvert.lipschitz.network import Constant, Slopes, Unbounded
from snconvert.lipschitz.reading.activations import (
    GATES,
    NAMES,
    SOFTMAX,
    SQUASHING,
    by_name,
    of,
    of_layer,
)

Number = Decimal


def _sigmoid(x: Number) -> Number:
    return 1 / (1 + (-x).exp())


def _tanh(x: Number) -> Number:
    return 2 * _sigmoid(2 * x) - 1


def _silu_slope(x: Number) -> Number:
    s = _sigmoid(x)
    return s + x * s * (1 - s)


def _mish_slope(x: Number) -> Number:
    t = _tanh((1 + x.exp()).ln())
    return t + x * _sigmoid(x) * (1 - t * t)


def _gelu_slope(x: Number) -> Number:
    """Of `x (1 + tanh(c (x + 0.044715 x^3))) / 2`, with `c = sqrt(2 / pi)`."""
    c = (2 / Decimal("3.14159265358979323846264338327950288419716939937510")).sqrt()
    a = Decimal("0.044715")
    t = _tanh(c * (x + a * x**3))
    return (1 + t) / 2 + x * (1 - t * t) * c * (1 + 3 * a * x * x) / 2


def _extremum(slope: Callable[[Number], Number], low: float, high: float) -> Number:
    """Returns the greatest value of a function that has one hump between two points."""
    a, b = Decimal(low), Decimal(high)
    for _ in range(150):
        left, right = a + (b - a) / 3, b - (b - a) / 3
        a, b = (left, b) if slope(left) < slope(right) else (a, right)
    return slope(a)


@pytest.mark.parametrize(
    ("name", "slope", "where"),
    [("silu", _silu_slope, 2.4), ("mish", _mish_slope, 1.5), ("gelu", _gelu_slope, 1.4)],
)
def test_the_constants_are_the_extrema_rounded_outward(
    name: str, slope: Callable[[Number], Number], where: float
) -> None:
    """The interval holds the least and the greatest slope, and no more than 1e-15 beside."""
    does = by_name(name, (3,))
    assert isinstance(does, Slopes)
    with localcontext() as context:
        context.prec = 40
        lows = {"mish": -2.2563}
        high = _extremum(slope, where - 1, where + 1)
        low = -_extremum(
            lambda x: -slope(x), lows.get(name, -where) - 1, lows.get(name, -where) + 1
        )
        assert 0 <= Decimal(does.high) - high < Decimal("1e-15")
        assert 0 <= low - Decimal(does.low) < Decimal("1e-15")


def test_the_other_form_of_gelu_is_within() -> None:
    """The slope of `x Phi(x)` is greatest at the root of 2."""
    does = by_name("gelu", (3,))
    assert isinstance(does, Slopes)
    assert (1 + math.erf(1)) / 2 + math.exp(-1) / math.sqrt(math.pi) < does.high


def test_log_softmax_by_its_size() -> None:
    """It has the root of the size of its axis; none where that is not known."""
    assert by_name("log_softmax", (5, 9)) == Constant(3.0)
    assert by_name("log_softmax", (9, 5), 1) == Constant(3.0)
    assert isinstance(by_name("log_softmax", (None,)), Unbounded)
    assert by_name("softmax", (None,)) == Constant(SOFTMAX)
    assert by_name("log_softmax", (2, 3, 4), [1, -1]) == by_name("log_softmax", (8,))
    for axis in (0, None, []):
        assert isinstance(by_name("softmax", (4,), axis), Unbounded)


def test_layers_as_activations() -> None:
    """A layer may be the activation of another; one with weights has no constant there."""
    leaky = {"module": "keras.layers", "class_name": "LeakyReLU", "config": {"negative_slope": 2}}
    assert of(leaky, (3,)) == Slopes(1.0, 2.0)
    assert isinstance(of(leaky | {"class_name": "PReLU"}, (3,)), Unbounded)
    assert of_layer("ReLU", {"negative_slope": 0.5, "max_value": 6}, (3,)) == Slopes(0.0, 1.0)
    assert of_layer("ELU", {"alpha": -2.0}, (3,)) == Slopes(-2.0, 1.0)
    assert of_layer("ELU", {}, (3,)) == Slopes(0.0, 1.0)  # [1, 1] would be no activation at all
    assert of_layer("ELU", {"alpha": 3}, (3,)) == Slopes(0.0, 3.0)
    for config in ({"negative_slope": math.nan}, {"negative_slope": "x"}, {"threshold": 1.0}):
        assert isinstance(of_layer("ReLU", config, (3,)), Unbounded)
    assert isinstance(of("mine>odd", (3,)), Unbounded)
    assert of({"value": ["4wEA"]}, (3,)) == Unbounded("code of its own is no activation of Keras")


@pytest.mark.keras
def test_every_activation_of_keras_is_known_and_keeps_its_slopes() -> None:
    """No secant of an activation is steeper than its interval."""
    import keras
    import numpy as np

    from snconvert.activations import hard_sigmoid

    gates = {"get", "serialize", "deserialize"}
    public = {name for name in vars(keras.activations) if not name.startswith("_")} - gates
    assert public - set(NAMES) == set()
    points = np.concatenate([np.linspace(-9, 9, 4001), np.linspace(-80, 80, 997)])
    for name in NAMES:
        does = by_name(name, (3,))
        if not isinstance(does, Slopes):
            continue
        function = hard_sigmoid if ">" in name else keras.activations.get(name)
        ends = [np.asarray(function(keras.ops.convert_to_tensor(points + d))) for d in (0, 1e-3)]
        secants = (ends[1] - ends[0]) / 1e-3
        assert secants.min() >= does.low - 1e-9, name
        assert secants.max() <= does.high + 1e-9, name
        assert name not in SQUASHING or np.abs(ends[0]).max() <= 1
        assert name not in GATES or ends[0].min() >= 0
