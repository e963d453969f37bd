"""The model as a tree of layers.

Nodes point into the parsed JSON, so that editing a node's `entry` edits the configuration. Only
containers whose configuration holds their children are opened: a custom class stays a leaf, because
nothing says what its configuration means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from snconvert.errors import printable

PACKAGE = "snconvert>"
"""What Keras puts before the registered names of this package's classes."""

PATCHED = "snconvert>Patched"
"""The registered name of a user's layer or model that holds converted layers."""


class Slot(NamedTuple):
    """One place where a container's configuration holds children.

    Attributes:
        key: The entry of `config` that holds the child, or the list of children.
        attribute: The attribute of the live object, which names the group in the weights file.
        many: Whether it is a list.
    """

    key: str
    attribute: str
    many: bool = False


_LAYERS = (Slot("layers", "layers", many=True),)
_LAYER = (Slot("layer", "layer"),)

CONTAINERS: Mapping[str, tuple[Slot, ...]] = {
    "Sequential": _LAYERS,
    "Functional": _LAYERS,
    "Model": _LAYERS,
    "TimeDistributed": _LAYER,
    "SpectralNormalization": _LAYER,
    "Wrapper": _LAYER,
    "Bidirectional": (Slot("layer", "forward_layer"), Slot("backward_layer", "backward_layer")),
    "RNN": (Slot("cell", "cell"),),
    "StackedRNNCells": (Slot("cells", "cells", many=True),),
}
"""Keras class name -> where its configuration holds its children."""

MODELS = ("Sequential", "Functional", "Model")
"""The containers that are models by themselves, and so can stand at the root."""


@dataclass(eq=False, slots=True)
class Node:
    """One layer, model, wrapper or cell.

    Attributes:
        entry: The serialised object in the parsed JSON.
        name: Its name; `path` joins the names from the root by `/`, the root left out.
        path: See above. The root's path is empty.
        builtin: Keras' own class (`Dense`), or `None` for custom classes.
        spectral: The class of this package (`SpectralDense`), or `None`.
        parent: The container that holds it, `None` for the root.
        slot: Where in the parent it is held.
        trainable: Its own flag. Keras goes by those of the variables' owners and of the root: to
            set one sets all below it, and each can be set anew.
        first: The node that is the same live object and comes first, or `None`.
        children: What it holds, in the order of the configuration.
    """

    entry: dict[str, Any]
    name: str
    path: str
    builtin: str | None
    spectral: str | None
    parent: Node | None
    slot: Slot | None
    trainable: bool
    first: Node | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def class_name(self) -> str:
        """The bare class name, as the weights file's group names use it."""
        return str(self.entry["class_name"])

    @property
    def title(self) -> str:
        """The class name to show: with its package for custom classes."""
        registered = self.own_entry.get("registered_name")
        if self.builtin or self.spectral or not isinstance(registered, str):
            return self.class_name
        return registered

    @property
    def own_entry(self) -> dict[str, Any]:
        """The serialised object of the user's own class, where layers in it are converted, too."""
        inner = self.config.get("object")
        if self.entry.get("registered_name") == PATCHED and isinstance(inner, dict):
            return inner
        return self.entry

    @property
    def config(self) -> dict[str, Any]:
        """The layer's own configuration."""
        return self.entry["config"]  # type: ignore[no-any-return]

    @property
    def opaque(self) -> bool:
        """Whether only Python code knows what is inside."""
        return self.builtin is None and self.spectral is None

    def walk(self) -> Iterator[Node]:
        """Yields this node and everything below it, parents first, in the file's order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


def in_two_owners(path: str, other: str, more: int) -> str:
    """Returns the warning about a layer that two models or wrappers share.

    Keras makes a layer of its own in each when it loads them, and finds no weights for the second.

    Args:
        path: The layer's second place.
        other: Its first place.
        more: How many other layers it is true of.
    """
    others = f" (and {more} more like it)" if more else ""
    return (
        f"{printable(path)} is the same layer as {printable(other)}, in another model or wrapper"
        f"{others}: Keras cannot load such a model from a .keras file, converted or not."
        " Build it in code and load the file with load_weights, or give each a layer of its own."
    )
