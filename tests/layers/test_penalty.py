"""Second-order gradients: the penalty on a discriminator's slope, by the kernels that make it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from spectral_cases import (
    MODES,
    Example,
    at,
    cosine,
    inputs_for,
    make,
    paths_of,
    plain,
    run,
    scale_of,
    scaled,
    state_of,
)

CASES: dict[str, tuple[Example, dict[str, Any]]] = {
    "Dense": (("Dense", {"units": 6}, (None, 5)), {}),
    "EinsumDense": (
        ("EinsumDense", {"equation": "abc,bcd->abd", "output_shape": (3, 4)}, (None, 3, 2)),
        {},
    ),
    "Conv2D": (("Conv2D", {"filters": 3, "kernel_size": 3}, (None, 5, 5, 2)), {}),
    "Conv2D-operator": (
        ("Conv2D", {"filters": 3, "kernel_size": 2, "strides": 2}, (None, 4, 4, 2)),
        {"norm": "operator"},
    ),
    "Conv2DTranspose": (("Conv2DTranspose", {"filters": 2, "kernel_size": 2}, (None, 3, 3, 2)), {}),
    "LSTM": (("LSTM", {"units": 2, "unroll": True}, (None, 3, 2)), {}),
    "MultiHeadAttention": (
        ("MultiHeadAttention", {"num_heads": 2, "key_dim": 2}, (None, 3, 4)),
        {},
    ),
}
Penalty = Callable[[], Any]


def penalty_of(layer: Any, x: np.ndarray, weights: np.ndarray) -> Penalty:
    """Returns a function that computes the penalty of Gulrajani et al. (2017, arXiv:1704.00028) of
    the score `sum(weights * tanh(layer(x)))`."""
    tensor, factors = (tf.constant(value, layer.compute_dtype) for value in (x, weights))

    def penalty() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            score = tf.reduce_sum(factors * tf.tanh(run(layer, tensor, training=True)))
        slope = tf.reshape(tape.gradient(score, tensor), (len(x), -1))
        return tf.reduce_mean(tf.square(tf.norm(slope, axis=-1) - 1.0))

    return penalty


def differences(
    layer: Any, penalty: Penalty, twin: Any, path: str, step: float = 1e-5
) -> tuple[np.ndarray, float]:
    """Returns the finite differences of a penalty in a kernel and its gamma, in float64: `twin` is
    the Keras layer, its kernel `s(sigma(W)) W`, with sigma by LAPACK."""
    kernel = np.asarray(at(layer, path)).astype("float64")
    gamma = float(state_of(layer, path, "gamma")) if layer.mode == "gain" else 0.0

    def value(kernel: np.ndarray, gamma: float) -> float:
        at(twin, path).assign(scale_of(layer, kernel, gamma, path) * kernel)
        return float(penalty())

    gradient = np.zeros(kernel.shape)
    for index in np.ndindex(kernel.shape):
        kernel[index] += step
        above = value(kernel, gamma)
        kernel[index] -= 2 * step
        gradient[index] = (above - value(kernel, gamma)) / (2 * step)
        kernel[index] += step
    by_gamma = (value(kernel, gamma + step) - value(kernel, gamma - step)) / (2 * step)
    at(twin, path).assign(scale_of(layer, kernel, gamma, path) * kernel)
    return gradient, by_gamma


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_gradient_of_a_gradient_penalty(name: str, mode: str) -> None:
    """The gradient of the penalty, sigma included, is that of float64 finite differences: the
    cosine is above 0.999 for every kernel, the lengths and gamma's gradient agree to 1e-3."""
    example, options = CASES[name]
    layer, x = make(example, mode=mode, bound=0.8, **options), inputs_for(example)
    weights = np.random.default_rng(2).normal(size=run(layer, x).shape)
    kernels = {path: at(layer, path).value for path in paths_of(layer)}
    gain = mode == "gain"
    gammas = {path: state_of(layer, path, "gamma").value for path in kernels if gain}
    penalty = penalty_of(layer, x, weights)
    with tf.GradientTape() as tape:
        loss = penalty()
    found, by_gamma = tape.gradient(loss, [kernels, gammas])
    twin = plain(layer, scaled(layer), dtype="float64")
    exact = tf.function(penalty_of(twin, x, weights))
    np.testing.assert_allclose(loss, exact(), rtol=1e-4)
    for path in kernels:
        expected, gamma = differences(layer, exact, twin, path)
        kernel = np.asarray(found[path])
        assert cosine(kernel, expected) > 0.999
        np.testing.assert_allclose(np.linalg.norm(kernel), np.linalg.norm(expected), rtol=1e-3)
        if gain:
            np.testing.assert_allclose(by_gamma[path], gamma, rtol=1e-3, atol=1e-3)
