"""Configurations of Functional models, written by hand."""

from __future__ import annotations

from typing import Any

Entry = dict[str, Any]


def tensor(layer: str, call: int = 0, output: int = 0, shape: Any = None) -> Entry:
    """Returns a tensor as an argument of a call."""
    history = [layer, call, output]
    return {"class_name": "__keras_tensor__", "config": {"shape": shape, "keras_history": history}}


def call(*args: Any, **kwargs: Any) -> Entry:
    """Returns one of a layer's `inbound_nodes`."""
    return {"args": list(args), "kwargs": kwargs}


def layer(class_name: str, name: str, *calls: Entry, **config: Any) -> Entry:
    """Returns a layer with its calls."""
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"name": name, **config},
        "registered_name": None,
        "name": name,
        "inbound_nodes": list(calls),
    }


def operation(class_name: str, name: str, *calls: Entry, **config: Any) -> Entry:
    """Returns an operation of `keras.ops` with its calls."""
    return layer(class_name, name, *calls, **config) | {"module": "keras.src.ops.numpy"}


def source(name: str = "x", *sizes: int | None) -> Entry:
    """Returns an `InputLayer`."""
    return layer("InputLayer", name, batch_shape=[None, *(sizes or (4,))])


def functional(*layers: Entry, inputs: Any, outputs: Any, name: str = "model") -> Entry:
    """Returns a Functional model."""
    config = {
        "name": name,
        "layers": list(layers),
        "input_layers": inputs,
        "output_layers": outputs,
    }
    module = "keras.src.models.functional"
    return {"module": module, "class_name": "Functional", "config": config, "name": name}
