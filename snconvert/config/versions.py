"""Which Keras wrote the file, and what that means for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from snconvert.config import keras_modules
from snconvert.config.dtype_policies import policy_names
from snconvert.config.tree import Node
from snconvert.core.foreign import REBUILD
from snconvert.errors import SourceError, printable

NEWEST = (3, 15)
"""The newest version whose files were tried."""

_OLDEST_OF_2 = (2, 15)  # the versions before laid the weights out in another way
_GONE = frozenset(
    {
        "CuDNNGRU",
        "CuDNNLSTM",
        "LocallyConnected1D",
        "LocallyConnected2D",
        "SlicingOpLambda",
        "TFOpLambda",
        "TensorFlowOpLayer",
        "ThresholdedReLU",
    }
)
_UNGROUPED = ("Transpose", "DepthwiseConv", "SeparableConv")
_SILENT: Mapping[str, tuple[Any, ...]] = {
    "groups": (1,),
    "kernel_constraint": (None,),
    "kernel_regularizer": (None,),
    "time_major": (False, None),
}
"""What Keras 3 refuses in a configuration, and with which values it says nothing."""


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
    return any(
        str(node.entry.get("module")).startswith(keras_modules.KERAS_2) for node in root.walk()
    )


def check_version(root: Node, metadata: Any) -> list[str]:
    """Returns what to warn of; what Keras 3 spells in another way than Keras 2 is rewritten.

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
        raise SourceError(f"saved by {writer}; Keras 3 cannot load {what} of that version", REBUILD)
    for node in root.walk():
        problem = _respell(node)
        if problem is not None:
            raise SourceError(
                f"saved by {writer}; {problem}", REBUILD, path=node.path, class_name=node.class_name
            )
    return [f"saved by {writer}: Keras 3 resets the optimizer when it loads the file"]


def check_groups(groups: Iterable[str]) -> None:
    """Refuses the weights of Keras 2 that no Keras finds by their names.

    Args:
        groups: The paths of all groups.

    Raises:
        SourceError: They were written on Windows.
    """
    if any("\\" in group for group in groups):
        raise SourceError(
            "saved by Keras 2 on Windows, which named the groups of the weights with backslashes;"
            " Keras 3 does not find them",
            f"On Windows: {REBUILD[0].lower()}{REBUILD[1:]}",
        )


def _respell(node: Node) -> str | None:
    """Rewrites what Keras 3 spells in another way, or returns what it does not know."""
    config, name = node.config, node.class_name
    if node.builtin in _GONE:
        return "Keras 3 has no such layer"
    if "hard_sigmoid" in (config.get("activation"), config.get("recurrent_activation")):
        return "`hard_sigmoid` is another function in Keras 3"
    refused = ["time_major"]
    if any(part in name for part in _UNGROUPED):
        refused.append("groups")
    if "SeparableConv" in name or "DepthwiseConv" in name:
        refused += ["kernel_regularizer", "kernel_constraint"]
        config.pop("kernel_initializer", None)  # the parts have their own
    for key in refused:
        if key in config and config.pop(key) not in _SILENT[key]:
            return f"Keras 3 knows no `{key}` of such a layer"
    if name != "InputLayer":
        config.pop("batch_input_shape", None)  # the InputLayer says it, too
    config.pop("rng_type", None)
    axis, policy = config.get("axis"), config.get("dtype")
    if name == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]
    if isinstance(policy, dict) and policy.get("class_name") == "Policy":
        config["dtype"] = next(iter(policy_names(policy)))
    return None
