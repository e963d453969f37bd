"""The shapes of what models take."""

from __future__ import annotations

from typing import Any

from snconvert.errors import SourceError, printable
from snconvert.legacy import objects
from snconvert.legacy.objects import Entry


def shape(value: Any) -> list[int | None]:
    """Returns a shape with the batch in front, or refuses what is none."""
    if (
        not isinstance(value, list)
        or not value
        or any(size is not None and type(size) is not int for size in value)
    ):
        raise SourceError(
            f"its input shape is {printable(value)}, which is no list of sizes",
            "Repair the configuration, or save the model again",
        )
    return value


def own_input(raw: Entry) -> Entry | None:
    """Returns the configuration that says the shape of what a layer or model takes, if any."""
    while isinstance(raw, dict):
        config = raw.get("config")
        if isinstance(config, list):
            config = {"layers": config}
        if not isinstance(config, dict):
            return None
        if "batch_input_shape" in config or "batch_shape" in config:
            return config
        inner = config.get("layers")
        if not isinstance(inner, list) or not inner:
            return None
        raw = inner[0]
    return None


def owns_input(raw: Entry) -> bool:
    """Whether an entry is a model that says the shape of what it takes."""
    config = raw.get("config")
    holds = isinstance(config, list) or (isinstance(config, dict) and "layers" in config)
    return holds and own_input(raw) is not None


def input_layer(batch_shape: Any, dtype: Any, before: Entry) -> Entry:
    """Returns the InputLayer that a Sequential model has in front of its first layer.

    Args:
        batch_shape: What it takes.
        dtype: The dtype policy of the first layer.
        before: The first layer.
    """
    name = f"{before['config'].get('name', 'sequential')}_input"
    dtype = objects.policy(dtype)
    if not isinstance(dtype, str) or dtype.startswith("mixed"):
        dtype = "float32"
    config = {"batch_shape": batch_shape, "dtype": dtype, "sparse": False, "name": name}
    return objects.of_keras("keras.layers", "InputLayer", config)


def check(root: Entry) -> None:
    """Refuses a Sequential model that does not say what it takes."""
    if root["class_name"] == "Sequential" and "build_input_shape" not in root["config"]:
        raise SourceError(
            "its configuration does not say the shape of its input, so that Keras does not build"
            " the layers before it loads their weights",
            "Build the model in code with a keras.Input of that shape, call load_weights with this"
            " file and save it",
        )
