"""Norms on TensorFlow in float64, beside the formulas for backends without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.compat import float64_norms
from snconvert.layers.power_iteration import current_norm, power_iteration, scale
from snconvert.linalg import power_iteration as float32_norms
from snconvert.linalg.array_libraries import library_of_backend

XP = library_of_backend("tensorflow")
TINY = float64_norms.TINY
MODES = ("hard", "cap", "gain")


def random_rows(seed: int, blocks: int, exponent: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(blocks, 5)) * 10.0**exponent).astype("float32")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), blocks=st.integers(1, 3), exponent=st.integers(-35, 36))
def test_agrees_with_the_formulas_in_float32(seed: int, blocks: int, exponent: int) -> None:
    """Sigma, directions, and the gradient of sigma are those of the other formulas, to 1e-5, and of
    float64, at every scale."""
    rows = random_rows(seed, blocks, exponent)
    tensor, old = tf.constant(rows), tf.constant(random_rows(1, blocks, 0))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(tensor)
        wide, directions = float64_norms.norm_and_directions(tensor, old)
        narrow, expected = float32_norms.norm_and_directions(XP, tensor, old, TINY)
        ours, theirs = wide.sigma, narrow.sigma
    lengths = np.linalg.norm(rows.astype("float64"), axis=-1)
    np.testing.assert_allclose(ours, lengths.max(), rtol=1e-6)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    if lengths.min() > 1e-3 * lengths.max():
        np.testing.assert_allclose(directions, expected, atol=1e-5)
    gradient = tape.gradient(ours, tensor).numpy()
    np.testing.assert_allclose(gradient, tape.gradient(theirs, tensor), atol=1e-5)
    units = float64_norms.unit_rows(tensor, 0.5)
    np.testing.assert_allclose(units, rows / lengths[:, None], atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rows_without_a_direction_keep_theirs(jit_compile: bool) -> None:
    """Rows of zeros, NaN and infinity get the other directions, and do not touch other rows."""
    rows = np.ones((4, 2), "float32")
    rows[1], rows[2, 0], rows[3, 0] = 0.0, np.nan, np.inf
    old = np.full((4, 2), 0.25, "float32")

    @tf.function(jit_compile=jit_compile)
    def directions(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        units = float64_norms.unit_rows(rows[:3], 0.25)
        return float64_norms.norm_and_directions(rows, old)[1], units

    for found in directions(tf.constant(rows)):
        np.testing.assert_allclose(found[0], 0.5**0.5, rtol=1e-6)
        np.testing.assert_array_equal(found[1:], old[1 : len(found)])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_scale_is_not_finite_where_the_kernel_is_not(value: float, mode: str) -> None:
    """A kernel with NaN or infinity has no scale that hides it, in training and in inference."""
    kernel = np.ones((3, 2), "float32")
    kernel[0, 0] = value
    for norm in (power_iteration(kernel, [[0.6, 0.8]], 1)[0], current_norm(kernel, [[0.6, 0.8]])):
        assert np.isnan(float(scale(norm, mode, 0.5, np.float32(2.0))))


@pytest.mark.parametrize("mode", MODES)
def test_second_derivatives_hold_the_vectors_constant(mode: str) -> None:
    """The scale is `c / <z, u>` with `u` constant, in its second derivative too."""
    start, toward = tf.constant([[3.0, 4.0]]), tf.constant([[0.6, 0.8]], tf.float64)

    def by_formula(z: tf.Tensor) -> Any:
        return 2.0 / tf.reduce_sum(tf.cast(z, tf.float64) * toward)

    def ours(z: tf.Tensor) -> Any:
        norm, _ = float64_norms.norm_and_directions(z, 0.0)
        return scale(norm, mode, 2.0, np.float32(2.0))

    found = []
    for function in (ours, by_formula):
        with tf.GradientTape() as outer:
            outer.watch(start)
            with tf.GradientTape() as inner:
                inner.watch(start)
                factor = function(start)
            slope = inner.gradient(factor, start)
        found.append((factor, slope, outer.jacobian(slope, start)))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_few_operations() -> None:
    """A round takes at most two thirds of the operations of the other formulas, op by op and in a
    graph, and so does its gradient."""
    matrix, old = tf.ones((4, 3)), tf.ones((1, 3))

    def wide(matrix: tf.Tensor) -> tf.Tensor:
        norm, _ = power_iteration(matrix, old, 1)
        return scale(norm, "hard", 1.0)

    def narrow(matrix: tf.Tensor) -> tf.Tensor:
        v = float32_norms.unit_rows(XP, XP.onto_rows(matrix, old), 0.5, TINY)
        norm, _ = float32_norms.norm_and_directions(XP, v @ matrix, old, TINY)
        return scale(norm, "hard", 1.0)

    counts = []
    for function in (wide, narrow):

        @tf.function
        def slope(matrix: tf.Tensor, function: Any = function) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(matrix)
                factor = function(matrix)
            return tape.gradient(factor, matrix)

        operations = slope.get_concrete_function(matrix).graph.get_operations()
        counts.append(sum(each.type not in {"Const", "Placeholder"} for each in operations))
    assert counts[0] <= 2 / 3 * counts[1]
