"""Models written without Keras, because Keras would take minutes for the larger ones."""

from __future__ import annotations

import io
import json
import os
import zipfile
from typing import Any

import h5py
import numpy as np

Tree = dict[str, Any]


def entry(class_name: str, config: Tree, module: str = "keras.layers") -> Tree:
    """Returns a layer as `config.json` describes it."""
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


def dense(name: str, units: int) -> Tree:
    """Returns a Dense layer from `units` to `units`."""
    built = {"build_config": {"input_shape": [None, units]}}
    return entry("Dense", {"name": name, "trainable": True, "units": units}) | built


def sequential(name: str, layers: list[Tree], units: int) -> Tree:
    """Returns a Sequential model of layers that take `units` features."""
    first = entry("InputLayer", {"batch_shape": [None, units], "name": f"{name}_input"})
    built = {"build_config": {"input_shape": [None, units]}}
    config = {"name": name, "trainable": True, "layers": [first, *layers]}
    return entry("Sequential", config, "keras") | built


def snake(index: int) -> str:
    """Returns the group that Keras gives the Dense layer number `index` of a container."""
    return f"dense_{index}" if index else "dense"


def write(
    path: str | os.PathLike[str], config: Tree, weights: bytes, version: str = "3.15.1"
) -> None:
    """Writes a `.keras` archive."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)


def _weights(groups: list[str], units: int, bias: bool = True) -> bytes:
    file = io.BytesIO()
    rng = np.random.default_rng(0)
    with h5py.File(file, "w") as h5:
        for group in groups:
            h5[f"{group}/vars/0"] = rng.normal(size=(units, units)).astype("float32")
            if bias:
                h5[f"{group}/vars/1"] = rng.normal(size=units).astype("float32")
    return file.getvalue()


def chain(path: str | os.PathLike[str], layers: int, units: int = 4) -> None:
    """Writes a Sequential model of Dense layers, one after the other."""
    config = sequential("chain", [dense(f"d{index}", units) for index in range(layers)], units)
    groups = [f"layers/{snake(index)}" for index in range(layers)]
    write(path, config, _weights(groups, units))


def functional_chain(path: str | os.PathLike[str], layers: int, units: int = 4) -> None:
    """Writes a Functional model of Dense layers, one after the other."""
    shape = [None, units]
    first = entry("InputLayer", {"batch_shape": shape, "dtype": "float32", "name": "in"})
    entries = [first | {"name": "in", "inbound_nodes": []}]
    before = "in"
    for index in range(layers):
        name = f"d{index}"
        tensor = {
            "class_name": "__keras_tensor__",
            "config": {"shape": shape, "dtype": "float32", "keras_history": [before, 0, 0]},
        }
        node = {"name": name, "inbound_nodes": [{"args": [tensor], "kwargs": {}}]}
        entries.append(dense(name, units) | node)
        before = name
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [[before, 0, 0]]}
    config = {"name": "chain", "trainable": True, "layers": entries, **ends}
    groups = [f"layers/{snake(index)}" for index in range(layers)]
    write(path, entry("Functional", config, "keras.src.models.functional"), _weights(groups, units))


def nested(path: str | os.PathLike[str], levels: int, units: int = 4) -> None:
    """Writes Sequential models inside each other, with a Dense layer on each level."""
    config = sequential(f"m{levels - 1}", [dense(f"d{levels - 1}", units)], units)
    for level in reversed(range(levels - 1)):
        config = sequential(f"m{level}", [dense(f"d{level}", units), config], units)
    groups = ["layers/sequential/" * level + "layers/dense" for level in range(levels)]
    write(path, config, _weights(groups, units))


def wide(path: str | os.PathLike[str], size: int, units: int = 4) -> None:
    """Writes a model whose `config.json` has about `size` bytes, most of it a vocabulary."""
    words = [f"word{index:012}" for index in range(size // 20)]
    lookup = entry(
        "StringLookup",
        {"name": "lookup", "trainable": True, "vocabulary": words, "max_tokens": None},
    )
    config = sequential("wide", [dense("d0", units)], units)
    config["config"]["layers"].append(lookup)
    write(path, config, _weights(["layers/dense"], units))
