"""The training-loop door: `SpectralProjection` and `project`."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import other_backend
import pytest

import snconvert
from snconvert.errors import OptionError, SelectionError
from snconvert.live.training import projection

RNG = np.random.default_rng(0)
X = RNG.normal(size=(256, 6, 4)).astype("float32")
Y = np.tanh(X.mean((1, 2)))[:, None]


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.Conv1D(8, 3, groups=2, name="conv"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(16, "relu", name="hidden"),
            layers.Dense(8, "relu", name="frozen", trainable=False),
            layers.Dense(1, name="head"),
        ]
    )


def sigma(layer, groups=1):
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
    kernel = kernel.reshape(-1, kernel.shape[-1])
    return max(np.linalg.norm(block, 2) for block in np.split(kernel, groups, axis=1))


def test_fit():
    """Selected kernels are at the bound after `fit`, each by its own matrix; others are not."""
    made = model()
    made.compile(keras.optimizers.Adam(3e-3), "mse")
    frozen = made.get_layer("frozen").get_weights()[0]
    callback = snconvert.SpectralProjection(conv=True, exclude=["head"], bound=0.5)
    made.fit(X, Y, epochs=4, verbose=0, callbacks=[callback])
    assert sigma(made.get_layer("conv"), groups=2) == pytest.approx(0.5, rel=0.01)
    assert sigma(made.get_layer("hidden")) == pytest.approx(0.5, rel=0.01)
    assert abs(sigma(made.get_layer("head")) - 0.5) > 0.05
    np.testing.assert_array_equal(made.get_layer("frozen").get_weights()[0], frozen)
    assert type(made.get_layer("hidden")) is keras.layers.Dense


def test_calls_keep_u():
    """Later calls go on from the `u` of the call before, for each model and choice of options."""
    made = model()
    snconvert.project(made, only=["hidden"])
    (kept,) = projection._PROJECTIONS[made]
    _, memory, _ = kept[1]._kernels[0]
    before = memory.u()
    kernel = made.get_layer("hidden").kernel
    noise = RNG.normal(size=kernel.shape) * 0.02
    for _ in range(3):
        kernel.assign_add(noise)
        snconvert.project(made, only=["hidden"])
        assert sigma(made.get_layer("hidden")) == pytest.approx(1.0, rel=0.01)
    assert not np.array_equal(memory.u(), before)
    assert len(projection._PROJECTIONS[made]) == 1
    snconvert.project(made, only=["head"], mode="cap")
    assert len(projection._PROJECTIONS[made]) == 2


def test_models_are_not_kept_alive():
    """What is remembered of a model goes with it."""
    made = model()
    snconvert.project(made)
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"mode": "gain"}, OptionError, "no gamma"),
        ({"norm": "operator"}, OptionError, "norm of the matrix"),
        ({"target": "constraint"}, OptionError, "no option 'target'"),
        ({"certify": True}, OptionError, "no option 'certify'"),
        ({"only": ["frozen"]}, SelectionError, "no kernel of .* is selected"),
        ({"only": ["nothing"]}, SelectionError, "matches no layer"),
    ],
)
def test_refusals(options, error, what):
    """What cannot work is refused, before anything changes."""
    with pytest.raises(error, match=what):
        snconvert.project(model(), **options)


CODE = """
    import keras, numpy as np
    import snconvert
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 16)).astype("float32")
    y = np.tanh(x @ rng.normal(size=(16, 1))).astype("float32")
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, "relu")])
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    losses = model.fit(
        x, y, batch_size=32, epochs=4, verbose=0, callbacks=[snconvert.SpectralProjection()]
    ).history["loss"]
    assert losses[-1] < losses[0]
    for _ in range(2):
        for layer in model.layers:
            norm = np.linalg.norm(keras.ops.convert_to_numpy(layer.kernel), 2)
            assert abs(norm - 1) < 0.01, norm
        model.layers[0].kernel.assign(model.layers[0].kernel * 3)
        snconvert.project(model)
"""


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_backends(backend):
    """Callback and function hold the bound on JAX and PyTorch, and the model learns."""
    other_backend.run(CODE, backend)


@pytest.mark.parametrize("steps", [None, 3])
def test_averages(steps):
    """The averages with which `fit` ends, of an optimizer with `use_ema`, are at the bound too."""
    made = model()
    optimizer = keras.optimizers.Adam(
        0.02, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=steps
    )
    made.compile(optimizer, "mse")
    made.fit(X, Y, verbose=0, callbacks=[snconvert.SpectralProjection(only=["hidden"], bound=0.5)])
    assert sigma(made.get_layer("hidden")) == pytest.approx(0.5, rel=1e-5)
