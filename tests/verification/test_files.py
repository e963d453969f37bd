"""`verify` says yes to what a conversion explains, and no, with the place, to anything else."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import live_models
import numpy as np
import pytest
import warm
from live_models import TOPOLOGIES
from places import CASES
from saved_models import CONVERTIBLE, datasets, saved, weights
from tampering import flip, meddled
from zoo import ZOO

import snconvert
from snconvert.errors import OptionError, OutputError
from snconvert.files.targets import TARGETS

HOW = [
    {"mode": "hard", "bound": 0.7},
    {"mode": "cap", "bound": 0.7},
    {"mode": "gain"},
    {"target": "keras"},
    {"mode": "hard", "bound": 0.7, "norm": "operator"},
    {"mode": "cap", "bound": 0.7, "target": "constraint"},
]


def of(folder: Path, *names: str) -> list[Path]:
    return [folder / f"{name}.keras" for name in names]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("functional", HOW[0]),
        ("nested", HOW[1]),
        ("transposed", HOW[3]),
        ("transposed", HOW[4]),
        ("functional", HOW[5]),
        ("transposed", HOW[5]),
        ("frozen", HOW[2]),
        ("frozen", HOW[3]),
        ("mixed_float16", HOW[1]),
        ("mixed_float16", HOW[3]),
    ],
)
def test_it_says_yes(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    """To a conversion by every target and mode, to what `bake` and `remove` make of it, and the
    other way round. The norms that it tells are LAPACK's."""
    source = saved(name, tmp_path)
    patched, baked, plain = of(tmp_path, "sn", "baked", "plain")
    report = snconvert.apply_file(source, patched, kinds="all", **how)
    snconvert.bake_file(patched, baked)
    snconvert.remove_file(patched, plain)
    sigma = {x.path: x.sigma for x in report.layers if x.status == "converted"}
    for before, after in (
        (source, patched),
        (patched, source),
        (patched, baked),
        (patched, plain),
        (source, source),
    ):
        verdict = snconvert.verify(before, after)
        assert verdict, verdict.differences
        assert verdict.warnings == verdict.notes == ()
        assert verdict.arrays == len(datasets(weights(source)))
        assert {x.path for x in verdict.changes} == (set() if before == after else set(sigma))
    verdict = snconvert.verify(source, patched)
    for change in verdict.changes:
        assert change.what == "converted"
        assert change.sigma == pytest.approx(sigma[change.path], rel=1e-12)
        wanted = {"hard": 0.7, "cap": min(0.7, change.sigma), "gain": change.sigma, None: 1.0}
        assert change.sigma_after == pytest.approx(wanted[how.get("mode")], rel=1e-3)
    if "target" not in how:  # the others restore to rounding only, and so does the comparison say
        assert snconvert.verify(source, plain)
    else:
        assert "by up to" in str(snconvert.verify(source, plain).differences[0])


@pytest.mark.parametrize("name", ["tokens", "wrapped", "einsum"])
def test_every_kind(name: str, tmp_path: Path) -> None:
    """Layers of every kind."""
    source, patched = saved(name, tmp_path), tmp_path / "sn.keras"
    report = snconvert.apply_file(source, patched, kinds="all", mode="gain", verify=True)
    verdict = snconvert.verify(source, patched)
    assert (verdict.differences, len(verdict.changes)) == ((), report.converted)


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_genuine_files(name: str, models: Path, tmp_path: Path) -> None:
    """Files of all versions are proved to the last bit before they are there, and after."""
    snconvert.apply_file(models / name, tmp_path / name, kinds="all", mode="gain", verify=True)
    assert snconvert.verify(models / name, tmp_path / name)


def test_hostile_files(models: Path) -> None:
    """Whatever is compared with a good file, it is another model, or an error of one line."""
    cases = CASES
    # Where no backend is loaded, the guarded process is there at once.
    code = f"""
import pathlib, snconvert
from collections import Counter
def outcome(case):
    try:
        return bool(snconvert.verify({str(models / "a01_seq_plain.keras")!r}, case))
    except snconvert.SnconvertError as error:
        return "error" if str(error).isprintable() else str(error)
print(Counter(map(outcome, pathlib.Path({str(cases)!r}).iterdir())))
"""
    run = warm.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert re.fullmatch(r"Counter\({'error': \d{2,}, False: \d{2,}}\)", run.stdout.strip())


# -- No ------------------------------------------------------------------------------------------


def field(index: int, name: str, value: Any) -> Callable[[Any], None]:
    return lambda tree: tree["config"]["layers"][index]["config"].update({name: value})


GROUP = "layers/spectral_dense"
SLOT = "optimizer/vars/5"
CHANGES = {
    "kernel": ({"arrays": flip(f"{GROUP}/vars/0")}, "dense_2", r"vars/0: 1 of 12 numbers differ"),
    "bias": ({"arrays": flip(f"{GROUP}/vars/1", 7)}, "dense_2", r"vars/1: 1 of 3 numbers differ"),
    "gamma": ({"arrays": flip(f"{GROUP}/vars/2", 9)}, "dense_2", "its gamma is .* where sigma"),
    "u": ({"arrays": flip(f"{GROUP}/vars/3", 20)}, "dense_2", "its u is not the leading"),
    "nan": ({"arrays": flip(f"{GROUP}/vars/3", 30)}, "dense_2", "its u"),
    "statistics": (
        {"arrays": flip("layers/batch_normalization/vars/2")},
        "batch_normalization",
        "vars/2: 1 of 4 numbers differ",
    ),
    "optimizer": ({"arrays": flip(SLOT)}, "optimizer/vars/", "numbers differ"),
    "fresh": ({"arrays": flip("optimizer/vars/15", 29)}, "optimizer/vars/15", "holds .* fresh"),
    "iterations": ({"arrays": flip("optimizer/vars/0")}, "optimizer/vars/0", "1 of 1 numbers"),
    "field": ({"config": field(2, "epsilon", 0.5)}, "batch_normalization", "config.epsilon is"),
    "name": ({"config": lambda tree: tree["config"].update(name="x")}, "config.json", "name is"),
    "compiled": (
        {"config": lambda tree: tree["compile_config"].update(loss="mae")},
        "config.json",
        'compile_config.loss is "mse" before, "mae" after',
    ),
    "another": ({"config": field(2, "mine", 1)}, "batch_normalization", "mine is there after only"),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model with an optimizer, and its conversion; one of its layers stays as it is."""
    folder = tmp_path_factory.mktemp("pair")
    layers = [keras.Input((5,)), keras.layers.Dense(4, name="left"), "norm", "dense_2"]
    layers[2], layers[3] = keras.layers.BatchNormalization(), keras.layers.Dense(3, name="dense_2")
    keras.utils.clear_session(free_memory=False)
    layers[2].name = "batch_normalization"
    model = keras.Sequential(layers)
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(np.ones((4, 5)), np.ones((4, 3)))
    model.save(folder / "x.keras")
    snconvert.apply_file(
        folder / "x.keras", folder / "y.keras", mode="gain", exclude=["left"], verify=True
    )
    return folder / "x.keras", folder / "y.keras"


@pytest.mark.parametrize("change", CHANGES)
def test_it_says_no(change: str, pair: tuple[Path, Path]) -> None:
    """One bit of a kernel, a bias, a statistic, a gamma, a u or the optimizer's state, or one field
    of the configuration: that, and nothing else, is told with its place."""
    edits, path, what = CHANGES[change]
    before, after = pair
    assert snconvert.verify(before, after)
    verdict = snconvert.verify(before, meddled(after, **edits))
    assert not verdict
    assert all(path in x.path for x in verdict.differences), verdict.differences
    assert any(re.search(what, x.what) for x in verdict.differences), verdict.differences


def test_the_last_bit_of_u(pair: tuple[Path, Path]) -> None:
    """A u that is the leading vector to rounding, but not the one that is found here, as on another
    kind of processor, is no difference; a warning tells it."""
    verdict = snconvert.verify(pair[0], meddled(pair[1], flip(f"{GROUP}/vars/3")))
    assert verdict
    assert any("dense_2: its u is not to the last bit" in text for text in verdict.notes)


def test_layers_and_arrays_that_are_missing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A layer that is not there, or an array, on either side."""
    others = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="left")])
    others.save(tmp_path / "fewer.keras")
    for before, after, when in (
        (pair[0], tmp_path / "fewer.keras", "is not there after"),
        (tmp_path / "fewer.keras", pair[1], "was not there before"),
    ):
        told = {x.path: x.what for x in snconvert.verify(before, after).differences}
        assert told == dict.fromkeys(["batch_normalization", "dense_2"], f"the layer {when}")

    def drop(file: h5py.File) -> None:
        del file["optimizer/vars/1"]

    told = [str(x) for x in snconvert.verify(pair[0], meddled(pair[1], drop)).differences]
    assert "optimizer/vars/1: stored before only" in told


def test_the_wrapper_says_no(tmp_path: Path) -> None:
    """Of target keras: either copy of the kernel, the factor, `vector_u`; and a file of one target
    against one of another is no conversion."""
    source = saved("sequential", tmp_path)
    patched, other = of(tmp_path, "sn", "other")
    snconvert.apply_file(source, patched, target="keras")
    snconvert.apply_file(source, other)
    group = "layers/spectral_normalization"
    for name, bit, what in (
        ("vars/0", 0, "the wrapper's copy of the kernel: 1 of 20 numbers differ"),
        ("vars/1", 20, "its u is not the leading"),
        ("layer/vars/0", 3, "the wrapper's copy of the kernel: 1 of 20 numbers differ"),
        ("layer/vars/1", 0, "1 of 4 numbers differ"),
    ):
        verdict = snconvert.verify(source, meddled(patched, flip(f"{group}/{name}", bit)))
        assert {x.path for x in verdict.differences} == {"dense"}
        assert any(what in x.what for x in verdict.differences)

    def scale(file: h5py.File) -> None:
        for name in ("vars/0", "layer/vars/0"):
            file[f"{group}/{name}"][...] *= np.float32(1.001)

    verdict = snconvert.verify(source, meddled(patched, scale))
    assert "20 of 20 numbers differ from" in str(verdict.differences[0])
    verdict = snconvert.verify(patched, other)
    assert "wrapped before, spectral after" in str(verdict.differences[0])


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("trainable", False, "trainable of its wrapper is not that of the layer"),
        ("dtype", "float16", "dtype of its wrapper is not that of the layer"),
        ("extra", 1, "extra of its wrapper is not that of the layer"),
        ("power_iterations", 0, "power_iterations of its wrapper is no whole number"),
        ("factor", 2.0, "the factor 2.0 is recorded, where it is 0."),
    ],
)
def test_the_wrappers_own_fields(field: str, value: Any, what: str, tmp_path: Path) -> None:
    """What stands in the wrapper's configuration, and in the record that `remove` goes by."""
    source, patched = saved("sequential", tmp_path), tmp_path / "sn.keras"
    snconvert.apply_file(source, patched, target="keras")
    assert snconvert.verify(source, patched)

    def change(tree: Any) -> None:
        wrapper = next(x for x in tree["config"]["layers"] if "layer" in x["config"])
        wrapper["config"][field] = value

    def record(tree: Any) -> None:
        first = next(iter(tree["snconvert"]["layers"].values()))
        first["factors"]["kernel"] = value

    where = {"metadata": record} if field == "factor" else {"config": change}
    verdict = snconvert.verify(source, meddled(patched, **where))
    assert any(what in x.what for x in verdict.differences), verdict.differences


def test_after_training(tmp_path: Path) -> None:
    """Training is no conversion; but what `bake` makes of a trained model, whose u lags, is."""
    source = saved("frozen", tmp_path)
    patched, trained, baked = of(tmp_path, "sn", "trained", "baked")
    snconvert.apply_file(source, patched, mode="cap", bound=0.5)
    model = keras.saving.load_model(patched)
    model.fit(np.ones((8, 5)), np.ones((8, 3)), verbose=0)
    model.save(trained)
    verdict = snconvert.verify(source, trained)
    assert not verdict
    assert not any("effective kernel" in x.what or "its u" in x.what for x in verdict.differences)
    assert any(change.sigma_after is None for change in verdict.changes)
    assert "as after training" in str(verdict)
    snconvert.bake_file(trained, baked)
    verdict = snconvert.verify(trained, baked)
    assert verdict, verdict.differences
    assert {change.what for change in verdict.changes} == {"plain, scaled"}
    assert not snconvert.verify(patched, baked)


def test_another_source(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A file with the same model, but not the bytes that the record names, is told."""
    with zipfile.ZipFile(pair[0]) as old, zipfile.ZipFile(tmp_path / "again.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    verdict = snconvert.verify(tmp_path / "again.keras", pair[1])
    assert verdict
    assert verdict.notes == ("its record says that it was made of a file with other bytes",)


# -- apply --verify ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.get("mode", "keras"))
def test_before_it_is_there(
    how: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `verify`, a result with one wrong bit, here in the last u, or a kernel off by 1e-5, does
    not take the place of what is there; a right one does, as a file, as a folder and in place."""
    source = saved("sequential", tmp_path)
    model = keras.saving.load_model(source)
    model.save(tmp_path / "folder", zipped=False)
    output = tmp_path / "out.keras"
    for given in (source, tmp_path / "folder"):
        snconvert.apply_file(given, given.with_name("out"), verify=True, force=True, **how)
        assert snconvert.verify(given, given.with_name("out"))
        if given.is_dir():
            snconvert.apply_file(given, in_place=True, verify=True, **how)
        else:
            (tmp_path / "out").unlink()
    output.write_bytes(b"mine")
    name = how.get("target", "layer")
    target = TARGETS[name]
    right = target.edits

    def wrong(*arguments: Any) -> Any:
        edits = right(*arguments)
        if name == "constraint":  # whose u is in the configuration
            product = edits.products[-1]
            edits.products[-1] = product._replace(factor=product.factor * 1.00001)
            return edits
        path, u = edits.additions[-1]
        flipped = u.copy()
        flipped.view("u4")[..., -1] ^= 1
        edits.additions[-1] = (path, flipped)
        return edits

    monkeypatch.setattr(target, "edits", wrong)
    before = sorted(path.name for path in tmp_path.iterdir())
    says = "numbers differ" if name == "constraint" else "its u is not to the"
    with pytest.raises(OutputError, match=f"not what was to be written: .*{says}"):
        snconvert.apply_file(source, output, force=True, verify=True, **how)
    assert output.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    snconvert.apply_file(source, output, force=True, **how)


def test_what_it_does_not_know(tmp_path: Path) -> None:
    """Rows of one's own, and files that Keras opens, are compared afterwards, as models."""
    source = saved("sequential", tmp_path)
    for options in ({"imports": ["keras"]}, {"rules": [snconvert.RULES["Dense"]]}):
        with pytest.raises(OptionError, match="verify knows files that"):
            snconvert.apply_file(source, tmp_path / "o.keras", verify=True, **options)


# -- Live models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["subclassed", "attention", "graph"])
def test_live_models(name: str) -> None:
    """Of any topology, converted, baked and made plain; and one bit is told."""
    model = TOPOLOGIES[name]()
    live_models.outputs(model)
    patched = snconvert.apply(model, kinds="all", mode="cap", bound=0.8)
    verdict = snconvert.verify(model, patched)
    assert verdict, verdict.differences
    assert verdict.changes
    for change in verdict.changes:
        assert change.sigma_after == pytest.approx(min(0.8, change.sigma), rel=1e-5)
    assert snconvert.verify(patched, snconvert.bake(patched))
    assert snconvert.verify(patched, snconvert.remove(patched))
    bias = next(v for v in patched.trainable_variables if v.name == "bias")
    bias.assign(np.nextafter(np.asarray(bias), np.float32(1)))
    verdict = snconvert.verify(model, patched)
    assert len(verdict.differences) == 1
    assert "numbers differ, by up to 1.4e-45" in verdict.differences[0].what


def test_live_models_that_differ(tmp_path: Path) -> None:
    """A u, a state of the optimizer, a field or a layer; a file against a live model; and what is
    no model."""
    model = ZOO["frozen"]()
    for change, path, what in (
        (lambda m: m.layers[0].u.assign(-m.layers[0].u[:, ::-1]), 0, "its u is not the leading"),
        (lambda m: m.optimizer.variables[3].assign_add(m.optimizer.variables[3]), None, "numbers"),
        (lambda m: setattr(m.layers[2], "activation", keras.ops.tanh), 2, "activation is"),
    ):
        patched = snconvert.apply(model)
        assert snconvert.verify(model, patched)
        change(patched)
        verdict = snconvert.verify(model, patched)
        told = "optimizer/vars/" if path is None else model.layers[path].name
        assert all(told in x.path for x in verdict.differences), verdict.differences
        assert what in verdict.differences[0].what
    model.save(tmp_path / "x.keras")
    assert snconvert.verify(tmp_path / "x.keras", snconvert.apply(model))
    assert not snconvert.verify(ZOO["sequential"](), patched)
    with pytest.raises(OptionError, match="no Keras model"):
        snconvert.verify(model, 3)


def test_custom_classes(tmp_path: Path) -> None:
    """With `imports` files go through Keras, as they did when they were converted."""
    model, patched = of(tmp_path, "model", "patched")
    live_models.in_sequential().save(model)
    snconvert.apply_file(model, patched, imports=["live_models"])
    assert snconvert.verify(model, patched, imports=["live_models"])
    verdict = snconvert.verify(model, patched)
    assert not verdict


def test_the_command_line(pair: tuple[Path, Path], snconvert: Any) -> None:
    """Exit code 3 tells a difference; the table, JSON and quiet forms; `apply --verify`."""
    before, after = pair
    run = snconvert("verify", before, after)
    assert (run.returncode, run.stderr) == (0, "")
    assert f"{after} is {before}, converted: 1 layer" in run.stdout
    assert f"{before} is {after}, made plain: 1 layer" in snconvert("verify", after, before).stdout
    assert (
        f"{before} is {before}, unchanged: 22 arrays" in snconvert("verify", before, before).stdout
    )
    wrong = meddled(after, flip(f"{GROUP}/vars/0"))
    run = snconvert("verify", before, wrong)
    assert run.returncode == 3
    assert "difference: dense_2: layers/dense_1/vars/0: 1 of 12 numbers differ" in run.stdout
    assert f"{wrong} is not {before}, converted" in run.stdout
    run = snconvert("verify", before, wrong, "--json", "-q")
    told = json.loads(run.stdout)
    assert (run.returncode, told["same"]) == (3, False)
    assert told["differences"][0]["path"] == "dense_2"
    assert told["changes"][0]["change"] == "converted"
    run = snconvert("verify", before, wrong, "-q")
    assert (run.returncode, run.stdout, run.stderr) == (3, "", "")
    assert snconvert("verify", before).returncode == 2
    run = snconvert("apply", before, "--verify", "-qo", before.with_name("proved.keras"))
    assert (run.returncode, run.stderr) == (0, "")
