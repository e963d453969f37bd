"""How Keras writes and reads files, and the names by which files know classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras.src import api_export
from keras.src.saving import object_registration, saving_lib

from snconvert.kinds.table import SPELLINGS


def save_model(model: Any, target: Any, *, zipped: bool = True) -> None:
    """Writes a model, as `model.save` does, which takes no open file and writes no folder.

    Args:
        model: The model.
        target: An open file, or with `zipped=False` an empty folder.
        zipped: Whether all goes into one archive.
    """
    saving_lib.save_model(model, target, zipped=zipped)


class _Places(saving_lib.H5IOStore):  # type: ignore[misc] # Keras asks for its own class
    """Takes variables where a file would take their values."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, Any]] = {}

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: Any = None) -> dict[str, Any]:  # noqa: ARG002 - Keras' own
        return self.groups.setdefault(path, {})


def stored_variables(model: Any, skipped: Iterable[Any] = ()) -> dict[str, dict[str, Any]]:
    """Returns the variables of a model by the group that `save_weights` writes, in its order.

    Args:
        model: The model; its variables need no values.
        skipped: Layers that are not looked into.
    """
    places = _Places()
    visited = {id(layer) for layer in skipped}
    saving_lib._save_state(model, places, None, "", visited)
    return places.groups


def exported_name(cls: type) -> str:
    """Returns the name of one of Keras' classes that configurations of most versions use."""
    path = api_export.get_name_from_symbol(cls)
    name = cls.__name__ if path is None else str(path).rpartition(".")[2]
    return SPELLINGS.get(name, name)


def register_class(cls: type, name: str) -> None:
    """Has files name a class by a registered name.

    `keras.saving.register_keras_serializable` asks for one class a name.
    """
    object_registration.GLOBAL_CUSTOM_NAMES[cls] = name


def register_name(name: str, cls: type) -> None:
    """Has Keras find a class by a registered name, without a decorator that makes up the name."""
    object_registration.GLOBAL_CUSTOM_OBJECTS[name] = cls
