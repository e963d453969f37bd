"""Spectral layers in every way that Keras runs a training step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import snconvert


def attention() -> keras.Model:
    inputs = keras.Input((None, 6))
    return keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4)(inputs, inputs))


def stack(*layers: Any, shape: tuple[int | None, ...] = (None, 6)) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        kinds = [getattr(keras.layers, name)(*arguments) for name, *arguments in layers]
        return keras.Sequential([keras.Input(shape), *kinds])

    return build


MODELS: dict[str, Callable[[], keras.Model]] = {
    "dense": stack(("Dense", 5, "tanh"), ("Dense", 3)),
    "einsum": stack(("EinsumDense", "abc,cd->abd", (None, 4))),
    "conv1d": stack(("Conv1D", 4, 3, 1, "causal")),
    "recurrent": stack(("LSTM", 4)),
    "attention": attention,
}
UNROLLED = [name for name in MODELS if name != "recurrent"]
"""What XLA trains: no loops."""

TARGETS: dict[str, dict[str, Any]] = {
    "operator": {"norm": "operator", "bound": 0.5},
    "constraint": {"target": "constraint", "bound": 0.5},
    "keras": {"target": "keras"},
}
TARGETED = {
    "dense": MODELS["dense"],
    "convolution": stack(("Conv2D", 4, 3, 2, "same"), shape=(6, 5, 2)),
    "convolutions": stack(
        ("Conv2D", 4, 3, 2, "same"),
        ("DepthwiseConv2D", 2),
        ("Conv2DTranspose", 2, 3, 2, "same"),
        shape=(6, 5, 2),
    ),
}


def made(build: Callable[[], keras.Model], **options: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    return snconvert.apply(build(), kinds="all", **options)


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in model.weights]


@pytest.mark.parametrize("name", MODELS)
def test_any_batch_and_length(name: str) -> None:
    """One traced function takes every batch and sequence length, in training too, and gives what
    eager calls give."""
    model, eager = made(MODELS[name]), made(MODELS[name])
    traced = 0

    @tf.function(input_signature=[tf.TensorSpec((None, None, 6), tf.float32)])
    def call(inputs: tf.Tensor) -> tf.Tensor:
        nonlocal traced
        traced += 1
        return model(inputs, training=True)

    for batch, length in ((2, 5), (1, 7), (150, 4)):
        x = tf.random.stateless_normal((batch, length, 6), (batch, length))
        np.testing.assert_allclose(call(x), eager(x, training=True), rtol=1e-4, atol=1e-5)
    assert traced == 1
    for one, two in zip(values(model), values(eager), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, marks=[] if mode == quick else pytest.mark.slow)
        for name, quick in zip(UNROLLED, itertools.cycle(("hard", "gain")), strict=False)
        for mode in ("hard", "gain")
    ],
)
def test_graph_eager_and_xla_train_alike(name: str, mode: str) -> None:
    """`fit` gives the same weights, `u` included, in graph mode, eagerly and under XLA."""
    x = np.random.default_rng(0).normal(size=(8, 5, 6)).astype("float32")
    found = []
    for how in ({}, {"run_eagerly": True}, {"jit_compile": True}):
        model = made(MODELS[name], mode=mode)
        y = np.zeros(model(x).shape, "float32")
        model.compile(keras.optimizers.SGD(0.1), "mse", **how)
        model.fit(x, y, epochs=3, batch_size=4, shuffle=False, verbose=0)
        found.append(values(model))
    alike(found)


def alike(found: list[list[np.ndarray]]) -> None:
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(name, target, marks=[] if name == quick else pytest.mark.slow)
        for target, quick in zip(TARGETS, ("convolution", "dense", "dense"), strict=True)
        for name in TARGETED
    ],
)
def test_the_operator_norm_and_other_targets_train_alike(name: str, target: str) -> None:
    """So do layers with the operator norm, and plain layers with a constraint or in Keras' wrapper;
    and the constraint's `u` is the same."""
    shape = (8, 5, 6) if name == "dense" else (8, 6, 5, 2)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    found = []
    for how in ({}, {"run_eagerly": True}, {"jit_compile": True}):
        model = made(TARGETED[name], **TARGETS[target])
        before = values(model)
        y = np.zeros(model(x).shape, "float32")
        model.compile(keras.optimizers.SGD(0.1), "mse", **how)
        model.fit(x, y, epochs=3, batch_size=4, shuffle=False, verbose=0)
        us = [v.constraint.u for v in model.variables if v.constraint is not None]
        assert bool(us) == (target == "constraint")
        found.append([*values(model), *us])
        assert all((a != b).any() for a, b in zip(before, found[-1], strict=False))
    alike(found)


def regression(policy: str, mode: str | None) -> tuple[keras.Model, float]:
    """Trains a small network on a smooth function; returns it and its loss."""
    keras.utils.set_random_seed(5)
    stack = [keras.layers.Dense(32, "tanh", dtype=policy) for _ in range(2)]
    model = keras.Sequential([keras.Input((4,)), *stack, keras.layers.Dense(1, dtype="float32")])
    if mode is not None:
        model = snconvert.apply(model, mode=mode, bound=3.0)
    optimizer: Any = keras.optimizers.Adam(1e-2)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, "mse")
    x = np.random.default_rng(1).normal(size=(256, 4)).astype("float32")
    y = np.sin(x.sum(axis=1, keepdims=True))
    model.fit(x, y, batch_size=64, epochs=15, verbose=0)
    return model, float(model.evaluate(x, y, verbose=0))


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
def test_mixed_precision_learns_as_the_plain_layer_does(policy: str) -> None:
    """PITFALLS 6: the loss ends within twice that of the plain layers, with loss scaling too, and
    the kernels keep what half precision cannot hold."""
    _, plain = regression(policy, None)
    model, loss = regression(policy, "cap")
    assert loss < 2 * plain + 1e-3
    half = "float16" if policy == "mixed_float16" else "bfloat16"
    for layer in model.layers[:2]:
        kernel = tf.convert_to_tensor(layer.kernel.value)
        assert kernel.dtype == tf.float32
        rounded = tf.cast(tf.cast(kernel, half), tf.float32)
        assert float(tf.reduce_mean(tf.cast(rounded != kernel, tf.float32))) > 0.9
        assert layer.u.dtype == "float32"


def test_gradient_accumulation() -> None:
    """Two steps that are accumulated step the kernel as one on both batches does."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(8, 6)).astype("float32"), rng.normal(size=(8, 3)).astype("float32")
    results = []
    for steps, batch in ((2, 4), (None, 8)):
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
        model = snconvert.apply(model, mode="gain")
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
        model.compile(optimizer, "mse")
        before = values(model)
        model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)
        results.append(values(model))
    assert np.abs(results[0][0] - before[0]).max() > 1e-3
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_stateless_call(name: str) -> None:
    """`stateless_call` returns the next `u` and leaves the model as it is; called so or not, a
    model does the same."""
    model = made(MODELS[name])
    for layer in model.layers:
        for variable in layer.variables:
            if variable.name.endswith("u"):  # one that moves
                variable.assign(np.roll(np.asarray(variable), 1, axis=-1))
    before = values(model)
    x = np.random.default_rng(3).normal(size=(2, 5, 6)).astype("float32")
    trainable = [np.asarray(variable) for variable in model.trainable_variables]
    others = [np.asarray(variable) for variable in model.non_trainable_variables]
    outputs, after = model.stateless_call(trainable, others, x, training=True)
    for one, two in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(outputs, model(x, training=True), rtol=1e-5, atol=1e-6)
    moved = [np.asarray(variable) for variable in model.non_trainable_variables]
    for one, two in zip(after, moved, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert any((a != b).any() for a, b in zip(moved, others, strict=True))
