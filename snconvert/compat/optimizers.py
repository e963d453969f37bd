"""What an optimizer keeps of the variables that it trains, and of its slots."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras.src.utils import tracking

from snconvert.compat.backends import BOOKS

Optimizer = Any


def trained_by(optimizer: Optimizer) -> list[Any]:
    """Returns the variables that a built optimizer trains, in the order of its slots.

    A LossScaleOptimizer lists them itself only since Keras 3.12.
    """
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return list(optimizer._trainable_variables)


def set_trained(optimizer: Optimizer, variables: list[Any]) -> None:
    """Sets the variables that an optimizer trains that wraps others, and so has no slots."""
    if not optimizer._trainable_variables:
        return  # it leaves the list to the optimizer inside
    with untracked():  # as when it is built
        optimizer._trainable_variables = variables
        optimizer._trainable_variables_indices = {
            key_of(optimizer, variable): i for i, variable in enumerate(variables)
        }


def key_of(optimizer: Optimizer, variable: Any) -> Any:
    """Returns the key by which an optimizer knows a variable."""
    return optimizer._var_key(variable)


def variables_of(optimizer: Optimizer) -> list[Any]:
    """Returns the variables of an optimizer, its slots last; without those of one inside it."""
    return list(optimizer._variables)


def is_multi(optimizer: Optimizer) -> bool:
    """Whether an optimizer is a `MultiOptimizer`, which Keras 3.15 brought."""
    cls = getattr(keras.optimizers, "MultiOptimizer", None)
    return cls is not None and isinstance(optimizer, cls)


def parts_of(multi: Optimizer) -> list[Optimizer]:
    """Returns the list of the optimizers inside a `MultiOptimizer`, not a copy."""
    parts: list[Optimizer] = multi._inner_optimizers
    return parts


def part_numbers(multi: Optimizer) -> dict[Any, int]:
    """Returns the dict of the place of each variable's optimizer among the parts, not a copy."""
    numbers: dict[Any, int] = multi._var_to_optimizer_idx
    return numbers


def part_for(multi: Optimizer, variable: Any) -> Optimizer:
    """Returns the optimizer that a `MultiOptimizer` was told to train a variable with."""
    return multi._optimizer_map(variable)


def untracked() -> AbstractContextManager[Any]:
    """Returns a scope in which Keras does not look for variables in what attributes are set to."""
    scope: AbstractContextManager[Any] = tracking.DotNotTrackScope()
    return scope


def unbuilt_twin(optimizer: Optimizer, head: Sequence[Any]) -> Optimizer:
    """Returns an optimizer with the same options that is not built.

    Args:
        optimizer: A built optimizer; it is not changed.
        head: The variables that it has without being built.
    """
    twin = object.__new__(type(optimizer))
    books = {k: copy.copy(v) for k, v in vars(optimizer).items() if k.startswith(BOOKS)}
    blank = {"built": False, "_trainable_variables": [], "_trainable_variables_indices": {}}
    vars(twin).update({**vars(optimizer), **books, **blank})
    del vars(twin)["_tracker"], vars(twin)["_variables"]
    # As Keras does it, so that TensorFlow knows of the list.
    twin._variables = list(head)
    is_variable, _ = optimizer._tracker.config["variables"]
    twin._tracker = tracking.Tracker({"variables": (is_variable, twin._variables)})
    return twin
