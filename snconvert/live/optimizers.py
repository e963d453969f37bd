"""Giving an optimizer the slots of new trainable variables, with all its state kept.

Keras builds an optimizer for a list of variables once. So one is made anew for the longer list, by
Keras' own code; what the old one held is carried over variable by variable; and the old object
takes over the new one's variables, so that whoever holds it need not know.
"""

# ruff: noqa: SLF001 -- Keras has no public way to change an optimizer that is built

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from snconvert.errors import UnsupportedError

Key = tuple[int | None, str, int]

_AVERAGE = "average"


def optimizers_of(layers: Sequence[Any]) -> list[Any]:
    """Returns the optimizers that are built, of all models among some layers."""
    found = {
        id(value): value
        for layer in layers
        for value in vars(layer).values()
        if isinstance(value, keras.optimizers.Optimizer) and value.built
    }
    return list(found.values())


def add_slots(optimizer: Any, followers: Mapping[int, Sequence[Any]]) -> None:
    """Adds slots for new variables to a built optimizer.

    The slots are those of a fresh optimizer. Only moving averages start at the variable's value,
    where the first step of a fresh optimizer would have set them.

    Args:
        optimizer: The optimizer; it stays the same object.
        followers: Maps the `id` of a variable to the new ones that belong behind it.

    Raises:
        UnsupportedError: Keras cannot make the optimizer anew from its configuration.
    """
    old = list(optimizer._trainable_variables)
    new = [v for variable in old for v in (variable, *followers.get(id(variable), ()))]
    if len(new) == len(old):
        return
    _, before = _built_anew(optimizer, old)
    made, after = _built_anew(optimizer, new)
    state = optimizer.variables
    if len(before) != len(state) or len(after) != len(made.variables):
        raise _cannot(optimizer, f"it holds {len(state)} variables, not {len(before)}")
    values = dict(zip(before, state, strict=True))
    fresh = {id(v): v for followers_ in followers.values() for v in followers_}
    for key, variable in zip(after, made.variables, strict=True):
        owner, name, _ = key
        if key in values:
            variable.assign(values[key])
        elif owner in fresh and name == _AVERAGE:
            variable.assign(fresh[owner])
    for mine, other in zip(_parts(made), _parts(optimizer), strict=True):
        _carry_unlisted(other, mine)
    schedule = optimizer._learning_rate
    vars(optimizer).update(vars(made))
    if not isinstance(schedule, keras.Variable):
        vars(optimizer)["_learning_rate"] = schedule


def _carry_unlisted(old: Any, new: Any) -> None:
    """Carries over what an optimizer holds beside its list of variables, as Nadam does."""
    listed = {id(variable) for variable in new.variables}
    for name, variable in vars(new).items():
        if isinstance(variable, keras.Variable) and id(variable) not in listed:
            variable.assign(vars(old)[name])


def _built_anew(optimizer: Any, variables: list[Any]) -> tuple[Any, list[Key]]:
    """Returns an optimizer of the same configuration, and what each of its variables is for."""
    try:
        made = type(optimizer).from_config(optimizer.get_config())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise _cannot(optimizer, str(error)) from error
    purposes: dict[int, tuple[int, str]] = {}
    add = keras.optimizers.Optimizer.add_variable_from_reference

    def watched(self: Any, reference_variable: Any, name: Any = None, **options: Any) -> Any:
        variable = add(self, reference_variable, name=name, **options)
        purposes[id(variable)] = (id(reference_variable), name or "")
        return variable

    for part in _parts(made):
        object.__setattr__(part, "add_variable_from_reference", watched.__get__(part))
    made.build(variables)
    for part in _parts(made):
        vars(part).pop("add_variable_from_reference", None)
    # Names are numbered anew each time, attributes are not.
    names = {
        id(value): name
        for part in _parts(made)
        for name, value in vars(part).items()
        if isinstance(value, keras.Variable)
    }
    counts: Counter[Any] = Counter()
    keys: list[Key] = []
    for variable in made.variables:
        purpose = purposes.get(id(variable), (None, names.get(id(variable), variable.name)))
        keys.append((*purpose, counts[purpose]))
        counts[purpose] += 1
    return made, keys


def _parts(optimizer: Any) -> list[Any]:
    """Returns an optimizer and those that it wraps."""
    inner = getattr(optimizer, "inner_optimizer", None)
    mapped = getattr(optimizer, "_optimizer_map", None)
    several = [*getattr(mapped, "_optimizer_map", {}).values()] if mapped is not None else []
    default = getattr(mapped, "default_optimizer", None)
    return [optimizer, *(part for part in (inner, default, *several) if part is not None)]


def _cannot(optimizer: Any, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"mode gain adds trainable variables, and the state of the optimizer"
        f" {type(optimizer).__name__} cannot be extended: {why}",
        "Use mode hard or cap, or compile the model without an optimizer and again afterwards",
    )
