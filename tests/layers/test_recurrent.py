"""Recurrent layers: one power iteration per call of the layer, whatever happens inside."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from spectral_cases import at, build, is_state, paths_of, settle, state_of

from snconvert import layers
from snconvert.layers.recurrent import SpectralCell

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 1)).astype("float32")

LAYERS: dict[str, Any] = {
    "SimpleRNN": lambda: layers.SpectralSimpleRNN(3, power_iterations=2),
    "LSTM": lambda: layers.SpectralLSTM(3, dropout=0.2),
    "LSTM without cuDNN": lambda: layers.SpectralLSTM(3, use_cudnn=False),
    "LSTM, recurrent dropout": lambda: layers.SpectralLSTM(3, dropout=0.2, recurrent_dropout=0.2),
    "LSTM, unrolled": lambda: layers.SpectralLSTM(3, unroll=True, return_state=True),
    "LSTM, stateful": lambda: layers.SpectralLSTM(3, stateful=True),
    "GRU": lambda: layers.SpectralGRU(3, go_backwards=True, return_sequences=True),
    "GRU, reset before": lambda: layers.SpectralGRU(3, reset_after=False, dropout=0.1),
    "ConvLSTM2D": lambda: layers.SpectralConvLSTM2D(2, 2, dropout=0.1),
    "RNN of a cell": lambda: keras.layers.RNN(layers.SpectralLSTMCell(3, dropout=0.1)),
    "RNN of cells": lambda: keras.layers.RNN(
        [layers.SpectralGRUCell(3), layers.SpectralSimpleRNNCell(4, recurrent_dropout=0.1)]
    ),
}


JIT = ("SimpleRNN", "LSTM, unrolled")
"""Those that XLA, which takes seconds for each, compiles every time."""


def made(name: str) -> tuple[Any, np.ndarray, list[Any]]:
    """Returns a built layer, inputs for it, and its cells, each u far from converged."""
    layer, x = LAYERS[name](), IMAGES if "Conv" in name else X
    build(layer, x.shape)
    rng = np.random.default_rng(1)
    cells = [part for part in layer._flatten_layers() if isinstance(part, SpectralCell)]
    for cell in cells:
        for path in paths_of(cell):
            u = rng.normal(size=state_of(cell, path, "u").shape)
            state_of(cell, path, "u").assign(u / np.linalg.norm(u))
    return layer, x, cells


def values(cells: list[Any]) -> list[np.ndarray]:
    return [state_of(cell, path, "u").numpy() for cell in cells for path in paths_of(cell)]


def expected(cells: list[Any]) -> list[np.ndarray]:
    """Returns every u after the rounds of one training call, in float64."""
    found = []
    for cell in cells:
        for path in paths_of(cell):
            kernel = at(cell, path).numpy().astype("float64")
            matrix = kernel.reshape(-1, kernel.shape[-1])
            u = state_of(cell, path, "u").numpy().astype("float64")
            for _ in range(cell.power_iterations):
                u = u @ matrix.T @ matrix
                u /= np.linalg.norm(u)
            found.append(u)
    return found


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param(name, how, marks=pytest.mark.slow if how == "jit" and name not in JIT else [])
        for name in LAYERS
        for how in ("eager", "graph", "jit")
    ],
)
def test_u_moves_once_per_call(name: str, how: str) -> None:
    """A training call of a recurrent layer moves each u as one power iteration does, whatever the
    number of time steps, eagerly, in a graph and under XLA; an inference call moves none."""
    layer, x, cells = made(name)
    call: Any = lambda x, training: layer(x, training=training)  # noqa: E731 -- wrapped below
    if how != "eager":
        call = tf.function(call, jit_compile=how == "jit")
    before, after = values(cells), expected(cells)
    call(x, training=False)
    for one, two in zip(values(cells), before, strict=True):
        np.testing.assert_array_equal(one, two)
    call(x, training=True)
    for one, two in zip(values(cells), after, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_cell_by_itself_is_normalised() -> None:
    """A cell called outside a recurrent layer uses its effective kernels, and moves u in that
    call; its attributes are the variables again afterwards."""
    cell = build(layers.SpectralSimpleRNNCell(3, activation=None, use_bias=False), (None, 4))
    cell.kernel.assign(np.random.default_rng(0).normal(size=(4, 3)))
    settle(cell)
    outputs, _ = cell(X[:, 0], [np.zeros((3, 3), "float32")], training=True)
    sigma = np.linalg.norm(cell.kernel.numpy(), 2)
    np.testing.assert_allclose(outputs, X[:, 0] @ cell.kernel.numpy() / sigma, atol=1e-5)
    assert cell.kernel is cell.weights[0]


def test_masks() -> None:
    """Masked steps are left out as by Keras."""
    layer = layers.SpectralGRU(3, mode="gain", return_sequences=True)
    twin = keras.layers.GRU(3, return_sequences=True)
    mask = np.array([[1, 1, 0, 1, 0]] * 3, "bool")
    layer(X, mask=mask)
    twin.build(X.shape)
    twin.set_weights([v for v in layer.weights if not is_state(v.name)])
    np.testing.assert_allclose(layer(X, mask=mask), twin(X, mask=mask), atol=1e-6)


def test_bidirectional() -> None:
    """Both directions are normalised, and each moves its u once, also where another layer's call
    takes the kernels itself, as cuDNN's bidirectional operations do."""
    layer = keras.layers.Bidirectional(layers.SpectralLSTM(3))
    layer.build(X.shape)
    cells = [layer.forward_layer.cell, layer.backward_layer.cell]
    for cell in cells:
        for path in paths_of(cell):
            u = state_of(cell, path, "u")
            u.assign(np.ones(u.shape) / u.shape[-1] ** 0.5)
    after = expected(cells)
    layer(X, training=True)
    for one, two in zip(values(cells), after, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)

    class Around(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs + 0 * cells[0].kernel[0, 0], cells[0].kernel

    settle(layer.forward_layer)
    np.testing.assert_allclose(np.linalg.norm(Around()(np.ones(2))[1], 2), 1.0, rtol=1e-5)
    assert cells[0].kernel is cells[0].weights[0]


def test_a_failing_call_leaves_nothing_behind() -> None:
    """After an error in the middle of a call, the kernels are the variables again."""
    layer, x, (cell,) = made("LSTM without cuDNN")
    good = cell.activation
    cell.activation = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        layer(x)
    cell.activation = good
    assert cell.kernel is cell.weights[0]
    assert np.isfinite(layer(x)).all()


@pytest.mark.parametrize("name", ["LSTM", "ConvLSTM2D", "RNN of cells"])
def test_frozen(name: str) -> None:
    """A frozen recurrent layer moves no u in training."""
    layer, x, cells = made(name)
    layer.trainable = False
    before = values(cells)
    layer(x, training=True)
    for one, two in zip(values(cells), before, strict=True):
        np.testing.assert_array_equal(one, two)


def test_made_frozen() -> None:
    """So does a ConvLSTM that is frozen from the start, of whose cell Keras says that it trains."""
    layer = layers.SpectralConvLSTM2D(2, 2, trainable=False)
    layer.build(IMAGES.shape)
    before = values([layer.cell])
    layer(IMAGES, training=True)
    np.testing.assert_array_equal(before[0], values([layer.cell])[0])
    assert layer.trainable_variables == []


@pytest.mark.parametrize("eager", [pytest.param(False, marks=pytest.mark.slow), True])
def test_fit_keeps_to_the_bound(eager: bool) -> None:
    """After training with fit, the effective kernels are within 2 % of the bound; Keras' orthogonal
    start, all of whose singular values are equal, would take power iteration longer."""
    keras.utils.set_random_seed(0)
    options: dict[str, Any] = {"recurrent_initializer": "glorot_uniform", "power_iterations": 3}
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.SpectralLSTM(4, return_sequences=True, **options),
            keras.layers.RNN(layers.SpectralGRUCell(3, **options)),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse", run_eagerly=eager)
    model.fit(X, np.ones((3, 3)), epochs=15, verbose=0)
    for cell in (model.layers[0].cell, model.layers[1].cell):
        for path in paths_of(cell):
            norm = np.linalg.norm(np.asarray(cell.effective_kernel(path)), 2)
            np.testing.assert_allclose(norm, 1.0, rtol=2e-2)


def test_mixed_precision() -> None:
    """Under mixed_float16 the layer computes in half precision; gain gives the plain outputs."""
    layer = layers.SpectralLSTM(3, mode="gain", dtype="mixed_float16")
    twin = keras.layers.LSTM(3, dtype="mixed_float16")
    outputs = layer(X)
    twin.build(X.shape)
    twin.set_weights([v for v in layer.weights if not is_state(v.name)])
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    assert layer.cell.kernel_u.dtype == "float32"
    np.testing.assert_allclose(outputs, twin(X), atol=2e-3)
