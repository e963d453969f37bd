"""Giving an optimizer the slots of new trainable variables, with all its state kept.

Keras builds an optimizer for a list of variables once. So a twin of it, set back to what it was
before that, is built for the longer list by the optimizer's own code; what the old one held is
carried over variable by variable; and the old object takes over what the twin has made, so that
whoever holds it need not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras

from snconvert.compat.optimizer_choices import kernel_of
from snconvert.compat.optimizers import (
    is_multi,
    key_of,
    part_for,
    part_numbers,
    parts_of,
    set_trained,
    trained_by,
    untracked,
    variables_of,
)
from snconvert.errors import UnsupportedError
from snconvert.live.internals.optimizer_twins import (
    built_afresh,
    built_twin,
    kept_variables,
    purposes_of,
)

_AVERAGE = "average"


def optimizers_of(layers: Sequence[Any]) -> list[Any]:
    """Returns the optimizers that are built, of all models among some layers."""
    return [optimizer for optimizer in _optimizers(layers) if optimizer.built]


def averages(layers: Sequence[Any]) -> bool:
    """Whether an optimizer of some layers keeps moving averages of the weights (`use_ema`)."""
    return any(part.use_ema for optimizer in _optimizers(layers) for part in _parts(optimizer))


def _optimizers(layers: Sequence[Any]) -> list[Any]:
    optimizers = {
        id(value): value
        for layer in layers
        for value in vars(layer).values()
        if isinstance(value, keras.optimizers.Optimizer)
    }
    return list(optimizers.values())


def _parts(optimizer: Any) -> Iterator[Any]:
    """Yields an optimizer and the optimizers inside it."""
    yield optimizer
    if is_multi(optimizer):
        yield from parts_of(optimizer)
    elif isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        yield from _parts(optimizer.inner_optimizer)


def check_slots(optimizer: Any) -> None:
    """Sees to it that `add_slots` can add to a built optimizer.

    Raises:
        UnsupportedError: The optimizer does not build the same slots once more.
    """
    if is_multi(optimizer):
        for part in parts_of(optimizer):
            if part.built:
                check_slots(part)
    elif isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        _as_built(optimizer.inner_optimizer)
    else:
        purposes_of(optimizer)


def add_slots(optimizer: Any, additions: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> None:
    """Adds slots for new variables to a built optimizer.

    The slots are those of a fresh optimizer. Only moving averages start at the variable's value,
    where the first step of a fresh optimizer would have set them.

    Args:
        optimizer: The optimizer; it stays the same object.
        additions: For each converted layer the variables it had, and the new ones; they belong
            behind the last of the former that the optimizer knows.

    Raises:
        UnsupportedError: As `check_slots` does.
    """
    old = trained_by(optimizer)
    places = {id(variable): place for place, variable in enumerate(old)}
    behind: dict[int, list[Any]] = {}
    for had, added in additions:
        known = [places[id(variable)] for variable in had if id(variable) in places]
        if known and added:
            behind.setdefault(max(known), []).extend(added)
    if behind:
        _extend(optimizer, [v for i, mine in enumerate(old) for v in (mine, *behind.get(i, ()))])


def remove_slots(optimizers: Sequence[Any], gone: set[int]) -> None:
    """Takes the slots of variables from built optimizers, from all or none; other slots stay.

    Args:
        optimizers: The optimizers; they stay the same objects.
        gone: The `id` of each variable.

    Raises:
        UnsupportedError: As `check_slots` does, of an optimizer that knows one of the variables.
    """
    known = [o for o in optimizers if any(id(v) in gone for v in trained_by(o))]
    for optimizer in known:
        check_slots(optimizer)
    for optimizer in known:
        _extend(optimizer, [v for v in trained_by(optimizer) if id(v) not in gone])


def _extend(optimizer: Any, variables: list[Any]) -> None:
    """Makes a built optimizer one for another list of variables."""
    if is_multi(optimizer):
        _share_out(optimizer, variables)
    elif isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        with _as_built(optimizer.inner_optimizer):
            _extend(optimizer.inner_optimizer, variables)
    else:
        _rebuild(optimizer, variables)
        return
    # What wraps other optimizers has no slots of its own.
    set_trained(optimizer, variables)


def _as_built(inner: Any) -> AbstractContextManager[Any]:
    """Returns the scope in which the optimizer inside another was built.

    What a LossScaleOptimizer builds lists fewer variables than what was built before it was given.

    Raises:
        UnsupportedError: In neither scope it builds the same slots once more.
    """
    try:
        with untracked():
            check_slots(inner)
    except UnsupportedError:
        check_slots(inner)
        return nullcontext()
    return untracked()


def _share_out(optimizer: Any, variables: Sequence[Any]) -> None:
    """Gives each new variable to the optimizer that the map has for it, or for its kernel."""
    parts, owners = parts_of(optimizer), part_numbers(optimizer)
    shares: dict[int, list[Any]] = {}
    for variable in variables:
        key = key_of(optimizer, variable)
        if key not in owners:
            part = part_for(optimizer, kernel_of(variable))
            if part not in parts:
                part.loss_scale_factor = optimizer.loss_scale_factor
                parts.append(part)
            owners[key] = parts.index(part)
        shares.setdefault(owners[key], []).append(variable)
    for index, share in shares.items():
        if not parts[index].built:
            parts[index].build(share)
        elif len(share) != len(trained_by(parts[index])):
            _extend(parts[index], share)


def _rebuild(optimizer: Any, new: list[Any]) -> None:
    state, before = variables_of(optimizer), purposes_of(optimizer)
    start = len(state) - len(before)  # what was there before `build`, as the iterations
    twin, after = built_twin(optimizer, state[:start], new)
    values = dict(zip(before, state[start:], strict=True))
    fresh = {id(variable): variable for variable in new}
    for key, variable in zip(after, variables_of(twin)[start:], strict=True):
        if key in values:
            variable.assign(values[key])
        elif key[0] in fresh and key[1] == _AVERAGE:
            variable.assign(fresh[key[0]])
    listed = {id(variable) for variable in variables_of(twin)}
    held = dict(kept_variables(optimizer))
    for purpose, variable in kept_variables(twin):
        if id(variable) not in listed and purpose in held:
            variable.assign(held[purpose])
    old = trained_by(optimizer)
    vars(optimizer).update(vars(twin))
    _pass_on(optimizer, old, new)


def _pass_on(optimizer: Any, old: Sequence[Any], new: Sequence[Any]) -> None:
    """Has an optimizer keep by variable of a new `gamma` what it keeps of its kernel.

    Optimizers of one's own keep learning rates, say, in dicts and sets by key, `id` or path. What
    is kept of variables that are gone goes with them.
    """

    def keys(variable: Any) -> tuple[Any, ...]:
        return key_of(optimizer, variable), id(variable), variable.path

    known, kept = ({id(variable) for variable in variables} for variables in (old, new))
    gone = {key for variable in old if id(variable) not in kept for key in keys(variable)}
    added = {
        key: of_kernel
        for gamma in new
        if id(gamma) not in known
        for key, of_kernel in zip(keys(gamma), keys(kernel_of(gamma)), strict=True)
    }
    for value in vars(optimizer).values():
        if isinstance(value, set):
            value.difference_update(gone)
            value.update([key for key, of_kernel in added.items() if of_kernel in value])
        elif isinstance(value, dict):
            for key in gone & value.keys():
                del value[key]
            for key, of_kernel in added.items():
                if of_kernel in value:
                    value.setdefault(key, value[of_kernel])


def slots_of(optimizer: Any, variables: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yields the slots that a built optimizer has for some variables, and what fresh ones hold.

    Args:
        optimizer: The optimizer.
        variables: The variables; those that it does not know have no slots.

    Raises:
        UnsupportedError: As `check_slots` does.
    """
    if is_multi(optimizer):
        for part in parts_of(optimizer):
            if part.built:
                yield from slots_of(part, variables)
    elif isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        with _as_built(optimizer.inner_optimizer):
            inner = list(slots_of(optimizer.inner_optimizer, variables))
        yield from inner
    else:
        known = {id(variable): variable for variable in variables}
        fresh, keys = built_afresh(optimizer)
        slots = variables_of(optimizer)[-len(keys) :] if keys else []
        pairs = list(zip(keys, slots, variables_of(fresh), strict=True))
        listed, new = {id(slot) for slot in slots}, dict(kept_variables(fresh))
        pairs += [
            ((*purpose, 0), slot, new[purpose])
            for purpose, slot in kept_variables(optimizer)
            if id(slot) not in listed and purpose in new
        ]
        for (owner, name, _), slot, value in pairs:
            if owner in known:
                yield slot, known[owner] if name == _AVERAGE else value
