"""Laws of `snconvert.constraints.SpectralNorm`."""

from __future__ import annotations

import base64
import copy

import keras
import numpy as np
import other_backend
import pytest

import snconvert
from snconvert.layers import LayerOptionError
from snconvert.layers.constraint import SpectralNorm

RNG = np.random.default_rng(0)
X = RNG.normal(size=(512, 16)).astype("float32")
Y = np.tanh(X @ RNG.normal(size=(16, 1))).astype("float32")


def sigma(kernel):
    """The largest singular value of `(everything else, last axis)`, in float64."""
    kernel = np.asarray(keras.ops.convert_to_numpy(kernel), "float64")
    return np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2)


def trained(optimizer="adam", policy="float32", epochs=2, **options):
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(32, "relu", kernel_constraint=SpectralNorm(**options), dtype=policy)
    model = keras.Sequential([keras.Input((16,)), hidden, keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0)
    return model, hidden


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize(("mode", "bound"), [("hard", 1.0), ("hard", 3.0), ("cap", 0.5)])
def test_training_keeps_the_bound(mode, bound, policy):
    """One round a step keeps sigma of the stored kernel within 1 % of the bound, under Adam too."""
    _, hidden = trained(keras.optimizers.Adam(3e-3), policy, mode=mode, bound=bound)
    assert sigma(hidden.kernel) == pytest.approx(bound, rel=0.01)


def test_cap_leaves_a_small_kernel_alone():
    """`cap` changes no bit of a kernel whose norm is below the bound."""
    kernel = keras.Variable(RNG.normal(size=(5, 4)).astype("float32"))
    capped = SpectralNorm("cap", bound=100.0)(kernel)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(capped), kernel.numpy())


def test_only_the_constraint_of_the_variable_counts():
    """PITFALLS 17: on a built layer, Keras heeds the variable's constraint, not the layer's."""
    for owner, holds in (("layer", False), ("variable", True)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8), keras.layers.Dense(1)])
        layer = model.layers[0]
        if owner == "layer":
            layer.kernel_constraint = SpectralNorm()
        else:
            layer.kernel.constraint = SpectralNorm()
        model.compile("sgd", "mse")
        model.fit(X, Y, epochs=1, verbose=0)
        assert (abs(sigma(layer.kernel) - 1) < 0.01) == holds


def test_fresh_random_vectors_do_not_hold_the_bound():
    """PITFALLS 17: one round from a random vector leaves sigma above the bound; from `u` not."""
    kernel = RNG.normal(size=(64, 64)).astype("float32")
    sigma_, _ = snconvert.spectral_norm(kernel, RNG.normal(size=64))
    assert sigma(kernel / sigma_) > 1.2
    assert sigma(SpectralNorm()(keras.Variable(kernel))) == pytest.approx(1, abs=1e-6)


def test_u_is_saved_and_loaded(tmp_path):
    """A saved model brings back the live `u`, as base64 of float32, and trains on from it."""
    model, hidden = trained()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    before, after = (m.layers[0].kernel_constraint for m in (model, again))
    text = hidden.get_config()["kernel_constraint"]["config"]["u"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), before.u[0])
    np.testing.assert_array_equal(before.u, after.u)
    exact = np.linalg.svd(keras.ops.convert_to_numpy(hidden.kernel))[2][0]
    assert abs(float(after.u[0] @ exact)) == pytest.approx(1, abs=0.01)
    again.fit(X, Y, epochs=1, verbose=0)
    assert sigma(again.layers[0].kernel) == pytest.approx(1, rel=0.01)
    assert not np.array_equal(after.u, before.u)


def test_configurations_without_u():
    """A configuration by hand, without `u`, or with one of another size, finds it on first use."""
    for config in ({}, {"mode": "hard"}, {"u": base64.b64encode(b"\0\0\x80?").decode()}):
        constraint = SpectralNorm.from_config(config)
        kernel = keras.Variable(RNG.normal(size=(9, 4)))
        assert sigma(constraint(kernel)) == pytest.approx(1, rel=1e-5)


def test_copies_have_their_own_u():
    """Clones, deep copies and a second variable never share one `u`."""
    model, hidden = trained(epochs=1)
    first = hidden.kernel_constraint
    others = [copy.deepcopy(first), keras.models.clone_model(model).layers[0].kernel_constraint]
    kept = first.u
    for other in others:
        np.testing.assert_array_equal(other.u, kept)
        other(keras.Variable(RNG.normal(size=(16, 32))))
        np.testing.assert_array_equal(first.u, kept)
        assert not np.array_equal(other.u, kept)
    shared = SpectralNorm()
    kernels = [keras.Variable(RNG.normal(size=(6, 4))) for _ in range(2)]
    for _ in range(2):
        assert [sigma(shared(kernel)) for kernel in kernels] == pytest.approx([1, 1], rel=1e-5)
    assert shared.get_config()["u"] is None


def test_views():
    """A view says how the kernel is read: here a depthwise kernel, each channel by itself."""
    kernel = RNG.normal(size=(3, 3, 4, 2))
    view = snconvert.MatrixView((9, 4, 2), (1, 0, 2), (4, 9, 2))
    constraint = SpectralNorm(view=view, bound=2.0)
    again = SpectralNorm.from_config(constraint.get_config())
    assert again.view == view
    for made in (constraint, again):
        projected = keras.ops.convert_to_numpy(made(keras.Variable(kernel)))
        norms = [np.linalg.norm(projected[:, :, c].reshape(9, 2), 2) for c in range(4)]
        assert max(norms) == pytest.approx(2, rel=1e-5)


def test_frozen_and_zero():
    """A frozen kernel is not touched; one of zeros stays zero and finite."""
    model = keras.Sequential(
        [keras.Input((16,)), keras.layers.Dense(8, kernel_constraint=SpectralNorm())]
    )
    model.add(keras.layers.Dense(1))
    model.layers[0].trainable = False
    before = model.layers[0].kernel.numpy()
    model.compile("sgd", "mse")
    model.fit(X[:32], Y[:32], verbose=0)
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), before)
    zero = SpectralNorm()(keras.Variable(np.zeros((4, 4))))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(zero), np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"mode": "gain"}, "no gamma"),
        ({"mode": "soft"}, "mode is 'soft'"),
        ({"bound": 0.0}, "bound is 0.0"),
        ({"power_iterations": 0}, "power_iterations is 0"),
        ({"u": "?"}, "rows of float32"),
        ({"u": base64.b64encode(b"\xff" * 4).decode()}, "not finite"),
        ({"view": {"split": [2], "axes": [1], "shape": [1, 1, 2]}}, "view is"),
        ({"view": 3}, "view is"),
        ({"factor": -1.0}, "factor is -1.0"),
    ],
)
def test_refusals(options, what):
    """What cannot work is refused, as a ValueError too."""
    with pytest.raises(LayerOptionError, match=what):
        SpectralNorm(**options)


CODE = """
    import keras, numpy as np
    import snconvert
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 16)).astype("float32")
    y = np.tanh(x @ rng.normal(size=(16, 1))).astype("float32")
    layer = keras.layers.Dense(32, "relu", kernel_constraint=snconvert.constraints.SpectralNorm())
    model = keras.Sequential([keras.Input((16,)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    model.fit(x, y, batch_size=32, epochs=3, verbose=0)
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
    _, sigmas, rows = np.linalg.svd(kernel)
    u = layer.kernel_constraint.u
    assert abs(sigmas[0] - 1) < 0.01, sigmas[0]
    assert abs(abs(u[0] @ rows[0]) - 1) < 0.01, u[0] @ rows[0]
    again = keras.models.clone_model(model).layers[0].kernel_constraint
    assert np.array_equal(again.u, u)
"""


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_backends(backend):
    """The bound holds, and the `u` to save is the kernel's, on JAX and PyTorch."""
    other_backend.run(CODE, backend)
