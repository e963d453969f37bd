"""Gives the optimizer a slot for each trainable variable that `gain` adds, or takes it away.

When the number of trainable variables changes, Keras drops the optimizer's state. So the slots of
new variables are inserted where Keras would have them, holding what a fresh optimizer would hold.

How many variables there were, and their shapes, is read from the slots themselves; where a new
variable belongs, or an old one was, follows by aligning these shapes with those that the layers
store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from snconvert.core.optimizer_families import LOSS_SCALE, Shape
from snconvert.errors import UnsupportedError
from snconvert.files.optimizer_layout import (
    SlotLayout,
    Slots,
    config_of,
    inner_optimizer,
    slot_layouts,
    unmatched,
)

if TYPE_CHECKING:
    import numpy as np


class StoredVariables(NamedTuple):
    """The variables that one layer stores.

    Attributes:
        shapes: Their shapes.
        exact: Whether exactly these are trainable, in this order; else an unknown part of them is,
            in an unknown order.
    """

    shapes: tuple[Shape, ...]
    exact: bool


class Gamma(NamedTuple):
    """A new trainable float32 scalar that belongs here.

    Attributes:
        value: What it starts at.
    """

    value: float


@dataclass(frozen=True, slots=True)
class RemovedGamma:
    """The trainable scalar that is here is to be taken away."""


Variable = StoredVariables | Gamma | RemovedGamma


@dataclass(frozen=True, slots=True)
class SlotEdits:
    """What to change in the weights file.

    Attributes:
        moves: Simultaneous renames of datasets.
        additions: New datasets.
        removals: Datasets that go.
    """

    moves: list[tuple[str, str]] = field(default_factory=list)
    additions: list[tuple[str, np.ndarray]] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)


class SeveralOrdersError(UnsupportedError):
    """The slots fit the variables in more than one way."""


def edit_slots(
    optimizer: Mapping[str, Any],
    slots: Slots,
    variables: Sequence[Variable],
) -> SlotEdits:
    """Returns the edits that give every `Gamma` its slots, and take those of every `RemovedGamma`.

    Args:
        optimizer: The serialised optimizer of the file's `compile_config`.
        slots: Shape and dtype of the datasets below `optimizer/`, by path.
        variables: The model's variables in the order of `model.trainable_variables`.

    Raises:
        SeveralOrdersError: Its slots can be matched to variables in more than one way.
        UnsupportedError: The optimizer is none of Keras' own, or its slots cannot be matched.
    """
    edits = SlotEdits()
    for folder, layout in slot_layouts(optimizer, slots):
        places = _places(variables, layout.shapes)
        _renumber(edits, folder, layout, places)
    return edits


def untrained_slots(
    optimizer: Mapping[str, Any],
    slots: Slots,
    variables: Sequence[Variable],
) -> dict[str, float]:
    """Returns the number that each slot holds throughout before the first step, by its path.

    It is NaN for a slot that starts as its variable. Those of a loss scale are among them.

    Args:
        optimizer: As for `edit_slots`.
        slots: As for `edit_slots`.
        variables: As for `edit_slots`.

    Raises:
        UnsupportedError: As for `edit_slots`.
    """
    numbers: dict[str, float] = {}
    for folder, layout in slot_layouts(optimizer, slots):
        if not _fits(variables, layout.shapes):
            raise unmatched("they do not have the shapes of the variables")
        values: list[float] = []
        for block, sizes in zip(layout.blocks, layout.sizes, strict=True):
            fresh = [float(array) for array in block.fresh(math.nan)]
            values += [value for _, count in sizes for value in fresh[:count]]
        values += [1.0] * layout.trailing  # Nadam's product
        numbers |= {f"{folder}/{layout.head + i}": value for i, value in enumerate(values)}
    if inner_optimizer(optimizer, slots) is not None:
        scale = config_of(optimizer).get("initial_scale", 2.0**15)
        numbers |= dict(zip(LOSS_SCALE, (0.0, float(scale)), strict=True))
    return numbers


def _places(
    variables: Sequence[Variable], shapes: Sequence[Shape]
) -> list[tuple[int, Gamma | RemovedGamma]]:
    """Returns before which of the old trainable variables each new one stands, or which goes."""
    forward = [{0}]
    for item in variables:
        forward.append({end for start in forward[-1] for end in _ends(item, shapes, start)})
    alive = {len(shapes)}
    places: list[tuple[int, Gamma | RemovedGamma]] = []
    for item, starts in zip(reversed(variables), reversed(forward[:-1]), strict=True):
        alive = {start for start in starts if alive.intersection(_ends(item, shapes, start))}
        if isinstance(item, Gamma | RemovedGamma):
            if len(alive) != 1:
                many = "several orders" if alive else "no order"
                raise unmatched(
                    f"they fit {many} of the layers' variables",
                    SeveralOrdersError if alive else UnsupportedError,
                )
            places.append((min(alive), item))
    return places[::-1]


def _fits(variables: Sequence[Variable], shapes: Sequence[Shape]) -> bool:
    """Whether the shapes are those of the variables, one after the other."""
    ends = {0}
    for item in variables:
        ends = {end for start in ends for end in _ends(item, shapes, start)}
    return len(shapes) in ends


def _ends(item: Variable, shapes: Sequence[Shape], start: int) -> Iterator[int]:
    if isinstance(item, Gamma):
        yield start
    elif isinstance(item, RemovedGamma):
        if start < len(shapes) and shapes[start] == ():
            yield start + 1
    elif item.exact:
        if tuple(shapes[start : start + len(item.shapes)]) == item.shapes:
            yield start + len(item.shapes)
    else:
        left = Counter(item.shapes)
        yield start
        for end in range(start, min(len(shapes), start + len(item.shapes))):
            left[shapes[end]] -= 1
            if left[shapes[end]] < 0:
                return
            yield end + 1


def _renumber(
    edits: SlotEdits,
    folder: str,
    layout: SlotLayout,
    places: Sequence[tuple[int, Gamma | RemovedGamma]],
) -> None:
    """Adds the edits of the slots in a folder, which are numbered anew from the first place on."""
    gone = {place for place, item in places if isinstance(item, RemovedGamma)}
    gammas = [(place, item) for place, item in places if isinstance(item, Gamma)]
    old = new = layout.head
    for block, own in zip(layout.blocks, layout.sizes, strict=True):
        for index in range(len(own) + 1):
            for value in (gamma.value for place, gamma in gammas if place == index):
                for array in block.fresh(value):
                    edits.additions.append((f"{folder}/{new}", array))
                    new += 1
            for _ in range(own[index][1] if index < len(own) else 0):
                if index in gone:
                    edits.removals.append(f"{folder}/{old}")
                    old += 1
                    continue
                _move(edits, folder, old, new)
                old, new = old + 1, new + 1
    for _ in range(layout.total - old):
        _move(edits, folder, old, new)
        old, new = old + 1, new + 1


def _move(edits: SlotEdits, folder: str, old: int, new: int) -> None:
    if old != new:
        edits.moves.append((f"{folder}/{old}", f"{folder}/{new}"))
