"""Laws that hold for every model, on models that hypothesis makes."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zoo import predict, randomize

import snconvert
from snconvert.errors import SelectionError
from snconvert.kinds.table import SPECTRAL

LAW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


KINDS = ("dense", "shared", "wrapped", "nested", "norm", "ops")
PLANS = st.fixed_dictionaries(
    {
        "width": st.integers(1, 9),
        "steps": st.integers(1, 4),
        "units": st.integers(1, 5),
        "layers": st.lists(
            st.tuples(
                st.sampled_from(KINDS),
                st.fixed_dictionaries(
                    {
                        "use_bias": st.booleans(),
                        "trainable": st.booleans(),
                        "activation": st.sampled_from([None, "relu", "tanh"]),
                    }
                ),
            ),
            min_size=1,
            max_size=6,
        ),
    }
)
"""What a model is made of; hypothesis shrinks this rather than models."""


def build(plan: dict[str, Any]) -> keras.Model:
    """Returns a Functional model: dense layers in sequence and side by side, some shared, frozen,
    nested, wrapped or followed by operations."""
    width = plan["width"]
    x = inputs = keras.Input((plan["steps"], width))
    pool: list[keras.layers.Layer] = []
    for kind, options in plan["layers"]:
        if kind == "dense":
            pool.append(keras.layers.Dense(width, **options))
            x = pool[-1](x)
        elif kind == "shared" and pool:
            x = keras.layers.Add()([x, pool[0](x)])
        elif kind == "wrapped":
            x = keras.layers.TimeDistributed(keras.layers.Dense(width, **options))(x)
        elif kind == "nested":
            inner = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(width, **options)])
            x = inner(x)
        elif kind == "norm":
            x = keras.layers.BatchNormalization()(x)
        else:
            x = keras.ops.tanh(x * 0.5) + x
    return randomize(keras.Model(inputs, keras.layers.Dense(plan["units"])(x)))


def spectral_layers(model: keras.Model) -> list[Any]:
    return [layer for layer in model._flatten_layers() if type(layer).__name__ in SPECTRAL]


def sigma(kernel: Any) -> float:
    return float(np.linalg.svd(np.asarray(kernel, "float64"), compute_uv=False)[0])


def arrays(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive:
        file = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    file.visititems(
        lambda name, item: (
            found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    )
    return found


def plain_config(path: Path) -> Any:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k != "shared_object_id"}
        return [plain(v) for v in value] if isinstance(value, list) else value

    return plain(json.loads(zipfile.ZipFile(path).read("config.json")))


@LAW
@given(plan=PLANS, bound=st.floats(0.05, 20.0))
def test_the_bound_holds(plan: dict[str, Any], bound: float, tmp_path: Path) -> None:
    """Every effective kernel of `hard` has the bound as its norm, of `cap` at most."""
    model = build(plan)
    model.save(tmp_path / "in.keras")
    for mode in ("hard", "cap"):
        snconvert.apply_file(
            tmp_path / "in.keras", tmp_path / "out.keras", mode=mode, bound=bound, force=True
        )
        for layer in spectral_layers(keras.saving.load_model(tmp_path / "out.keras")):
            norm = sigma(layer.effective_kernel())
            expected = bound if mode == "hard" else min(bound, sigma(layer.kernel))
            assert norm == pytest.approx(expected, rel=1e-5)


@LAW
@given(plan=PLANS)
def test_gain_changes_nothing(plan: dict[str, Any], tmp_path: Path) -> None:
    """Converting with `gain` changes no output, and names, order and frozen flags stay."""
    model = build(plan)
    model.save(tmp_path / "in.keras")
    snconvert.apply_file(tmp_path / "in.keras", tmp_path / "out.keras", mode="gain", force=True)
    after = keras.saving.load_model(tmp_path / "out.keras")
    for old, new in zip(predict(model), predict(after), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5 * np.abs(old).max())
    flat = [[(x.name, x.trainable) for x in m._flatten_layers()][1:] for m in (model, after)]
    assert flat[0] == flat[1]


@LAW
@given(plan=PLANS)
def test_it_is_what_keras_would_save(plan: dict[str, Any], tmp_path: Path) -> None:
    """Loading the result and saving it again gives the same configuration and arrays."""
    model = build(plan)
    model.save(tmp_path / "in.keras")
    snconvert.apply_file(tmp_path / "in.keras", tmp_path / "out.keras", force=True)
    keras.saving.load_model(tmp_path / "out.keras").save(tmp_path / "again.keras")
    assert arrays(tmp_path / "out.keras") == arrays(tmp_path / "again.keras")
    assert plain_config(tmp_path / "out.keras") == plain_config(tmp_path / "again.keras")


@LAW
@given(plan=PLANS, data=st.data())
def test_in_steps_or_at_once(plan: dict[str, Any], data: st.DataObject, tmp_path: Path) -> None:
    """Converting some layers first and the rest later is converting all; twice is once."""
    model = build(plan)
    model.save(tmp_path / "in.keras")
    whole = snconvert.apply_file(tmp_path / "in.keras", tmp_path / "all.keras", force=True)
    paths = [layer.path for layer in whole.layers if layer.status == "converted"]
    chosen = data.draw(st.lists(st.sampled_from(paths), min_size=1, unique=True))
    snconvert.apply_file(tmp_path / "in.keras", tmp_path / "some.keras", only=chosen, force=True)
    last = tmp_path / "some.keras"
    if len(chosen) < len(paths):
        last = tmp_path / "rest.keras"
        snconvert.apply_file(tmp_path / "some.keras", last, force=True)
    assert arrays(last) == arrays(tmp_path / "all.keras")
    assert plain_config(last) == plain_config(tmp_path / "all.keras")
    with pytest.raises(SelectionError, match="spectral already"):
        snconvert.apply_file(last, tmp_path / "none.keras")
