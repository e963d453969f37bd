"""Reading the tree of layers out of the parsed `config.json`, and refusing what is no tree."""

from __future__ import annotations

from collections import Counter
from typing import Any

from snconvert.config import keras_modules
from snconvert.config.references import is_legacy
from snconvert.config.safety import is_builtin_layer
from snconvert.config.tree import CONTAINERS, MODELS, PACKAGE, Node, Slot
from snconvert.config.weight_groups import snake_case
from snconvert.errors import SourceError, located, printable

_REPAIR = "Repair config.json, or save the model again with Keras"


def parse(config: Any) -> Node:
    """Returns the root of the tree of a parsed `config.json`.

    Raises:
        SourceError: It is no model's configuration, or two layers of one model share a name.
    """
    if not isinstance(config, dict):
        raise SourceError(
            f"config.json holds a {type(config).__name__}, but a model's configuration is an"
            " object",
            _REPAIR,
        )
    root = _node(config, None, None)
    shared = _Shared()
    unnamed: Counter[str] = Counter()
    pending = [root]
    while pending:
        node = pending.pop()
        if node.parent is not None and not node.name:
            _give_name(node, node.parent, unnamed)
        node.first = node.first or shared.first(node)
        for slot in CONTAINERS.get(node.builtin or "", ()):
            with located(path=node.path or None, class_name=node.class_name):
                node.children += [
                    _node(entry, node, slot)
                    for entry in _entries(node, slot)
                    if not _is_operation(entry) and not _is_silent_input(entry, node)
                ]
        if node.first is not None and len(node.children) == len(node.first.children):
            for child, same in zip(node.children, node.first.children, strict=True):
                child.first = same.first or same
        _check_names(node)
        pending.extend(reversed(node.children))
    return root


class _Shared:
    """Finds the entries that are one live object.

    Keras writes a `shared_object_id` when it meets an object for the second time, and tries to
    write it into the first entry too, which fails for layers below another layer (their entries
    were copied meanwhile). Such a first entry is found by its name, class and configuration. When
    Keras meets an id again it takes the object that it has, whatever else the entry says.
    """

    def __init__(self) -> None:
        self._by_id: dict[int, Node] = {}
        self._by_name: dict[tuple[str, str], list[Node]] = {}

    def first(self, node: Node) -> Node | None:
        """Returns the earlier node that is the same object as `node`, or `None`.

        Raises:
            SourceError: The earlier node of that id is another layer.
        """
        alike = self._by_name.setdefault((_name(node.entry), node.class_name), [])
        identity = node.entry.get("shared_object_id")
        first = None
        if type(identity) is int:
            first = self._by_id.get(identity)
            if first is not None and not _is_same(first, node):
                raise SourceError(
                    f"it has the shared_object_id of {printable(first.path or 'the model')}"
                    f" ({printable(first.class_name)}), which is another layer; Keras would take"
                    " that one for both",
                    "Take the id out of config.json, or save the model again with Keras",
                    path=node.path,
                    class_name=node.class_name,
                )
            if first is None:
                first = next((it for it in alike if _is_same(it, node)), None)
            self._by_id.setdefault(identity, first or node)
        if first is None:
            alike.append(node)
        return first


def _is_same(one: Node, two: Node) -> bool:
    """Whether two entries have one class and configuration, whatever the ids in them."""
    if one.title != two.title:
        return False
    pairs: list[tuple[Any, Any]] = [(one.config, two.config)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            keys = (a.keys() | b.keys()) - {"shared_object_id"}
            if not keys <= a.keys() & b.keys():
                return False
            pairs += [(a[key], b[key]) for key in keys]
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pairs += zip(a, b, strict=True)
        elif a is not b and a != b:  # NaN is itself
            return False
    return True


def _entries(node: Node, slot: Slot) -> list[Any]:
    value = node.config.get(slot.key)
    if slot.many:
        if not isinstance(value, list):
            raise SourceError(f"its configuration has no list `{slot.key}`", _REPAIR)
        return value
    # Bidirectional of old files may leave its backward layer out.
    return [] if value is None else [value]


def _is_operation(entry: Any) -> bool:
    """Operations in the graph (`x * 2`) stand among the layers, but store nothing."""
    module = entry.get("module") if isinstance(entry, dict) else None
    return isinstance(module, str) and module.startswith(keras_modules.OPERATIONS)


def _is_silent_input(entry: Any, parent: Node) -> bool:
    """`Sequential.layers` leaves its InputLayer out, and so does its weights file."""
    return (
        parent.builtin == "Sequential"
        and isinstance(entry, dict)
        and entry.get("class_name") == "InputLayer"
        and is_builtin_layer(entry) is not None
    )


def _node(entry: Any, parent: Node | None, slot: Slot | None) -> Node:
    if not isinstance(entry, dict):
        raise SourceError(f"a layer is a {type(entry).__name__}, not an object", _REPAIR)
    class_name, config = entry.get("class_name"), entry.get("config")
    if not isinstance(class_name, str) or not class_name:
        raise SourceError("a layer or model has no `class_name`", _REPAIR)
    if not isinstance(config, dict):
        raise SourceError(f"{class_name} has no `config`", _REPAIR)
    if parent is not None and config.get("name", entry.get("name")) is not None:
        _check_name(config.get("name", entry.get("name")), class_name)
    name = _name(entry)
    registered = entry.get("registered_name")
    ours = isinstance(registered, str) and registered == PACKAGE + class_name
    return Node(
        entry=entry,
        name=name,
        path="" if parent is None else _below(parent, name),
        builtin=None if ours else is_builtin_layer(entry),
        spectral=class_name if ours else None,
        parent=parent,
        slot=slot,
        trainable=config.get("trainable", True) is not False,
    )


def _name(entry: Any) -> str:
    """Returns the name that is written in an entry; empty where there is none."""
    name = entry["config"].get("name", entry.get("name"))
    return "" if name is None else str(name)


def _below(parent: Node, name: str) -> str:
    return f"{parent.path}/{name}" if parent.path else name


def _give_name(node: Node, parent: Node, unnamed: Counter[str]) -> None:
    """Names a layer as Keras does that loads it, after its class and with a number.

    Custom layers have no name in a file where their `get_config` returns none.
    """
    taken = {child.name for child in parent.children}
    stem = snake_case(node.class_name)
    while not node.name or node.name in taken:
        number = unnamed[stem]
        unnamed[stem] += 1
        node.name = f"{stem}_{number}" if number else stem
    node.path = _below(parent, node.name)


def _check_name(name: Any, class_name: str) -> None:
    if not isinstance(name, str) or not name or "/" in name or "\\" in name or name in {".", ".."}:
        raise SourceError(
            f"the name of a {class_name} is {name!r}, but a layer's name is text without slashes",
            "Rename the layer and save the model again",
        )


def _check_names(node: Node) -> None:
    """Layers of one model are found by name, so a name may stand there only once."""
    if node.builtin not in MODELS:
        return
    names: set[str] = set()
    for child in node.children:
        if child.name and child.name in names:
            raise SourceError(
                f"the name {child.name!r} is used twice in one model; names must be unique",
                "Rename one of the duplicate layers and save the model again",
                path=child.path,
                class_name=child.class_name,
            )
        names.add(child.name)


def model_root(root: Node) -> Node:
    """Returns `root` if its configuration holds its layers.

    Raises:
        SourceError: It is a subclassed model, or a single layer.
    """
    if root.builtin in MODELS:
        return root
    if is_legacy(root.entry):
        raise SourceError(
            f"config.json names no module for its {root.title}, so that Keras does not load it",
            _REPAIR,
        )
    if root.opaque:
        module = root.own_entry.get("module")
        if not isinstance(module, str) or module == "__main__":
            module = "and the module that registers the class"
        elif module.startswith("keras_hub."):
            module = "keras_hub"
        raise SourceError(
            f"{printable(root.title)} is a subclassed model: which layers it has, only its own"
            " Python code tells, not config.json",
            f"Open it through Keras with --import {printable(module)}, or convert the live model"
            " with snconvert.apply",
        )
    raise SourceError(
        f"config.json describes a {root.title}, not a model",
        "Give the file of a whole model, as `model.save` writes it",
    )
