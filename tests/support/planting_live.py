"""Errors to plant in converted live models, and to take back; `planting` is about files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations
from random import Random
from typing import Any

import keras
import numpy as np
from planting_arrays import CHANGES, CHANGES_OF, Numbers, changed, is_another_u

from snconvert.layers.base import Spectral
from snconvert.layers.constraint import SpectralNorm
from snconvert.live.internals.saved_owners import original_class


class Undo:
    """Changes variables and attributes, and takes that back."""

    def __init__(self) -> None:
        self._back: list[Callable[[], Any]] = []

    def assign(self, variable: Any, value: Any) -> None:
        """Assigns an array to a variable."""
        old = np.array(keras.ops.convert_to_numpy(variable.value))
        self.later(lambda: variable.assign(old))
        variable.assign(value)

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """Sets an attribute."""
        old = getattr(owner, name)
        self.later(lambda: setattr(owner, name, old))
        setattr(owner, name, value)

    def later(self, back: Callable[[], Any]) -> None:
        """Remembers how something is taken back."""
        self._back.append(back)

    def all(self) -> None:
        """Takes all back."""
        while self._back:
            self._back.pop()()


Places = Callable[[Any], Iterable[tuple[Any, ...]]]
PLANTERS: dict[str, tuple[Places, Callable[..., Any]]] = {}
"""What an error is, the places in a model that it could be planted in, and what plants it there."""


def planter(kind: str, places: Places) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function that gets the choices, an `Undo` and a place; it may return `False`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        PLANTERS[kind] = places, function
        return function

    return register


@contextlib.contextmanager
def planted(kind: str, model: Any, seed: int = 0) -> Iterator[str | None]:
    """Plants an error of one kind, and takes it back at the end.

    Yields:
        Where it is, or `None` where there is no place for it.
    """
    rng, undo = Random(f"{kind} {seed}"), Undo()
    places, plant = PLANTERS[kind]
    every = list(places(model))
    rng.shuffle(every)
    try:
        where = next((p for p in every if plant(rng, undo, *p) is not False), None)
        yield where and str(getattr(where[0], "path", where[0]))
    finally:
        undo.all()


def _set(rng: Random, undo: Undo, owner: Any, name: str, values: tuple[Any, ...]) -> bool:
    """Sets an attribute to one of some values, another one than it is."""
    others = [value for value in values if value != getattr(owner, name)]
    if others:
        undo.attribute(owner, name, rng.choice(others))
    return bool(others)


def layers(model: Any) -> list[Any]:
    """Returns the layers below a model that hold no others."""
    below = model._flatten_layers(include_self=False)
    return [x for x in below if not x._layers and not isinstance(x, keras.layers.InputLayer)]


# -- Variables ------------------------------------------------------------------------------------


def _variables(model: Any, *, role: str) -> Iterator[tuple[Any, str]]:
    """Yields the variables of a role, as `CHANGES_OF` names it."""
    for variable in model.weights:
        size, name = len(variable.shape), variable.name
        if name in {"u", "vector_u"} or name.endswith("_u"):
            its = "u"
        else:
            its = ("gamma", "vector")[size] if size < 2 else "kernel"
        if its == role and "seed" not in name:
            yield variable, role
    for variable in getattr(getattr(model, "optimizer", None), "variables", ()):
        scalar = "count" if "int" in variable.dtype else "scalar"
        if role == ("slot" if variable.shape else f"{scalar} of the optimizer"):
            yield variable, role


def _change(rng: Random, undo: Undo, variable: Any, role: str, *, kind: str) -> bool:
    new = changed(keras.ops.convert_to_numpy(variable.value), role, kind, rng)
    if new is not None:
        undo.assign(variable, new)
    return new is not None


def _pairs(model: Any, *, role: str) -> Iterator[tuple[Any, Any, str]]:
    for (one, _), (two, _) in combinations(_variables(model, role=role), 2):
        if (one.shape, one.dtype) == (two.shape, two.dtype):
            yield one, two, role


def _swap(_: Random, undo: Undo, one: Any, two: Any, role: str) -> bool:
    a, b = (Numbers(keras.ops.convert_to_numpy(variable.value)) for variable in (one, two))
    if np.array_equal(a.bits, b.bits) or (role == "u" and not is_another_u(a.values, b.values)):
        return False
    undo.assign(one, b.array)
    undo.assign(two, a.array)
    return True


for _role, _kinds in CHANGES_OF.items():
    if "multiplied" not in _role:
        _places = partial(_variables, role=_role)
        for _kind in [kind for kind in CHANGES if kind in _kinds]:
            planter(f"{_role}: {_kind}", _places)(partial(_change, kind=_kind))
        if "optimizer" not in _role:
            planter(f"{_role}: two swapped", partial(_pairs, role=_role))(_swap)

TRAINED: dict[str, tuple[Any, ...]] = {
    "trainable": (False,),
    "regularizer": (keras.regularizers.L2(0.125),),
    "constraint": (keras.constraints.MaxNorm(0.125),),
}


def _trained(model: Any, *, name: str) -> Iterator[tuple[Any, str, tuple[Any, ...]]]:
    yield from ((variable, name, TRAINED[name]) for variable in model.trainable_variables)


for _name in TRAINED:
    planter(f"variable: its {_name}", partial(_trained, name=_name))(_set)


# -- Layers ---------------------------------------------------------------------------------------

ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    "name": ("another_name",),
    "trainable": (False, True),
    "activation": (keras.activations.tanh, keras.activations.relu),
    "recurrent_activation": (keras.activations.tanh, keras.activations.relu),
    "use_bias": (False, True),
    "units": (77,),
    "filters": (77,),
    "kernel_size": ((5, 5),),
    "strides": ((3, 3),),
    "padding": ("same", "valid"),
    "dilation_rate": ((3, 3),),
    "groups": (1, 2),
    "rate": (0.75,),
    "epsilon": (0.5,),
    "momentum": (0.5,),
    "axis": (1,),
    "equation": ("ab,bc->ac",),
    "kernel_initializer": (keras.initializers.Constant(0.25),),
    "kernel_regularizer": (keras.regularizers.L2(0.125),),
    "bias_regularizer": (keras.regularizers.L2(0.125),),
    "activity_regularizer": (keras.regularizers.L2(0.125),),
    "bias_constraint": (keras.constraints.MaxNorm(0.125),),
    "kernel_constraint": (keras.constraints.MaxNorm(0.125),),
    "dtype_policy": (keras.DTypePolicy("mixed_bfloat16"), keras.DTypePolicy("float32")),
    "return_sequences": (True, False),
    "go_backwards": (True, False),
    "stateful": (True, False),
    "reset_after": (True, False),
    "dropout": (0.25,),
    "seed": (12345,),
}
"""Attributes of layers, and what they may wrongly be instead."""


IN_MEMORY = {"trainable", "activation", "recurrent_activation", "rate", "epsilon"}
"""Attributes that a built layer goes by, also one that no configuration describes."""


def _attribute(model: Any, *, name: str) -> Iterator[tuple[Any, str, tuple[Any, ...]]]:
    wrappers = [x for x in model._flatten_layers() if isinstance(x, keras.layers.Wrapper)]
    inside = {id(wrapper.layer) for wrapper in wrappers}
    below = model._flatten_layers(include_self=True)
    described = all(
        original_class(x).__module__.startswith(("keras.", "snconvert.")) for x in below
    )
    if not described and name not in IN_MEMORY:
        return
    for layer in layers(model):
        # What is called like its wrapper may have any name.
        if (name, id(layer) in inside) != ("name", True):
            config = layer.get_config()
            if name == "trainable" and not (described or layer.weights):
                continue  # it does nothing
            if (name in config or name == "dtype_policy") and hasattr(layer, name):
                yield layer, name, ATTRIBUTES[name]


for _name in ATTRIBUTES:
    planter(f"layer: its {_name}", partial(_attribute, name=_name))(_set)


def _sequentials(model: Any) -> Iterator[tuple[Any]]:
    for layer in model._flatten_layers(include_self=True):
        if isinstance(layer, keras.Sequential) and len(layer.layers) > 1:
            yield (layer,)


@planter("layer: one more", _sequentials)
def _(_: Random, undo: Undo, model: Any) -> None:
    model.add(keras.layers.Dropout(0.5, name="one_more"))
    undo.later(model.pop)


@planter("layer: one less", _sequentials)
def _(_: Random, undo: Undo, model: Any) -> None:
    last = model.layers[-1]
    undo.later(lambda: model.add(last))
    model.pop()


# -- Layers that are normalised -------------------------------------------------------------------

INVALID: dict[str, tuple[Any, ...]] = {
    "mode": ("soft", None),
    "bound": (-1.0, 0.0),
    "power_iterations": (0, 1.5),
    "norm": ("frobenius", None),
}


def _spectral(model: Any, *, name: str) -> Iterator[tuple[Any, str, tuple[Any, ...]]]:
    for layer in model._flatten_layers():
        if isinstance(layer, Spectral):
            yield layer, name, INVALID[name]


for _name in INVALID:
    planter(f"spectral layer: invalid {_name}", partial(_spectral, name=_name))(_set)


@planter("spectral layer: a mode that it has no state for", partial(_spectral, name="mode"))
def _(rng: Random, undo: Undo, layer: Any, name: str, _: Any) -> bool:
    return layer.mode != "gain" and _set(rng, undo, layer, name, ("gain",))


def _wrappers(model: Any) -> Iterator[tuple[Any, str, tuple[Any, ...]]]:
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.SpectralNormalization):
            yield layer, "power_iterations", (0,)


planter("wrapper: its power_iterations", _wrappers)(_set)


def _constraints(model: Any) -> Iterator[tuple[Any, str, Any]]:
    """Yields layers, attributes and our constraints that they hold."""
    for layer in model._flatten_layers():
        for name, value in sorted(vars(layer).items()):
            if isinstance(value, SpectralNorm):
                yield layer, name, value


@planter("constraint: its factor", _constraints)
def _(_: Random, undo: Undo, __: Any, ___: str, constraint: Any) -> None:
    undo.attribute(constraint, "factor", constraint.factor * 1.01)


@planter("constraint: no factor", _constraints)
def _(_: Random, undo: Undo, __: Any, ___: str, constraint: Any) -> None:
    undo.attribute(constraint, "factor", None)


@planter("constraint: its u", _constraints)
def _(_: Random, undo: Undo, __: Any, ___: str, constraint: Any) -> bool:
    u = np.asarray(constraint.u)
    turned = is_another_u(u, np.roll(u, 1))
    if turned:
        undo.attribute(constraint, "_known", [])
        undo.attribute(constraint, "_saved", np.roll(u, 1))
    return turned


@planter("constraint: of the kernel, but not said of the layer", _constraints)
def _(_: Random, undo: Undo, layer: Any, name: str, __: Any) -> None:
    undo.attribute(layer, name, None)


def _constrained(model: Any) -> Iterator[tuple[Any]]:
    held = {id(constraint) for _, __, constraint in _constraints(model)}
    yield from ((v,) for v in model.weights if id(getattr(v, "constraint", None)) in held)


@planter("constraint: said of the layer, but not of its kernel", _constrained)
def _(_: Random, undo: Undo, variable: Any) -> None:
    undo.attribute(variable, "constraint", None)


# -- Training -------------------------------------------------------------------------------------

OPTIMIZED: dict[str, tuple[Any, ...]] = {
    "weight_decay": (0.3,),
    "clipnorm": (0.25,),
    "global_clipnorm": (0.25,),
    "clipvalue": (0.25,),
    "ema_momentum": (0.25,),
    "ema_overwrite_frequency": (77,),
    "gradient_accumulation_steps": (7,),
    "beta_1": (0.25,),
    "beta_2": (0.25,),
    "epsilon": (0.25,),
    "momentum": (0.25,),
    "nesterov": (True, False),
    "rho": (0.25,),
    "centered": (True, False),
}


def _optimizer(model: Any, *, name: str) -> Iterator[tuple[Any, str, tuple[Any, ...]]]:
    optimizer = getattr(model, "optimizer", None)  # what is not compiled may have none
    if optimizer is not None and name in optimizer.get_config() and hasattr(optimizer, name):
        yield optimizer, name, OPTIMIZED[name]


for _name in OPTIMIZED:
    planter(f"optimizer: its {_name}", partial(_optimizer, name=_name))(_set)

COMPILED: dict[str, Any] = {
    "loss": "mae",
    "metrics": ["mape"],
    "loss_weights": 0.5,
    "steps_per_execution": 7,
    "run_eagerly": True,
}


def _compiled(model: Any, *, name: str) -> Iterator[tuple[Any, str]]:
    if model.compiled and model.get_compile_config().get(name) != COMPILED[name]:
        yield model, name


def _compile(_: Random, undo: Undo, model: Any, name: str) -> None:
    old = {**model.get_compile_config(), "optimizer": model.optimizer}
    eager, jit = model.run_eagerly, model.jit_compile  # these may have been set since

    def back() -> None:
        model.compile(**old)
        model.run_eagerly, model.jit_compile = eager, jit

    undo.later(back)
    model.compile(**{**old, name: COMPILED[name]})


for _name in COMPILED:
    planter(f"compiled: its {_name}", partial(_compiled, name=_name))(_compile)
