"""Which slots each of Keras' optimizers keeps for a trainable variable.

Keras stores an optimizer's state by position: first iteration and learning rate, then blocks, each
of which goes through the model's trainable variables in order (keras/src/optimizers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]

SlotMatcher = Callable[[Sequence[Shape]], int]
"""Returns how many of the next stored slots belong to one variable; 0 if they fit none."""

FreshSlots = Callable[[float], "list[np.ndarray]"]
"""Returns the slots of a new scalar of that value."""


class Block(NamedTuple):
    """A run through the trainable variables with some slots for each.

    Attributes:
        match: Tells how many slots a variable has.
        fresh: Makes those of a new scalar.
        initial: What each slot starts at, by its name, where all have the shape of their variable;
            `None`: as its variable.
    """

    match: SlotMatcher
    fresh: FreshSlots
    initial: Mapping[str, float | None] = {}


def _scalar(value: Any, dtype: str = "float32") -> np.ndarray:
    import numpy as np  # noqa: PLC0415 - few models need it here

    return np.asarray(value, dtype)


def alike(**initial: float | None) -> Block:
    """Returns a block with slots of the variable's own shape, see `Block.initial`."""
    count = len(initial)

    def match(slots: Sequence[Shape]) -> int:
        return count if len(slots) >= count and len(set(slots[:count])) == 1 else 0

    def fresh(value: float) -> list[np.ndarray]:
        return [_scalar(value if start is None else start) for start in initial.values()]

    return Block(match, fresh, initial)


def _match_adafactor(slots: Sequence[Shape]) -> int:
    """Row and column factors, or two scalars below rank 2, then the second moment."""
    if len(slots) < 3:  # noqa: PLR2004 -- see above
        return 0
    rows, columns, own = slots[:3]
    if len(own) < 2:  # noqa: PLR2004 -- see above
        return 3 if rows == columns == () else 0
    return 3 if (rows, columns) == (own[:-1], (*own[:-2], own[-1])) else 0


def _match_inner_adafactor(slots: Sequence[Shape]) -> int:
    """What Adafactor stores inside another optimizer: the same without the two scalars."""
    if any(slots[:2]) and (count := _match_adafactor(slots)):
        return count
    return 1 if len(slots[0]) < 2 else 0  # noqa: PLR2004 -- as above


def _match_muon(slots: Sequence[Shape]) -> int:
    """Adam's two slots for some variables, one momentum for the others.

    Which of them a matrix has is Muon's choice by shape and name; two equal shapes in a row are
    taken as one variable for what is no matrix, which Muon leaves to Adam.
    """
    if len(slots[0]) not in {2, 3, 4}:
        return 2 if len(slots) > 1 and slots[0] == slots[1] else 0
    return 1


def _moments(_: Mapping[str, Any]) -> list[Block]:
    return [alike(m=0.0, v=0.0)]


def _adam(config: Mapping[str, Any]) -> list[Block]:
    return _moments(config) + ([alike(vhat=0.0)] if config.get("amsgrad") else [])


def _rmsprop(config: Mapping[str, Any]) -> list[Block]:
    blocks = [alike(velocity=0.0)]
    if config.get("momentum"):
        blocks.append(alike(momentum=0.0))
    if config.get("centered"):
        blocks.append(alike(average_gradient=0.0))
    return blocks


def _accumulator(config: Mapping[str, Any]) -> Any:
    return config.get("initial_accumulator_value", 0.1)


def _zeros(*dtypes: str) -> FreshSlots:
    return lambda _: [_scalar(0, dtype) for dtype in dtypes]


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], list[Block]]] = {
    "sgd": lambda config: [alike(m=0.0)] if config.get("momentum") else [],
    "adam": _adam,
    "adamw": _adam,
    "nadam": _moments,
    "adamax": lambda _: [alike(m=0.0, u=0.0)],
    "lamb": _moments,
    "adadelta": lambda _: [alike(accumulated_grad=0.0, accumulated_delta_var=0.0)],
    "lion": lambda _: [alike(m=0.0)],
    "adagrad": lambda config: [alike(accumulator=_accumulator(config))],
    "ftrl": lambda config: [alike(accumulator=_accumulator(config), linear=0.0)],
    "rmsprop": _rmsprop,
    "adafactor": lambda _: [Block(_match_adafactor, _zeros("int32", "int32", "float32"))],
    "muon": lambda _: [Block(_match_muon, _zeros("float32", "float32"))],
    "schedulefreeadamw": lambda _: [alike(z=None, v=0.0)],
}
"""Keras optimizer, in lower case -> its blocks behind those that all optimizers have. Slots have
the names that Keras gives them from 2.11 on."""

INNER_BLOCKS: Mapping[str, list[Block]] = {
    "adafactor": [Block(_match_inner_adafactor, _zeros("float32"))],
}
"""The blocks of optimizers inside another, where these differ: Keras tracks nothing there, so that
variables are missing which an optimizer made without `add_variable`."""

TRAILING = {"nadam": 1}
"""Scalars behind the blocks, which are missing inside another optimizer for the same reason."""

LOSS_SCALE = ("optimizer/vars/2", "optimizer/vars/3")
"""The step counter and the scale of a `LossScaleOptimizer`: once it is built, before the variables
of the optimizer inside."""
