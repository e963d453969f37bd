"""`verify` compares products to the bit, with one verdict for a file; forms, slots and records."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import live_models
import ml_dtypes
import numpy as np
import pytest
from tampering import flip, meddled
from zoo import randomize

import snconvert
from snconvert.config.parsing import parse
from snconvert.config.tree import Node
from snconvert.verification.findings import Findings, compare_configs
from snconvert.weights.contents import Dataset
from snconvert.weights.scaling import narrowed, scale, widened

CONSTRAINT = {
    "module": "snconvert.constraints",
    "class_name": "SpectralNorm",
    "registered_name": "snconvert>SpectralNorm",
    "config": {"mode": "hard", "bound": 1.0, "power_iterations": 1, "view": None, "factor": None},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of several kernels and types, and what all verbs and targets make of it."""
    folder = tmp_path_factory.mktemp("forms")
    inputs = keras.Input((3, 6))
    x = keras.layers.GRU(4, name="gru")(inputs)
    x = keras.layers.Dense(5, name="half", dtype="float16")(x)
    x = keras.layers.Dense(5, name="short", dtype="bfloat16")(x)
    x = keras.layers.BatchNormalization(name="norm", dtype="float32")(x)
    x = keras.layers.Dense(4, name="wide", dtype="float64")(x)
    model = randomize(keras.Model(inputs, keras.layers.Dense(3, name="head")(x)))
    paths = {"raw": folder / "raw.keras"}
    model.save(paths["raw"])
    for name, options in {
        "layer": {"mode": "hard", "bound": 0.7, "power_iterations": 2},
        "gain": {"mode": "gain"},
        "keras": {"target": "keras"},
        "constraint": {"target": "constraint", "bound": 0.7},
    }.items():
        paths[name] = folder / f"{name}.keras"
        snconvert.apply_file(paths["raw"], paths[name], kinds="all", **options)
        for verb in ("bake", "remove"):
            paths[f"{name}-{verb}"] = folder / f"{name}-{verb}.keras"
            getattr(snconvert, f"{verb}_file")(paths[name], paths[f"{name}-{verb}"])
    return paths


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The numbers of a file, those of bfloat16 as their bits."""
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
        found: dict[str, np.ndarray] = {}
        with h5py.File(member, "r") as file:
            file.visititems(lambda n, x: found.update({n: x[()]}) if hasattr(x, "dtype") else None)
    return found


def differences(before: Path, after: Path) -> list[str]:
    return [str(each) for each in snconvert.verify(before, after).differences]


PRODUCTS = [
    ("layer", "layer-bake"),
    ("raw", "constraint"),
    ("constraint", "constraint-remove"),
    ("raw", "keras"),
    ("keras", "keras-remove"),
]


@pytest.mark.parametrize(("before", "after"), PRODUCTS)
def test_one_bit_of_a_product(before: str, after: str, files: dict[str, Path]) -> None:
    """A step up of one number of a kernel, which most verbs and targets multiply, is told of it, in
    every type; so is a step of all numbers."""
    assert not differences(files[before], files[after])
    stored = arrays(files[after])
    copies = {name.replace("/layer/vars", "/vars") for name in stored if "/layer/vars" in name}
    kernels = [name for name, x in stored.items() if is_kernel(x) and name not in copies]
    assert len(kernels) == 6

    def change(file: h5py.File, where: Any) -> None:
        for name in kernels:
            value = file[name][()]
            bits = value.view(f"u{value.dtype.itemsize}")
            bits[where] += 1
            for place in {name, name.replace("/layer/vars", "/vars")}:
                file[place][...] = value

    for where, count in (((0, 0), "1 of"), (..., "of")):
        told = differences(files[before], meddled(files[after], lambda f, w=where: change(f, w)))
        assert len([each for each in told if f"{count} " in each]) == len(kernels), told


def is_kernel(array: np.ndarray) -> bool:
    """Whether it is a kernel: no u, and no bias."""
    return array.ndim == 2 and len(array) > 2 and array.size != 24


def test_one_verdict(files: dict[str, Path]) -> None:
    """Each kernel that a bake left raw, or a remove baked, is a difference, whatever the others of
    its layer and of the file are."""
    raw, baked = arrays(files["raw"]), arrays(files["layer-bake"])
    kernels = [n for n in raw if n in baked and raw[n].tobytes() != baked[n].tobytes()]
    assert len(kernels) == 6
    cases = [(name, "bake", raw) for name in kernels] + [(kernels[0], "remove", baked)]
    for name, verb, other in cases:

        def write(file: h5py.File, name: str = name, other: Any = other) -> None:
            file[name][...] = other[name]

        (told,) = differences(files["layer"], meddled(files[f"layer-{verb}"], write))
        opposite = "remove" if verb == "bake" else "bake"
        assert f"it is as {opposite} leaves it, and others as {verb}" in told


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_products_of_subnormal_numbers(dtype: str) -> None:
    """Products are rounded to nearest in their type, also below its least normal number: against
    float64 arithmetic."""
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    least = float(ml_dtypes.finfo(kind).smallest_subnormal)
    factor = np.float32(0.37)
    numbers = (np.arange(-300, 300) * least).astype(kind)
    stored = numbers.view("u2") if dtype == "bfloat16" else numbers
    product = narrowed(widened(stored, dtype) * factor, dtype)
    if dtype != "float64":
        wanted = (numbers.astype("f8") * float(factor)).astype("f4").astype(kind)
        assert product.tobytes() == wanted.tobytes()
    data = bytearray(stored.tobytes())
    scale(memoryview(data), Dataset(stored.shape, dtype, "little", None, len(data)), 0.37)
    assert bytes(data) == product.tobytes()


def entry(tree: Any, name: str) -> Any:
    return next(x for x in tree["config"]["layers"] if x["config"]["name"] == name)


def at(name: str, *keys: str, value: Any) -> Callable[[Any], None]:
    """Sets a field of a layer's entry, or takes it away."""

    def change(tree: Any) -> None:
        place = entry(tree, name)
        for key in keys[:-1]:
            place = place[key]
        if value is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value

    return change


HELD = ("config", "kernel_constraint")
FORMS = {
    "an unknown option": (
        "constraint",
        at("head", *HELD, "config", "evil", value=1),
        "option evil",
    ),
    "gain": ("constraint", at("head", *HELD, "config", "mode", value="gain"), "mode gain"),
    "a module": (
        "constraint",
        at("head", *HELD, "module", value="other"),
        "module of its kernel_c",
    ),
    "a class": ("constraint", at("head", *HELD, "class_name", value="Other"), "class_name of its"),
    "a missing one": (
        "constraint",
        lambda tree: entry(tree, "gru")["config"].update(recurrent_constraint=None),
        "`recurrent_constraint` holds no SpectralNorm",
    ),
    "another mode": ("constraint", at("gru", *HELD, "config", "mode", value="cap"), "of one mode"),
    "no kernel": (
        "constraint",
        at("head", "config", "bias_constraint", value=CONSTRAINT),
        "`bias_constraint` is of no kernel",
    ),
    "no rule": (
        "raw",
        at("norm", "config", "gamma_constraint", value=CONSTRAINT),
        "no conversion makes a BatchNormalization constrained",
    ),
    "spectral module": ("layer", at("head", "module", value="other"), "its module is other"),
    "wrapper's module": ("keras", at("head", "module", value="keras.models"), "module of its wrap"),
    "wrapper's build": (
        "keras",
        at("head", "build_config", value={"input_shape": [None, 9]}),
        "build_config of its wrapper",
    ),
    "name inside": (
        "keras",
        at("head", "config", "layer", "config", "name", value="x"),
        "name of i",
    ),
    "more inside": ("keras", at("head", "config", "layer", "extra", value=1), "extra stands in"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_no_conversion_writes(form: str, files: dict[str, Path]) -> None:
    """What Keras would not load, or would train otherwise, is told with layer and field."""
    name, change, what = FORMS[form]
    told = differences(files["raw"], meddled(files[name], config=change))
    assert any(what in each for each in told), told


def test_variables_of_a_wrapper(files: dict[str, Path]) -> None:
    """A wrapper stores a copy of the kernel and a vector, and nothing else."""
    for change, stored in (
        (lambda file, group: file.__delitem__(f"{group}/0"), "1"),
        (lambda file, group: file.create_dataset(f"{group}/2", data=np.ones(3, "f4")), "0, 1, 2"),
    ):
        group = next(n for n in arrays(files["keras"]) if "/layer/vars/0" in n)
        group = group.replace("/layer/vars/0", "/vars")
        after = meddled(files["keras"], lambda f, c=change, g=group: c(f, g))
        told = differences(files["raw"], after)
        assert any(f"its wrapper stores the variables {stored}, where" in each for each in told)


@pytest.mark.parametrize(("index", "name"), [(3, "u"), (2, "gamma")])
def test_types_of_the_state(index: int, name: str, files: dict[str, Path]) -> None:
    """u and gamma are float32, under every policy: the same numbers in another type are not."""

    def write(file: h5py.File) -> None:
        place = f"layers/spectral_dense_3/vars/{index}"
        value = file[place][()].astype("f8")
        del file[place]
        file.create_dataset(place, data=value)

    told = differences(files["raw"], meddled(files["gain"], write))
    assert told == [f"head: its {name} is stored as float64, where float32 belongs"]


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ((1, 1, 2, 2), (9, 9, 1, 1), True),
        ((1, 1, 2, 2), (7, 7, 7, 7), False),
        ((1, 1, 2, 2), (1, 2, 2, 1), False),
        ((1, 2, 3, 4), (0, 0, 0, 0), True),
        ((0, 7, 7, 7), (0, 0, 7, 7), True),
        ((0, 0, 0, 7), (0, 0, 0, 0), True),
        ((7, 7, 7, 0), (7, 7, 8, 0), False),
        ((7, 7, 0, 0), (7, 7, 7, 7), False),
        ((1, 2, 1, 2), (0, 0, 1, 1), False),
    ],
)
def test_objects_that_are_one(
    one: tuple[int, ...], two: tuple[int, ...], same: bool, files: dict[str, Path]
) -> None:
    """Numbers of shared objects may be others, and be missing from the first of a group, as where
    Keras saves a model again; but they may not say that other objects are one."""
    for pair in ((one, two), (two, one)):
        told = regrouped(*pair, files["raw"])
        assert not told if same else any("other objects are one" in each for each in told)


@pytest.mark.parametrize("one", [(7, 7, 0, 0), (0, 7, 7, 7)])
def test_objects_that_become_one(one: tuple[int, ...], files: dict[str, Path]) -> None:
    """Keras loses a whole group by saving a model often; but it never makes a new one."""
    assert not regrouped(one, (0, 0, 0, 0), files["raw"])
    (told,) = regrouped((0, 0, 0, 0), one, files["raw"])
    assert "is null before, 7 after, so that other objects are one" in told


def regrouped(one: tuple[int, ...], two: tuple[int, ...], path: Path) -> list[str]:
    """Returns what is told of a model whose initializers are numbered in two ways, 0 for not."""

    def numbered(numbers: tuple[int, ...]) -> Node:
        tree = json.loads(zipfile.ZipFile(path).read("config.json"))
        for name, number in zip(("gru", "half", "short", "head"), numbers, strict=True):
            initializer = entry(tree, name)["config"]["kernel_initializer"]
            initializer.pop("shared_object_id", None)  # Keras numbers that of the GRU
            if number:
                initializer["shared_object_id"] = number
        return parse(tree)

    findings = Findings()
    compare_configs(numbered(one), numbered(two), findings)
    return [str(each) for each in findings.differences]


def test_what_backends_write_otherwise(tmp_path: Path) -> None:
    """JAX counts in 32 bits, and PyTorch's optimizers are of another module and registered: no
    differences; other numbers, modules and names are."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("rmsprop", "mse")
    model.save(tmp_path / "x.keras")

    def counter(value: Any) -> Callable[[h5py.File], None]:
        def write(file: h5py.File) -> None:
            del file["optimizer/vars/0"]
            file["optimizer/vars/0"] = value

        return write

    def of_torch(module: str, name: str | None = "RMSprop") -> Callable[[Any], None]:
        entry = {"module": f"keras.src.backend.torch.optimizers.{module}", "registered_name": name}

        def change(tree: Any) -> None:
            tree["compile_config"]["optimizer"].update(entry)

        return change

    for change, same in (
        ({"arrays": counter(np.int32(0))}, True),
        ({"arrays": counter(np.int32(1))}, False),
        ({"arrays": counter(np.float32(0))}, False),
        ({"config": of_torch("torch_rmsprop")}, True),
        ({"config": of_torch("torch_adam")}, False),
        ({"config": of_torch("torch_rmsprop", None)}, False),
    ):
        told = differences(tmp_path / "x.keras", meddled(tmp_path / "x.keras", **change))
        assert (told == []) == same, told


def record(**changes: Any) -> Callable[[Any], None]:
    return lambda tree: tree["snconvert"].update(changes)


def option(name: str, value: Any) -> Callable[[Any], None]:
    return lambda tree: tree["snconvert"]["options"].update({name: value})


def layer(name: str, value: Any) -> Callable[[Any], None]:
    return lambda tree: tree["snconvert"]["layers"]["head"].update({name: value})


RECORDS: dict[str, tuple[Callable[[Any], None], str]] = {
    "version": (record(version=3), "the record is invalid: version is 3"),
    "command": (record(command="bake"), "command is bake"),
    "source": (record(source_sha256="00"), "source_sha256 is 00"),
    "layers": (record(layers=[]), "layers is no table"),
    "options": (record(options=None), "there are no options"),
    "unknown": (option("mode", "soft"), "the record is invalid: mode is 'soft'"),
    "pattern": (option("only", ["nothing"]), "matches no layer"),
    "only": (option("only", ["half"]), "not matched by --only"),
    "kinds": (option("kinds", ["recurrent"]), "options that leave out the kind dense"),
    "target": (option("target", "constraint"), "is of target constraint, but it is spectral"),
    "bound": (option("bound", 0.5), "with bound 0.5, where it has 0.7"),
    "rounds": (option("power_iterations", 1), "with power_iterations 1, where it has 2"),
    "table": (option("layer", [{"match": "head", "norm": "operator"}]), "with norm operator"),
    "class": (layer("class", "Other"), "has the class Other, where Dense belongs"),
    "new": (layer("new_class", "Dense"), "has the new_class Dense, where SpectralDense"),
    "sigma": (layer("sigma", 1.0), "has the sigma 1.0, where it is"),
    "after": (layer("sigma_after", 0.71), "has the sigma_after 0.71, where it is 0.7"),
    "residual": (layer("residual", 0.25), "has the residual 0.25"),
    "proof": (layer("certified", [0.0, 1.0]), "has proved sigma to be within"),
    "factors": (layer("factors", {"kernel": 2.0}), "has factors of ['kernel'], where [] belong"),
    "missing": (
        lambda tree: tree["snconvert"]["layers"].pop("head"),
        "the record does not name it",
    ),
    "more": (
        lambda tree: tree["snconvert"]["layers"].update(other=tree["snconvert"]["layers"]["head"]),
        "other: its record is of no layer",
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_that_are_not_so(name: str, files: dict[str, Path]) -> None:
    """What `metadata.json` records of options, layers and numbers has to be what the file holds."""
    change, what = RECORDS[name]
    told = differences(files["raw"], meddled(files["layer"], metadata=change))
    assert told
    assert any(what in each for each in told), told


def test_records_of_factors(files: dict[str, Path]) -> None:
    """Of targets that multiply, the factors are recorded; no record at all is no difference."""
    for name in ("keras", "constraint"):
        for value in ({}, {"kernel": 0.5}):
            change = layer("factors", value)
            assert differences(files["raw"], meddled(files[name], metadata=change))
    for name in ("layer", "gain", "keras", "constraint"):
        after = meddled(files[name], metadata=lambda tree: tree.pop("snconvert"))
        assert not differences(files["raw"], after)


def test_a_record_that_was_there_before(files: dict[str, Path], tmp_path: Path) -> None:
    """What is recorded of layers that were converted before stays as it is."""
    one, both = tmp_path / "one.keras", tmp_path / "both.keras"
    snconvert.apply_file(files["raw"], one, only=["head"])
    snconvert.apply_file(one, both, only=["wide"])
    assert not differences(one, both)

    def change(tree: Any) -> None:
        tree["snconvert"]["before"]["layers"]["head"]["sigma"] = 3.0

    (told,) = differences(one, meddled(both, metadata=change))
    assert told == "head: its record is not the one from before"


# -- Optimizers -----------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adagrad": keras.optimizers.Adagrad,
    "averaged": lambda: keras.optimizers.Adam(use_ema=True, gradient_accumulation_steps=2),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adamax()),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_of_gamma(name: str, tmp_path: Path) -> None:
    """One bit of any slot that an optimizer has for a new gamma is a difference, on files and live,
    also where another layer loses its gamma."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="a")])
    model.add(keras.layers.Dense(2, name="b"))
    model.compile(OPTIMIZERS[name](), "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
    plain, a, b = (tmp_path / f"{each}.keras" for each in ("plain", "a", "b"))
    model.save(plain)
    snconvert.apply_file(plain, a, mode="gain", only=["a"])
    snconvert.apply_file(plain, b, mode="gain", only=["b"])
    assert not differences(plain, b)
    assert not [each for each in differences(a, b) if "optimizer" in each]
    scalars = [n for n, x in arrays(b).items() if n.startswith("optimizer/") and x.shape == ()]
    fresh = [n for n in scalars if n not in arrays(plain) or arrays(plain)[n].shape]
    assert fresh

    def change(file: h5py.File) -> None:
        for slot in fresh:
            flip(slot)(file)

    for before in (plain, a):
        told = differences(before, meddled(b, change))
        for slot in fresh:
            assert any(slot in each and "where a fresh optimizer holds" in each for each in told)
    live = snconvert.apply(model, mode="gain", only=["b"])
    assert snconvert.verify(model, live)
    optimizer = getattr(live.optimizer, "inner_optimizer", live.optimizer)
    slots = [v for v in optimizer.variables if "gamma" in v.path]
    assert slots
    for slot in slots:
        slot.assign(np.nextafter(np.asarray(slot), np.float32(2)))
    verdict = snconvert.verify(model, live)
    assert {x.path for x in verdict.differences} == {slot.path for slot in slots}


# -- Live -----------------------------------------------------------------------------------------


def test_live_products_and_variables(tmp_path: Path) -> None:
    """Live models are baked to the bits of the file carrier's; a kernel that is left raw, and what
    a variable itself says of its training, are differences."""
    model = randomize(keras.Sequential([keras.Input((6,)), *(keras.layers.Dense(6) for _ in "ab")]))
    patched = snconvert.apply(model, bound=0.3)
    patched.save(tmp_path / "sn.keras")
    snconvert.bake_file(tmp_path / "sn.keras", tmp_path / "baked.keras")
    baked = snconvert.bake(patched)
    baked.save(tmp_path / "live.keras")
    one, two = (arrays(tmp_path / f"{name}.keras") for name in ("baked", "live"))
    assert {n: x.tobytes() for n, x in one.items()} == {n: x.tobytes() for n, x in two.items()}
    assert snconvert.verify(patched, baked)
    assert snconvert.verify(patched, tmp_path / "baked.keras")
    baked.layers[0].kernel.assign(model.layers[0].kernel)
    (told,) = snconvert.verify(patched, baked).differences
    assert "numbers differ" in told.what
    constrained = snconvert.apply(model, target="constraint")
    assert snconvert.verify(model, constrained)
    for name, value, what in (
        ("constraint", None, "SpectralNorm is not on the variable"),
        ("trainable", False, "trained is True before, False after"),
        ("regularizer", keras.regularizers.L2(0.1), "regularizer is NoneType before, L2"),
    ):
        kernel = constrained.layers[1].kernel
        kept = getattr(kernel, name)
        setattr(kernel, name, value)
        told = [str(each) for each in snconvert.verify(model, constrained).differences]
        assert any(what in each for each in told), told
        setattr(kernel, name, kept)


def test_live_state_is_trained_as_the_kernel() -> None:
    """A new gamma is trained where its kernel is, and without a regularizer; u never is."""
    model = randomize(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    after = snconvert.apply(model, mode="gain")
    (layer,) = after.layers
    for name, attribute, value, what in (
        ("gamma", "trainable", False, "trained is False, where True belongs"),
        ("gamma", "regularizer", keras.regularizers.L2(0.1), "regularizer is L2"),
        ("u", "trainable", True, "trained is True, where False belongs"),
    ):
        variable = getattr(layer, name)
        kept = getattr(variable, attribute)
        setattr(variable, attribute, value)
        (told,) = snconvert.verify(model, after).differences
        assert told.path == variable.path
        assert what in told.what
        setattr(variable, attribute, kept)
    for verify in (model, after):
        verify.layers[0].trainable = False
    assert snconvert.verify(model, after)


def test_live_layers_that_code_makes() -> None:
    """What is set of a layer that custom code makes, and so no file holds, is told of it."""
    model = live_models.TOPOLOGIES["task"]()
    live_models.outputs(model)
    after = snconvert.apply(model, mode="gain")
    assert snconvert.verify(model, after)
    block = after.backbone.blocks[0]
    inside = "backbone/transformer_0"
    for path, layer, name, value in (
        (f"{inside}/stack/0", block.stack[0], "activation", keras.activations.relu),
        (f"{block.stack[0].path}/kernel", block.stack[0], "trainable", False),
        (f"{inside}/pair/0", block.pair[0], "rate", 0.75),
        ("backbone/norm", after.backbone.get_layer("norm"), "epsilon", 0.5),
    ):
        kept = getattr(layer, name)
        setattr(layer, name, value)
        told = [str(each) for each in snconvert.verify(model, after).differences]
        what = f"{path}: {'trained' if name == 'trainable' else name} is "
        assert any(each.startswith(what) for each in told), told
        setattr(layer, name, kept)
    assert snconvert.verify(model, after)
    assert snconvert.verify(after, snconvert.remove(after))
    model = live_models.TOPOLOGIES["subclassed"]()
    live_models.outputs(model)
    after = snconvert.apply(model, mode="gain")
    after.tower.add(keras.layers.Dropout(0.5))
    told = snconvert.verify(model, after).differences
    assert any(each.path == "tower" and "layers before" in each.what for each in told), told


def test_what_keras_saves_again(files: dict[str, Path], tmp_path: Path) -> None:
    """What was converted, loaded and saved again is what it was, on both sides and either way."""
    for name in ("layer", "gain", "keras", "constraint"):
        again = tmp_path / f"{name}.keras"
        keras.saving.load_model(files[name]).save(again)
        for pair in ((files["raw"], again), (again, files["raw"]), (files[name], again)):
            assert not differences(*pair), (name, pair)
        assert not differences(again, files[f"{name}-bake"])


def test_not_a_number_is_itself(files: dict[str, Path]) -> None:
    """A NaN in a configuration is equal to itself, but -0.0 is not 0.0."""

    def told(one: float, two: float) -> list[Any]:
        trees = []
        for value in (one, two):
            tree = json.loads(zipfile.ZipFile(files["raw"]).read("config.json"))
            entry(tree, "norm")["config"]["epsilon"] = value
            trees.append(parse(tree))
        findings = Findings()
        compare_configs(*trees, findings)
        return findings.differences

    assert not told(float("nan"), float("nan"))
    assert told(0.0, -0.0)
    assert told(float("nan"), 1.0)
