"""Keras' variables: their class, and what they keep."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras.src import backend

Variable: Any = backend.Variable
"""The class of the variables that layers make; in Keras 3.6 `keras.Variable` is a subclass."""

_ARGUMENTS = ("dtype", "trainable", "aggregation", "synchronization", "name")


def arguments_of(variable: Any) -> dict[str, Any]:
    """Returns the arguments but the value with which an equal variable is made.

    Keras 3.10 brought `synchronization`.
    """
    known = {name: getattr(variable, name) for name in _ARGUMENTS if hasattr(variable, name)}
    # TensorFlow's own flag, which Keras leaves as it is when a layer is frozen later.
    trainable = getattr(value_of(variable), "trainable", variable.trainable)
    return {**known, "trainable": trainable, "autocast": is_autocast(variable)}


def value_of(variable: Any) -> Any:
    """Returns the backend's variable or array of a Keras variable, whatever scope is open.

    `None` if it has none: it waits for its first value, or JAX has it (`is_elsewhere`).
    """
    return variable._value


def is_elsewhere(variable: Any) -> bool:
    """Whether a running `fit` on JAX has the value of a Keras variable."""
    return variable._value is None and variable._initializer is None


def is_autocast(variable: Any) -> bool:
    """Whether scopes of mixed precision cast a Keras variable where it is read."""
    return bool(variable._autocast)


BACKEND_STATE = frozenset({"_value", "_initializer"})
"""The attributes of a Keras variable that are the backend's: its value, or where it is to come
from."""


@contextmanager
def without_values() -> Iterator[None]:
    """Lets this thread make variables that have a shape and no value, as in a stateless scope.

    So a model of any size is built in no memory. Graphs are symbolic; where a layer asks for a
    value while it is built, Keras gives it a placeholder.
    """
    here, before = threading.get_ident(), Variable._initialize_with_initializer
    own = vars(Variable).get("_initialize_with_initializer")

    def initialize(self: Any, initializer: Any) -> None:
        if threading.get_ident() == here:
            self._value, self._initializer = None, initializer
        else:
            before(self, initializer)

    Variable._initialize_with_initializer = initialize
    try:
        yield
    finally:
        if own is None:
            del Variable._initialize_with_initializer
        else:
            Variable._initialize_with_initializer = own
