"""The memory carrier and the file carrier give the same model."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import steps
import zoo
from comparable import config, weights
from keras.src.applications import convnext, efficientnet
from places import SAMPLES

import snconvert
from snconvert.api import apply_file
from snconvert.archive.output import Destination
from snconvert.errors import SelectionError
from snconvert.live.through_keras import apply_through_keras
from snconvert.planning.recipe import recipe

CURRENT = [
    "a01_seq_plain",
    "a02_seq_adam",
    "a03_func_counter",
    "a04_shared_layer",
    "a10_mixed_float16",
    "a11_bfloat16",
    "a19_optimizers_adafactor",
    "a19_optimizers_adam",
    "a19_optimizers_adamw",
    "a19_optimizers_muon",
    "a19_optimizers_nadam",
    "a19_optimizers_sched",
    "a19_optimizers_sgdm",
    "a20_nonascii",
    "a27_dense_all_args",
]
ARCHITECTURES = {
    name: partial(getattr(keras.applications, name), weights=None)
    for name in dir(keras.applications)
    if name[0].isupper()
}
SMALL = {
    "a small ConvNeXt": partial(convnext.ConvNeXt, [1, 1, 1, 1], [4, 8, 8, 16]),
    "a small EfficientNet": partial(efficientnet.EfficientNet, 0.1, 0.1, 64, weights=None),
}
"""Those that run every time, of the layers that the large ones are made of."""


def assert_agree(source: Path, tmp_path: Path, **options: Any) -> None:
    apply_file(source, tmp_path / "file.keras", force=True, **options)
    snconvert.apply(keras.saving.load_model(source), **options).save(tmp_path / "live.keras")
    assert config(tmp_path / "file.keras") == config(tmp_path / "live.keras")
    assert weights(tmp_path / "file.keras") == weights(tmp_path / "live.keras")


@pytest.mark.turns
@pytest.mark.parametrize("mode", ["hard", "gain"])
@pytest.mark.parametrize("name", zoo.ZOO)
def test_models_of_every_topology(name, mode, tmp_path):
    """Converting the file, and loading, converting and saving, give the same file."""
    zoo.randomize(zoo.ZOO[name]()).save(tmp_path / "plain.keras")
    assert_agree(tmp_path / "plain.keras", tmp_path, kinds="all", mode=mode)


@pytest.mark.parametrize("name", CURRENT)
def test_genuine_files(name, models, tmp_path):
    """So they do on genuine files, saved again by this Keras, with their optimizers."""
    model = keras.saving.load_model(models / f"{name}.keras")
    model.save(tmp_path / "plain.keras")
    for mode in ("hard", "gain"):
        assert_agree(tmp_path / "plain.keras", tmp_path, conv=True, mode=mode)
        for path in ("file", "live"):
            (tmp_path / f"{path}.keras").unlink()


@pytest.mark.parametrize("name", ["nested", "wrapped", "transposed", "tokens", "recurrent"])
def test_reports_agree(name, tmp_path):
    """Both say the same of every layer."""
    model = zoo.ZOO[name]()
    model.save(tmp_path / "plain.keras")
    file = apply_file(tmp_path / "plain.keras", dry_run=True, kinds="all").as_json()
    memory = snconvert.plan(
        keras.saving.load_model(tmp_path / "plain.keras"), kinds="all"
    ).as_json()
    assert file["layers"] == memory["layers"]
    keys = ("converted", "skipped", "target", "mode", "bound", "norm")
    assert {key: file[key] for key in keys} == {key: memory[key] for key in keys}


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES)]
)
def test_applications(name, tmp_path):
    """So they do on every architecture of keras.applications with random weights."""
    model = (SMALL | ARCHITECTURES)[name]()
    model.save(tmp_path / "plain.keras")
    del model
    keras.backend.clear_session(free_memory=False)
    assert_agree(tmp_path / "plain.keras", tmp_path, conv=True)
    for path in tmp_path.iterdir():  # pytest would keep gigabytes
        path.unlink()


def test_a_map_of_dtype_policies(tmp_path):
    """So they do where a layer's policy is chosen by its path, and Keras
    chooses the same one."""
    inputs = keras.Input((3, 5))
    mixed = keras.DTypePolicy("mixed_bfloat16")
    policies = keras.dtype_policies.DTypePolicyMap("float32", {"td/dense": mixed})
    dense = keras.layers.Dense(4, dtype=policies, name="dense")
    outputs = keras.layers.TimeDistributed(dense, dtype=policies, name="td")(inputs)
    zoo.randomize(keras.Model(inputs, outputs)).save(tmp_path / "plain.keras")
    assert_agree(tmp_path / "plain.keras", tmp_path)
    layers = [
        keras.saving.load_model(tmp_path / f"{name}.keras").get_layer("td").layer
        for name in ("plain", "file")
    ]
    assert len({(layer.path, layer.compute_dtype) for layer in layers}) == 1
    with pytest.raises(SelectionError, match="the path that its dtype policies go by"):
        apply_file(tmp_path / "plain.keras", tmp_path / "keras.keras", target="keras")


@pytest.mark.parametrize("mode", ["hard", "gain"])
@pytest.mark.parametrize("change", ["lora", "int8"])
def test_layers_that_cannot_be_normalised(change, mode, tmp_path):
    """So they do beside a layer with LoRA adapters or a quantized one, which stays as it is, and
    the optimizer's state is all there."""
    model = keras.Sequential([keras.Input((5,)), *(keras.layers.Dense(4) for _ in range(3))])
    if change == "lora":
        model.layers[1].enable_lora(2)
    else:
        model.layers[1].quantize(change)
    model.compile("adam", "mse", run_eagerly=True)
    steps.train(model, np.ones((8, 5)), np.ones((8, 4)))
    model.save(tmp_path / "plain.keras")
    assert_agree(tmp_path / "plain.keras", tmp_path, mode=mode)
    again = keras.saving.load_model(tmp_path / "file.keras")
    state = [{np.asarray(v).tobytes() for v in m.optimizer.variables} for m in (model, again)]
    assert state[0] <= state[1]


def own_kind() -> Any:
    spec = importlib.util.spec_from_file_location("own_kind", SAMPLES / "own_kind.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kinds_of_ones_own(tmp_path):
    """So they do with a layer class, and its rule, of one's own."""
    sample = own_kind()
    model = keras.Sequential([keras.Input((8,)), sample.Affine(5), keras.layers.Dense(4)])
    zoo.randomize(model).save(tmp_path / "plain.keras")
    for mode in ("hard", "gain"):
        assert_agree(tmp_path / "plain.keras", tmp_path, rules=[sample.RULE], mode=mode)
    entry = config(tmp_path / "file.keras")["config"]["layers"][1]
    assert (entry["module"], entry["class_name"]) == ("own_kind", "SpectralAffine")


def test_through_keras_gives_the_file_carriers_model(tmp_path):
    """`apply_through_keras` writes what the file carrier writes."""
    zoo.randomize(zoo.functional()).save(tmp_path / "plain.keras")
    source, output = str(tmp_path / "plain.keras"), str(tmp_path / "live.keras")
    apply_through_keras(source, Destination(output), recipe())
    apply_file(source, tmp_path / "file.keras")
    assert config(tmp_path / "file.keras") == config(tmp_path / "live.keras")
    assert weights(tmp_path / "file.keras") == weights(tmp_path / "live.keras")
    assert np.all([Path(source).exists(), Path(output).exists()])
