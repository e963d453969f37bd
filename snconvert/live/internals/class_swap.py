"""Turning a live layer into its spectral subclass, where it is, by giving it another class.

Everything that knows the layer (graphs, lists, other layers, optimizers) goes on knowing the same
object, with the same name and the same variables. What `__init__` and `build` of the spectral class
would have set is added: the options, `gamma` and `u`.
"""

# ruff: noqa: SLF001 -- what the layers of this package share with it

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import keras
import numpy as np

from snconvert.compat.backends import forget
from snconvert.compat.layers import follow_class, unlocked, untrack, variable_lists
from snconvert.core.settings import FIELDS, Settings
from snconvert.core.triplet import Triplet
from snconvert.errors import UnsupportedError
from snconvert.kinds.kernel_rule import Kernel, KernelRule, input_shape_of
from snconvert.layers.base import Spectral
from snconvert.layers.composite import Composite
from snconvert.live.internals.walk import Layer

_PLAIN = "_snconvert_plain_class"


def spectral_class(name: str) -> type:
    """Returns the spectral class of that name, ours or one that the user has registered.

    Raises:
        UnsupportedError: There is none.
    """
    registered = name if ">" in name else f"snconvert>{name}"
    registered_class = keras.saving.get_registered_object(registered)
    if not (isinstance(registered_class, type) and issubclass(registered_class, Spectral)):
        raise UnsupportedError(
            f"no spectral class is registered as {registered!r}",
            "Import the module that defines it, as a subclass of snconvert.layers.Spectral under"
            " keras.saving.register_keras_serializable",
        )
    return registered_class


def swap_class(
    layer: Layer, spectral: type, settings: Settings, triplets: Sequence[Triplet] | None = None
) -> None:
    """Turns a layer into one of class `spectral`.

    Args:
        layer: Built or not.
        spectral: A subclass of `Spectral` and of the layer's class.
        settings: How it is to be normalised.
        triplets: The leading singular triplet of each kernel. Without them, or if the layer is not
            built yet, `u` is found as in a layer that is made anew.

    Raises:
        UnsupportedError: The class does not fit.
    """
    check_fit(layer, spectral)
    object.__setattr__(layer, _PLAIN, type(layer))
    _become(layer, spectral, settings, triplets)


def _become(
    layer: Layer, spectral: type, settings: Settings, triplets: Sequence[Triplet] | None
) -> None:
    if issubclass(spectral, Composite):
        each = iter(triplets or ())
        for owner, kernels in kernels_by_owner(layer, spectral.rule):
            own = None if triplets is None else [next(each) for _ in kernels]
            _become(owner, spectral.part_class, settings, own)
    give_class(layer, spectral)
    for name in FIELDS:
        setattr(layer, name, getattr(settings, name))
    if layer.built and not issubclass(spectral, Composite):
        _add_state(layer, triplets)


def swap_back(layer: Layer) -> None:
    """Turns a spectral layer, or a part of one, into a plain one: the reverse of `swap_class`."""
    own = state_of(layer)
    attributes = [name for name, value in vars(layer).items() if any(value is v for v in own)]
    for kernel, name in product(layer._own_kernels(), ("u", "gamma")):
        forget(layer._variable(kernel), name)
    for variable in own:
        untrack(layer, variable)
    views = [f"_{kernel.name}_view" for kernel in layer.rule.kernels]
    plain = plain_class(layer)
    for name in (*attributes, *views, *FIELDS):
        layer.__dict__.pop(name, None)
        forget(layer, name)
    layer.__dict__.pop(_PLAIN, None)
    give_class(layer, plain)


def check_fit(layer: Layer, spectral: type) -> None:
    """Sees to it that a class can take the place of a layer's own.

    Raises:
        UnsupportedError: The class does not fit.
    """
    plain = type(layer)
    if not issubclass(spectral, plain):
        raise UnsupportedError(
            f"{spectral.__name__} is no subclass of {plain.__name__}, so it cannot take its place",
            f"Derive it from snconvert.layers.Spectral and {plain.__name__}",
        )


def kernels_by_owner(layer: Layer, rule: KernelRule) -> list[tuple[Layer, list[Kernel]]]:
    """Returns the kernels of a layer by the object that owns them: the layer, or parts of it.

    Args:
        layer: Built or not; parts that are not made yet are left out.
        rule: Its row.
    """
    owners: dict[str, list[Kernel]] = {}
    for kernel in rule.kernels_of(layer.get_config()):
        owners.setdefault(kernel.group, []).append(kernel)
    parts = {group: _part(layer, group) for group in owners}
    return [(parts[group], own) for group, own in owners.items() if parts[group] is not None]


def _part(layer: Layer, group: str) -> Layer | None:
    for attribute in filter(None, group.split("/")):
        layer = getattr(layer, attribute, None)
    return layer


def built_for(layer: Layer) -> Any:
    """Returns the shape that a layer was built for, by argument for several."""
    return input_shape_of(layer.get_build_config())


def is_swapped(layer: Layer) -> bool:
    """Whether the layer was turned into a spectral one in this process, not made or loaded so."""
    return _PLAIN in vars(layer)


def plain_class(layer: Layer) -> type:
    """Returns the class that a spectral layer had, or would have, without normalisation."""
    former: type | None = vars(layer).get(_PLAIN)
    return former or next(cls for cls in type(layer).__mro__ if not issubclass(cls, Spectral))


def give_class(layer: Layer, cls: type) -> None:
    """Gives a layer another class, and updates what Keras keeps of a class for each object."""
    object.__setattr__(layer, "__class__", cls)
    follow_class(layer)


@contextmanager
def without_state(layers: Sequence[Layer]) -> Iterator[None]:
    """Hides `gamma` and `u` of spectral layers and gives them their plain classes for a while.

    Args:
        layers: Spectral layers.
    """
    kept = [
        (layer, type(layer), [(own, own[:]) for own in variable_lists(layer)]) for layer in layers
    ]
    try:
        for layer, _, lists in kept:
            state = {id(variable) for variable in state_of(layer)}
            for own, variables in lists:
                own[:] = [variable for variable in variables if id(variable) not in state]
            object.__setattr__(layer, "__class__", plain_class(layer))
        yield
    finally:
        for layer, cls, lists in kept:
            object.__setattr__(layer, "__class__", cls)
            for own, variables in lists:
                own[:] = variables


def state_of(layer: Layer, parts: Sequence[str] = ("gamma", "u")) -> list[Any]:
    """Returns the variables that a built spectral layer has itself beyond its plain class's.

    Args:
        layer: The layer.
        parts: Which of them.
    """
    names = [
        layer._prefix(kernel.name) + part
        for kernel in layer.rule.kernels
        if not kernel.group
        for part in parts
    ]
    return [vars(layer)[name] for name in names if name in vars(layer)]


def set_state(layer: Layer, triplets: Sequence[Triplet]) -> None:
    """Sets every `u`, and `gamma` to sigma, as a conversion does.

    Args:
        layer: A built spectral layer.
        triplets: The leading singular triplet of each kernel.
    """
    each = iter(triplets)
    for owner, kernels in kernels_by_owner(layer, layer.rule):
        _set_own_state(owner, kernels, [next(each) for _ in kernels])


def _set_own_state(layer: Layer, kernels: Sequence[Kernel], triplets: Sequence[Triplet]) -> None:
    for kernel, triplet in zip(kernels, triplets, strict=True):
        prefix = layer._prefix(kernel.name)
        getattr(layer, f"{prefix}u").assign(triplet.u)
        if layer.mode == "gain":
            getattr(layer, f"{prefix}gamma").assign(np.asarray(triplet.sigma, np.float32))


def _add_state(layer: Layer, triplets: Sequence[Triplet] | None) -> None:
    config = layer.get_config()
    kernels = layer.rule.kernels_of(config)
    if triplets is not None:
        known = {k.name: t.u for k, t in zip(kernels, triplets, strict=True)}
        # For the time of the call, the layer need not look for what is known.
        object.__setattr__(layer, "_fresh_u", known.__getitem__)
    try:
        with unlocked(layer):
            for kernel in kernels:
                layer._add_state(kernel, config, built_for(layer))
    finally:
        layer.__dict__.pop("_fresh_u", None)
    if triplets is not None:
        _set_own_state(layer, kernels, triplets)
    for kernel in kernels:
        if layer.mode == "gain":
            gamma = getattr(layer, layer._prefix(kernel.name) + "gamma")
            gamma.trainable = layer._variable(kernel.name).trainable
