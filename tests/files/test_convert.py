"""File to file: what changes, what does not, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import steps
from saved_models import CONVERTIBLE, CUSTOM, NOT_LOADABLE, config, datasets, saved, weights
from zoo import ZOO, predict, randomize

import snconvert
from snconvert.errors import (
    KernelError,
    OptionError,
    OutputError,
    SelectionError,
    SnconvertError,
    SourceError,
    WeightsError,
)
from snconvert.kinds.table import SPECTRAL
from snconvert.layers import Spectral
from snconvert.layers.composite import Composite


def largest_singular_value(block: np.ndarray) -> float:
    """Returns it by a float64 SVD, or by the Gram matrix' eigenvalues where that takes minutes."""
    if min(block.shape) < 128:
        return float(np.linalg.svd(block, compute_uv=False)[0])
    gram = block.T @ block if block.shape[1] < block.shape[0] else block @ block.T
    return float(np.linalg.eigvalsh(gram)[-1]) ** 0.5


def effective_norms(model: keras.Model) -> dict[str, tuple[float, float]]:
    """Returns, per kernel, the float64 norms of the raw and of the effective kernel."""
    norms = {}
    for layer in model._flatten_layers():
        if not isinstance(layer, Spectral) or isinstance(layer, Composite):
            continue  # a composite's parts come by themselves
        config = layer.get_config()
        for row in layer.rule.kernels_of(config):
            raw, effective = (
                max(map(largest_singular_value, row.view(kernel.shape, config).matrix(kernel)))
                for kernel in (
                    np.asarray(keras.ops.cast(kernel, "float32")).astype("float64")
                    for kernel in (getattr(layer, row.name), layer.effective_kernel(row.name))
                )
            )
            norms[f"{layer.path}/{row.name}"] = (raw, effective)
    return norms


# Keras' own layer says so of its own projections, converted or not.
@pytest.mark.turns
@pytest.mark.filterwarnings(r"ignore:Layer '\w+' .of type \w*EinsumDense")
@pytest.mark.parametrize("name", sorted(ZOO))
@pytest.mark.parametrize("mode", ["hard", "cap", "gain"])
def test_modes(name: str, mode: str, tmp_path: Path) -> None:
    """hard: every effective norm is the bound. cap: at most the bound, small kernels untouched.
    gain: no output changes."""
    source = saved(name, tmp_path)
    report = snconvert.apply_file(source, tmp_path / "out.keras", kinds="all", mode=mode, bound=2.0)
    assert report.converted > 0
    before = keras.saving.load_model(source)
    after = keras.saving.load_model(tmp_path / "out.keras")
    norms = effective_norms(after)
    assert len(norms) >= report.converted
    # A half-precision compute dtype can hold the factor s to its own precision only.
    tolerance = 1e-5 if name != "mixed_float16" else 1e-2
    for raw, effective in norms.values():
        if mode == "hard":
            assert effective == pytest.approx(2.0, rel=tolerance)
        elif mode == "cap":
            assert effective <= 2.0 * (1 + tolerance)
            assert effective == pytest.approx(min(raw, 2.0), rel=tolerance)
    if mode == "gain":
        for old, new in zip(predict(before), predict(after), strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5 * np.abs(old).max())


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_genuine_files(name: str, models: Path, tmp_path: Path) -> None:
    """On genuine files of all versions gain changes no output, and nothing that is not meant to
    change differs by one bit."""
    source, target = models / name, tmp_path / name
    report = snconvert.apply_file(source, target, mode="gain")
    assert report.converted > 0
    assert_nothing_lost(source, target)
    if name in CUSTOM or name in NOT_LOADABLE:
        return
    before, after = keras.saving.load_model(source), keras.saving.load_model(target)
    if name == "a18_assets.keras":
        text = keras.ops.convert_to_tensor(["a b c", "c c"])
        pairs = [(np.asarray(before(text)), np.asarray(after(text)))]
    else:
        pairs = list(zip(predict(before), predict(after), strict=True))
    for old, new in pairs:
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5 * np.abs(old).max())


def assert_nothing_lost(source: Path, target: Path) -> None:
    """Every variable of the source is in the target, bit for bit, in the same order of layers."""
    old, new = datasets(weights(source)), datasets(weights(target))
    left = {
        path: (hashlib.sha256(item[()].tobytes()).hexdigest(), item.shape, item.dtype)
        for path, item in new.items()
    }
    for path, item in old.items():
        print_of = (hashlib.sha256(item[()].tobytes()).hexdigest(), item.shape, item.dtype)
        match = path if left.get(path) == print_of else None
        match = match or next((other for other, value in left.items() if value == print_of), None)
        assert match, f"{path} is lost"
        del left[match]
    assert len(new) > len(old)


@pytest.mark.parametrize("name", ["frozen", "functional", "wrapped"])
def test_the_configuration_changes_only_where_it_is_meant_to(name: str, tmp_path: Path) -> None:
    """Class, module and the three settings of converted layers differ, and nothing else."""
    source = saved(name, tmp_path)
    snconvert.apply_file(source, tmp_path / "out.keras", mode="cap", bound=3.0)

    def undo(value: Any) -> Any:
        if isinstance(value, dict):
            if str(value.get("registered_name")).startswith("snconvert>"):
                value = value | {
                    "module": "keras.layers",
                    "class_name": value["class_name"].removeprefix("Spectral"),
                    "registered_name": None,
                }
                inner = dict(value["config"])
                options = ("mode", "bound", "power_iterations", "norm")
                assert [inner.pop(k) for k in options] == ["cap", 3.0, 1, "matrix"]
                value["config"] = inner
            return {key: undo(item) for key, item in value.items()}
        return [undo(item) for item in value] if isinstance(value, list) else value

    assert undo(config(tmp_path / "out.keras")) == config(source)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_what_keras_would_save(name: str, tmp_path: Path) -> None:
    """Loading the result and saving it again gives the same configuration and the same arrays at
    the same places: the file carrier writes what Keras itself would."""
    snconvert.apply_file(saved(name, tmp_path), tmp_path / "out.keras", kinds="all")
    model = keras.saving.load_model(tmp_path / "out.keras")
    model.save(tmp_path / "again.keras")
    ours, theirs = (datasets(weights(tmp_path / f"{n}.keras")) for n in ("out", "again"))
    assert sorted(ours) == sorted(theirs)
    for path, item in ours.items():
        assert item[()].tobytes() == theirs[path][()].tobytes(), path

    def plain(value: Any) -> Any:
        """Without object identities, which are memory addresses."""
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k != "shared_object_id"}
        return [plain(v) for v in value] if isinstance(value, list) else value

    assert plain(config(tmp_path / "out.keras")) == plain(config(tmp_path / "again.keras"))


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("mode", ["hard", "gain"])
def test_training_goes_on(mode: str, tmp_path: Path) -> None:
    """The result keeps its optimizer's state, trains, saves and reloads."""
    model = ZOO["frozen"]()
    model.save(tmp_path / "in.keras")
    snconvert.apply_file(tmp_path / "in.keras", tmp_path / "out.keras", mode=mode)
    patched = keras.saving.load_model(tmp_path / "out.keras")
    assert int(patched.optimizer.iterations) == int(model.optimizer.iterations) == 2
    frozen = patched.layers[0]
    kept = [variable.numpy() for variable in frozen.weights]
    rng = np.random.default_rng(0)
    steps.train(patched, rng.normal(size=(16, 5)), rng.normal(size=(16, 3)), 2)
    for variable, value in zip(frozen.weights, kept, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    patched.save(tmp_path / "trained.keras")
    again = keras.saving.load_model(tmp_path / "trained.keras")
    for old, new in zip(predict(patched), predict(again), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_same_bytes(tmp_path: Path) -> None:
    """The same input and options give the same bytes, under any name, in any folder."""
    source = saved("nested", tmp_path)
    other = tmp_path / "sub" / "other name.keras"
    other.parent.mkdir()
    shutil.copyfile(source, other)
    snconvert.apply_file(source, tmp_path / "a.keras")
    snconvert.apply_file(other, tmp_path / "b.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_provenance(tmp_path: Path) -> None:
    """metadata.json says how the file was made, and keeps what stood there."""
    source = saved("sequential", tmp_path)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    report = snconvert.apply_file(source, tmp_path / "out.keras", mode="cap", bound=2.0)
    old, new = (
        json.loads(zipfile.ZipFile(p).read("metadata.json"))
        for p in (source, tmp_path / "out.keras")
    )
    record = new.pop("snconvert")
    assert new == old
    assert record["source_sha256"] == digest
    assert record["options"]["mode"] == "cap"
    first = report.layers[0]
    assert record["layers"][first.path]["sigma"] == first.sigma
    assert source.stat().st_size == len(source.read_bytes())
    assert hashlib.sha256(source.read_bytes()).hexdigest() == digest


def test_the_numbers_of_the_report(tmp_path: Path) -> None:
    """sigma, sigma_after and residual are those of the kernel, by a float64 SVD."""
    source = saved("convolutional", tmp_path)
    report = snconvert.apply_file(source, tmp_path / "out.keras", conv=True, bound=3.0)
    found = datasets(weights(source))
    for layer in report.layers:
        if layer.kernel is None:
            continue
        (kernel,) = [
            item[()].astype("float64")
            for path, item in found.items()
            if item.shape == layer.kernel and item.parent.attrs["name"] == layer.path
        ]
        groups = 2 if layer.kernel == (3, 3, 3, 8) else 1
        blocks = np.split(kernel.reshape(-1, kernel.shape[-1]), groups, axis=1)
        sigma = max(np.linalg.svd(block, compute_uv=False)[0] for block in blocks)
        assert layer.sigma == pytest.approx(sigma, rel=1e-6)
        assert layer.sigma_after == 3.0
        assert layer.residual is not None
        assert layer.residual < 1e-5


def test_unbuilt(models: Path, tmp_path: Path) -> None:
    """A model that was never built is converted; its u is found when it is built."""
    report = snconvert.apply_file(models / "a21_unbuilt.keras", tmp_path / "out.keras")
    assert [(layer.status, layer.sigma) for layer in report.layers] == [("converted", None)] * 2
    model = keras.saving.load_model(tmp_path / "out.keras")
    model.build((None, 5))
    for _, effective in effective_norms(model).values():
        assert effective == pytest.approx(1.0, rel=2e-2)


def test_folders(models: Path, tmp_path: Path) -> None:
    """An unzipped model gives an unzipped model."""
    report = snconvert.apply_file(models / "a16_dir_h5dir", tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "config.json",
        "metadata.json",
        "model.weights.h5",
    ]
    assert report.converted > 0
    assert_nothing_lost(models / "a16_dir_h5dir", tmp_path / "out")


def test_twice(models: Path, tmp_path: Path) -> None:
    """Converting a converted file again converts what is left, and refuses where nothing is."""
    source = models / "a03_func_counter.keras"
    snconvert.apply_file(source, tmp_path / "one.keras", only="a_dense")
    report = snconvert.apply_file(tmp_path / "one.keras", tmp_path / "two.keras")
    assert {layer.path: layer.status for layer in report.layers if layer.kernel} == {
        "zzz": "skipped",
        "aaa": "skipped",
        "b_dense": "converted",
        "a_dense": "spectral",
        "out with space": "converted",
    }
    with pytest.raises(SelectionError, match="spectral already"):
        snconvert.apply_file(tmp_path / "two.keras", tmp_path / "three.keras")
    snconvert.apply_file(source, tmp_path / "all.keras")
    once, twice = (datasets(weights(tmp_path / f"{n}.keras")) for n in ("all", "two"))
    assert {k: v[()].tobytes() for k, v in once.items()} == {
        k: v[()].tobytes() for k, v in twice.items()
    }


def test_dry_run(tmp_path: Path) -> None:
    """A dry run says what would be done and writes nothing."""
    source = saved("sequential", tmp_path)
    report = snconvert.apply_file(source, dry_run=True)
    assert report.output is None
    assert [layer.status for layer in report.layers] == ["convertible"] * 2
    assert os.listdir(tmp_path) == [source.name]


def test_inspect(models: Path) -> None:
    """inspect lists every layer with its kernel, its sigma and why it is not convertible."""
    report = snconvert.inspect(models / "a14_lora.keras")
    assert [layer.status for layer in report.layers] == ["skipped", "convertible"]
    assert "LoRA" in str(report.layers[0].reason)
    report = snconvert.inspect(models / "a03_func_counter.keras", kinds="dense")
    conv = next(layer for layer in report.layers if layer.path == "zzz")
    assert conv.status == "skipped"
    assert conv.sigma is not None


def test_in_place(tmp_path: Path) -> None:
    """in_place replaces the source, and keeps its mode."""
    source = saved("sequential", tmp_path)
    source.chmod(0o640)
    snconvert.apply_file(source, in_place=True)
    assert config(source)["config"]["layers"][1]["class_name"] == "SpectralDense"
    assert source.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"norm": "operator", "target": "keras"}, OptionError, "matrix only"),
        (
            {"overrides": {"*": {"norm": "operator"}}, "target": "constraint"},
            OptionError,
            "matrix only",
        ),
        ({"imports": ["no_such_module"]}, OptionError, "cannot be imported"),
        ({"only": "dens_9"}, SelectionError, "matches no layer"),
        ({"kinds": "embedding"}, SelectionError, "nothing to convert"),
        ({"output": "none/out.keras"}, OutputError, "folder"),
        ({"output": "in.keras"}, OutputError, "input itself"),
        ({"output": "there.keras"}, OutputError, "exists"),
        ({"output": "x", "in_place": True}, OptionError, "both"),
    ],
)
def test_refusals(
    options: dict[str, Any],
    error: type[SnconvertError],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be done is one clear error, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    randomize(ZOO["sequential"]()).save("in.keras")
    Path("there.keras").write_text("mine")
    with pytest.raises(error, match=says):
        snconvert.apply_file("in.keras", **options)
    assert sorted(os.listdir(tmp_path)) == ["in.keras", "there.keras"]
    assert Path("there.keras").read_text() == "mine"


def test_nan(tmp_path: Path) -> None:
    """NaN in a kernel that is to be converted names the layer and how many."""
    model = ZOO["sequential"]()
    kernel = model.layers[0].kernel.numpy()
    kernel[0, :2] = np.nan, np.inf
    model.layers[0].kernel.assign(kernel)
    model.save(tmp_path / "in.keras")
    name = model.layers[0].name
    with pytest.raises(KernelError, match=rf"in.keras: {name} \(Dense\): .* 2 NaN"):
        snconvert.apply_file(tmp_path / "in.keras")
    report = snconvert.apply_file(tmp_path / "in.keras", exclude=name)
    assert report.layers[0].sigma is None
    found = [snconvert.inspect(tmp_path / "in.keras"), snconvert.inspect(model)]
    found.append(snconvert.inspect(tmp_path / "in.keras", imports=["keras"]))
    for report in found:
        assert [layer.status for layer in report.layers] == ["skipped", "convertible"]
        assert "NaN" in report.layers[0].reason
    assert found[0].bytes == found[2].bytes == (tmp_path / "in.keras").stat().st_size


@pytest.mark.parametrize("bad", [np.nan, 3e38])
def test_one_bad_kernel_of_two(bad: float, tmp_path: Path) -> None:
    """Both carriers say that the layer cannot be normalised, show no sigma of the other kernel for
    it, and convert nothing; 3e38 everywhere has a norm beyond float32."""
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.LSTM(4)])
    kernel = model.layers[0].cell.recurrent_kernel
    kernel.assign(np.full(kernel.shape, bad))
    model.save(tmp_path / "in.keras")
    for found in (snconvert.inspect(tmp_path / "in.keras"), snconvert.inspect(model)):
        (layer,) = found.layers
        assert (layer.status, layer.sigma, layer.sigma_after) == ("skipped", None, None)
    for source in (tmp_path / "in.keras", model):
        apply = snconvert.apply if source is model else snconvert.apply_file
        with pytest.raises(KernelError, match=r"NaN|float32 cannot hold"):
            apply(source, kinds="all")


def test_names_that_keras_does_not_open(tmp_path: Path) -> None:
    """The result is written under the name that was asked for, and a warning says what is wrong."""
    source = saved("sequential", tmp_path)
    for name, warned in (("a.h5", True), ("b", True), ("c.keras", False)):
        report = snconvert.apply_file(source, tmp_path / name)
        assert any("must end in .keras" in text for text in report.warnings) == warned
        report = snconvert.remove_file(tmp_path / name, tmp_path / f"plain-{name}")
        assert any("must end in .keras" in text for text in report.warnings) == warned
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path / "folder")
    report = snconvert.apply_file(tmp_path / "folder", tmp_path / "d.keras")
    assert any("may not end in .keras" in text for text in report.warnings)
    with pytest.raises(ValueError, match="format not supported"):
        keras.saving.load_model(tmp_path / "b")


def test_a_model_is_no_path() -> None:
    """Who gives a live model to a function of files is told which one is meant."""
    model = ZOO["sequential"]()
    with pytest.raises(OptionError, match=r"Sequential is no path.*snconvert.apply"):
        snconvert.apply_file(model)
    with pytest.raises(OptionError, match=r"Sequential is no path.*snconvert.bake"):
        snconvert.bake_file(model)


def test_forms_that_keras_has_two_names_for(tmp_path: Path) -> None:
    """A trailing ellipsis gives the bias axes of 1; FloatDTypePolicy is DTypePolicy."""
    inputs = keras.Input((4, 5, 6))
    outputs = keras.layers.EinsumDense("ab...,bc->ac...", (7, 5, 6), bias_axes="c")(inputs)
    policy = keras.FloatDTypePolicy("mixed_bfloat16")
    outputs = keras.layers.Dense(2, dtype=policy, name="half")(outputs)
    model = randomize(keras.Model(inputs, outputs))
    model.save(tmp_path / "in.keras")
    report = snconvert.apply_file(tmp_path / "in.keras", tmp_path / "out.keras", mode="gain")
    assert report.converted == 2
    loaded = keras.saving.load_model(tmp_path / "out.keras")
    for old, new in zip(predict(model), predict(loaded), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-2, atol=1e-2 * np.abs(old).max())
    assert loaded.get_layer("half").dtype_policy.name == "mixed_bfloat16"


def test_a_layer_beside_the_graph(tmp_path: Path) -> None:
    """A layer that is an attribute only is in the weights, but in no configuration: the message
    says how to convert such a model, and that works."""
    model = randomize(ZOO["sequential"]())
    inputs = keras.Input((5,))
    beside = keras.Model(inputs, model(inputs))
    beside.extra = keras.layers.Dense(4)
    beside.extra.build((None, 3))
    beside.save(tmp_path / "in.keras")
    with pytest.raises(WeightsError, match=r"'extra'.*beside its graph.*imports=\[.keras.\]"):
        snconvert.apply_file(tmp_path / "in.keras", tmp_path / "out.keras")
    report = snconvert.apply_file(
        tmp_path / "in.keras", tmp_path / "out.keras", imports=["keras"], mode="gain"
    )
    assert report.converted == 2
    for old, new in zip(
        predict(beside), predict(keras.saving.load_model(tmp_path / "out.keras")), strict=True
    ):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("scale", "after"), [(0.0, 0.0), (1e-30, 1.0), (1e30, 1.0)], ids=["zero", "tiny", "huge"]
)
def test_scales(scale: float, after: float, tmp_path: Path) -> None:
    """Kernels of zeros stay zero, and those of 1e-30 and 1e30 are normalised."""
    model = randomize(ZOO["sequential"]())
    for layer in model.layers:
        layer.kernel.assign(layer.kernel * scale)
    model.save(tmp_path / "in.keras")
    report = snconvert.apply_file(tmp_path / "in.keras", tmp_path / "out.keras")
    assert [layer.sigma_after for layer in report.layers] == [after, after]
    for _, effective in effective_norms(keras.saving.load_model(tmp_path / "out.keras")).values():
        assert effective == pytest.approx(after, rel=1e-5)


def test_missing_weights(tmp_path: Path, models: Path) -> None:
    """A layer without its weights is named."""
    source = models / "a01_seq_plain.keras"
    target = tmp_path / "in.keras"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        buffer = io.BytesIO(old.read("model.weights.h5"))
        with h5py.File(buffer, "r+") as file:
            del file["layers/dense"]
        for name in ("metadata.json", "config.json"):
            new.writestr(name, old.read(name))
        new.writestr("model.weights.h5", buffer.getvalue())
    with pytest.raises(WeightsError, match=r"\(Dense\): the weights are missing"):
        snconvert.apply_file(target)


def test_no_such_file(tmp_path: Path) -> None:
    """A path that is not there is named."""
    with pytest.raises(SourceError, match=r"none\.keras"):
        snconvert.apply_file(tmp_path / "none.keras")


def test_a_rule_that_frees_no_time_on_slots() -> None:
    """Every spectral class of the table is a layer that Keras can find."""
    for name in SPECTRAL:
        assert keras.saving.get_registered_object(f"snconvert>{name}").__name__ == name


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV3Small",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("MobileNet", "EfficientNetB0")),
    ],
)
def test_applications(name: str, tmp_path: Path) -> None:
    """On real architectures gain with convolutions changes no output, and hard sets every norm."""
    shape = (64, 64, 3)
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=shape, include_top=name != "MobileNetV3Small")
    model.save(tmp_path / "in.keras")
    report = snconvert.apply_file(
        tmp_path / "in.keras", tmp_path / "gain.keras", conv=True, mode="gain"
    )
    assert report.converted > 10
    after = keras.saving.load_model(tmp_path / "gain.keras")
    for old, new in zip(predict(model), predict(after), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5 * np.abs(old).max())
    snconvert.apply_file(tmp_path / "in.keras", tmp_path / "hard.keras", conv=True)
    after = keras.saving.load_model(tmp_path / "hard.keras")
    for _, effective in effective_norms(after).values():
        assert effective == pytest.approx(1.0, rel=1e-5)


def test_layers_are_told_without_a_sigma(tmp_path: Path) -> None:
    """Without sigma no kernel is read, so that one of NaN is as good as another; live, too."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
    model.layers[0].kernel.assign(np.full((3, 2), np.nan))
    model.save(path := tmp_path / "net.keras")
    for report in (snconvert.inspect(path, sigma=False), snconvert.inspect(model, sigma=False)):
        row = report.layers[-1]
        assert (row.path, row.status, row.kernel, row.sigma) == (
            "head",
            "convertible",
            (3, 2),
            None,
        )
    assert snconvert.inspect(path).layers[-1].status == "skipped"
