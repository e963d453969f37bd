"""Target `keras` in memory gives what the file carrier gives, and finds its way back."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import live_models
import numpy as np
import pytest
import steps
from comparable import config, weights

import snconvert
from snconvert.core.report import Report
from snconvert.errors import SelectionError, UnsupportedError
from snconvert.live import by_file, lower_bound


def trained() -> keras.Model:
    """A compiled model that was trained for a step."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Dense(5, name="head")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(2, name="out")(x))
    model.compile("adam", "mse", run_eagerly=True)
    rng = np.random.default_rng(0)
    steps.train(model, rng.normal(size=(4, 8, 8, 3)), rng.normal(size=(4, 2)))
    return model


def norm(kernel: object) -> float:
    matrix = np.asarray(kernel, "float64")
    return float(np.linalg.norm(matrix.reshape(-1, matrix.shape[-1]), 2))


def test_live_and_file_agree(tmp_path: Path) -> None:
    """Config and weights after saving are those of the converted file, every kernel has norm 1,
    and the model that was given is what it was."""
    model = trained()
    before = [np.asarray(weight) for weight in model.weights]
    patched = snconvert.apply(model, conv=True, exclude=["out"], target="keras")
    for one, two in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, np.asarray(two))
    for name in ("conv", "head"):
        layer = patched.get_layer(name)
        assert type(layer) is keras.layers.SpectralNormalization
        assert norm(layer.layer.kernel) == pytest.approx(1.0, abs=1e-5)
    assert patched.optimizer.iterations == 1
    model.save(tmp_path / "a.keras")
    patched.save(tmp_path / "live.keras")
    snconvert.apply_file(
        tmp_path / "a.keras", tmp_path / "b.keras", conv=True, exclude=["out"], target="keras"
    )
    keras.saving.load_model(tmp_path / "b.keras").save(tmp_path / "file.keras")
    assert config(tmp_path / "live.keras") == config(tmp_path / "file.keras")
    assert weights(tmp_path / "live.keras") == weights(tmp_path / "file.keras")


def test_the_way_back() -> None:
    """`bake` gives plain layers that compute the same; and a plan changes nothing."""
    model = trained()
    patched = snconvert.apply(model, conv=True, target="keras")
    plan = snconvert.plan(model, conv=True, target="keras")
    assert {x.path for x in plan.layers if x.status == "convertible"} == {"conv", "head", "out"}
    baked = snconvert.bake(patched)
    assert type(baked.get_layer("conv")) is keras.layers.Conv2D
    x = np.random.default_rng(1).normal(size=(3, 8, 8, 3))
    np.testing.assert_allclose(
        baked.predict(x, verbose=0), patched.predict(x, verbose=0), rtol=1e-6, atol=1e-6
    )


def test_refusals() -> None:
    """Not in place; not by code that would make the layers anew; and the factors are not known to
    a model in memory, whose files hold them."""
    model = trained()
    with pytest.raises(UnsupportedError, match="in place"):
        snconvert.apply(model, target="keras", in_place=True)
    with pytest.raises(UnsupportedError, match="in place"):
        snconvert.bake(snconvert.apply(model, target="keras", kinds="dense"), in_place=True)
    with pytest.raises(SelectionError, match="bake"):
        snconvert.remove(snconvert.apply(model, target="keras", kinds="dense"))
    with pytest.raises(UnsupportedError, match=r"makes its layers.* Choose target layer"):
        snconvert.apply(live_models.subclassed(), target="keras")


def test_records_stay_with_the_rest(tmp_path: Path) -> None:
    """Through Keras too, a file goes on saying by what its other layers were multiplied."""
    trained().save(tmp_path / "a.keras")
    a, b, c, d = (tmp_path / f"{name}.keras" for name in "abcd")
    through = {"imports": ["keras"]}
    snconvert.apply_file(a, b, target="keras", only=["head"])
    snconvert.apply_file(b, c, target="keras", only=["out"], **through)
    snconvert.remove_file(c, d, only=["out"], **through)
    snconvert.remove_file(d, c, force=True)
    assert all("numbers differ, by up to" in x.what for x in snconvert.verify(a, c).differences)
    for one, two in zip(*(weights(path).values() for path in (a, c)), strict=True):
        np.testing.assert_allclose(
            np.frombuffer(one[-1], one[0]), np.frombuffer(two[-1], two[0]), rtol=3e-7
        )
    assert b"snconvert" not in c.read_bytes()


def test_through_keras(tmp_path: Path) -> None:
    """With `--import`, a file gets the wrapper and loses it again."""
    trained().save(tmp_path / "a.keras")
    how = {"target": "keras", "imports": ["keras"]}
    report = snconvert.apply_file(tmp_path / "a.keras", tmp_path / "b.keras", **how)
    assert report.converted == 2
    for number, options in enumerate(({}, {"imports": ["keras"]})):
        plain = tmp_path / f"plain{number}.keras"
        snconvert.remove_file(tmp_path / "b.keras", plain, **options)
        models = [keras.saving.load_model(path) for path in (tmp_path / "a.keras", plain)]
        for one, two in zip(*(m.get_weights() for m in models), strict=True):
            np.testing.assert_allclose(one, two, rtol=3e-7, atol=0)  # two roundings
    snconvert.bake_file(tmp_path / "b.keras", tmp_path / "c.keras", imports=["keras"])
    wrapped, plain = (keras.saving.load_model(tmp_path / f"{name}.keras") for name in "bc")
    assert type(wrapped.get_layer("head")) is keras.layers.SpectralNormalization
    assert type(plain.get_layer("head")) is keras.layers.Dense
    x = np.random.default_rng(1).normal(size=(3, 8, 8, 3))
    np.testing.assert_allclose(
        plain.predict(x, verbose=0), wrapped.predict(x, verbose=0), rtol=1e-6, atol=1e-6
    )


def test_the_bound_of_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same of a live model and of its file, for every target, and lies above what the
    true model does, which is looked for where `samples` says so."""
    monkeypatch.setattr(lower_bound, "_LAST_ROUNDS", 12)  # it need not be close
    model, path = trained(), tmp_path / "m.keras"
    model.save(path)
    of_file = snconvert.inspect(path, lipschitz=True).lipschitz
    assert of_file is not None
    assert of_file.bound is not None
    assert (of_file.lower, of_file.samples) == (None, 0)
    for options in ({}, {"target": "keras"}):
        live = snconvert.inspect(model, lipschitz=True, **options).lipschitz
        assert live is not None
        assert live._replace(seconds=0.0) == of_file._replace(seconds=0.0)
    assert snconvert.inspect(model).lipschitz is None
    for source, options in ((model, {}), (path, {}), (path, {"imports": ["keras"]})):
        report = snconvert.inspect(source, lipschitz=True, samples=4, **options)
        found = report.lipschitz
        assert found is not None
        assert found._replace(seconds=0.0, lower=None, samples=0) == of_file._replace(seconds=0.0)
        assert found.samples == 4
        assert 0.1 * (of_file.bound.value or 0) < found.lower <= of_file.bound.value * (1 + 1e-5)
        assert report.source == (model.name if source is model else str(path))


def test_sampling_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a file counts what the points on the true model take."""
    path, before = tmp_path / "m.keras", []
    trained().save(path)

    def slow(report: Report, *_: object) -> Report:
        before.append(report.seconds)
        time.sleep(0.2)
        return report

    monkeypatch.setattr(by_file, "with_lower_bound", slow)
    assert snconvert.inspect(path, lipschitz=True, samples=1).seconds >= before[0] + 0.2


def test_the_bound_of_a_converted_model() -> None:
    """What is certified are the kernels in use: after a conversion the bound is what they allow."""
    model = trained()
    raw = snconvert.inspect(model, lipschitz=True).lipschitz
    for target in ("layer", "keras", "constraint"):
        patched = snconvert.apply(model, target=target, kinds=["dense"])
        found = snconvert.inspect(patched, lipschitz=True).lipschitz
        assert found is not None
        assert found.bound is not None
        own = [stage.norm for stage in found.stages if stage.path.rpartition("/")[2] == "head"]
        assert any(norm is not None and abs(norm.value - 1) < 1e-3 for norm in own), target
        assert raw is not None
        assert found.bound.value != raw.bound.value


def test_a_network_that_only_code_knows() -> None:
    """A subclassed model has no bound, which is told with the rest of its report."""
    model = live_models.subclassed()
    report = snconvert.inspect(model, lipschitz=True, samples=2)
    assert report.lipschitz is not None
    assert report.lipschitz.bound is None
    (why,) = report.lipschitz.unbounded
    assert "Python code" in why.reason
    assert report.layers


def test_an_activation_that_keras_saves_as_its_own() -> None:
    """Keras saves the name of a function, so that its file is another network."""

    def relu(x: keras.KerasTensor) -> keras.KerasTensor:
        return 5.0 * x

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation=relu)])
    network = snconvert.inspect(model, lipschitz=True).lipschitz
    assert network.bound is None
    assert "no function of Keras', but has the name of one" in network.unbounded[0].reason
    with pytest.raises(snconvert.SnconvertError, match="has the name of one, relu"):
        snconvert.apply(model, lipschitz=1.0)


def test_a_contradiction_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found above a bound proves that this package is wrong; it says so."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    monkeypatch.setattr("snconvert.live.by_file.lower_bound", lambda *_: 1e9)
    network = snconvert.inspect(model, lipschitz=True, samples=4).lipschitz
    assert "do not rely on it" in network.notes[-1]
