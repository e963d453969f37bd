"""Configurations as Keras 2 writes them, in few words."""

from __future__ import annotations

from typing import Any

Entry = dict[str, Any]


def layer(class_name: str, name: str = "x", **config: Any) -> Entry:
    """A layer, as HDF5 files spell it."""
    own = {"name": name, "trainable": True, "dtype": "float32", **config}
    return {"class_name": class_name, "config": own}


def given(*shape: int | None, name: str = "i", **config: Any) -> Entry:
    """An InputLayer; the batch comes on top."""
    own = {"batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False, **config}
    return {"class_name": "InputLayer", "config": {**own, "name": name}}


def sequential(*layers: Entry, **config: Any) -> Entry:
    """A Sequential model."""
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [*layers], **config}}


def called(entry: Entry, *calls: Any) -> Entry:
    """A layer of a graph: each call is its leaves."""
    return {**entry, "name": entry["config"]["name"], "inbound_nodes": [*calls]}


def leaf(name: str, node: int = 0, tensor: int = 0, **kwargs: Any) -> list[Any]:
    """A tensor in a call."""
    return [name, node, tensor, kwargs]


def functional(layers: list[Entry], outputs: Any, *inputs: str, name: str = "m") -> Entry:
    """A Functional model, whose inputs are called `i` unless they are named."""
    first = [[name, 0, 0] for name in inputs or ("i",)]
    config = {"name": name, "layers": layers, "input_layers": first, "output_layers": outputs}
    return {"class_name": "Functional", "config": config}
