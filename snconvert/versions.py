"""Which Keras wrote the file, and what that means for it."""

from __future__ import annotations

import re
from typing import Any

from snconvert.errors import SourceError, printable
from snconvert.tree import Node

NEWEST = (3, 15)
"""The newest version whose files were tried."""

_OLDEST_OF_2 = (2, 14)  # the versions before laid the weights out in another way


def keras_version(metadata: Any) -> tuple[int, int] | None:
    """Returns major and minor version that `metadata.json` names, or `None`.

    Example:
        >>> keras_version({"keras_version": "3.15.1"})
        (3, 15)
    """
    text = metadata.get("keras_version") if isinstance(metadata, dict) else None
    match = re.match(r"(\d{1,4})\.(\d{1,4})", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None


def is_keras_2(root: Node, metadata: Any) -> bool:
    """Whether Keras 2 or tf-keras wrote the file."""
    version = keras_version(metadata)
    if version is not None:
        return version[0] < 3  # noqa: PLR2004 -- the major version in question
    return any(str(node.entry.get("module")).startswith("keras.src.engine") for node in root.walk())


def check_version(root: Node, metadata: Any) -> list[str]:
    """Returns what to warn of.

    Raises:
        SourceError: Keras 3 cannot load the file, whatever is done to it.
    """
    version = keras_version(metadata)
    if not is_keras_2(root, metadata):
        if version is not None and version > NEWEST:
            text = printable(metadata["keras_version"])
            return [f"saved by Keras {text}, which is newer than the versions tried here"]
        return []
    writer = "Keras 2 (tf-keras)"
    if version is not None:
        writer = f"Keras {printable(metadata['keras_version'])} (tf-keras)"
    functional = any(node.builtin in {"Functional", "Model"} for node in root.walk())
    if functional or (version is not None and version < _OLDEST_OF_2):
        what = "Functional models" if functional else "files"
        raise SourceError(
            f"saved by {writer}; Keras 3 cannot load {what} of that version",
            "Load it with the package tf-keras, rebuild the model in Keras 3, copy the weights with"
            " set_weights and save that",
        )
    return [f"saved by {writer}: Keras 3 resets the optimizer when it loads the file"]
