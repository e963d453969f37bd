"""Saving converted layers inside objects whose configuration does not hold their layers.

A custom layer, a subclassed model or a `MultiHeadAttention` makes its layers in its own code, so a
saved configuration brings back plain ones. Such an owner of converted layers gets a subclass of its
class, with the same name and registered as `snconvert>Patched`. Its configuration is

    {"name": ..., "trainable": ...,
     "object": the owner, serialised as if nothing in it had been converted,
     "layers": [{"route": [...], "class": "snconvert>SpectralDense", "config": {...}}, ...]}

and loading makes the owner by its own code, then turns the layers at the ends of the routes into
spectral ones: at once, or as soon as `build` has made them, always before the weights are loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import keras

from snconvert.compat.layers import call_after_build
from snconvert.compat.saving import register_class, register_name
from snconvert.config.tree import CONTAINERS, PATCHED
from snconvert.core.settings import FIELDS, Settings
from snconvert.errors import SourceError
from snconvert.live.internals.class_swap import (
    give_class,
    is_swapped,
    plain_class,
    spectral_class,
    swap_class,
)
from snconvert.live.internals.walk import Layer, Route, descendants, follow

_PENDING = "_snconvert_pending"

Entry = dict[str, Any]


class Patched(keras.layers.Layer):  # type: ignore[misc] # keras has no types
    """The base of the classes of patched owners; listed before the user's own class."""

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that the module describes."""
        entries = [
            {
                "route": list(route),
                "class": keras.saving.get_registered_name(type(layer)),
                "config": {name: getattr(layer, name) for name in FIELDS},
            }
            for route, layer in descendants(self)
            if is_swapped(layer)
        ]
        entries += [_entry(route, *rest) for route, *rest in vars(self).get(_PENDING, ())]
        with as_before(self):
            plain = {**_identity(type(self)), "config": self.get_config()}
        head = {"name": self.name, "trainable": self.trainable}
        return {**head, "object": plain, "layers": entries}

    @classmethod
    def from_config(cls, config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Returns the user's object with its layers converted."""
        if not {"object", "layers"} <= config.keys():
            # The user's own code, with a configuration of the user's own class.
            return _plain(cls).from_config(config, *args, **kwargs)
        plain = _overridden(config)
        if cls is Patched:
            owner = keras.saving.deserialize_keras_object(plain)
        else:
            owner = _plain(cls).from_config(plain["config"], *args, **kwargs)
        _wait(owner, [_parse(entry) for entry in config["layers"]])
        _settle(owner)
        mark_owners(owner)
        return owner

    def load_own_variables(self, store: Any) -> None:
        """Converts the layers that still wait, and loads the weights.

        Raises:
            SourceError: The owner's code creates no layer where a converted one was saved.
        """
        _settle(self)
        pending = vars(self).get(_PENDING, ())
        if pending:
            raise SourceError(
                f"{type(self).__name__} makes no layer at"
                f" {'/'.join(map(str, pending[0][0]))!r}, which was converted when it was saved",
                "Load it with the code that it was saved with",
            )
        super().load_own_variables(store)


register_name(PATCHED, Patched)


def mark_owners(root: Layer) -> None:
    """Gives owners of converted layers, `root` included, patched classes where they need them."""
    layers = {(): root, **dict(descendants(root))}
    owners = {id(layer): layer for layer in layers.values() if _owns_converted(layer)}
    for owner in owners.values():
        _mark(owner)


def unmark_owners(root: Layer) -> None:
    """Gives owners that hold no converted layer any more, `root` included, their own class."""
    for layer in (root, *(layer for _, layer in descendants(root))):
        if isinstance(layer, Patched) and not _owns_converted(layer):
            layer.__dict__.pop(_PENDING, None)
            give_class(layer, original_class(layer))


def original_class(layer: Layer) -> type:
    """Returns the class of a layer before it was converted or patched."""
    cls = type(layer)
    return _plain(cls) if issubclass(cls, Patched) else cls


def holds_its_layers(layer: Layer) -> bool:
    """Whether the configuration of a layer of Keras' own holds the layers inside."""
    cls = original_class(layer)
    return cls.__name__ in CONTAINERS and cls.__module__.partition(".")[0] == "keras"


def _owns_converted(layer: Layer) -> bool:
    if holds_its_layers(layer) or is_swapped(layer):
        return False
    return any(is_swapped(child) for _, child in descendants(layer))


def _mark(owner: Layer) -> None:
    if not isinstance(owner, Patched):
        cls: Any = type(owner)
        give_class(owner, _patched_class(cls))


@functools.cache
def _patched_class(cls: Any) -> type:
    patched: type = type(cls)(cls.__name__, (Patched, cls), {"__module__": "snconvert.live"})
    patched.__doc__, patched.__qualname__ = cls.__doc__, cls.__qualname__
    register_class(patched, PATCHED)
    return patched


def _overridden(config: Entry) -> Entry:
    """Returns the owner's entry, with what `from_preset` of keras-hub has set beside it."""
    plain: Entry = config["object"]
    given = {key: config[key] for key in config.keys() - {"name", "trainable", "object", "layers"}}
    if not given:
        return plain
    own = {**plain["config"], **given}
    if isinstance(given.get("backbone"), dict) and isinstance(plain["config"]["backbone"], dict):
        inner = plain["config"]["backbone"]
        own["backbone"] = {**inner, "config": {**inner["config"], **given["backbone"]["config"]}}
    return {**plain, "config": own}


def _plain(cls: type) -> Any:
    """Returns the user's class from which a patched class is derived."""
    return next(base for base in cls.__mro__ if not issubclass(base, Patched))


@contextmanager
def as_before(owner: Layer) -> Iterator[None]:
    """Gives an owner and all layers inside the classes that they had before the conversion."""
    layers = [owner, *(layer for _, layer in descendants(owner))]
    kept = [(x, type(x)) for x in layers if isinstance(x, Patched) or is_swapped(x)]
    try:
        for layer, cls in kept:
            plain = _plain(cls) if issubclass(cls, Patched) else plain_class(layer)
            object.__setattr__(layer, "__class__", plain)
        yield
    finally:
        for layer, cls in kept:
            object.__setattr__(layer, "__class__", cls)


def _identity(cls: type) -> dict[str, Any]:
    """Returns how Keras names a class in a configuration."""
    if getattr(keras.layers, cls.__name__, None) is cls:
        return {"module": "keras.layers", "class_name": cls.__name__, "registered_name": None}
    return {
        "module": cls.__module__ if cls.__module__ != "__main__" else None,
        "class_name": cls.__name__,
        "registered_name": keras.saving.get_registered_name(cls),
    }


def _entry(route: Route, name: str, settings: Settings) -> Entry:
    return {"route": list(route), "class": name, "config": asdict(settings)}


def _parse(entry: Entry) -> tuple[Route, str, Settings]:
    return tuple(entry["route"]), entry["class"], Settings(**entry["config"])


def _wait(owner: Layer, pending: list[tuple[Route, str, Settings]]) -> None:
    """Leaves it to an owner to convert layers as soon as they are there."""
    _mark(owner)
    # Around Keras' tracking, which would wrap the list.
    object.__setattr__(owner, _PENDING, [*vars(owner).get(_PENDING, ()), *pending])


def _settle(owner: Layer) -> None:
    """Converts the layers that are there by now; the others wait for the last owner on the way."""
    pending = vars(owner).get(_PENDING, [])
    object.__setattr__(owner, _PENDING, [])
    for route, name, settings in pending:
        layer, rest = follow(owner, route)
        if rest:
            _wait(layer, [(rest, name, settings)])
        elif name != keras.saving.get_registered_name(type(layer)):
            swap_class(layer, spectral_class(name), settings)


call_after_build(Patched, _settle)
