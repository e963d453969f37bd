"""Target `constraint`: plain layers whose kernels stay at the bound, and the ways back."""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import steps
from comparable import config as without_ids
from places import MODELS
from saved_models import arrays, close, config, datasets, metadata, saved, traces, weights
from zoo import ZOO, inputs_of, predict

import snconvert
from snconvert.core.matrix_view import MatrixView
from snconvert.errors import OptionError, SelectionError, UnsupportedError
from snconvert.layers.constraint import SpectralNorm

BOUND = 0.7


def constrained(model: keras.Model) -> list[Any]:
    """The variables of a model that have our constraint."""
    return [v for v in model.variables if isinstance(v.constraint, SpectralNorm)]


def norm(variable: Any) -> tuple[float, float]:
    """Sigma of a constrained kernel, in float64, and `|W u|` in its largest block."""
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")).astype("float64")
    matrix = (variable.constraint.view or MatrixView.of(kernel.shape)).matrix(kernel)
    found = np.linalg.norm(np.einsum("bmn,bn->bm", matrix, variable.constraint.u), axis=1)
    return np.linalg.svd(matrix, compute_uv=False).max(), found.max()


@pytest.mark.parametrize("name", sorted(ZOO))
def test_files(name: str, tmp_path: Path) -> None:
    """Every kernel is at the bound and its `u` converged. `bake` keeps all weights bit for bit and
    no trace; `remove` restores the kernels to float rounding and says so."""
    source, patched = saved(name, tmp_path), tmp_path / "sn.keras"
    report = snconvert.apply_file(source, patched, kinds="all", target="constraint", bound=BOUND)
    loaded = keras.saving.load_model(patched)
    found = constrained(loaded)
    assert len(found) >= report.converted > 0
    for variable in found:
        # A kernel of bfloat16 is rounded after it is normalised.
        tolerance = 1e-2 if variable.dtype == "bfloat16" else 1e-6
        assert norm(variable) == pytest.approx((BOUND, BOUND), rel=tolerance)
    baked, plain = tmp_path / "baked.keras", tmp_path / "plain.keras"
    snconvert.bake_file(patched, baked)
    assert config(baked) == config(source)
    assert arrays(baked) == arrays(patched)
    assert not traces(baked)
    report = snconvert.remove_file(patched, plain)
    assert report.target == "constraint"
    assert any("to float rounding" in warning for warning in report.warnings)
    assert config(plain) == config(source)
    assert metadata(plain) == metadata(source)
    before, after = datasets(weights(source)), datasets(weights(plain))
    assert sorted(before) == sorted(after)
    for path, item in before.items():
        if item.dtype.kind == "f":
            np.testing.assert_allclose(after[path][()], item[()], rtol=3e-7)


@pytest.mark.parametrize("name", ["nested", "convolutional"])
def test_training_on(name: str, tmp_path: Path) -> None:
    """After steps of training the kernels are still at the bound, and so in the file saved then."""
    patched, again = tmp_path / "sn.keras", tmp_path / "again.keras"
    options = {"kinds": "all", "target": "constraint", "bound": BOUND}
    snconvert.apply_file(saved(name, tmp_path), patched, **options)
    model = keras.saving.load_model(patched)
    before = {v.path: keras.ops.convert_to_numpy(v) for v in constrained(model)}
    model.compile(keras.optimizers.Adam(1e-3), "mse", run_eagerly=True)
    inputs = inputs_of(model, 8)
    targets = [np.ones((8, *out.shape[1:]), "float32") for out in predict(model)]
    single = len(inputs) == len(targets) == 1
    steps.train(model, *((inputs[0], targets[0]) if single else (inputs, targets)), 4)
    model.save(again)
    loaded = keras.saving.load_model(again)
    moved = [v for v in constrained(model) if not np.array_equal(before[v.path], v.numpy())]
    assert moved
    for one, two in zip(constrained(model), constrained(loaded), strict=True):
        assert norm(one)[0] == pytest.approx(BOUND, rel=0.01)
        np.testing.assert_array_equal(one.constraint.u, two.constraint.u)
    # What Keras has saved since can be baked, too, and knows by how much to divide.
    snconvert.bake_file(again, tmp_path / "baked.keras")
    close(predict(loaded), predict(keras.saving.load_model(tmp_path / "baked.keras")), 0.0)
    assert snconvert.remove_file(again, tmp_path / "plain.keras").converted


def test_they_are_seen(tmp_path: Path) -> None:
    """`inspect` calls them spectral with sigma at the bound; a second conversion finds nothing."""
    patched = tmp_path / "sn.keras"
    snconvert.apply_file(saved("sequential", tmp_path), patched, target="constraint")
    (layer, *_) = [x for x in snconvert.inspect(patched).layers if x.status == "spectral"]
    assert (layer.sigma, layer.sigma_after) == pytest.approx((1, 1), rel=1e-6)
    for target in ("layer", "keras", "constraint"):
        with pytest.raises(SelectionError, match="normalised already by its constraint"):
            snconvert.apply_file(patched, tmp_path / "twice.keras", target=target)


def test_reasons(tmp_path: Path) -> None:
    """Layers that cannot be constrained are skipped, and the reason is told."""
    x = keras.Input((5, 6))
    y = keras.layers.Dense(6, kernel_constraint="max_norm", name="taken")(x)
    y = keras.layers.MultiHeadAttention(2, 3, name="attention")(y, y)
    keras.Model(x, keras.layers.Dense(3, name="head")(y)).save(tmp_path / "x.keras")
    report = snconvert.apply_file(
        tmp_path / "x.keras", dry_run=True, kinds="all", target="constraint"
    )
    reasons = {layer.path: layer.reason for layer in report.layers}
    assert reasons["taken"] == "it has a kernel_constraint already"
    assert "for several kernels" in reasons["attention"]
    assert reasons["head"] is None
    with pytest.raises(OptionError, match="no mode gain"):
        snconvert.apply_file(tmp_path / "x.keras", dry_run=True, target="constraint", mode="gain")


def test_constraints_by_hand(tmp_path: Path) -> None:
    """A constraint that no conversion has made is baked away; `remove` says that it cannot."""
    layer = keras.layers.Dense(3, kernel_constraint=SpectralNorm())
    keras.Sequential([keras.Input((4,)), layer]).save(tmp_path / "x.keras")
    with pytest.raises(SelectionError, match="by how much is not recorded"):
        snconvert.remove_file(tmp_path / "x.keras")
    snconvert.bake_file(tmp_path / "x.keras", tmp_path / "baked.keras")
    assert not traces(tmp_path / "baked.keras")
    assert arrays(tmp_path / "baked.keras") == arrays(tmp_path / "x.keras")


def test_cap_changes_no_small_kernel(tmp_path: Path) -> None:
    """`cap` with a high bound leaves every weight as it is, and `remove` gives the file back."""
    source, patched = saved("sequential", tmp_path), tmp_path / "sn.keras"
    snconvert.apply_file(source, patched, target="constraint", mode="cap", bound=1e6)
    assert arrays(patched) == arrays(source)
    snconvert.remove_file(patched, tmp_path / "plain.keras")
    assert arrays(tmp_path / "plain.keras") == arrays(source)
    assert config(tmp_path / "plain.keras") == config(source)


@pytest.mark.parametrize("name", ["nested", "wrapped", "many", "convolutional", "einsum", "frozen"])
def test_in_memory(name: str, tmp_path: Path) -> None:
    """Converting the file, and loading, converting and saving, give the same file; so do the ways
    back. The original is untouched."""
    source = saved(name, tmp_path)
    options = {"kinds": "all", "target": "constraint", "bound": BOUND}
    report = snconvert.apply_file(source, tmp_path / "file.keras", **options)
    model = keras.saving.load_model(source)
    kept = model.get_weights()
    live = snconvert.apply(model, **options)
    live.save(tmp_path / "live.keras")
    assert without_ids(tmp_path / "file.keras") == without_ids(tmp_path / "live.keras")
    assert arrays(tmp_path / "file.keras") == arrays(tmp_path / "live.keras")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), kept, strict=True))
    assert not constrained(model)
    assert snconvert.plan(model, **options).as_json()["layers"] == [
        {**layer, "status": layer["status"].replace("converted", "convertible")}
        for layer in snconvert.apply_file(source, dry_run=True, **options).as_json()["layers"]
    ]
    for verb in ("bake", "remove"):
        back = getattr(snconvert, verb)(live)
        assert not constrained(back)
        back.save(tmp_path / f"live-{verb}.keras")
        undone = getattr(snconvert, f"{verb}_file")
        undone(tmp_path / "file.keras", tmp_path / f"file-{verb}.keras")
        assert without_ids(tmp_path / f"live-{verb}.keras") == without_ids(source)
        one, two = (arrays(tmp_path / f"{way}-{verb}.keras") for way in ("file", "live"))
        assert one == two
    assert len(constrained(live)) >= report.converted


def test_live_training_keeps_state() -> None:
    """A model that was trained before stays compiled, with its optimizer's state, and trains on at
    the bound; the conversion and the original share nothing."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(16, "relu", name="a")])
    model.add(keras.layers.Dense(1, name="b"))
    model.compile(keras.optimizers.Adam(1e-3), "mse", run_eagerly=True)
    x, y = np.random.default_rng(0).normal(size=(64, 6)), np.ones((64, 1))
    steps.train(model, x, y, 2)
    live = snconvert.apply(model, target="constraint", only=["a"])
    for one, two in zip(model.optimizer.variables, live.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    steps.train(live, x, y, 6)
    assert norm(live.get_layer("a").kernel)[0] == pytest.approx(1.0, rel=0.01)
    again = snconvert.apply(live, target="constraint", only=["b"])
    before = live.get_layer("a").kernel_constraint.u
    steps.train(again, x, y, 2)
    np.testing.assert_array_equal(live.get_layer("a").kernel_constraint.u, before)
    assert not np.array_equal(again.get_layer("a").kernel_constraint.u, before)


def test_owners_that_make_their_layers() -> None:
    """Layers that the user's code makes are skipped: loading would make them anew."""

    class Block(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(2, name="head")(Block()(x)))
    report = snconvert.plan(model, target="constraint")
    reasons = [layer.reason for layer in report.layers if layer.status == "skipped"]
    assert any("the code of Block makes it" in str(reason) for reason in reasons)
    assert report.converted == 1


def tampered(source: Path, output: Path, argument: str, **changes: Any) -> Path:
    """Writes a file again, with other options of the constraint of its last layer."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(output, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename == "config.json":
                tree = json.loads(data)
                layer = tree["config"]["layers"][-1]["config"]
                entry = copy.deepcopy(layer["kernel_constraint"])
                entry["config"].update(changes)
                layer[argument] = entry
                data = json.dumps(tree).encode()
            new.writestr(member.filename, data)
    return output


@pytest.mark.parametrize(
    ("argument", "changes", "says"),
    [
        (
            "kernel_constraint",
            {"view": {"split": [1], "axes": [0], "shape": [1]}},
            "another matrix",
        ),
        ("kernel_constraint", {"factor": 7.0}, "the factor 7.0 is recorded"),
        ("kernel_constraint", {"factor": "x"}, "the factor None is recorded"),
        ("kernel_constraint", {"u": None}, "its constraint is invalid"),
        ("bias_constraint", {}, "is of no kernel"),
    ],
)
def test_verify_says_no(argument: str, changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    """`verify` tells constraints that a conversion would not have made."""
    source, patched = saved("sequential", tmp_path), tmp_path / "sn.keras"
    snconvert.apply_file(source, patched, target="constraint")
    assert snconvert.verify(source, patched)
    verdict = snconvert.verify(source, tampered(patched, tmp_path / "x.keras", argument, **changes))
    assert says in " ".join(map(str, verdict.differences))


def test_ways_back_report(tmp_path: Path) -> None:
    """`bake` and `remove` say how the layers were normalised; a layer that is not built loses its
    constraint; and in memory `remove` says what it restores, and `verify` what was converted."""
    source, patched = saved("sequential", tmp_path), tmp_path / "sn.keras"
    how = {"target": "constraint", "mode": "cap", "bound": 0.5}
    snconvert.apply_file(source, patched, **how)
    for undo in (snconvert.bake_file, snconvert.remove_file):
        report = undo(patched, tmp_path / "out.keras", force=True)
        assert (report.target, report.mode, report.bound) == ("constraint", "cap", 0.5)
    report = snconvert.remove_file(patched, tmp_path / "out.keras", force=True, imports=["keras"])
    assert any("to float rounding" in warning for warning in report.warnings)
    model = keras.saving.load_model(source)
    verdict = snconvert.verify(model, snconvert.apply(model, **how))
    assert verdict, verdict.differences
    assert verdict.changes
    unbuilt = MODELS / "a21_unbuilt.keras"
    snconvert.apply_file(unbuilt, tmp_path / "u.keras", target="constraint")
    snconvert.remove_file(tmp_path / "u.keras", tmp_path / "plain.keras")
    assert config(tmp_path / "plain.keras") == config(unbuilt)


@pytest.mark.parametrize("wrapped", [False, True])
def test_averaging_optimizers_are_refused(tmp_path: Path, wrapped: bool) -> None:
    """Keras averages kernels before it calls the constraint, so that fit would end above the bound:
    a model whose optimizer does so is refused, in a file and in memory, for this target only."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    optimizer = keras.optimizers.Adam(use_ema=True, gradient_accumulation_steps=2)
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer) if wrapped else optimizer
    model.compile(optimizer, "mse")
    model.save(tmp_path / "ema.keras")
    with pytest.raises(UnsupportedError, match="its optimizer averages weights") as error:
        snconvert.apply_file(tmp_path / "ema.keras", tmp_path / "sn.keras", target="constraint")
    assert error.value.file == str(tmp_path / "ema.keras")
    with pytest.raises(UnsupportedError, match="its optimizer averages weights"):
        snconvert.apply(model, target="constraint")
    with pytest.raises(UnsupportedError, match="its optimizer averages weights"):
        snconvert.plan(model, target="constraint")
    assert snconvert.inspect(model, target="constraint").layers
    snconvert.apply_file(tmp_path / "ema.keras", tmp_path / "sn.keras")
