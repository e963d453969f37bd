from __future__ import annotations

import math

import numpy as np
import pytest

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import ONE
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.network import Recurrent
from snconvert.lipschitz.recurrent import recurrent_constant

GATES = {"simple": 1, "lstm": 4, "gru": 3}


def kernel(array, exponent=0, factor=ONE):
    return Kernel(np.ascontiguousarray(array)[None], exponent, factor)


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def outputs(layer, own, back, bias, x):
    """The layer's outputs at all steps, as keras.layers compute them, `(steps, units)`."""
    units, h, c, rows = len(back), np.zeros(len(back)), np.zeros(len(back)), []
    part = [slice(g * units, (g + 1) * units) for g in range(GATES[layer.cell])]
    for step in x:
        if layer.cell == "simple":
            h = np.tanh(step @ own + h @ back + bias)
        elif layer.cell == "lstm":
            z = step @ own + h @ back + bias
            i, f, g, o = (z[p] for p in part)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        elif layer.reset_after:
            left, right = step @ own + bias[0], h @ back + bias[1]
            z, r = (sigmoid(left[p] + right[p]) for p in part[:2])
            g = np.tanh(left[part[2]] + r * right[part[2]])
            h = z * h + (1 - z) * g
        else:
            left = step @ own + bias
            z, r = (sigmoid(left[p] + h @ back[:, p]) for p in part[:2])
            g = np.tanh(left[part[2]] + (r * h) @ back[:, part[2]])
            h = z * h + (1 - z) * g
        rows.append(h)
    return np.array(rows if layer.sequences else rows[-1:])


def jacobian_norm(layer, own, back, bias, x, step=1e-6):
    columns = []
    for place in np.ndindex(x.shape):
        low, high = x.copy(), x.copy()
        low[place] -= step
        high[place] += step
        rise = outputs(layer, own, back, bias, high) - outputs(layer, own, back, bias, low)
        columns.append(rise.ravel() / (2 * step))
    return np.linalg.norm(np.array(columns), 2)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize(
    ("cell", "reset_after"), [("simple", False), ("lstm", False), ("gru", False), ("gru", True)]
)
def test_no_jacobian_is_above_it(cell, reset_after, sequences):
    """Finite differences of the recurrence, at points where the gates are open and closed."""
    rng = np.random.default_rng(7)
    layer = Recurrent(cell, None, None, None, 4, sequences, 1.0, reset_after)
    worst = 0.0
    for size in (0.2, 1.0, 3.0):
        own, back = (size * rng.normal(size=(n, 3 * GATES[cell])) for n in (2, 3))
        bias = rng.normal(size=(2, 9) if reset_after else 3 * GATES[cell])
        bound = recurrent_constant(layer, kernel(own), kernel(back), bias).value
        for spread in (0.0, 0.5, 2.0):
            x = spread * rng.normal(size=(4, 2))
            norm = jacobian_norm(layer, own, back, bias, x)
            assert norm <= bound * (1 + 1e-8)
            worst = max(worst, norm / bound)
    assert worst > (0.2 if cell == "simple" else 0.005)  # gates make it a hundred times too large


def test_a_linear_recurrence_of_one_unit_is_exact():
    """With one unit the bound of the last step is the norm of the linear recurrence."""
    layer = Recurrent("simple", None, None, None, 6, False)
    bound = recurrent_constant(layer, kernel([[0.5]]), kernel([[0.75]]), None).value
    exact = 0.5 * math.sqrt(sum(0.75 ** (2 * k) for k in range(6)))
    assert exact <= bound <= exact * (1 + 1e-5)


@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
def test_it_is_scaled_with_its_kernel(cell):
    """The bound is linear in the input kernel, as far as numbers go, and zero of a zero kernel."""
    rng = np.random.default_rng(3)
    own, back = (rng.normal(size=(n, 3 * GATES[cell])) for n in (2, 3))
    layer = Recurrent(cell, None, None, None, 5, True)
    one = recurrent_constant(layer, kernel(own), kernel(back), None)
    far = recurrent_constant(layer, kernel(own, 3000), kernel(back), None)
    assert (far.mantissa, far.exponent) == (one.mantissa, one.exponent + 3000)
    assert recurrent_constant(layer, kernel(0 * own), kernel(back), None) == Magnitude(0.0, 0)


def test_many_steps_pass_float64():
    """1000 steps of a large LSTM: a number beyond float64, in rows and in sums alike."""
    rng = np.random.default_rng(5)
    own, back = (4 * rng.normal(size=(n, 12)) for n in (2, 3))
    some, more = (
        recurrent_constant(
            Recurrent("lstm", None, None, None, steps, False), kernel(own), kernel(back), None
        )
        for steps in (1000, 5000)
    )
    assert some.value is None
    assert more.log10 > 4 * some.log10


def test_a_recurrent_kernel_without_measure_has_none():
    layer = Recurrent("simple", None, None, None, 5, False)
    assert recurrent_constant(layer, kernel([[1.0]]), kernel([[1.0]], 101), None) is None
