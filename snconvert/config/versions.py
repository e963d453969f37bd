"""Which Keras wrote the file, and what that means for it."""

from __future__ import annotations

import re
from typing import Any

from snconvert.config import keras_modules
from snconvert.config.strict_json import objects
from snconvert.errors import printable

NEWEST = (3, 16)
"""The newest version whose files were tried: a pre-release."""


def keras_version(metadata: Any) -> tuple[int, int] | None:
    """Returns major and minor version that `metadata.json` names, or `None`.

    Example:
        >>> keras_version({"keras_version": "3.15.1"})
        (3, 15)
    """
    text = metadata.get("keras_version") if isinstance(metadata, dict) else None
    match = re.match(r"(\d{1,4})\.(\d{1,4})", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None


def is_keras_2(version: str | None, config: Any) -> bool:
    """Whether Keras 2 or tf-keras wrote a configuration: a version says it, or the first key.

    Args:
        version: The version of Keras that wrote it, where the file says it.
        config: The model's configuration.
    """
    if not isinstance(config, dict):
        return False
    text = version or config.get("keras_version")
    known = keras_version({"keras_version": text})
    if known is not None:
        return known[0] < 3  # noqa: PLR2004 -- the major version in question
    for value in objects(config):
        module = value.get("module")
        if "batch_input_shape" in value or (
            isinstance(module, str) and module.startswith(keras_modules.OLDER)
        ):
            return True
        nodes = value.get("inbound_nodes")
        if "batch_shape" in value or value.get("class_name") == "DTypePolicy":
            return False
        if isinstance(nodes, list) and nodes:
            return not isinstance(nodes[0], dict)
    return "class_name" in config and "module" not in config


def newer_than_tried(metadata: Any) -> list[str]:
    """Returns what to warn of, of a model that a version of Keras saved which was not tried."""
    version = keras_version(metadata)
    if version is None or version <= NEWEST:
        return []
    text = printable(metadata["keras_version"])
    return [f"saved by Keras {text}, which is newer than the versions tried here"]
