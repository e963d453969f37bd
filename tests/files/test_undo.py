"""The ways back on files: `bake` changes no output, `remove` gives the original."""

from __future__ import annotations

import io
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import steps
import warm
from saved_models import (
    CONVERTIBLE,
    CUSTOM,
    NOT_LOADABLE,
    arrays,
    close,
    config,
    datasets,
    metadata,
    saved,
    traces,
    weights,
)
from zoo import ZOO, inputs_of, predict

import snconvert
from snconvert.errors import KernelError, OptionError, OutputError, SelectionError, SourceError

HALF = ("mixed_float16", "a10_mixed_float16", "a11_bfloat16", "v3.3.3_bf16", "v3.3.3_mixed")
MODES = ("hard", "cap", "gain")


def wrapped(path: Path) -> bool:
    """Whether a genuine file holds Keras' own wrapper, which `bake` unwraps as well."""
    return any("spectral_normalization" in name for name in arrays(path))


@pytest.mark.filterwarnings(r"ignore:Layer '\w+' .of type \w*EinsumDense")
@pytest.mark.turns
@pytest.mark.parametrize("name", sorted(ZOO))
@pytest.mark.parametrize("mode", MODES)
def test_both_ways_back(name: str, mode: str, tmp_path: Path) -> None:
    """remove(apply(x)) is x: config, metadata and every array, bit for bit. bake(apply(x)) has the
    outputs of apply(x) to 1e-6, and loads and stores what x does."""
    source, patched = saved(name, tmp_path), tmp_path / "sn.keras"
    snconvert.apply_file(source, patched, kinds="all", mode=mode, bound=0.7)
    plain, baked = tmp_path / "plain.keras", tmp_path / "baked.keras"
    report = snconvert.remove_file(patched, plain)
    assert report.verb == "remove"
    assert report.converted > 0
    assert config(plain) == config(source)
    assert metadata(plain) == metadata(source)
    assert arrays(plain) == arrays(source)
    report = snconvert.bake_file(patched, baked)
    assert config(baked) == config(source)
    assert metadata(baked) == metadata(source)
    assert sorted(arrays(baked)) == sorted(arrays(source))
    assert not traces(baked)
    for layer in report.layers:
        if layer.sigma_after is not None and mode != "gain":
            expected = 0.7 if mode == "hard" else min(0.7, layer.sigma)
            assert layer.sigma_after == pytest.approx(expected, rel=1e-5)
    # In half precision, one more rounding of the kernel is 2**-11.
    tolerance = 1e-6 if name not in HALF else 2e-3
    before, after = (keras.saving.load_model(path) for path in (patched, baked))
    close(predict(before), predict(after), tolerance)


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_genuine_files(name: str, models: Path, tmp_path: Path) -> None:
    """On genuine files of all versions, too, remove(apply(x)) is x and bake changes no output."""
    source, patched = models / name, tmp_path / name
    snconvert.apply_file(source, patched, kinds="all", mode="gain")
    # Outputs that `gain` does not change, however the kernels are scaled.
    plain, baked = tmp_path / f"plain-{name}", tmp_path / f"baked-{name}"
    snconvert.remove_file(patched, plain)
    assert arrays(plain) == arrays(source)
    assert config(plain) == config(source)
    assert metadata(plain) == metadata(source)
    snconvert.bake_file(patched, baked)
    assert not traces(baked)
    if name in (*CUSTOM, *NOT_LOADABLE) or source.is_dir():
        return
    one, two = (keras.saving.load_model(path, compile=False) for path in (source, baked))
    if all("string" not in tensor.dtype for tensor in one.inputs) and inputs_of(one):
        half = any(text in name for text in HALF)
        close(predict(one), predict(two), 2e-3 if half else 1e-6)


@pytest.mark.parametrize("name", sorted(set(ZOO) - {"tokens"}))
def test_the_wrapper_of_keras(name: str, tmp_path: Path) -> None:
    """Target keras: both copies of the kernel are equal and at norm 1, `vector_u` is the leading
    vector. `bake` keeps the outputs bit for bit, `remove` restores kernels to float rounding and
    says so."""
    source, patched = saved(name, tmp_path), tmp_path / "sn.keras"
    snconvert.apply_file(source, patched, kinds="all", target="keras")
    loaded = keras.saving.load_model(patched)
    found = [
        x for x in loaded._flatten_layers() if isinstance(x, keras.layers.SpectralNormalization)
    ]
    assert found
    stored = {n: x[()] for n, x in datasets(weights(patched)).items() if "vars/0" in n}
    both = [n for n in stored if n.replace("/vars/0", "/layer/vars/0") in stored]
    assert len(both) == len(found)
    for path in both:
        assert stored[path].tobytes() == stored[path.replace("/vars/0", "/layer/vars/0")].tobytes()
    for layer in found:
        matrix = np.asarray(keras.ops.cast(layer.kernel, "float32"), "f8")
        matrix = matrix.reshape(-1, matrix.shape[-1])
        u = np.asarray(keras.ops.cast(layer.vector_u, "float32"), "f8")
        tolerance = 1e-2 if layer.kernel.dtype == "bfloat16" else 1e-6
        assert np.linalg.norm(matrix, 2) == pytest.approx(1.0, abs=tolerance)
        assert np.linalg.norm(matrix @ u.T) == pytest.approx(1.0, abs=tolerance)
    baked = tmp_path / "baked.keras"
    snconvert.bake_file(patched, baked)
    assert config(baked) == config(source)
    for a, b in zip(predict(loaded), predict(keras.saving.load_model(baked)), strict=True):
        assert np.array_equal(a, b)
    report = snconvert.remove_file(patched, tmp_path / "plain.keras")
    assert any("to float rounding" in warning for warning in report.warnings)
    assert config(tmp_path / "plain.keras") == config(source)
    assert metadata(tmp_path / "plain.keras") == metadata(source)
    before, after = datasets(weights(source)), datasets(weights(tmp_path / "plain.keras"))
    assert sorted(before) == sorted(after)
    for path, item in before.items():
        one, two = (_numbers(x) for x in (item, after[path]))
        tolerance = 2**-7 if item.dtype.kind == "V" else 3e-7
        np.testing.assert_allclose(two, one, rtol=tolerance)


def _numbers(item: h5py.Dataset) -> np.ndarray:
    value = np.asarray(item[()])
    if value.dtype.kind == "V":
        return (value.view("<u2").astype("u4") << 16).view("f4")
    return value


WITHOUT = ("functional", "nested", "wrapped", "convolutional", "einsum")
_WITHOUT = """
import sys

class Blocked:
    asked = 0

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == "snconvert":
            cls.asked += 1
            raise ModuleNotFoundError("snconvert is not there")

sys.meta_path.insert(0, Blocked)
import keras
import numpy as np

folder, *names = sys.argv[1:]
for name in names:
    model = keras.saving.load_model(f"{folder}/{name}-sn.keras")
    x, y = (list(np.load(f"{folder}/{name}-{each}.npz").values()) for each in "xy")
    found = model.predict(x if len(x) > 1 else x[0], verbose=0)
    for one, two in zip(found if isinstance(found, list) else [found], y, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)
    kinds = [type(layer).__name__ for layer in model._flatten_layers()]
    assert "SpectralNormalization" in kinds
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(x if len(x) > 1 else x[0], y if len(y) > 1 else y[0], verbose=0)
assert Blocked.asked == 0
try:
    import snconvert
except ModuleNotFoundError:
    assert Blocked.asked == 1
else:
    raise AssertionError("snconvert was there")
"""


def test_the_wrapper_loads_without_snconvert(tmp_path: Path) -> None:
    """Files of target keras load, predict what they predict here, and train, where snconvert cannot
    be imported."""
    for name in WITHOUT:
        patched = tmp_path / f"{name}-sn.keras"
        snconvert.apply_file(saved(name, tmp_path), patched, kinds="all", target="keras")
        model = keras.saving.load_model(patched)
        np.savez(tmp_path / f"{name}-x.npz", *inputs_of(model))
        np.savez(tmp_path / f"{name}-y.npz", *predict(model))
    warm.run(
        [sys.executable, "-W", "ignore", "-c", _WITHOUT, tmp_path, *WITHOUT],
        modules=warm.TENSORFLOW,
        check=True,
        timeout=120,
    )


@pytest.mark.parametrize("options", [{"mode": "cap"}, {"mode": "gain"}, {"bound": 2.0}], ids=str)
def test_what_the_wrapper_cannot_do(options: dict[str, Any], tmp_path: Path) -> None:
    """Keras' wrapper knows neither other modes nor another bound."""
    with pytest.raises(OptionError, match="mode hard with bound 1 only"):
        snconvert.apply_file(
            saved("sequential", tmp_path), tmp_path / "o.keras", target="keras", **options
        )
    assert not (tmp_path / "o.keras").exists()


def test_training_between(tmp_path: Path) -> None:
    """apply, train, save, bake: the outputs are those of the trained model, whose `u` lags; the
    optimizer goes on where it was, also without the gammas of `gain`."""
    for mode in MODES:
        source, patched = saved("frozen", tmp_path), tmp_path / "sn.keras"
        snconvert.apply_file(source, patched, mode=mode, force=True)
        model = keras.saving.load_model(patched)
        model.run_eagerly = True
        rng = np.random.default_rng(0)
        steps.train(model, rng.normal(size=(8, 5)), rng.normal(size=(8, 3)), 3)
        model.save(patched)
        snconvert.bake_file(patched, tmp_path / "baked.keras", force=True)
        snconvert.remove_file(patched, tmp_path / "plain.keras", force=True)
        baked = keras.saving.load_model(tmp_path / "baked.keras")
        close(predict(model), predict(baked), 1e-6)
        for path in ("baked.keras", "plain.keras"):
            plain = keras.saving.load_model(tmp_path / path)
            assert int(plain.optimizer.iterations) == int(model.optimizer.iterations)
            gammas = {id(x.gamma) for x in model.layers if getattr(x, "mode", "") == "gain"}
            kept = [v for v in model.trainable_variables if id(v) not in gammas]
            slots = [
                value
                for variable, value in zip(
                    [v for v in model.trainable_variables for _ in range(2)],
                    model.optimizer.variables[2:],
                    strict=True,
                )
                if id(variable) not in gammas
            ]
            assert len(plain.optimizer.variables) == 2 + 2 * len(kept)
            for one, two in zip(slots, plain.optimizer.variables[2:], strict=True):
                assert np.array_equal(one, two)
            plain.run_eagerly = True
            steps.train(plain, rng.normal(size=(8, 5)), rng.normal(size=(8, 3)))


@pytest.mark.parametrize(
    "optimizer",
    ["Adafactor", "Adam", "Ftrl", "Lion", "Muon", "Nadam", "RMSprop", "SGD", "ScheduleFreeAdamW"],
)
def test_every_optimizer_gives_its_slots_back(optimizer: str, tmp_path: Path) -> None:
    """remove(apply(x, gain)) is x with every optimizer, with averages and accumulation as well."""
    made = getattr(keras.optimizers, optimizer)
    for options in ({}, {"use_ema": True, "gradient_accumulation_steps": 2}):
        model = keras.Sequential(
            [keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(3, use_bias=False)]
        )
        model.compile(made(**options), "mse", run_eagerly=True)
        steps.train(model, np.ones((4, 5)), np.ones((4, 3)), 2)
        model.save(tmp_path / "x.keras")
        snconvert.apply_file(tmp_path / "x.keras", tmp_path / "y.keras", mode="gain", force=True)
        snconvert.remove_file(tmp_path / "y.keras", tmp_path / "z.keras", force=True)
        assert arrays(tmp_path / "z.keras") == arrays(tmp_path / "x.keras")


def test_any_order(tmp_path: Path) -> None:
    """apply after bake, apply after remove with another bound, bake of parts: each does its part,
    and what is not spectral any more leaves the record."""
    source, a, b, c = (tmp_path / f"{n}.keras" for n in ("many", "a", "b", "c"))
    saved("many", tmp_path)
    snconvert.apply_file(source, a, bound=2.0)
    snconvert.bake_file(a, b)
    assert snconvert.apply_file(b, c, bound=0.5).layers[0].sigma == pytest.approx(2.0, rel=1e-6)
    snconvert.remove_file(a, b, force=True)
    snconvert.apply_file(b, c, bound=3.0, force=True)
    one, two = config(a), config(c)
    assert [x["config"].pop("bound", None) for x in one["config"]["layers"][1:3]] == [2.0, None]
    assert [x["config"].pop("bound", None) for x in two["config"]["layers"][1:3]] == [3.0, None]
    snconvert.bake_file(a, b, only=["d1*"], force=True)
    left = metadata(b)["snconvert"]["layers"]
    assert sorted(left) == sorted(f"d{i}" for i in range(13) if not str(i).startswith("1"))
    with pytest.raises(SelectionError, match=r"d9: spectral already"):
        snconvert.apply_file(b, c, only=["d9"], force=True)
    snconvert.remove_file(b, c, force=True)
    assert not traces(c)
    with pytest.raises(SelectionError, match="nothing to bake: no layer here is spectral"):
        snconvert.bake_file(c, b, force=True)
    with pytest.raises(SelectionError, match="matches no layer"):
        snconvert.bake_file(a, b, only=["nothing"], force=True)


@pytest.mark.parametrize("only", [["a"], ["b"], ["c"], ["a", "c"]])
def test_parts_of_several_wrappers(only: list[str], tmp_path: Path) -> None:
    """Keras numbers the groups of wrappers: where one goes or comes, the others move as a whole."""
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, name="a")(inputs)
    x = keras.layers.Dense(4, name="b")(x)
    keras.Model(inputs, keras.layers.Dense(4, name="c")(x)).save(tmp_path / "plain.keras")
    source, whole, some, last = (tmp_path / f"{n}.keras" for n in ("plain", "all", "some", "last"))
    snconvert.apply_file(source, whole, target="keras")
    outputs = predict(keras.saving.load_model(whole))
    snconvert.bake_file(whole, some, only=only)
    model = keras.saving.load_model(some)
    kinds = {layer.name: type(layer).__name__ for layer in model.layers[1:]}
    assert kinds == {n: "Dense" if n in only else "SpectralNormalization" for n in "abc"}
    close(predict(model), outputs, 1e-6)
    snconvert.apply_file(some, last, target="keras")
    close(predict(keras.saving.load_model(last)), outputs, 1e-6)
    snconvert.remove_file(whole, some, only=only, force=True)
    assert snconvert.verify(whole, some)
    others = [name for name in "abc" if name not in only]
    snconvert.remove_file(some, last, only=others, force=True)
    for one, two in zip(arrays(source).values(), arrays(last).values(), strict=True):
        a, b = (np.frombuffer(x[1], x[0]) for x in (one, two))
        np.testing.assert_allclose(b, a, rtol=3e-7)  # two roundings


def test_someone_elses_wrapper(tmp_path: Path) -> None:
    """A model that was built with Keras' own wrapper: `bake` unwraps it and changes no output,
    `remove` leaves it and says why."""
    inputs = keras.Input((4,))
    inner = keras.layers.SpectralNormalization(keras.layers.Dense(3), name="mine")
    model = keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))
    model(np.ones((2, 4)), training=True)
    model.save(tmp_path / "x.keras")
    snconvert.bake_file(tmp_path / "x.keras", tmp_path / "y.keras")
    baked = keras.saving.load_model(tmp_path / "y.keras")
    assert type(baked.get_layer("mine")) is keras.layers.Dense
    assert np.array_equal(predict(model)[0], predict(baked)[0])
    with pytest.raises(SelectionError, match="by how much is not recorded"):
        snconvert.remove_file(tmp_path / "x.keras", tmp_path / "z.keras")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_kernels_that_diverged(value: float, tmp_path: Path) -> None:
    """`bake` refuses NaN and infinity by the layer's name; `remove` gives the numbers back."""
    source, patched = saved("sequential", tmp_path), tmp_path / "sn.keras"
    snconvert.apply_file(source, patched)
    model = keras.saving.load_model(patched)
    model.layers[1].kernel.assign(model.layers[1].kernel * value)
    model.save(patched)
    with pytest.raises(KernelError, match=rf"{model.layers[1].name} \(SpectralDense\).*NaN"):
        snconvert.bake_file(patched, tmp_path / "baked.keras")
    assert not (tmp_path / "baked.keras").exists()
    snconvert.remove_file(patched, tmp_path / "plain.keras")
    plain = keras.saving.load_model(tmp_path / "plain.keras")
    assert np.array_equal(plain.layers[1].kernel, model.layers[1].kernel, equal_nan=True)


def test_a_kernel_of_zeros(tmp_path: Path) -> None:
    """It is baked as it is."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="zeros")])
    model.save(tmp_path / "x.keras")
    for target in ("layer", "keras"):
        snconvert.apply_file(tmp_path / "x.keras", tmp_path / "y.keras", target=target, force=True)
        snconvert.bake_file(tmp_path / "y.keras", tmp_path / "z.keras", force=True)
        assert arrays(tmp_path / "z.keras") == arrays(tmp_path / "x.keras")


def test_compressed_and_chunked_weights(tmp_path: Path) -> None:
    """Arrays that do not lie in one piece are scaled, and stored a second time, all the same."""
    source, packed = saved("sequential", tmp_path), tmp_path / "packed.keras"
    old, buffer = weights(source), io.BytesIO()
    with h5py.File(buffer, "w") as new:
        for name, item in datasets(old).items():
            new.create_dataset(name, data=item[()], chunks=item.shape, compression="gzip")
        for name in ("layers/dense_1", "layers/input_layer", "vars"):
            if name in old:
                new.require_group(f"{name}/vars" if name != "vars" else name)
    with zipfile.ZipFile(source) as a, zipfile.ZipFile(packed, "w") as b:
        for name in a.namelist():
            b.writestr(name, buffer.getvalue() if name.endswith(".h5") else a.read(name))
    for target in ("layer", "keras"):
        for path, stem in ((source, "one"), (packed, "two")):
            snconvert.apply_file(path, tmp_path / f"{stem}.keras", target=target, force=True)
            snconvert.bake_file(
                tmp_path / f"{stem}.keras", tmp_path / f"{stem}-baked.keras", force=True
            )
        for stem in ("{}", "{}-baked"):
            one, two = (tmp_path / f"{stem.format(n)}.keras" for n in ("one", "two"))
            assert arrays(one) == arrays(two)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Both verbs write the same bytes again, with valid checksums."""
    source, patched = saved("convolutional", tmp_path), tmp_path / "sn.keras"
    for target in ("layer", "keras"):
        snconvert.apply_file(source, patched, conv=True, target=target, force=True)
        for verb in (snconvert.bake_file, snconvert.remove_file):
            one, two = tmp_path / "one.keras", tmp_path / "two.keras"
            verb(patched, one, force=True)
            verb(patched, two, force=True)
            assert one.read_bytes() == two.read_bytes()
            assert zipfile.ZipFile(one).testzip() is None


def test_places(tmp_path: Path) -> None:
    """By default the result lies beside the source; nothing is replaced unless asked; `in_place`,
    dry runs and folders work as they do for `apply`."""
    source = saved("sequential", tmp_path)
    snconvert.apply_file(source)
    patched = tmp_path / "sequential-sn.keras"
    snconvert.bake_file(patched)
    snconvert.remove_file(patched)
    assert (tmp_path / "sequential-sn-baked.keras").exists()
    assert (tmp_path / "sequential-sn-plain.keras").exists()
    assert snconvert.bake_file(patched).up_to_date
    with pytest.raises(OutputError, match="exists"):
        snconvert.bake_file(patched, tmp_path / "sequential-sn-plain.keras")
    before = patched.read_bytes()
    report = snconvert.bake_file(patched, dry_run=True)
    assert (report.output, patched.read_bytes()) == (None, before)
    snconvert.remove_file(patched, in_place=True)
    assert arrays(patched) == arrays(source)
    model = keras.saving.load_model(source)
    model.save(tmp_path / "folder", zipped=False)
    snconvert.apply_file(tmp_path / "folder", tmp_path / "folder-sn")
    snconvert.remove_file(tmp_path / "folder-sn", tmp_path / "folder-plain")
    assert arrays(tmp_path / "folder-plain") == arrays(tmp_path / "folder")


def test_through_keras(tmp_path: Path) -> None:
    """With `imports` both go through Keras and the memory carrier, and give the same numbers."""
    source, patched = saved("nested", tmp_path), tmp_path / "sn.keras"
    snconvert.apply_file(source, patched, mode="gain")
    for verb in (snconvert.bake_file, snconvert.remove_file):
        verb(patched, tmp_path / "one.keras", force=True)
        report = verb(patched, tmp_path / "two.keras", imports=["zoo"], force=True)
        assert report.converted == 4
        assert not traces(tmp_path / "two.keras")
        one, two = arrays(tmp_path / "one.keras"), arrays(tmp_path / "two.keras")
        assert one.keys() == two.keys()
        for path, (kind, data) in one.items():
            np.testing.assert_allclose(
                np.frombuffer(two[path][1], kind), np.frombuffer(data, kind), rtol=1e-6
            )


def test_a_class_from_a_newer_version(tmp_path: Path) -> None:
    """A spectral class that this version does not know is an error that names it."""
    source, patched = saved("sequential", tmp_path), tmp_path / "sn.keras"
    snconvert.apply_file(source, patched)
    text = config(patched)
    for layer in text["config"]["layers"]:
        if layer["class_name"] == "SpectralDense":
            layer |= {"class_name": "SpectralNew", "registered_name": "snconvert>SpectralNew"}
    with zipfile.ZipFile(patched) as a, zipfile.ZipFile(tmp_path / "new.keras", "w") as b:
        for name in a.namelist():
            b.writestr(name, json.dumps(text) if name == "config.json" else a.read(name))
    with pytest.raises(SourceError, match="knows no SpectralNew"):
        snconvert.bake_file(tmp_path / "new.keras")


def test_the_command_line(tmp_path: Path, snconvert: Any) -> None:
    """`bake` and `remove` say what they did, in words and in JSON, and take several models."""
    source = saved("sequential", tmp_path)
    assert snconvert("apply", source, "-q").returncode == 0
    patched = tmp_path / "sequential-sn.keras"
    run = snconvert("bake", patched)
    assert (run.returncode, run.stderr) == (0, "")
    assert "2 layers baked" in run.stdout
    assert f"wrote {tmp_path / 'sequential-sn-baked.keras'}" in run.stdout
    run = snconvert("remove", patched, "--json", "-o", tmp_path / "x.keras")
    told = json.loads(run.stdout)
    assert (told["converted"], told["output"]) == (2, str(tmp_path / "x.keras"))
    run = snconvert("bake", source)
    assert run.returncode == 1
    assert "nothing to bake: no layer here is spectral" in run.stderr
    shutil.copy(patched, tmp_path / "other.keras")
    (tmp_path / "out").mkdir()
    run = snconvert("remove", patched, tmp_path / "other.keras", "-qo", tmp_path / "out")
    assert run.returncode == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["other-plain.keras", "sequential-sn-plain.keras"]
    assert snconvert("bake", patched, "--in-place", "-o", "x").returncode == 2


@pytest.mark.parametrize("undo", [snconvert.bake_file, snconvert.remove_file])
def test_options_of_no_use(undo: Callable[..., Any], tmp_path: Path) -> None:
    """A way back has no mode or target: it is not for it to take them and do nothing."""
    for option in ({"mode": "cap"}, {"target": "keras"}, {"certify": True}, {"conv": True}):
        with pytest.raises(OptionError, match=f"has no option '{next(iter(option))}'"):
            undo(tmp_path / "any.keras", **option)
