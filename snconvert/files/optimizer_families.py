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
    """

    match: SlotMatcher
    fresh: FreshSlots


def zero(_: float) -> np.ndarray:
    """Returns a slot that starts at zero."""
    return _scalar(0)


def value_itself(value: float) -> np.ndarray:
    """Returns a slot that starts as its variable."""
    return _scalar(value)


def _constant(value: Any) -> Callable[[float], np.ndarray]:
    return lambda _: _scalar(value)


def _scalar(value: Any, dtype: str = "float32") -> np.ndarray:
    import numpy as np  # noqa: PLC0415 - few models need it here

    return np.asarray(value, dtype)


def alike(*fresh: Callable[[float], np.ndarray]) -> Block:
    """Returns a block with slots of the variable's own shape, one for each initial value."""
    count = len(fresh)

    def match(slots: Sequence[Shape]) -> int:
        return count if len(slots) >= count and len(set(slots[:count])) == 1 else 0

    return Block(match, lambda value: [make(value) for make in fresh])


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


def _twice_zero(_: Mapping[str, Any]) -> list[Block]:
    return [alike(zero, zero)]


def _adam(config: Mapping[str, Any]) -> list[Block]:
    return _twice_zero(config) + ([alike(zero)] if config.get("amsgrad") else [])


def _rmsprop(config: Mapping[str, Any]) -> list[Block]:
    more = bool(config.get("momentum")) + bool(config.get("centered"))
    return [alike(zero) for _ in range(1 + more)]


def _accumulator(config: Mapping[str, Any]) -> Callable[[float], np.ndarray]:
    return _constant(config.get("initial_accumulator_value", 0.1))


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], list[Block]]] = {
    "sgd": lambda config: [alike(zero)] if config.get("momentum") else [],
    "adam": _adam,
    "adamw": _adam,
    "nadam": _twice_zero,
    "adamax": _twice_zero,
    "lamb": _twice_zero,
    "adadelta": _twice_zero,
    "lion": lambda _: [alike(zero)],
    "adagrad": lambda config: [alike(_accumulator(config))],
    "ftrl": lambda config: [alike(_accumulator(config), zero)],
    "rmsprop": _rmsprop,
    "adafactor": lambda _: [
        Block(_match_adafactor, lambda _: [*[_scalar(0, "int32")] * 2, _scalar(0)])
    ],
    "muon": lambda _: [Block(_match_muon, lambda value: [zero(value), zero(value)])],
    "schedulefreeadamw": lambda _: [alike(value_itself, zero)],
}
"""Keras optimizer, in lower case -> its blocks behind those that all optimizers have."""

INNER_BLOCKS: Mapping[str, list[Block]] = {
    "adafactor": [Block(_match_inner_adafactor, lambda _: [_scalar(0)])],
}
"""The blocks of optimizers inside another, where these differ: Keras tracks nothing there, so that
variables are missing which an optimizer made without `add_variable`."""

TRAILING = {"nadam": 1}
"""Scalars behind the blocks, which are missing inside another optimizer for the same reason."""

LOSS_SCALE = ("optimizer/vars/2", "optimizer/vars/3")
"""The step counter and the scale of a `LossScaleOptimizer`: once it is built, before the variables
of the optimizer inside."""
