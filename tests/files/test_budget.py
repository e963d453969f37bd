"""`apply --lipschitz`: the network that is written has a bound of at most what was asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from comparable import config, weights
from places import SAMPLES
from tampering import meddled

import snconvert
from snconvert.errors import UnsupportedError

Run = Callable[..., "subprocess.CompletedProcess[str]"]
layers = keras.layers
FLOAT32 = 1e-4  # relative, of Jacobians in float32


def randomized(model: keras.Model) -> keras.Model:
    """A model with weights at random, variances above zero, and kernels of a norm above 1."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        shape = variable.shape
        value = rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[:-1]) / 4))
        variable.assign(np.abs(value) + 0.2 if "variance" in variable.path else value)
    return model


def mlp() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(12, activation="gelu"),
            layers.Dense(10, activation="relu"),
            layers.Dense(3),
        ]
    )


def cnn() -> keras.Model:
    x = inputs = keras.Input((8, 8, 2))
    for filters, strides in ((4, 1), (6, 2)):
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, 1)(x)
    x = layers.SeparableConv2D(5, 2, activation="tanh")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def dense_net() -> keras.Model:
    x = inputs = keras.Input((6, 6, 3))
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(4, 3, padding="same")(y)])
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def two_inputs() -> keras.Model:
    tower = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="relu")])
    one, two = keras.Input((4,)), keras.Input((4,))
    joined = layers.Concatenate()([tower(one), tower(two)])
    return keras.Model([one, two], layers.Dense(2)(joined))


def recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((3, 4)), layers.LSTM(3), layers.Dense(2)])


MODELS: dict[str, tuple[Callable[[], keras.Model], dict[str, Any]]] = {
    "mlp": (mlp, {}),
    "cnn": (cnn, {"conv": True}),
    "dense_net": (dense_net, {"conv": True}),
    "two_inputs": (two_inputs, {}),
    "recurrent": (recurrent, {}),
    "recurrent, converted": (recurrent, {"kinds": "all"}),
}


def saved(model: keras.Model, path: Path) -> Path:
    randomized(model).save(path)
    return path


def jacobian(tape: tf.GradientTape, outputs: tf.Tensor, x: tf.Tensor) -> np.ndarray:
    """The Jacobian of the few outputs, row by row, which is faster than to trace it."""
    found = tape.jacobian(outputs, x, experimental_use_pfor=False).numpy()
    return found.reshape(outputs.shape[1], -1)


def largest_slope(model: keras.Model) -> float:
    """The largest norm of a Jacobian, in all inputs together, at points at random."""
    rng = np.random.default_rng(1)
    norms = []
    for _ in range(6):
        point = [tf.constant(rng.normal(size=(1, *x.shape[1:])), tf.float32) for x in model.inputs]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(point)
            outputs = model(point if len(point) > 1 else point[0])
        blocks = [jacobian(tape, outputs, x) for x in point]
        norms.append(np.linalg.norm(np.concatenate(blocks, axis=1), 2))
    return float(max(norms))


@pytest.fixture
def command(request: pytest.FixtureRequest) -> Run:
    return request.getfixturevalue("snconvert")


@pytest.mark.turns
@pytest.mark.parametrize("mode", ["hard", "cap"])
@pytest.mark.parametrize("name", MODELS)
def test_no_slope_is_above(name: str, mode: str, tmp_path: Path) -> None:
    """Of the network that is written: not its bound as `inspect` proves it, nor a Jacobian of the
    model as Keras loads it; and `verify` finds the same."""
    make, options = MODELS[name]
    source, output = saved(make(), tmp_path / "a.keras"), tmp_path / "b.keras"
    most = 2.5
    report = snconvert.apply_file(source, output, lipschitz=most, mode=mode, verify=True, **options)
    assert report.lipschitz is not None
    assert report.lipschitz.bound is not None
    assert report.lipschitz.bound.value <= most
    proved = snconvert.inspect(output, lipschitz=True).lipschitz
    assert proved is not None
    assert proved.bound is not None
    assert proved.bound.value <= most
    assert largest_slope(keras.saving.load_model(output)) <= most * (1 + FLOAT32)
    assert report.bound == max(x.bound or 0.0 for x in report.layers if x.status == "converted")


def test_live_models_agree(tmp_path: Path) -> None:
    """A live model gets the bounds that its file gets, bit for bit, and so does a plan; the model
    that was given is what it was."""
    model = randomized(cnn())
    model.save(tmp_path / "a.keras")
    options = {"lipschitz": 2, "conv": True}
    report = snconvert.apply_file(tmp_path / "a.keras", tmp_path / "b.keras", **options)
    snconvert.apply(model, **options).save(tmp_path / "live.keras")
    keras.saving.load_model(tmp_path / "b.keras").save(tmp_path / "file.keras")
    assert config(tmp_path / "live.keras") == config(tmp_path / "file.keras")
    assert weights(tmp_path / "live.keras") == weights(tmp_path / "file.keras")
    plan = snconvert.plan(model, **options)
    assert plan.bound == report.bound
    assert plan.lipschitz is not None
    assert {x.path: x.bound for x in plan.layers} == {x.path: x.bound for x in report.layers}


def test_the_same_bytes(tmp_path: Path, command: Run) -> None:
    """Two runs, and two at once, give the same bytes; JSON has the bound and what it is of."""
    for name in ("one", "two"):
        shutil.copy(SAMPLES / "moons.keras", tmp_path / f"{name}.keras")
    (tmp_path / "out").mkdir()
    files = [str(tmp_path / f"{name}.keras") for name in ("one", "two")]
    done = command(
        "apply", *files, "-o", str(tmp_path / "out"), "--lipschitz", "10", "--jobs", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["lipschitz"]["most"] for report in reports] == [10.0, 10.0]
    assert all(report["lipschitz"]["bound"]["value"] <= 10.0 for report in reports)
    again = command("apply", files[0], "--lipschitz", "10")
    assert "Lipschitz bound of the network: 7." in again.stdout
    assert "(at most 10)" in again.stdout
    one, two, other = (
        path.read_bytes()
        for path in (
            tmp_path / "out" / "one-sn.keras",
            tmp_path / "out" / "two-sn.keras",
            tmp_path / "one-sn.keras",
        )
    )
    assert one == two == other


def test_what_cannot_be(tmp_path: Path) -> None:
    """A number that no bounds reach is refused with the least that there is, what makes it, and
    what helps; nothing is written."""
    source = saved(cnn(), tmp_path / "a.keras")
    with pytest.raises(
        UnsupportedError, match=r"conv2d.* \(Conv2D, .*Give more than .*\(conv=True\)"
    ):
        snconvert.apply_file(source, lipschitz=1e-31)
    inputs = keras.Input((4,))
    scaled = layers.BatchNormalization(name="scale")(inputs)
    model = keras.Model(inputs, layers.Add()([layers.Dense(4)(inputs), scaled]))
    model.get_layer("scale").moving_variance.assign(np.full(4, 1 / 900))
    model.save(tmp_path / "b.keras")
    with pytest.raises(UnsupportedError, match=r"scale \(BatchNormalization, .*smaller scale"):
        snconvert.apply_file(tmp_path / "b.keras", lipschitz=5)
    model = keras.Model(inputs, layers.Add(name="sum")([inputs, layers.Dense(4)(inputs)]))
    model.save(tmp_path / "c.keras")
    with pytest.raises(UnsupportedError, match=r"it is 1, by .*sum \(Add, 1\).*more than 1, or"):
        snconvert.apply_file(tmp_path / "c.keras", lipschitz=1)
    with pytest.raises(UnsupportedError, match="it is 1, by") as caught:
        snconvert.apply(model, lipschitz=1)
    assert caught.value.file is None
    assert not list(tmp_path.glob("*-sn.keras"))


def test_no_bound(tmp_path: Path) -> None:
    """Layers without a constant are named; so is a model whose code makes its layers."""
    inputs = keras.Input((4,))
    hidden = layers.Dense(4)(inputs)
    model = keras.Model(inputs, layers.Multiply(name="gate")([hidden, inputs]))
    model.save(tmp_path / "a.keras")
    with pytest.raises(UnsupportedError, match=r"gate \(Multiply\): .*leave out lipschitz"):
        snconvert.apply_file(tmp_path / "a.keras", lipschitz=1)

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    own = Own()
    own(np.ones((1, 3)))
    with pytest.raises(UnsupportedError, match="Own"):
        snconvert.apply(own, lipschitz=1)


def test_weights_of_layers(tmp_path: Path) -> None:
    """Bounds of single layers are weights, and what has a pattern of its own keeps its mode."""
    source = saved(mlp(), tmp_path / "a.keras")
    model = keras.saving.load_model(source)
    names = [layer.name for layer in model.layers]
    output = tmp_path / "b.keras"
    overrides = {names[1]: {"bound": 4.0}}
    report = snconvert.apply_file(source, output, lipschitz=2, overrides=overrides, verify=True)
    bounds = {x.path: x.bound for x in report.layers if x.status == "converted"}
    assert bounds[names[1]] == pytest.approx(4 * bounds[names[0]], rel=1e-6)
    assert report.bound == bounds[names[0]] == bounds[names[2]]
    assert snconvert.verify(source, output)


def test_layers_that_are_spectral_already(tmp_path: Path) -> None:
    """They count with the kernels that they compute with."""
    source = saved(mlp(), tmp_path / "a.keras")
    first, second, third = (layer.name for layer in keras.saving.load_model(source).layers)
    snconvert.apply_file(source, tmp_path / "b.keras", only=[first], bound=0.5)
    report = snconvert.apply_file(tmp_path / "b.keras", tmp_path / "c.keras", lipschitz=2)
    bounds = {x.path: x.bound for x in report.layers if x.status != "skipped"}
    slopes = 1.1289930686587718  # of gelu
    product = bounds[second] * bounds[third] * 0.5 * slopes
    assert product == pytest.approx(2.0, rel=1e-3)
    assert snconvert.verify(tmp_path / "b.keras", tmp_path / "c.keras")


def planted(output: Path, change: Callable[[Any], None]) -> Path:
    return meddled(output, metadata=lambda tree: change(tree["snconvert"]))


def test_verify_proves_it_again(tmp_path: Path, command: Run) -> None:
    """The bound is the one that the conversion and `inspect` tell. One above that on record is a
    difference; so is a record of another bound of a layer, or of none, and a number that cannot
    be."""
    source, output = str(SAMPLES / "moons.keras"), tmp_path / "b.keras"
    report = snconvert.apply_file(source, output, lipschitz=10)

    done = command("verify", source, str(output))
    assert "Lipschitz bound of the network, proved again: 7." in done.stdout
    proved = json.loads(command("verify", source, str(output), "--json").stdout)["lipschitz"]
    assert proved["bound"]["value"] < proved["most"] == 10
    assert proved["bound"]["value"] == pytest.approx(report.lipschitz.bound.value, rel=1e-9)

    def lower(record: Any) -> None:
        record["options"]["lipschitz"] = 5.0

    done = command("verify", source, str(planted(output, lower)))
    assert done.returncode == 3
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("difference")]
    assert "the Lipschitz bound is recorded to be at most 5, but it is 7." in line

    def other(record: Any) -> None:
        record["layers"]["stem"]["bound"] = 2.0

    def without(record: Any) -> None:
        del record["layers"]["stem"]["bound"]

    for change, said in ((other, "bound 2.0, where"), (without, "has the bound None")):
        verdict = snconvert.verify(source, planted(output, change))
        assert [x.path for x in verdict.differences] == ["stem"]
        assert said in verdict.differences[0].what
    for value in ("ten", -1, [10], True):
        verdict = snconvert.verify(
            source, planted(output, lambda record, v=value: record["options"].update(lipschitz=v))
        )
        assert any("lipschitz is" in x.what for x in verdict.differences)


def test_a_raised_bound(tmp_path: Path) -> None:
    """A layer whose bound was raised, in its configuration and the record, is told by what the
    network's bound is then."""
    source, output = SAMPLES / "moons.keras", tmp_path / "b.keras"
    snconvert.apply_file(source, output, lipschitz=10)

    def raised(tree: Any) -> None:
        for layer in tree["config"]["layers"]:
            if layer["name"] == "logits":
                layer["config"]["bound"] = 4.0

    def recorded(tree: Any) -> None:
        tree["snconvert"]["layers"]["logits"] |= {"bound": 4.0, "sigma_after": 4.0}

    verdict = snconvert.verify(source, meddled(output, config=raised, metadata=recorded))
    (difference,) = verdict.differences
    assert "recorded to be at most 10, but it is 2" in difference.what


def test_ways_back(tmp_path: Path) -> None:
    """What was made plain is the original; of the rest no bound of the network is on record."""
    source, output, rest, plain = (
        SAMPLES / "moons.keras",
        *(tmp_path / f"{name}.keras" for name in ("sn", "rest", "plain")),
    )
    snconvert.apply_file(source, output, lipschitz=10)
    snconvert.remove_file(output, rest, only=["stem"])
    verdict = snconvert.verify(source, rest)
    assert verdict, verdict.differences
    assert snconvert.verify(output, rest)
    snconvert.remove_file(rest, plain)
    assert config(plain) == config(source)
    assert weights(plain) == weights(source)


def test_small_bounds_are_told(tmp_path: Path) -> None:
    """Where layers that stay make the bound, little is left for the others: that is said."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((6, 3)), layers.LSTM(8), layers.Dense(2)])
    model.save(tmp_path / "net.keras")
    report = snconvert.apply_file(tmp_path / "net.keras", tmp_path / "out.keras", lipschitz=1.0)
    assert "with --kinds recurrent they share in it" in report.lipschitz.notes[-1]
    report = snconvert.apply_file(
        tmp_path / "net.keras", tmp_path / "all.keras", lipschitz=1.0, kinds="all"
    )
    assert not any("share in it" in note for note in report.lipschitz.notes)
