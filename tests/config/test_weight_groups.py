"""Group paths are the ones that Keras itself writes."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py
import keras
import pytest
from zoo import ZOO

from snconvert.config.parsing import parse
from snconvert.config.weight_groups import group_paths, snake_case


def names_in(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Returns group -> name, as computed from the configuration and as stored by Keras."""
    with zipfile.ZipFile(path) as archive:
        root = parse(json.loads(archive.read("config.json")))
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    computed = {group: node.name for node, group in group_paths(root).items() if not node.first}
    stored = {
        group: str(weights[f"{group}/vars"].attrs["name"])
        for group in computed
        if f"{group}/vars" in weights and "name" in weights[f"{group}/vars"].attrs
    }
    return computed, stored


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_node_finds_its_own_group(name: str, tmp_path: Path) -> None:
    """The group computed for a node carries, in the file Keras wrote, that node's name."""
    path = tmp_path / "model.keras"
    ZOO[name]().save(path)
    computed, stored = names_in(path)
    assert computed == stored


def test_genuine_files(models: Path) -> None:
    """The same holds for the genuine files of all versions that store names."""
    seen = 0
    for path in models.glob("[av]*.keras"):
        if path.name == "a15_npz.keras":
            continue
        computed, stored = names_in(path)
        assert stored.items() <= computed.items(), path.name
        seen += bool(stored)
    assert seen > 15


@pytest.mark.parametrize(
    "name", ["Dense", "SpectralConv2D", "MyLSTMCell", "GRU", "Conv1DTranspose", "A_b", "RMSNorm2x"]
)
def test_snake_case_is_keras_own(name: str) -> None:
    """Our conversion of class names agrees with Keras'."""
    from keras.src.utils.naming import to_snake_case

    assert snake_case(name) == to_snake_case(name)


def test_class_names_renumber() -> None:
    """Giving one of three Dense layers another class renumbers the last."""
    config = json.loads(
        json.dumps(
            keras.saving.serialize_keras_object(
                keras.Sequential([keras.layers.Dense(1, name=n) for n in "abc"])
            )
        )
    )
    root = parse(config)
    renamed = group_paths(root, lambda n: "SpectralDense" if n.name == "a" else n.class_name)
    assert [renamed[node] for node in root.children] == [
        "layers/spectral_dense",
        "layers/dense",
        "layers/dense_1",
    ]
