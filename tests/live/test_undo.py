"""The ways back in memory, and any order of converting, training, saving and going back."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import live_models
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_models import TOPOLOGIES, outputs

import snconvert
from snconvert.errors import KernelError, SelectionError
from snconvert.layers import Spectral

MODES = ("hard", "cap", "gain")
STATE = ("gamma", "u")
CASES = [(name, "gain") for name in TOPOLOGIES]
CASES += [("subclassed", "hard"), ("recurrent", "cap")]


def is_state(variable: Any) -> bool:
    return variable.name.rpartition("_")[2] in STATE


def slots(model: keras.Model) -> list[np.ndarray]:
    """The optimizer's state, without that of the gammas: Adam's two blocks go by variable."""
    variables = [np.asarray(variable) for variable in model.optimizer.variables]
    own = [v for v in model.trainable_variables for _ in range(2)]
    assert len(variables) == 2 + len(own)
    kept = [x for x, v in zip(variables[2:], own, strict=True) if not is_state(v)]
    return [*variables[:2], *kept]


def raw(model: keras.Model) -> list[np.ndarray]:
    """The weights that the plain model has as well."""
    return [np.asarray(variable) for variable in model.weights if not is_state(variable)]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> None:
    assert [(x.dtype, x.tobytes()) for x in one] == [(x.dtype, x.tobytes()) for x in two]


def close(one: np.ndarray, two: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance * np.abs(two).max())


def stored(model: keras.Model, path: Path) -> tuple[Any, Any, bytes]:
    """What `save` writes: configuration, metadata without the date, and all bytes."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config, metadata = (
            json.loads(archive.read(f"{name}.json")) for name in ("config", "metadata")
        )
        everything = b"".join(archive.read(name) for name in archive.namelist())
    metadata.pop("date_saved")
    return without_addresses(config), metadata, everything


def without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_addresses(v) for k, v in value.items() if k != "shared_object_id"}
    return [without_addresses(v) for v in value] if isinstance(value, list) else value


def spectral(model: keras.Model) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, Spectral)]


def with_state(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """Compiles a model and gives its optimizer a state, without the time that training takes."""
    outputs(model)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    for variable in model.optimizer.variables[2:]:
        variable.assign(np.abs(rng.normal(size=variable.shape)))
    model.optimizer.iterations.assign(7)
    return model


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_both_ways_back(name: str, mode: str, tmp_path: Path) -> None:
    """On live models of any topology remove(apply(x)) is x: classes, configuration, weights and
    the optimizer's state, bit for bit. bake changes no output, and what it gives saves as x does.
    Neither touches its argument."""
    rng = np.random.default_rng(0)
    model = with_state(TOPOLOGIES[name](), rng)
    patched = snconvert.apply(model, kinds="all", mode=mode, bound=0.7)
    for layer in spectral(patched):
        for variable in layer.variables:
            if "gamma" in variable.name:
                variable.assign(variable * 1.25)  # as training would
    for variable in patched.optimizer.variables[2:]:
        variable.assign(variable + 1.0)
    kept = [np.asarray(variable) for variable in patched.variables]
    before = outputs(patched)
    plain, baked = snconvert.remove(patched), snconvert.bake(patched)
    one = stored(model, tmp_path / "x.keras")
    same([np.asarray(variable) for variable in patched.variables], kept)
    for result in (plain, baked):
        types = [[type(x) for x in m._flatten_layers()] for m in (model, result)]
        assert types[0] == types[1]
        assert not spectral(result)
        same(slots(result), slots(patched))
        two = stored(result, tmp_path / "y.keras")
        assert one[:2] == two[:2]
        assert b"snconvert" not in two[2]
        assert [v.path for v in model.variables] == [v.path for v in result.variables]
    same(raw(plain), raw(model))
    close(outputs(baked), before, 1e-6)
    assert np.abs(before - outputs(model)).max() > 1e-3 * np.abs(before).max()
    loaded = keras.saving.load_model(tmp_path / "y.keras")
    close(outputs(loaded), before, 1e-6)
    same(slots(loaded), slots(baked))


def test_in_place() -> None:
    """With `in_place` the model itself is plain again, and goes on training where it was."""
    model = live_models.subclassed()
    model.compile("adam", "mse", run_eagerly=True)
    live_models.train(model, 1)
    cls = type(model)
    for way in (snconvert.bake, snconvert.remove):
        assert snconvert.apply(model, mode="gain", in_place=True) is model
        live_models.train(model, 1)
        steps, kept = int(model.optimizer.iterations), slots(model)
        assert way(model, in_place=True) is model
        assert (type(model), int(model.optimizer.iterations)) == (cls, steps)
        same(slots(model), kept)
        live_models.train(model, 1)
        assert int(model.optimizer.iterations) == steps + 1


def test_in_place_all_or_nothing() -> None:
    """Where one layer cannot be baked, no other has lost its constraint."""
    stack = [keras.layers.Dense(4, name="a"), keras.layers.Dense(4, name="b")]
    model = keras.Sequential([keras.Input((4,)), *stack])
    snconvert.apply(model, target="constraint", only="a", in_place=True)
    snconvert.apply(model, only="b", in_place=True)
    model.layers[1].kernel.assign(np.full((4, 4), np.nan))
    before = model.to_json()
    with pytest.raises(KernelError, match="b"):
        snconvert.bake(model, in_place=True)
    assert model.to_json() == before


# -- Any order -----------------------------------------------------------------------------------

X = np.random.default_rng(1).normal(size=(6, 5, 4)).astype("float32")
Y = np.random.default_rng(2).normal(size=(6, 3)).astype("float32")
STEPS = st.one_of(
    st.tuples(st.just("apply"), st.sampled_from(MODES), st.sampled_from([0.5, 1.0, 3.0])),
    st.sampled_from([("train",), ("save",), ("bake",), ("remove",)]),
)


def small() -> keras.Model:
    """Layers in a row, shared, nested, wrapped, frozen and recurrent, with a trained optimizer."""
    layers = keras.layers
    shared, inputs = layers.Dense(4, name="shared"), keras.Input((5, 4))
    x = shared(layers.Conv1D(4, 2, padding="same", activation="tanh")(shared(inputs)))
    x = keras.Sequential([layers.Dense(3, trainable=False)], name="inner")(x)
    x = layers.BatchNormalization()(layers.TimeDistributed(layers.Dense(3))(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.SimpleRNN(3)(x)))
    model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    model.train_on_batch(X, Y)
    return model


def through_files(verb: str, model: keras.Model, folder: Path, **options: Any) -> keras.Model:
    source, result = folder / "from.keras", folder / "to.keras"
    model.save(source)
    getattr(snconvert, f"{verb}_file")(source, result, force=True, **options)
    return keras.saving.load_model(result)


ORDERS = st.lists(st.tuples(st.booleans(), STEPS), min_size=2, max_size=8)


def orders(count: int) -> settings:
    """Settings of that many examples; each has a folder to itself, or writes over another's."""
    unimportant = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=count, deadline=None, suppress_health_check=unimportant)


@orders(4)
@given(steps=ORDERS)
def test_any_order(steps: list[Any], tmp_path: Path) -> None:
    """Converting, training, saving, baking and removing work in any order, on files and in memory:
    bake changes no output, neither does gain, remove and apply change no weight, hard sets every
    norm, none of them changes the optimizer's state, and what cannot be is refused."""
    one_after_the_other(steps, tmp_path)


@pytest.mark.slow
@orders(50)
@given(steps=ORDERS)
def test_any_of_many_orders(steps: list[Any], tmp_path: Path) -> None:
    """So do more of them."""
    one_after_the_other(steps, tmp_path)


def one_after_the_other(steps: list[Any], tmp_path: Path) -> None:
    """Does what a test above says."""
    model, mode = small(), None
    for on_file, (verb, *arguments) in steps:
        before, weights, state = outputs_of(model), raw(model), slots(model)
        if verb == "train":
            model.train_on_batch(X, Y)
            assert int(model.optimizer.iterations) == int(state[0]) + 1
            continue
        if verb == "save":
            model.save(tmp_path / "saved.keras")
            model = keras.saving.load_model(tmp_path / "saved.keras")
            close(outputs_of(model), before, 1e-6)
        elif (verb == "apply") == (mode is not None):
            with pytest.raises(
                SelectionError, match=r"spectral already|nothing to (undo|bake|remove)"
            ):
                do(verb, model, arguments, tmp_path if on_file else None)
        else:
            model = do(verb, model, arguments, tmp_path if on_file else None)
            mode = arguments[0] if verb == "apply" else None
            if verb == "bake":
                limit = moved_by_rounding(model)
                np.testing.assert_allclose(outputs_of(model), before, rtol=0, atol=limit)
            elif mode == "gain":
                close(outputs_of(model), before, 1e-5)
            if mode == "hard":
                check_norms(model, arguments[1])
        if verb != "bake":
            same(raw(model), weights)
        same(slots(model), state)
        assert bool(spectral(model)) == (mode is not None)


def do(verb: str, model: keras.Model, arguments: list[Any], folder: Path | None) -> keras.Model:
    """Does it in memory, or in a folder from file to file."""
    options: dict[str, Any] = {}
    if verb == "apply":
        options = {"kinds": "all", "mode": arguments[0], "bound": arguments[1]}
    if folder is None:
        return getattr(snconvert, verb)(model, **options)
    return through_files(verb, model, folder, **options)


def check_norms(model: keras.Model, bound: float) -> None:
    """Every effective matrix has the bound as its norm, by LAPACK."""
    for layer in spectral(model):
        if isinstance(layer, keras.layers.Dense):
            kernel = np.asarray(layer.effective_kernel(), "f8")
            assert np.linalg.norm(kernel, 2) == pytest.approx(bound, rel=1e-5)


def outputs_of(model: keras.Model) -> np.ndarray:
    return np.asarray(model(X, training=False))


def moved_by_rounding(model: keras.Model) -> float:
    """How far outputs may move by float32: every kernel may be off by four roundings (of two norms,
    a quotient, a product), and each sum by one for each of its terms, of which there are up to
    eight. Layers of norm 3 enlarge the roundings before them, the recurrent one time after time, so
    that a part of the outputs would be no limit; to first order, the shares of the layers add up.
    """
    before, step, moved = outputs_of(model), 2.0**-12, 0.0
    for variable in model.variables:
        if variable.name.endswith("kernel"):
            value = np.asarray(variable)
            variable.assign(value * (1 + step))
            moved += np.abs(outputs_of(model) - before).max()
            variable.assign(value)
    return (4 + 8) * 2.0**-24 / step * moved


@pytest.mark.parametrize(("on_file", "mode"), [(True, "gain"), (True, "cap"), (False, "gain")])
def test_another_bound(on_file: bool, mode: str, tmp_path: Path) -> None:
    """Other settings for a converted model: `apply` skips its layers and says what to do, and
    remove, then apply is what `apply` to the original gives, bit for bit."""
    folder = tmp_path if on_file else None
    model = small()
    patched = do("apply", model, [mode, 0.5], folder)
    with pytest.raises(
        SelectionError, match=r"shared: spectral already, with .*`remove` or `bake` it first"
    ):
        do("apply", patched, ["hard", 2.0], folder)
    result = do("apply", do("remove", patched, [], folder), ["hard", 2.0], folder)
    direct = do("apply", model, ["hard", 2.0], folder)
    one, two = stored(result, tmp_path / "x.keras"), stored(direct, tmp_path / "y.keras")
    assert one[:2] == two[:2]
    same([np.asarray(v) for v in result.weights], [np.asarray(v) for v in direct.weights])
    same(slots(result), slots(direct))
