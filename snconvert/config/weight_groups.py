"""Where Keras stores each node's variables: node <-> group of `model.weights.h5`.

Keras names a group after the attribute that holds the object, and inside a list after the *class*
of the object plus a counter (`dense`, `dense_1`, ...; keras/src/saving/saving_lib.py,
`_save_container_state`). So giving some layers another class renumbers the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from snconvert.config.tree import Node

_PYTHON_NAMES = {"GroupQueryAttention": "GroupedQueryAttention"}
"""Keras class, as configurations name it -> its name in Keras' code, where that differs."""


def snake_case(class_name: str) -> str:
    """Returns the group name of a class, as `to_snake_case` of keras/src/utils/naming.py does.

    Example:
        >>> snake_case("SpectralConv2D")
        'spectral_conv2d'
    """
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def group_paths(root: Node, class_of: Callable[[Node], str] | None = None) -> dict[Node, str]:
    """Returns the group of every node; the root's is the empty string.

    Nodes of a layer that was met before (shared between models) get the group that the counter
    gives them, though Keras stores nothing there.

    Args:
        root: The model.
        class_of: The class name each node will have; by default the one it has.
    """
    class_of = class_of or (lambda node: node.class_name)
    paths = {root: ""}
    for node in root.walk():
        prefix = f"{paths[node]}/" if paths[node] else ""
        used: dict[str, int] = {}
        for child in node.children:
            slot = child.slot
            if slot is None or not slot.many:
                paths[child] = prefix + (slot.attribute if slot else "")
            else:
                name = snake_case(_PYTHON_NAMES.get(class_of(child), class_of(child)))
                count = used[name] = used.get(name, -1) + 1
                suffix = f"_{count}" if count else ""
                paths[child] = f"{prefix}{slot.attribute}/{name}{suffix}"
    return paths
