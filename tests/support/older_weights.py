"""Configurations of Keras 3, and what an older file holds of their weights."""

from __future__ import annotations

from typing import Any

from snconvert.weights.contents import Attributes, Contents, Dataset


def layer(class_name: str, name: str, children: Any = None, **config: Any) -> dict[str, Any]:
    """Returns the entry of a layer, or of a model of layers, in `config.json`."""
    config = {"name": name, "trainable": True, **config}
    if children is not None:
        config["layers"] = children
    functional = class_name == "Functional"
    module = "keras.src.models.functional" if functional else "keras.layers"
    return {
        "module": module if functional or children is None else "keras",
        "class_name": class_name,
        "config": config,
        "registered_name": class_name if functional else None,
    }


def dense(name: str, units: int = 4, **config: Any) -> dict[str, Any]:
    """Returns the entry of a Dense."""
    return layer("Dense", name, units=units, **config)


def norm(name: str, **config: Any) -> dict[str, Any]:
    """Returns the entry of a BatchNormalization."""
    return layer("BatchNormalization", name, **config)


def stored(
    layers: Any,
    *,
    version: str = "2.11.0",
    optimizer: Any = (),
    backend: str = "tensorflow",
    top_level: tuple[str, ...] = (),
) -> tuple[Attributes, Contents]:
    """Returns attributes and contents of a file with layers: name -> shapes by weight name."""
    contents = Contents()
    listed = []
    for name, weights in layers.items():
        base = f"model_weights/{name}"
        contents.groups |= {"model_weights", base}
        for weight, shape in weights.items():
            contents.datasets[f"{base}/{weight}"] = Dataset(shape, "float32", "little", 0, 0)
        listed.append((name, tuple(f"{base}/{weight}" for weight in weights)))
    for name, shape in optimizer:
        path = f"optimizer_weights/{name}"
        contents.groups.add("optimizer_weights")
        contents.datasets[path] = Dataset(shape, "float32", "little", 0, 0)
    paths = tuple(f"optimizer_weights/{name}" for name, _ in optimizer)
    return Attributes("{}", None, version, backend, tuple(listed), top_level, paths), contents
