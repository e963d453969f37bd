"""Looks through a whole configuration for what must not, or need not be trusted.

Two outcomes: a reference that no model needs is an error, wherever it stands; a layer that runs
code of its own (Lambda and the like) is a finding, since the file carrier never runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from snconvert.config.references import is_builtin_layer, is_legacy, problem
from snconvert.errors import UnsafeError, printable

__all__ = ["Finding", "is_builtin_layer", "layer_name", "vet", "warnings_of"]

_FIX = "Do not open this file with Keras either, unless you know and trust who made it"

_CODE_LAYERS: Mapping[str, str] = {
    "Lambda": "this lambda layer calls Python code that is not part of Keras",
    "TFSMLayer": "this layer runs a TensorFlow SavedModel from outside the file",
    "TorchModuleWrapper": "this layer holds a pickled PyTorch module",
    "JaxLayer": "this layer calls JAX code that is not part of Keras",
    "FlaxLayer": "this layer calls JAX code that is not part of Keras",
}
"""Keras' layers that run other code, which only the file's owner can judge."""


class Finding(NamedTuple):
    """A layer that needs trust when the file is loaded, and that is carried over untouched.

    Attributes:
        path: The layer's path, or `None` for the model itself.
        class_name: The layer's class name.
        what: What it is, without a full stop.
    """

    path: str | None
    class_name: str
    what: str

    def __str__(self) -> str:
        where = f"{printable(self.path)} ({printable(self.class_name)})" if self.path else "model"
        return (
            f"{where}: {self.what}; it was not run; a conversion carries it over untouched, and"
            " Keras loads the file with safe_mode=False only"
        )


def warnings_of(findings: Iterable[Finding]) -> list[str]:
    """Returns a sentence for each kind of finding: the first layer by name, and how many more."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.class_name, finding.what), []).append(finding)
    return [
        f"{first} ({len(rest)} more of the kind)" if rest else str(first)
        for first, *rest in kinds.values()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """The nearest layer around a value; the root has no `outer`, and paths leave it out."""

    outer: _Layer | None
    name: str
    class_name: str

    @property
    def path(self) -> str | None:
        names, layer = [], self
        while layer.outer is not None:
            names.append(layer.name)
            layer = layer.outer
        return "/".join(reversed(names)) or None


_Trail = tuple[Any, object] | None
"""The keys from the nearest layer to a value, innermost first: `(rest, key)`."""


def vet(config: Any) -> list[Finding]:
    """Checks every reference in a parsed `config.json`, wherever it stands.

    Args:
        config: The parsed JSON. It is not changed, and may be of any depth.

    Returns:
        One finding for each layer that runs code of its own, in the file's order.

    Raises:
        UnsafeError: The file names something that no model needs, gives a Keras class a foreign
            `registered_name`, or has a path or URL as a vocabulary.

    Example:
        >>> loss = {"module": "os", "class_name": "function", "config": "system"}
        >>> try:
        ...     vet({"class_name": "Sequential", "compile_config": {"loss": loss}})
        ... except UnsafeError as error:
        ...     print(error.what.split(",")[0])
        `compile_config.loss` refers to `os.system`
    """
    findings: dict[_Layer, Finding] = {}
    root = config.get("class_name") if isinstance(config, dict) else None
    layer = _Layer(None, "", root if isinstance(root, str) else "model")
    stack: list[tuple[Any, _Layer, _Trail]] = []
    if isinstance(config, (dict, list)):
        stack.append((config, layer, None))
    while stack:
        value, layer, trail = stack.pop()
        items: Iterable[tuple[object, Any]]
        if isinstance(value, dict):
            items = value.items()
            if isinstance(value.get("class_name"), str):
                if value is not config and (name := layer_name(value)) is not None:
                    layer, trail = _Layer(layer, name, value["class_name"]), None
                _check(value, layer, trail, findings)
        else:
            items = enumerate(value)
        inner = [
            (child, layer, (trail, key)) for key, child in items if isinstance(child, (dict, list))
        ]
        stack.extend(reversed(inner))
    return list(findings.values())


def _check(
    entry: dict[str, Any], layer: _Layer, trail: _Trail, findings: dict[_Layer, Finding]
) -> None:
    if wrong := problem(entry):
        place = _place(trail)
        subject = f"`{place}`" if place else "the layer" if layer.outer else "the model"
        class_name = printable(layer.class_name)
        raise UnsafeError(f"{subject} {wrong}", _FIX, path=layer.path, class_name=class_name)
    what = None
    if entry["class_name"] == "__lambda__":
        what = f"its `{_place(trail)}` is a lambda, stored as Python bytecode"
    elif is_legacy(entry) or is_builtin_layer(entry):
        what = _CODE_LAYERS.get(entry["class_name"])
    if what:
        findings.setdefault(layer, Finding(layer.path, layer.class_name, what))


def layer_name(entry: dict[str, Any]) -> str | None:
    """Returns the name of a layer or model, or `None` for another object.

    Optimizers, metrics and dtype policies have names, too.
    """
    config = entry.get("config")
    if not isinstance(config, dict) or not {"trainable", "layers", "batch_shape"} & config.keys():
        return None
    name = config.get("name", entry.get("name"))
    return name if isinstance(name, str) else None


def _place(trail: _Trail) -> str:
    """Writes `compile_config.loss` or `layers[1]`; `config` itself goes without saying."""
    text = ""
    while trail is not None:
        trail, key = trail
        if isinstance(key, int):
            text = f"[{key}]{text}"
        elif key != "config":
            text = f".{key}{text}"
    return printable(text.removeprefix("."))
