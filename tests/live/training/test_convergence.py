"""Averaged and assigned weights: `u` as a direction, and `converge`."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from spectral_cases import RUNNABLE, VARIANTS, at, make, paths_of, run, sigma_of, state_of
from spectral_cases import inputs_for as inputs

import snconvert
from snconvert.errors import KernelError, OptionError, SelectionError
from snconvert.layers import base

RNG = np.random.default_rng(0)


def norm(kernel):
    return np.linalg.norm(np.asarray(kernel, "float64"), 2)


def dense(size=6, **options):
    layers = [keras.layers.Dense(size, name=name) for name in "ab"]
    return snconvert.apply(keras.Sequential([keras.Input((size,)), *layers]), **options)


def turned(model):
    """Gives every kernel and every `u` of a model other numbers."""
    for variable in model.weights:
        variable.assign(RNG.normal(size=variable.shape))


def test_soft_updates():
    """A target network's kernels in use stay below twice their bound by themselves, at most 15 %
    above it with one round after each update, and are at it after `converge`."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(256, "relu"), keras.layers.Dense(256, "relu")]
    stack = [keras.Input((8,)), *layers, keras.layers.Dense(1)]
    online = snconvert.apply(keras.Sequential(stack))
    online.compile(keras.optimizers.Adam(3e-3), "mse")
    alone, followed = (keras.models.clone_model(online) for _ in range(2))
    for target in (alone, followed):
        target.set_weights(online.get_weights())
    x = np.random.default_rng(0).standard_normal((256, 8)).astype("float32")
    y = 5 * np.sin(x.sum(1, keepdims=True))
    for step in range(1, 101):
        online.train_on_batch(x, y)
        for target in (alone, followed):
            pairs = zip(online.get_weights(), target.get_weights(), strict=True)
            target.set_weights([0.005 * new + 0.995 * old for new, old in pairs])
        snconvert.converge(followed, rounds=1)
        if step % 25 == 0:
            for target, limit in ((alone, 2.0), (followed, 1.15)):
                norms = [norm(layer.effective_kernel()) for layer in target.layers]
                assert max(norms) < limit, (step, norms)
    snconvert.converge(alone)
    norms = [norm(layer.effective_kernel()) for layer in alone.layers]
    np.testing.assert_allclose(norms, 1.0, rtol=1e-6)


@pytest.mark.parametrize("norm", ["matrix", "operator"])
@pytest.mark.parametrize("example", RUNNABLE[::3] + VARIANTS[-1:])
def test_u_is_a_direction(example, norm):
    """The length of each block's u changes nothing at inference, down to 1e-15; a u of zeros
    leaves the kernel as it is."""
    layer = make(example, mode="hard", norm=norm)
    x = inputs(example)
    expected = np.array(run(layer, x))
    for path in paths_of(layer):
        u = state_of(layer, path, "u")
        lengths = 10.0 ** RNG.integers(-15, 3, size=u.shape[0])
        u.assign(np.array(u) * lengths.reshape(-1, *[1] * (len(u.shape) - 1)))
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-5, atol=1e-6)
    for path in paths_of(layer):
        state_of(layer, path, "u").assign(np.zeros(state_of(layer, path, "u").shape))
        group, _, name = path.rpartition("/")
        owner = at(layer, group) if group else layer
        np.testing.assert_array_equal(owner.effective_kernel(name), at(layer, path))


@pytest.mark.parametrize("mode", ["hard", "cap", "gain"])
@pytest.mark.parametrize("norm", ["matrix", "operator"])
def test_files_fold_what_the_layer_computes(tmp_path, mode, norm):
    """`bake` of averaged weights on a file gives the kernels that the live model computes with,
    whether u is shorter than 1 or zero."""
    layers = [keras.layers.Conv1D(6, 3, groups=2), keras.layers.Dense(4), keras.layers.Dense(4)]
    plain = keras.Sequential([keras.Input((9, 4)), *layers])
    model = snconvert.apply(plain, conv=True, mode=mode, norm=norm, bound=0.5)
    for layer, lengths in zip(model.layers, ([[0.3], [0.9]], [[0.5]], [[0.0]]), strict=True):
        u = np.array(layer.u) + 0.2 * RNG.normal(size=layer.u.shape)
        layer.u.assign(u * np.reshape(lengths, (-1, *[1] * (u.ndim - 1))))
    model.save(tmp_path / "averaged.keras")
    snconvert.bake_file(tmp_path / "averaged.keras", tmp_path / "baked.keras")
    baked = keras.saving.load_model(tmp_path / "baked.keras")
    for layer, plain in zip(model.layers, baked.layers, strict=True):
        np.testing.assert_allclose(plain.kernel, layer.effective_kernel(), rtol=1e-6)


@pytest.mark.parametrize("example", RUNNABLE[::3])
def test_every_kind(example):
    """For every kind of layer, rounds come near to sigma, and `None` finds it."""
    layer = make(example, norm="operator")
    turned(layer)
    for rounds, tolerance in ((4, 0.4), (None, 1e-5)):
        snconvert.converge(layer, rounds)
        for path, sigma in layer.spectral_norms().items():
            expected = sigma_of(layer, at(layer, path), path)
            np.testing.assert_allclose(float(sigma), expected, rtol=tolerance)


def test_rounds_are_those_of_power_iteration():
    """`rounds` does what a loop in float64 does, from the current u, and touches nothing else."""
    model = dense(mode="gain")
    turned(model)
    before = [np.array(weight, "float64") for weight in model.weights]
    snconvert.converge(model, rounds=3)
    for layer, (kernel, bias, gamma, u) in zip(model.layers, (before[:4], before[4:]), strict=True):
        for _ in range(3):
            u = (kernel @ u[0]) @ kernel[None]  # noqa: PLW2901 -- the vector moves
            u /= np.linalg.norm(u)  # noqa: PLW2901
        np.testing.assert_allclose(layer.u, u, atol=1e-6)
        for variable, value in ((layer.kernel, kernel), (layer.bias, bias), (layer.gamma, gamma)):
            np.testing.assert_array_equal(variable, value)


def test_nested_and_hidden_layers():
    """Layers in models, wrappers, cells, attention and the attributes of custom layers."""

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.parts = {"in": [snconvert.SpectralDense(4)]}

        def call(self, inputs):
            return self.parts["in"][0](inputs)

    layers = keras.layers
    both = layers.Bidirectional(layers.LSTM(2, return_sequences=True))
    inner = keras.Sequential([keras.Input((6, 4)), both, layers.TimeDistributed(layers.Dense(4))])
    inputs = keras.Input((6, 4))
    middle = Block()(inner(inputs))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 3)(middle, middle))
    model = snconvert.apply(model, kinds="all")
    us = [variable for variable in model.weights if variable.name.endswith("u")]
    assert len(us) == 10  # four of the LSTMs, two Dense, four projections
    expected = [np.array(u) for u in us]
    start = [RNG.normal(size=u.shape) for u in us]
    for rounds in (2, None):
        for u, value in zip(us, start, strict=True):
            u.assign(value)
        snconvert.converge(model, rounds)
        for u, value, first in zip(us, expected, start, strict=True):
            before = abs((first * value).sum()) / np.linalg.norm(first)
            aligned = abs((np.array(u) * value).sum())
            assert aligned > (before if rounds else 1 - 1e-6)


def test_one_trace(monkeypatch):
    """A model is traced once for each number of rounds, inside a function of the user's too, and
    anew when it has other variables."""
    traced = []
    original = base.power_iteration

    def counted(*arguments):
        traced.append(arguments[2])
        return original(*arguments)

    monkeypatch.setattr(base, "power_iteration", counted)
    model = dense(only=["a"])

    @tf.function
    def loop():
        for _ in tf.range(3):
            model.layers[0].kernel.assign(model.layers[0].kernel * 2.0)
            snconvert.converge(model, rounds=1)

    loop()
    for _ in range(3):
        snconvert.converge(model, rounds=1)
    assert traced == [1]
    snconvert.converge(model, rounds=2)
    assert traced == [1, 2]
    snconvert.apply(model, in_place=True)
    model.layers[1].u.assign(np.ones((1, 6)))
    snconvert.converge(model, rounds=1)
    assert traced == [1, 2, 1, 1]
    assert not np.allclose(model.layers[1].u, 1)


def test_models_are_freed():
    """What `converge` remembers keeps no model and no layer alive."""

    def freed(model):
        snconvert.converge(model, rounds=1)
        return weakref.ref(model)

    layer = snconvert.SpectralDense(3)
    layer.build((None, 4))
    references = [freed(dense()), freed(layer)]
    del layer
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_large_kernels():
    """The exact u of a kernel of more than a million numbers without a gap is exact, too."""
    layer = snconvert.SpectralDense(1100, use_bias=False)
    layer.build((None, 1000))
    kernel = np.random.default_rng(1).normal(size=(1000, 1100)).astype("float32")
    layer.kernel.assign(kernel)
    layer.converge()
    sigma = np.sqrt(np.linalg.eigvalsh(kernel.astype("float64") @ kernel.T)[-1])
    assert float(layer.spectral_norms()["kernel"]) == pytest.approx(sigma, rel=1e-6)


@pytest.mark.parametrize("rounds", [30, None])
def test_constraints_and_project(rounds):
    """A constraint and `project` start from the u of an assigned kernel after `converge`, which
    leaves the kernels as they are."""
    kernel = np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 9.0]).astype("float32")
    constrained = dense(target="constraint")
    plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)])
    snconvert.project(plain)
    for model in (constrained, plain):
        model.layers[0].kernel.assign(kernel)
        snconvert.converge(model, rounds)
        np.testing.assert_array_equal(model.layers[0].kernel, kernel)
    layer = constrained.layers[0]
    layer.kernel.assign(layer.kernel.constraint(layer.kernel))
    snconvert.project(plain)
    for model in (constrained, plain):
        assert norm(model.layers[0].kernel) == pytest.approx(1, abs=1e-5)


def test_errors():
    """What cannot be done is said, and nothing is changed."""
    model = dense()
    for rounds in (0, -1, 1.0, True, "1"):
        with pytest.raises(OptionError, match="rounds is"):
            snconvert.converge(model, rounds)
        with pytest.raises(ValueError, match="rounds is"):
            model.layers[0].converge(rounds)
    with pytest.raises(OptionError, match="is a path, not a model"):
        snconvert.converge("model.keras")
    with pytest.raises(SelectionError, match="no layer of plain keeps a u"):
        snconvert.converge(
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="plain")
        )
    with pytest.raises(OptionError, match="while a function is traced"):
        tf.function(lambda: snconvert.converge(model), autograph=False)()
    layer = model.layers[0]
    kernel, u = (np.asarray(variable) for variable in (layer.kernel, layer.u))
    layer.kernel.assign(np.full_like(kernel, np.nan))
    with pytest.raises(KernelError, match=f"{layer.path} .*NaN"):
        snconvert.converge(model)
    np.testing.assert_array_equal(layer.u, u)
