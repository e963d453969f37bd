"""Compiled models stay compiled, and optimizers keep their state."""

from __future__ import annotations

import re

import keras
import live_models
import numpy as np
import pytest
from keras import optimizers
from live_models import X, outputs, targets, train
from optimizer_examples import MAKE, plain

import snconvert
from snconvert.errors import UnsupportedError
from snconvert.layers import SpectralDense


def state(optimizer) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in optimizer.variables]


def reference(model: keras.Model, mode: str) -> keras.Model:
    """The same conversion by hand: a new model, weights and slots put in one by one."""
    made = keras.Sequential([keras.Input((6,))])
    for layer in model.layers:
        made.add(SpectralDense.from_config({**layer.get_config(), "mode": mode}))
        made.layers[-1].kernel.assign(layer.kernel)
        made.layers[-1].bias.assign(layer.bias)
        made.layers[-1].converge()
        if mode == "gain":
            sigma = np.linalg.norm(np.asarray(layer.kernel, "float64"), 2)
            made.layers[-1].gamma.assign(sigma)
    return made


@pytest.mark.parametrize("name", MAKE)
def test_state_is_carried_over_exactly(name):
    """Hard conversion keeps every slot; with gain, each variable keeps its own."""
    model = plain()
    model.compile(MAKE[name](), "mse", run_eagerly=True)
    train(model, steps=3)
    before = state(model.optimizer)
    hard = snconvert.apply(model)
    assert all(map(np.array_equal, before, state(hard.optimizer)))
    gain = snconvert.apply(model, mode="gain")
    slots = {v.path.rpartition("/")[2]: np.asarray(v) for v in model.optimizer.variables}
    after = {v.path.rpartition("/")[2]: np.asarray(v) for v in gain.optimizer.variables}
    named = {key: value for key, value in slots.items() if key.startswith(("a_", "c_"))}
    assert all(np.array_equal(value, after[key]) for key, value in named.items())
    assert "gamma" not in " ".join(key for key in after if key.startswith("b_"))
    assert int(gain.optimizer.iterations) == int(model.optimizer.iterations)
    assert len(gain.optimizer._trainable_variables) == 6
    fresh = type(model.optimizer).from_config(model.optimizer.get_config())
    fresh.build(gain.trainable_variables)
    assert [v.shape for v in fresh.variables] == [v.shape for v in gain.optimizer.variables]


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        *(("gain", name) for name in MAKE),
        *(
            pytest.param("hard", name, marks=[] if name == "all at once" else pytest.mark.slow)
            for name in MAKE
        ),
    ],
)
def test_the_next_step_is_the_step_the_variables_would_have_made(name, mode):
    """A step after the conversion equals that of the model converted by hand."""
    model = plain()
    model.compile(MAKE[name](), "mse", run_eagerly=True)
    train(model, steps=3)
    converted = snconvert.apply(model, mode=mode)
    made = reference(model, mode)
    other = type(model.optimizer).from_config(model.optimizer.get_config())
    other.build(made.trainable_variables)
    for mine, theirs in zip(other.variables, converted.optimizer.variables, strict=True):
        mine.assign(theirs)
    if name == "all at once":  # Keras does not list it, and so loses it when it saves
        product = converted.optimizer.inner_optimizer._u_product
        assert float(product) == float(model.optimizer.inner_optimizer._u_product) < 1
        other.inner_optimizer._u_product.assign(product)
    made.compile(other, "mse", run_eagerly=True)
    np.testing.assert_allclose(outputs(made), outputs(converted), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(train(made, steps=2), train(converted, steps=2), rtol=1e-5)
    for mine, theirs in zip(made.weights, converted.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_moving_averages_of_gamma_start_at_gamma():
    """With EMA, overwriting the weights with their averages does not throw gamma away."""
    model = plain()
    model.compile(MAKE["ema"](), "mse", run_eagerly=True)
    train(model, steps=2)
    converted = snconvert.apply(model, mode="gain")
    gamma = float(converted.get_layer("a").gamma)
    converted.optimizer.finalize_variable_values(converted.trainable_variables)
    assert float(converted.get_layer("a").gamma) == pytest.approx(gamma)


def test_compiled_stays_compiled():
    """Loss, metrics, flags and a custom loop's optimizer are those of the original."""
    model = plain()
    model.compile("adam", "mae", metrics=["mse"], jit_compile=True, steps_per_execution=2)
    converted = snconvert.apply(model)
    assert converted.compiled
    assert converted.jit_compile == model.jit_compile
    assert converted.get_compile_config() == model.get_compile_config()
    assert converted.optimizer is not model.optimizer
    converted = snconvert.apply(plain())
    assert not converted.compiled


def test_functions_compiled_before_are_dropped():
    """A model that has trained and predicted does so with its new layers afterwards."""
    model = plain()
    model.compile("sgd", "mse")
    model.fit(X, targets(model), verbose=0)
    before = model.predict(X, verbose=0)
    snconvert.apply(model, in_place=True, bound=0.01)
    assert np.abs(model.predict(X, verbose=0)).max() < np.abs(before).max()
    u = np.asarray(model.get_layer("a").u)
    model.fit(X, targets(model), verbose=0)
    assert not np.array_equal(u, model.get_layer("a").u)
    assert len(model.get_layer("a").weights) == 3


def test_the_optimizer_stays_the_same_object():
    """In place, whoever holds the optimizer holds the one that trains."""
    model = plain()
    optimizer = optimizers.Adam()
    model.compile(optimizer, "mse", run_eagerly=True)
    train(model, steps=1)
    snconvert.apply(model, in_place=True, mode="gain")
    assert model.optimizer is optimizer
    train(model, steps=1)
    assert int(optimizer.iterations) == 2


class Averaged(optimizers.SGD):
    """One that its configuration cannot make anew, with slots by position and a count."""

    def __init__(self, secret, **options):
        super().__init__(**options)
        self.secret = secret
        self.calls = keras.Variable(0.0, name="calls")

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.sums = [self.add_variable(v.shape, name="sum") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.calls.assign_add(1.0)
        total = self.sums[self._get_variable_index(variable)]
        total.assign_add(gradient)
        super().update_step(gradient + self.secret * total, variable, learning_rate)


def test_an_optimizer_of_ones_own():
    """An optimizer that its configuration does not describe keeps its state as well."""
    model = plain()
    model.compile(Averaged(0.1, learning_rate=0.01, momentum=0.9), "mse", run_eagerly=True)
    train(model, steps=2)
    old = model.optimizer
    converted = snconvert.apply(model, mode="gain")
    new = converted.optimizer
    assert (new.secret, float(new.calls)) == (0.1, 8.0)
    assert [v.shape for v in new.sums] == [v.shape for v in new._trainable_variables]
    kept = [new.sums[i] for i in (0, 1, 3, 4)]
    assert all(np.array_equal(a, b) for a, b in zip(old.sums, kept, strict=True))
    made = reference(model, "gain")
    made.compile(Averaged(0.1, learning_rate=0.01, momentum=0.9), "mse", run_eagerly=True)
    made.optimizer.build(made.trainable_variables)
    for mine, theirs in zip(made.optimizer.variables, new.variables, strict=True):
        mine.assign(theirs)
    np.testing.assert_allclose(train(made), train(converted), rtol=1e-5)


@pytest.mark.parametrize("name", ["Adafactor", "Nadam"])
def test_a_loss_scale_around_what_was_built_before(name):
    """What has trained before a LossScaleOptimizer is given it lists more variables than what that
    one builds: its state stays, too, there and back."""
    model = plain()
    model.compile(getattr(optimizers, name)(0.01), "mse", run_eagerly=True)
    model.train_on_batch(X, targets(model))
    model.compile(optimizers.LossScaleOptimizer(model.optimizer), "mse", run_eagerly=True)
    model.train_on_batch(X, targets(model))
    patched = snconvert.apply(model, mode="gain")
    back = snconvert.remove(patched)
    pairs = zip(back.optimizer.variables, model.optimizer.variables, strict=True)
    assert len(patched.optimizer.variables) > len(model.optimizer.variables)
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)


def test_a_map_may_be_a_function():
    """Each gamma of a conversion goes where the function of a MultiOptimizer sends its kernel."""
    sgd, adam = optimizers.SGD(0.01), optimizers.Adam(0.01)
    model = plain()
    choose = optimizers.MultiOptimizer(lambda v: adam if v.path.endswith("kernel") else sgd)
    model.compile(choose, "mse", run_eagerly=True)
    train(model)
    before = state(model.optimizer)
    converted = snconvert.apply(model, mode="gain")
    assert [len(part._trainable_variables) for part in converted.optimizer.optimizers] == [4, 2]
    train(converted)
    assert all(map(np.array_equal, before, state(model.optimizer)))
    assert int(converted.optimizer.optimizers[0].iterations) == 4
    assert not set(map(id, converted.optimizer.optimizers)) & {id(sgd), id(adam)}


def test_an_optimizer_that_cannot_be_extended():
    """An optimizer whose slots nobody can tell apart is refused for gain, before anything moves."""
    model = plain()
    model.compile(optimizers.Adam(), "mse", run_eagerly=True)
    train(model, steps=1)
    model.optimizer.add_variable((3,), name="by_hand")
    hard = snconvert.apply(model)
    for converted in (hard, snconvert.bake(hard), snconvert.remove(hard)):
        assert len(converted.optimizer.variables) == len(model.optimizer.variables)
    with pytest.raises(UnsupportedError, match="mode hard or cap"):
        snconvert.apply(model, mode="gain", in_place=True)
    assert type(model.get_layer("a")) is keras.layers.Dense


def test_layers_frozen_after_compiling():
    """An optimizer that knows a frozen layer's kernel learns of its gamma, for when it thaws."""
    model = plain(b=True)
    model.compile("adam", "mse", run_eagerly=True)
    train(model, steps=1)
    model.get_layer("b").trainable = False
    converted = snconvert.apply(model, mode="gain")
    known = [v.path for v in converted.optimizer._trainable_variables]
    assert "sequential/b/gamma" in [re.sub(r"_\d+", "", path) for path in known]
    assert not converted.get_layer("b").gamma.trainable
    train(converted, steps=1)
    before = [np.asarray(v) for v in converted.get_layer("b").weights]
    train(converted, steps=1)
    assert all(map(np.array_equal, before, converted.get_layer("b").weights))
    converted.get_layer("b").trainable = True
    converted.compile(converted.optimizer, "mse", run_eagerly=True)
    train(converted, steps=1)
    after = converted.get_layer("b").trainable_variables  # kernel, bias and gamma, not u
    assert len(after) == 3
    assert not any(map(np.array_equal, before[:3], after))


def test_several_optimizers():
    """Optimizers of a custom training loop, as a GAN has, get their slots too."""

    class Gan(keras.Model):
        def __init__(self):
            super().__init__()
            self.critic, self.maker = plain(b=True), live_models.in_sequential()

        def call(self, inputs):
            return self.critic(inputs) + self.maker(inputs)

    model = Gan()
    model(X)
    model.critic_optimizer, model.maker_optimizer = optimizers.Adam(), optimizers.SGD()
    model.critic_optimizer.build(model.critic.trainable_variables)
    converted = snconvert.apply(model, mode="gain", only="critic/*")
    assert converted.critic_optimizer is not model.critic_optimizer
    trained = converted.critic_optimizer._trainable_variables
    assert [v.path for v in trained] == [v.path for v in converted.critic.trainable_variables]
    assert len(trained) == 9
    assert not converted.maker_optimizer.built


@pytest.mark.parametrize("back", [snconvert.bake, snconvert.remove])
def test_the_way_back_of_a_frozen_model(back, tmp_path):
    """The slots of gamma go, also where the layers were frozen since, as GANs do in every step."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile("adam", "mse", run_eagerly=True)
    model.fit(np.ones((8, 6)), np.ones((8, 1)), verbose=0)
    patched = snconvert.apply(model, mode="gain")
    patched.fit(np.ones((8, 6)), np.ones((8, 1)), verbose=0)
    patched.trainable = False
    plain = back(patched)
    plain.trainable = True
    assert len(plain.optimizer.variables) == len(model.optimizer.variables)
    plain.save(tmp_path / "plain.keras")
    assert int(keras.saving.load_model(tmp_path / "plain.keras").optimizer.iterations) == 2


def at_rest(model: keras.Model, steps: int) -> None:
    """Takes steps without a gradient, which do nothing but decay."""
    for layer in model.layers:
        layer.bias.assign(np.zeros(layer.bias.shape))
    for _ in range(steps):
        model.train_on_batch(np.zeros((2, 6)), np.zeros((2, 3)))


DECAYING = {
    "adamw": lambda: optimizers.AdamW(0.1, weight_decay=0.5),
    "muon": lambda: optimizers.Muon(0.1, weight_decay=0.5, adam_weight_decay=0.5),
    "loss scale": lambda: optimizers.LossScaleOptimizer(optimizers.AdamW(0.1, weight_decay=0.5)),
}
"""Optimizers with which a step without a gradient multiplies by 0.95."""


@pytest.mark.parametrize(
    ("name", "how", "when"),
    [
        ("adamw", "var_list", "before"),
        ("adamw", "var_names", "before"),
        ("adamw", "var_list", "loaded"),
        ("adamw", "var_names", "loaded"),
        ("adamw", "var_list", "fresh"),
        ("muon", "var_list", "after"),
        ("loss scale", "var_names", "after"),
        ("loss scale", "var_list", "before"),
    ],
)
def test_gamma_decays_as_its_kernel(tmp_path, name, how, when):
    """What an optimizer is told of a kernel's decay holds for its gamma: by variable or by name,
    before the conversion or after it, in memory or of a loaded file, whatever it is told of names
    like gamma's."""

    def exclude(model):
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        excluded = {"var_list": [model.get_layer("a").kernel], "var_names": ["gamma"]}
        if how == "var_names":
            excluded = {"var_names": ["kernel"]}
        optimizer.exclude_from_weight_decay(**excluded)

    model = plain(b=True)
    if when == "fresh":
        model = snconvert.apply(model, mode="gain")
    model.compile(DECAYING[name](), "mse", run_eagerly=True)
    if when == "before":
        exclude(model)
    if when != "fresh":
        at_rest(model, steps=1)
    if when == "loaded":
        model.save(tmp_path / "plain.keras")
        snconvert.apply_file(tmp_path / "plain.keras", tmp_path / "sn.keras", mode="gain")
        model = keras.saving.load_model(tmp_path / "sn.keras")
    elif when != "fresh":
        model = snconvert.apply(model, mode="gain")
    if when != "before":
        exclude(model)
    before = {v.path: np.array(v) for v in model.trainable_variables}
    at_rest(model, steps=3)
    for variable in model.trainable_variables:
        layer, kind = variable.path.split("/")[-2:]
        factor = 1.0 if how == "var_names" or layer == "a" else 0.95**3
        if kind != "bias":
            np.testing.assert_allclose(variable, factor * before[variable.path], rtol=1e-5)


def test_what_optimizers_keep_by_variable():
    """What an optimizer of one's own keeps of a kernel by path, key or id, it keeps of its gamma
    until gamma goes."""
    model = plain()
    kernel = model.get_layer("a").kernel
    optimizer = optimizers.SGD(0.01)
    optimizer.rates = {kernel.path: 0.25, model.get_layer("a").bias.path: 0.5}
    optimizer.chosen = {optimizer._var_key(kernel)}
    model.compile(optimizer, "mse", run_eagerly=True)
    train(model, steps=1)
    gain = snconvert.apply(model, mode="gain")
    layer, found = gain.get_layer("a"), gain.optimizer
    assert found.rates == {**optimizer.rates, layer.gamma.path: 0.25}
    assert found.chosen == {found._var_key(v) for v in (layer.kernel, layer.gamma)}
    back = snconvert.remove(gain)
    assert back.optimizer.rates == optimizer.rates
    assert back.optimizer.chosen == {found._var_key(back.get_layer("a").kernel)}


def test_gamma_trains_with_its_kernel(tmp_path):
    """A MultiOptimizer whose pattern names kernels trains each gamma with its kernel's optimizer,
    in memory, after loading, and in a model that is compiled later."""
    model = plain()
    model.compile(MAKE["by pattern"](), "mse", run_eagerly=True)
    train(model, steps=2)
    gain = snconvert.apply(model, mode="gain")
    gain.save(tmp_path / "gain.keras")
    later = snconvert.apply(plain(), mode="gain")
    later.compile(MAKE["by pattern"](), "mse", run_eagerly=True)
    train(later, steps=1)
    loaded = keras.saving.load_model(tmp_path / "gain.keras")
    for each in (gain, later, loaded):
        names = [{v.name for v in o._trainable_variables} for o in each.optimizer.optimizers]
        assert sorted(map(sorted, names)) == [["bias"], ["gamma", "kernel"]]
    assert all(map(np.array_equal, state(gain.optimizer), state(loaded.optimizer)))
