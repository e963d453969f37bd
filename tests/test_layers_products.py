"""The two products of a training step of `SpectralDense`, and their gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import snconvert
from snconvert.layers.products import products

WAYS = ["eager", "traced", "traced for any batch", "compiled"]


def drawn(rows: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(rows)
    shapes = (rows, 6), (1, 6), (6, 4)
    inputs, v, kernel = (tf.constant(rng.standard_normal(shape), "float32") for shape in shapes)
    return inputs, v, kernel


def derivatives(
    function: Any, inputs: tf.Tensor, v: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """The products, the gradients of a loss of both, and those of a penalty on its gradients."""
    with tf.GradientTape() as outer:
        outer.watch([inputs, kernel])
        with tf.GradientTape() as inner:
            inner.watch([inputs, kernel])
            one, two = function(inputs, v, kernel)
            loss = tf.reduce_sum(tf.sin(one)) + tf.reduce_prod(tf.reduce_sum(two**2))
        first = inner.gradient(loss, [inputs, kernel])
        penalty = sum(tf.reduce_sum((each - 1) ** 2) for each in first)
    return one, two, *first, *outer.gradient(penalty, [inputs, kernel])


def run(way: str, *tensors: tf.Tensor) -> list[np.ndarray]:
    function: Any = lambda *given: derivatives(products, *given)  # noqa: E731
    if way != "eager":
        shapes = [list(tensor.shape) for tensor in tensors]
        if way == "traced for any batch":
            shapes[0][0] = None
        signature = [tf.TensorSpec(shape) for shape in shapes]
        function = tf.function(function, signature, jit_compile=way == "compiled")
    return [each.numpy() for each in function(*tensors)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rows", [1, 8, 9, 128, 129])
def test_products_and_gradients_are_those_of_two_products(rows: int, way: str) -> None:
    """Of the first and the second order, against float64."""
    tensors = drawn(rows)
    wide = [tf.cast(tensor, "float64") for tensor in tensors]
    expected = derivatives(lambda x, v, w: (x @ w, v @ w), *wide)
    for found, right in zip(run(way, *tensors), expected, strict=True):
        scale = float(tf.reduce_max(tf.abs(right)))
        np.testing.assert_allclose(found, right, atol=2e-6 * scale, rtol=0)


def traced(rows: int | None) -> tuple[Any, keras.Model]:
    keras.utils.set_random_seed(1)
    layer = snconvert.layers.SpectralDense(5, mode="gain")
    model = keras.Sequential([keras.Input((7,)), layer])

    @tf.function(input_signature=[tf.TensorSpec((rows, 7))])
    def step(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.sin(model(inputs, training=True)))
        return tape.gradient(loss, [inputs, *model.trainable_variables])

    return step, model


@pytest.mark.parametrize(("rows", "count"), [(None, 5), (200, 5), (4, 4)])
def test_a_traced_step_multiplies_no_more_than_it_must(rows: int | None, count: int) -> None:
    """`u W'`, the gradients for inputs and kernel, and one or two products with the kernel."""
    step, _ = traced(rows)
    kinds = [node.type for node in step.get_concrete_function().graph.get_operations()]
    assert kinds.count("MatMul") == count


@pytest.mark.parametrize("rows", [4, 200])
def test_a_batch_of_any_size_trains_as_one_of_a_known_size(rows: int) -> None:
    """The same gradients and the same next `u`."""
    inputs = tf.random.stateless_normal((rows, 7), (1, 2))
    results = []
    for given in (rows, None):
        step, model = traced(given)
        results.append([*step(inputs), *model.get_weights()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
