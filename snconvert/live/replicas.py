"""Where the variables of a live model belong, when it runs on several devices."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from snconvert.live.walk import Layer


def scope_of(model: Layer) -> AbstractContextManager[Any]:
    """Returns the scope of the `tf.distribute` strategy that a model was made in.

    Variables that a conversion adds have to be in every replica, as the model's own are: one `u`
    for all would be moved by each of them in turn.

    Args:
        model: A live model; what is no model, or was made by itself, has no such scope.
    """
    strategy = getattr(model, "distribute_strategy", None)
    scope: AbstractContextManager[Any] = strategy.scope() if strategy else nullcontext()
    return scope
