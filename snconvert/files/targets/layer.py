"""Target `layer`: a Keras layer becomes its spectral subclass of this package.

The kernel stays as it is; behind the variables that the layer had come, for `gain`, one trainable
scalar `gamma` per kernel, and then one `u` per kernel, as `snconvert.layers` creates them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from snconvert.config.safety import is_builtin_layer
from snconvert.config.tree import PACKAGE, Node
from snconvert.core.settings import FIELDS, Settings, settings_in
from snconvert.core.triplet import Triplet
from snconvert.errors import OptionError, SourceError
from snconvert.files.edits import Edits
from snconvert.files.inventory import Stored, StoredKernel
from snconvert.kinds.kernel_rule import KernelRule

if TYPE_CHECKING:
    import numpy as np

MODULE = "snconvert.layers"

_TODAY: Mapping[str, Any] = {"module": "keras.layers", "registered_name": None}


def obstacle(*_: object) -> str | None:
    """Returns `None`: every kind has its spectral class."""
    return None


def new_class(_: Node, rule: KernelRule) -> str:
    """Returns the spectral class."""
    return rule.spectral_class


def place(group: str) -> str:
    """Returns the layer's group itself."""
    return group


def wrap(node: Node, rule: KernelRule, settings: Settings, *_: object) -> None:
    """Turns the node's entry into that of the spectral class, as Keras would serialise it."""
    own = ">" in rule.spectral_class
    node.entry["module"] = _module(node, rule) if own else MODULE
    node.entry["class_name"] = rule.spectral_class.rpartition(">")[2]
    node.entry["registered_name"] = rule.spectral_class if own else PACKAGE + rule.spectral_class
    node.config.update(asdict(settings))


def _module(node: Node, rule: KernelRule) -> Any:
    """Returns where a user's own class is defined, as Keras would write it.

    Whoever adds a rule has mostly registered the class with Keras in the same process. Where not,
    the module of the plain class stands: Keras finds either by the registered name.
    """
    keras = sys.modules.get("keras")
    found = keras.saving.get_registered_object(rule.spectral_class) if keras is not None else None
    module = node.entry.get("module") if found is None else found.__module__
    return None if module == "__main__" else module


def edits(group: str, stored: Stored, triplets: Sequence[Triplet], settings: Settings) -> Edits:
    """Returns the datasets to add: each gamma, then each `u`, behind the variables of its part.

    Args:
        group: The layer's group.
        stored: What the file holds for it.
        triplets: The leading singular triplet of each of its kernels.
        settings: How it is normalised.
    """
    added: list[tuple[str, np.ndarray]] = []
    for part, count in stored.counts.items():
        own = [
            triplet
            for kernel, triplet in zip(stored.kernels, triplets, strict=True)
            if kernel.kernel.group == part
        ]
        values: list[np.ndarray] = []
        if settings.mode == "gain":
            import numpy as np  # noqa: PLC0415 - the other modes do without

            values += [np.asarray(triplet.sigma, np.float32) for triplet in own]
        values += [triplet.u for triplet in own]
        owner = f"{group}/{part}" if part else group
        added += [(f"{owner}/vars/{count + i}", value) for i, value in enumerate(values)]
    return Edits(additions=list(added))


def spelling_of(node: Node) -> dict[str, Any] | None:
    """Returns how a Keras layer is named, or `None` where it is as Keras writes it today.

    Keras 3.0.0 wrote the defining module and the class name, other programs write no registered
    name at all; to Keras all of these are one class.
    """
    own = {name: node.entry[name] for name in _TODAY if name in node.entry}
    return None if own == _TODAY else own


def unwrap(node: Node, rule: KernelRule, spelling: Mapping[str, Any] | None = None) -> None:
    """Turns the node's entry back into that of the Keras class.

    Args:
        node: The layer.
        rule: Its kind.
        spelling: What `spelling_of` said before the conversion; it is not trusted.
    """
    own = {name: spelling[name] for name in _TODAY if name in spelling} if spelling else _TODAY
    if is_builtin_layer({**own, "class_name": rule.class_name}) != rule.class_name:
        own = _TODAY
    node.entry["class_name"] = rule.class_name
    node.entry.update(own)
    if "registered_name" not in own:
        del node.entry["registered_name"]
    for name in FIELDS:
        node.config.pop(name, None)


def settings_of(node: Node) -> Settings:
    """Returns how a layer that is spectral already is normalised.

    Raises:
        SourceError: Its configuration says nothing that can be.
    """
    try:
        return settings_in(node.config)
    except OptionError as error:
        raise SourceError(
            f"its configuration is invalid: {error.what}",
            "Convert the original model again",
            path=node.path,
            class_name=node.class_name,
        ) from error


def states(
    group: str, stored: Stored, settings: Settings
) -> list[tuple[StoredKernel, str | None, str]]:
    """Returns each kernel with the datasets of its gamma, if there is one, and its `u`.

    Args:
        group: The layer's group.
        stored: What the file holds for the spectral layer.
        settings: How it is normalised.
    """
    found: list[tuple[StoredKernel, str | None, str]] = []
    for part, count in stored.counts.items():
        own = [kernel for kernel in stored.kernels if kernel.kernel.group == part]
        owner = f"{group}/{part}" if part else group
        first = count - len(own)
        for index, kernel in enumerate(own):
            gamma = f"{owner}/vars/{first - len(own) + index}" if settings.mode == "gain" else None
            found.append((kernel, gamma, f"{owner}/vars/{first + index}"))
    return found
