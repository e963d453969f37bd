"""The optimizer's state survives `gain`, which adds trainable variables."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import steps
from keras import optimizers

import snconvert
from snconvert.errors import UnsupportedError
from snconvert.files.optimizer_slots import Gamma, StoredVariables, edit_slots

OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "Adam": {"amsgrad": True},
    "Nadam": {"use_ema": True},
    "Adagrad": {"initial_accumulator_value": 0.25},
    "Adafactor": {"gradient_accumulation_steps": 2},
    "Ftrl": {"initial_accumulator_value": 0.5},
    "Muon": {"use_ema": True},
}
NOT_STANDARD = {"Optimizer", "MultiOptimizer", "LossScaleOptimizer"}
NAMES = sorted(
    name
    for name in dir(optimizers)
    if isinstance(getattr(optimizers, name), type)
    and issubclass(getattr(optimizers, name), optimizers.Optimizer)
    and name not in NOT_STANDARD
)


def cases() -> list[Any]:
    """Returns each optimizer with its options, alone, and with all that any of them can do; the
    last of some only, and the second where there are no options, unless all are wanted."""
    everything = {"use_ema": True, "gradient_accumulation_steps": 2}

    def case(name: str, options: dict[str, Any], what: str, *, quick: bool) -> Any:
        marks = [] if quick else [pytest.mark.slow]
        return pytest.param(name, options, id=name + what, marks=marks)

    made = [case(name, {}, "", quick=name not in OPTIONS) for name in NAMES]
    made += [case(n, o, "-options", quick=True) for n, o in OPTIONS.items() if n in NAMES]
    for place, name in enumerate(NAMES):
        made.append(case(name, everything, "-ema-accumulation", quick=place % 3 == 0))
    return made


def trained(
    optimizer: optimizers.Optimizer | str, path: Path, *, use_bias: bool = True
) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4, use_bias=use_bias),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(4, trainable=False),
            keras.layers.Dense(3, use_bias=False),
        ]
    )
    model.compile(optimizer, "mse", run_eagerly=True)
    rng = np.random.default_rng(0)
    steps.train(model, rng.normal(size=(16, 5)), rng.normal(size=(16, 3)), 4)
    model.save(path)
    return model


def by_block(optimizer: optimizers.Optimizer) -> list[tuple[str, np.ndarray]]:
    return [(v.path, np.asarray(v.value)) for v in optimizer.variables]


def without_gammas(patched: keras.Model, model: keras.Model) -> None:
    """Every old slot is there, bit for bit and in order, once those of the gammas are left out."""
    old = [value for _, value in by_block(model.optimizer)]
    new = [value for _, value in by_block(patched.optimizer)]
    added = len(new) - len(old)
    at = 0
    for value in new:
        if at < len(old) and value.shape == old[at].shape and np.array_equal(value, old[at]):
            at += 1
        else:
            assert value.shape == ()
            added -= 1
    assert at == len(old)
    assert added == 0


def fresh_slots(patched: keras.Model, fresh: optimizers.Optimizer) -> int:
    """Compares the slots of gammas with those of a fresh optimizer; returns how many there are."""
    gammas = [v for v in patched.trainable_variables if v.path.endswith("gamma")]
    gammas = [v for v in gammas if v.shape == ()]
    fresh.build(patched.trainable_variables)
    ours = {v.path.split("/", 1)[-1]: v for v in patched.optimizer.variables}
    seen = 0
    for theirs in fresh.variables:
        for gamma in gammas:
            start = gamma.path.replace("/", "_")
            if start in theirs.path and theirs.path.split("/", 1)[-1] in ours:
                value = np.asarray(ours[theirs.path.split("/", 1)[-1]].value)
                average = theirs.path.endswith("average")
                expected = np.asarray(gamma.value if average else theirs.value)
                np.testing.assert_array_equal(value, expected)
                seen += 1
    return seen


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(("name", "options"), cases())
def test_every_optimizer(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """For each of Keras' optimizers: the state is kept bit for bit, a gamma's slots hold what a
    fresh optimizer holds for it, averages start at its value, and training goes on."""
    model = trained(getattr(optimizers, name)(**options), tmp_path / "in.keras")
    snconvert.apply_file(tmp_path / "in.keras", tmp_path / "out.keras", mode="gain")
    patched = keras.saving.load_model(tmp_path / "out.keras")
    assert int(patched.optimizer.iterations) == int(model.optimizer.iterations) > 0
    without_gammas(patched, model)
    assert fresh_slots(patched, getattr(optimizers, name)(**options)) or name == "SGD"
    rng = np.random.default_rng(1)
    steps.train(patched, rng.normal(size=(8, 5)), rng.normal(size=(8, 3)))


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: "adam",
        lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)),
        lambda: optimizers.LossScaleOptimizer(optimizers.Adam(use_ema=True)),
    ],
    ids=["string", "schedule", "loss-scale"],
)
def test_other_layouts(make: Any, tmp_path: Path) -> None:
    """Optimizers by name, with schedules, and around another optimizer."""
    model = trained(make(), tmp_path / "in.keras")
    snconvert.apply_file(tmp_path / "in.keras", tmp_path / "out.keras", mode="gain")
    patched = keras.saving.load_model(tmp_path / "out.keras")
    assert int(patched.optimizer.iterations) == int(model.optimizer.iterations) > 0
    without_gammas(patched, model)


def test_it_says_so_when_it_cannot() -> None:
    """An unknown optimizer, or slots that fit two orders, are refused with a way out."""
    adam = {"module": "keras.optimizers", "class_name": "Adam", "config": {}}
    slots = {f"optimizer/vars/{i}": ((), "float32") for i in range(2)}
    slots |= {f"optimizer/vars/{i}": ((3,), "float32") for i in range(2, 6)}
    bag = StoredVariables(((3,), (3,)), exact=False)
    with pytest.raises(UnsupportedError, match="several orders"):
        edit_slots(adam, slots, [bag, Gamma(1.0), bag])
    with pytest.raises(UnsupportedError, match="no order"):
        edit_slots(adam, slots, [StoredVariables(((4,),), exact=True), Gamma(1.0)])
    mine = {"module": "mine", "class_name": "Mine", "config": {}}
    with pytest.raises(UnsupportedError, match="Mine are not known"):
        edit_slots(mine, slots, [bag, Gamma(1.0)])
    plain = edit_slots(adam, {k: v for k, v in slots.items() if v[0] == ()}, [Gamma(1.0)])
    assert (plain.moves, plain.additions) == ([], [])


def test_keras_is_the_way_out(tmp_path: Path) -> None:
    """What the file carrier cannot match, as Muon's two slots of an embedding, Keras knows itself:
    with `--import keras`, which the message names, the state is kept."""
    tokens = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(5, 4)(tokens)
    x = keras.layers.MultiHeadAttention(2, 2)(x, x)
    model = keras.Model(tokens, keras.layers.Dense(1)(x))
    model.compile(optimizers.Muon(0.01), "mse", run_eagerly=True)
    for _ in range(3):
        model.train_on_batch(np.array([[0, 1, 2], [3, 4, 0]]), np.ones((2, 3, 1)))
    source, output = tmp_path / "plain.keras", tmp_path / "gain.keras"
    model.save(source)
    with pytest.raises(UnsupportedError) as caught:
        snconvert.apply_file(source, output, mode="gain", kinds="all")
    assert "--import keras" in caught.value.fix
    snconvert.apply_file(source, output, mode="gain", kinds="all", imports=["keras"])
    loaded = keras.saving.load_model(output)
    assert int(loaded.optimizer.iterations) == 3
    # A gamma for the embedding, the four projections and the Dense, of two slots each.
    assert len(loaded.trainable_variables) == len(model.trainable_variables) + 6
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables) + 12
    kept = {v.path.split("/", 1)[1]: v for v in loaded.optimizer.variables}
    for variable in model.optimizer.variables[2:]:
        np.testing.assert_array_equal(kept[variable.path.split("/", 1)[1]], variable)


@keras.saving.register_keras_serializable("test_optimizer_slots")
class Around(keras.layers.Layer):
    """A Dense layer in a custom one, which trains it or does not."""

    def __init__(self, trained: bool, **options: Any) -> None:
        super().__init__(**options)
        self.trained = trained
        self.inner = keras.layers.Dense(4, trainable=trained)

    def build(self, shape: Any) -> None:
        self.inner.build(shape)

    def call(self, x: Any) -> Any:
        return self.inner(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "trained": self.trained}


def test_another_reading_is_no_way_out_of_several_orders(tmp_path: Path) -> None:
    """Which of two custom layers was trained cannot be told. That all layers were, one that is
    frozen included, would fit in one way, and give a file that Keras cannot load."""
    dense = keras.layers.Dense
    stack = [Around(trained=True), dense(4, name="t"), Around(trained=False)]
    model = keras.Sequential([keras.Input((4,)), *stack, dense(4, trainable=False)])
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 4)))
    model.save(tmp_path / "plain.keras")
    with pytest.raises(UnsupportedError, match="several orders"):
        snconvert.apply_file(tmp_path / "plain.keras", mode="gain", only="t")


@pytest.mark.parametrize("around", [lambda muon: muon, optimizers.LossScaleOptimizer])
def test_muon_is_read_in_one_way(around: Any, tmp_path: Path) -> None:
    """Of a convolution Muon has two slots, which a frozen twin must not be taken to explain."""
    conv = keras.layers.Conv1D
    model = keras.Sequential(
        [
            keras.Input((6, 6)),
            conv(6, 3, use_bias=False, name="a"),
            conv(6, 3, use_bias=False, trainable=False),
        ]
    )
    model.compile(around(optimizers.Muon(0.01)), "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 6, 6)), np.ones((2, 2, 6)))
    model.save(tmp_path / "plain.keras")
    with pytest.raises(UnsupportedError, match="no order"):
        snconvert.apply_file(tmp_path / "plain.keras", mode="gain", kinds="conv", only="a")


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", ["Adafactor", "Adam", "Nadam", "SGD"])
def test_a_loss_scale_that_compile_adds(name: str, use_bias: bool, tmp_path: Path) -> None:
    """Under the global policy mixed_float16 `compile` wraps the optimizer, and the file names what
    it was given: both ways, the state is what the live conversion makes of it."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        options = {"momentum": 0.9} if name == "SGD" else {}
        made = getattr(optimizers, name)(0.01, **options)
        plain = trained(made, tmp_path / "in.keras", use_bias=use_bias)
        snconvert.apply_file(tmp_path / "in.keras", tmp_path / "file.keras", mode="gain")
        snconvert.apply(plain, mode="gain").save(tmp_path / "live.keras")
        snconvert.remove_file(tmp_path / "live.keras", tmp_path / "back.keras")
        file, live, back = (
            keras.saving.load_model(tmp_path / f"{which}.keras").optimizer
            for which in ("file", "live", "back")
        )
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(file, optimizers.LossScaleOptimizer)
    assert int(file.inner_optimizer.iterations) == int(plain.optimizer.iterations) > 0
    for one, two in ((file, live), (back, plain.optimizer)):
        for mine, other in zip(one.variables, two.variables, strict=True):
            np.testing.assert_array_equal(mine, other)
    assert snconvert.verify(tmp_path / "in.keras", tmp_path / "file.keras")


def unfrozen_child() -> keras.Model:
    base = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8), keras.layers.Dense(7)])
    base.trainable = False
    base.layers[-1].trainable = True
    inputs = keras.Input((5,))
    return keras.Model(inputs, keras.layers.Dense(3)(base(inputs)))


def frozen_around() -> keras.Model:
    """Keras trains what is in a model that was made frozen."""
    stack = [keras.Input((5,)), keras.layers.Dense(8), keras.layers.Dense(7)]
    base = keras.Sequential(stack, trainable=False)
    inputs = keras.Input((5,))
    return keras.Model(inputs, keras.layers.Dense(3)(base(inputs)))


def activation_in_a_cell() -> keras.Model:
    lstm = keras.layers.LSTM(4, activation=keras.layers.PReLU())
    stack = [keras.Input((5,)), keras.layers.Reshape((5, 1)), lstm, keras.layers.Dense(3)]
    return keras.Sequential(stack)


def frozen_but_for_its_parts() -> keras.Model:
    """A flag given to the constructor freezes neither projections nor what activations train."""
    inputs = keras.Input((5,))
    x = keras.layers.Dense(5, activation=keras.layers.PReLU(), trainable=False)(inputs)
    x = keras.layers.Reshape((5, 1))(x)
    x = keras.layers.MultiHeadAttention(1, 2, trainable=False)(x, x)
    x = keras.layers.LSTM(4, trainable=False)(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


@pytest.mark.parametrize(
    "make", [unfrozen_child, frozen_around, activation_in_a_cell, frozen_but_for_its_parts]
)
def test_the_order_of_what_is_trained(make: Any, tmp_path: Path) -> None:
    """Layers' own flags say what is trained, and an activation's weights come behind the cell's:
    the file carrier gives every gamma the place that Keras gives it."""
    model = make()
    model.compile("adam", "mse", run_eagerly=True)
    rng = np.random.default_rng(0)
    steps.train(model, rng.normal(size=(8, 5)), rng.normal(size=(8, 3)))
    model.save(tmp_path / "in.keras")
    snconvert.apply_file(tmp_path / "in.keras", tmp_path / "file.keras", mode="gain", kinds="all")
    snconvert.apply(model, mode="gain", kinds="all").save(tmp_path / "live.keras")
    file, live = (
        keras.saving.load_model(tmp_path / f"{which}.keras").optimizer for which in ("file", "live")
    )
    assert int(file.iterations) == 1
    for one, two in zip(file.variables, live.variables, strict=True):
        np.testing.assert_array_equal(one, two)
    snconvert.remove_file(tmp_path / "file.keras", tmp_path / "back.keras")
    assert snconvert.verify(tmp_path / "in.keras", tmp_path / "back.keras")


@pytest.mark.parametrize("part", ["model", "layer"])
def test_frozen_since_it_was_trained(part: str, tmp_path: Path) -> None:
    """The slots of what was frozen after `compile` are those that the live conversion makes and
    takes: in the file too, though its flags tell of today."""
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(3)])
    model.compile("adam", "mse", run_eagerly=True)
    rng = np.random.default_rng(0)
    steps.train(model, rng.normal(size=(8, 5)), rng.normal(size=(8, 3)))
    (model if part == "model" else model.layers[0]).trainable = False
    model.save(tmp_path / "plain.keras")
    live = snconvert.apply(model, mode="gain")
    live.save(tmp_path / "gain.keras")
    snconvert.apply_file(tmp_path / "plain.keras", tmp_path / "file.keras", mode="gain")
    assert snconvert.verify(tmp_path / "plain.keras", tmp_path / "gain.keras")
    assert slots(tmp_path / "file.keras") == slots(tmp_path / "gain.keras")
    assert len(slots(tmp_path / "file.keras")) == len(slots(tmp_path / "plain.keras")) + 4
    for verb in (snconvert.remove, snconvert.bake):
        verb(live).save(tmp_path / "back.keras")
        undo = snconvert.remove_file if verb is snconvert.remove else snconvert.bake_file
        undo(tmp_path / "gain.keras", tmp_path / "undone.keras", force=True)
        assert slots(tmp_path / "back.keras") == slots(tmp_path / "plain.keras")
        assert slots(tmp_path / "undone.keras") == slots(tmp_path / "plain.keras")
        assert snconvert.verify(tmp_path / "gain.keras", tmp_path / "back.keras")


def slots(path: Path) -> list[bytes]:
    """The values of the optimizer's variables, in their order."""
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stored:
        group = h5py.File(stored)["optimizer/vars"]
        return [group[str(index)][()].tobytes() for index in range(len(group))]
