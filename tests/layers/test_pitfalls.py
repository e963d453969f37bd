"""What the built-in wrapper gets wrong (PITFALLS.md, by line) and the layers do right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from spectral_cases import make, sigma_of

from snconvert import layers

# Keras 3.15.1 hands its variables to h5py, which asks numpy 2.4 for them in the new way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RNG = np.random.default_rng(0)


def with_kernel(layer: Any, width: int, size: float = 5.0) -> Any:
    """Returns the layer built and given a random kernel, as a conversion does."""
    layer.build((None, width))
    layer.kernel.assign(RNG.normal(size=layer.kernel.shape) * size)
    layer.converge()
    return layer


def test_line_1_normalised_before_any_training() -> None:
    """`predict` and the saved file are normalised from the start, and a training call computes the
    same."""
    layer = with_kernel(layers.SpectralDense(6, use_bias=False), 5)
    model = keras.Sequential([keras.Input((5,)), layer])
    x = RNG.normal(size=(8, 5)).astype("float32")
    kernel = np.asarray(layer.kernel).astype("float64")
    expected = x @ (kernel / np.linalg.norm(kernel, 2))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-4, atol=1e-5)


def test_line_2_at_the_bound_after_the_last_step() -> None:
    """After an optimizer step of 1e-2 the norm that inference uses is at the bound, to 2 %."""
    model = keras.Sequential([keras.Input((8,)), *(layers.SpectralDense(16) for _ in range(3))])
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    x = RNG.normal(size=(128, 8))
    model.fit(x, RNG.normal(size=(128, 16)), epochs=5, verbose=0)
    for layer in model.layers:
        np.testing.assert_allclose(sigma_of(layer, layer.effective_kernel()), 1.0, rtol=2e-2)


@pytest.mark.parametrize(
    ("name", "config", "shape"),
    [
        ("Dense", {"units": 4}, (None, 5)),
        ("Conv2D", {"filters": 4, "kernel_size": 3}, (None, 6, 6, 2)),
    ],
)
def test_line_3_the_gradient_goes_through_sigma(name: str, config: dict, shape: tuple) -> None:
    """The gradient is Miyato's: orthogonal to the kernel, as L(W / sigma(W)) does not depend on
    the kernel's size."""
    layer = make((name, config, shape))
    x = tf.constant(RNG.normal(size=(4, *shape[1:])).astype("float32"))
    weights = RNG.normal(size=layer(x).shape).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=True) * weights)
    gradient = np.asarray(tape.gradient(loss, layer.kernel.value), "float64")
    kernel = np.asarray(layer.kernel, "float64")
    size = np.linalg.norm(gradient) * np.linalg.norm(kernel)
    assert abs((gradient * kernel).sum()) < 1e-5 * size
    assert np.linalg.norm(gradient) > 0.1


def test_line_4_u_is_warm() -> None:
    """The first call of a fresh layer is at the bound: not 1.39 times above it."""
    layer = layers.SpectralDense(64)
    layer.build((None, 128))
    np.testing.assert_allclose(sigma_of(layer, layer.effective_kernel()), 1.0, rtol=1e-5)
    before = layer.u.numpy()
    layer(np.ones((1, 128)), training=True)
    np.testing.assert_allclose(layer.u, before, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_line_6_the_master_kernel_is_never_rounded(policy: str) -> None:
    """Under mixed precision a training call leaves the float32 kernel as it is, bit by bit, and u
    is as exact as in float32."""
    layer = with_kernel(layers.SpectralDense(16, dtype=policy), 8)
    kernel = layer.kernel.numpy()
    assert not np.array_equal(kernel, kernel.astype("float16"))
    for _ in range(3):
        layer(np.ones((2, 8)), training=True)
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel)
    assert layer.kernel.dtype == "float32"
    np.testing.assert_allclose(
        layer.spectral_norms()["kernel"], np.linalg.norm(kernel, 2), rtol=1e-6
    )


def test_line_6_small_steps_are_not_lost() -> None:
    """A step far below half precision's resolution stays in the kernel."""
    layer = with_kernel(layers.SpectralDense(16, dtype="mixed_bfloat16"), 8)
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    before = layer.kernel.numpy()
    model.fit(RNG.normal(size=(8, 8)), RNG.normal(size=(8, 16)), verbose=0)
    moved = np.abs(layer.kernel.numpy() - before)
    assert 0 < moved.max() < 1e-3 * np.abs(before).max()


def test_line_7_the_kernel_is_stored_once(tmp_path: Path) -> None:
    """The file of a spectral model holds its kernel once: u is all that is added."""
    sizes = []
    for cls in (keras.layers.Dense, layers.SpectralDense):
        model = keras.Sequential([keras.Input((256,)), cls(256)])
        model.save(tmp_path / "m.keras")
        sizes.append((tmp_path / "m.keras").stat().st_size)
    assert sizes[1] - sizes[0] < 4 * 256 + 4096
    assert sum(np.size(v) for v in model.layers[0].variables) == 256 * 256 + 256 + 256


def test_line_8_frozen_layers_rest() -> None:
    """A frozen layer keeps every variable through training."""
    layer = with_kernel(layers.SpectralDense(5, trainable=False), 5)
    model = keras.Sequential([keras.Input((5,)), layer, layers.SpectralDense(1)])
    model.compile("adam", "mse")
    before = [variable.numpy() for variable in layer.variables]
    model.fit(RNG.normal(size=(16, 5)), np.ones((16, 1)), epochs=3, verbose=0)
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_line_8_masks_pass_and_lengths_may_vary() -> None:
    """A mask passes through, and a second sequence length is taken."""
    layer = layers.SpectralDense(3)
    masked = keras.layers.Masking()
    for length in (4, 7):
        x = np.ones((2, length, 5), "float32")
        x[:, -1] = 0
        outputs = layer(masked(x))
        np.testing.assert_array_equal(outputs._keras_mask, x.any(axis=-1))
    assert tuple(layer(np.ones((2, 5, 4, 5))).shape) == (2, 5, 4, 3)


def test_line_10_it_builds_inside_time_distributed() -> None:
    """TimeDistributed takes a spectral layer, as convolution and as Dense, and trains it."""
    inputs = keras.Input((4, 6, 6, 2))
    x = keras.layers.TimeDistributed(layers.SpectralConv2D(3, 3))(inputs)
    x = keras.layers.TimeDistributed(keras.layers.Flatten())(x)
    outputs = keras.layers.TimeDistributed(layers.SpectralDense(2))(x)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    model.fit(RNG.normal(size=(2, 4, 6, 6, 2)), np.ones((2, 4, 2)), verbose=0)
    for layer in (model.layers[1].layer, model.layers[3].layer):
        np.testing.assert_allclose(sigma_of(layer, layer.effective_kernel()), 1.0, rtol=2e-2)


def test_line_10_einsum_has_the_right_matrix() -> None:
    """`abc,cde->abde` is normalised by the norm of the map from c to de."""
    layer = make(
        ("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (4, 2, 3)}, (None, 4, 6))
    )
    kernel = np.asarray(layer.kernel, "float64").reshape(6, 6)
    np.testing.assert_allclose(
        layer.spectral_norms()["kernel"], np.linalg.norm(kernel, 2), rtol=1e-5
    )
