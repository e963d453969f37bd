"""Gives the optimizer a slot for each trainable variable that `gain` adds, or takes it away.

Keras stores an optimizer's state by position: first iteration and learning rate, then blocks, each
of which goes through the model's trainable variables in order (keras/src/optimizers). When their
number changes, Keras drops the state. So the new variables' slots are inserted where Keras would
have them, holding what a fresh optimizer would hold.

How many variables there were, and their shapes, is read from the slots themselves; where a new
variable belongs, or an old one was, follows by aligning these shapes with those that the layers
store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from snconvert.errors import UnsupportedError, printable

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]
_WAY_OUT = (
    "Let Keras open the file with --import keras, or save the model without its optimizer"
    " (include_optimizer=False), or convert with --mode hard or cap"
)


class Stored(NamedTuple):
    """The variables that one layer stores.

    Attributes:
        shapes: Their shapes.
        exact: Whether exactly these are trainable, in this order; else an unknown part of them is,
            in an unknown order.
    """

    shapes: tuple[Shape, ...]
    exact: bool


class Gamma(NamedTuple):
    """A new trainable float32 scalar belongs here.

    Attributes:
        value: What it starts at.
    """

    value: float


@dataclass(frozen=True, slots=True)
class Gone:
    """A trainable scalar that is to be taken away is here."""


Variable = Stored | Gamma | Gone


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


Cell = Callable[[Sequence[Shape]], int]
"""Tells how many of the next stored slots belong to one variable; 0 if they fit none."""

Fresh = Callable[[float], "list[np.ndarray]"]
"""Returns the slots of a new scalar of that value."""


class SeveralOrdersError(UnsupportedError):
    """The slots fit the variables in more than one way."""


class _Block(NamedTuple):
    """A run through the trainable variables with some slots for each."""

    cell: Cell
    fresh: Fresh


def _zero(_: float) -> np.ndarray:
    return _scalar(0)


def _value(value: float) -> np.ndarray:
    return _scalar(value)


def _constant(value: Any) -> Callable[[float], np.ndarray]:
    return lambda _: _scalar(value)


def _scalar(value: Any, dtype: str = "float32") -> np.ndarray:
    import numpy as np  # noqa: PLC0415 - few models need it here

    return np.asarray(value, dtype)


def _alike(*fresh: Callable[[float], np.ndarray]) -> _Block:
    """A block with slots of the variable's own shape, one for each initial value."""
    count = len(fresh)

    def cell(slots: Sequence[Shape]) -> int:
        return count if len(slots) >= count and len(set(slots[:count])) == 1 else 0

    return _Block(cell, lambda value: [make(value) for make in fresh])


def _adafactor_cell(slots: Sequence[Shape]) -> int:
    """Row and column factors, or two scalars below rank 2, then the second moment."""
    if len(slots) < 3:  # noqa: PLR2004 -- see above
        return 0
    rows, columns, own = slots[:3]
    if len(own) < 2:  # noqa: PLR2004 -- see above
        return 3 if rows == columns == () else 0
    return 3 if (rows, columns) == (own[:-1], (*own[:-2], own[-1])) else 0


def _inner_adafactor_cell(slots: Sequence[Shape]) -> int:
    """The same without the two scalars."""
    if any(slots[:2]) and (count := _adafactor_cell(slots)):
        return count
    return 1 if len(slots[0]) < 2 else 0  # noqa: PLR2004 -- as above


def _muon_cell(slots: Sequence[Shape]) -> int:
    """Adam's two slots for some variables, one momentum for the others.

    Which of them a matrix has is Muon's choice by shape and name; two equal shapes in a row are
    taken as one variable for what is no matrix, which Muon leaves to Adam.
    """
    if len(slots[0]) not in {2, 3, 4}:
        return 2 if len(slots) > 1 and slots[0] == slots[1] else 0
    return 1


def _twice_zero(_: Mapping[str, Any]) -> list[_Block]:
    return [_alike(_zero, _zero)]


def _adam(config: Mapping[str, Any]) -> list[_Block]:
    return _twice_zero(config) + ([_alike(_zero)] if config.get("amsgrad") else [])


def _rmsprop(config: Mapping[str, Any]) -> list[_Block]:
    more = bool(config.get("momentum")) + bool(config.get("centered"))
    return [_alike(_zero) for _ in range(1 + more)]


def _accumulator(config: Mapping[str, Any]) -> Callable[[float], np.ndarray]:
    return _constant(config.get("initial_accumulator_value", 0.1))


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], list[_Block]]] = {
    "sgd": lambda config: [_alike(_zero)] if config.get("momentum") else [],
    "adam": _adam,
    "adamw": _adam,
    "nadam": _twice_zero,
    "adamax": _twice_zero,
    "lamb": _twice_zero,
    "adadelta": _twice_zero,
    "lion": lambda _: [_alike(_zero)],
    "adagrad": lambda config: [_alike(_accumulator(config))],
    "ftrl": lambda config: [_alike(_accumulator(config), _zero)],
    "rmsprop": _rmsprop,
    "adafactor": lambda _: [
        _Block(_adafactor_cell, lambda _: [*[_scalar(0, "int32")] * 2, _scalar(0)])
    ],
    "muon": lambda _: [_Block(_muon_cell, lambda value: [_zero(value), _zero(value)])],
    "schedulefreeadamw": lambda _: [_alike(_value, _zero)],
}
"""Keras optimizer, in lower case -> its blocks behind those that all optimizers have."""

_INNER_BLOCKS: Mapping[str, list[_Block]] = {
    "adafactor": [_Block(_inner_adafactor_cell, lambda _: [_scalar(0)])],
}
"""The same of optimizers inside another, where these differ: Keras tracks nothing there, so that
variables are missing which an optimizer made without `add_variable`."""

_TRAILING = {"nadam": 1}
"""Scalars behind the blocks, which are missing inside another optimizer for the same reason."""

LOSS_SCALE = ("optimizer/vars/2", "optimizer/vars/3")
"""The step counter and the scale of a `LossScaleOptimizer`: once it is built, before the variables
of the optimizer inside."""


def edit_slots(
    optimizer: Mapping[str, Any],
    slots: Mapping[str, tuple[Shape, str]],
    variables: Sequence[Variable],
) -> SlotEdits:
    """Returns the edits that give every `Gamma` its slots, and take those of every `Gone`.

    Args:
        optimizer: The serialised optimizer of the file's `compile_config`.
        slots: Shape and dtype of the datasets below `optimizer/`, by path.
        variables: The model's variables in the order of `model.trainable_variables`.

    Raises:
        SeveralOrdersError: Its slots can be matched to variables in more than one way.
        UnsupportedError: The optimizer is none of Keras' own, or its slots cannot be matched.
    """
    edits = SlotEdits()
    for folder, reading in _readings(optimizer, slots):
        places = _places(variables, reading.shapes)
        head, total, _, blocks, cells = reading
        _renumber(edits, folder, head, total, blocks, cells, places)
    return edits


def untrained_slots(
    optimizer: Mapping[str, Any],
    slots: Mapping[str, tuple[Shape, str]],
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
    for folder, reading in _readings(optimizer, slots):
        if not _fits(variables, reading.shapes):
            raise _unmatched("they do not have the shapes of the variables")
        values: list[float] = []
        for block, cells in zip(reading.blocks, reading.cells, strict=True):
            fresh = [float(array) for array in block.fresh(math.nan)]
            values += [value for _, count in cells for value in fresh[:count]]
        values += [1.0] * reading.trailing  # Nadam's product
        numbers |= {f"{folder}/{reading.head + i}": value for i, value in enumerate(values)}
    if _inner(optimizer, slots) is not None:
        scale = _config(optimizer).get("initial_scale", 2.0**15)
        numbers |= dict(zip(LOSS_SCALE, (0.0, float(scale)), strict=True))
    return numbers


def is_guessed(optimizer: Mapping[str, Any], slots: Mapping[str, tuple[Shape, str]]) -> bool:
    """Whether it is a guess how many slots a variable has, as of Muon.

    Args:
        optimizer: As for `edit_slots`.
        slots: As for `edit_slots`.
    """
    inner = _inner(optimizer, slots) or optimizer
    return str(inner.get("class_name")).lower() == "muon"


def _inner(
    optimizer: Mapping[str, Any], slots: Mapping[str, tuple[Shape, str]]
) -> Mapping[str, Any] | None:
    """Returns what a `LossScaleOptimizer` is around, `None` if the optimizer is another one.

    Under the policy mixed_float16 `compile` puts one around what it is given, and what it was given
    is what the configuration names: then only the stored state tells.
    """
    if str(optimizer.get("class_name")).lower() == "lossscaleoptimizer":
        inner = _config(optimizer).get("inner_optimizer")
        return inner if isinstance(inner, Mapping) else None
    wrapped = any(path.startswith("optimizer/inner_optimizer/") for path in slots)
    return optimizer if wrapped else None


def _config(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    config = entry.get("config")
    return config if isinstance(config, Mapping) else {}


class _Reading(NamedTuple):
    """The slots of one optimizer.

    Attributes:
        head: How many variables come before them.
        total: How many variables the optimizer has, with `trailing` ones behind the slots.
        trailing: See `total`.
        blocks: The blocks of slots.
        cells: For each block, the shape of each variable and how many slots it has.
    """

    head: int
    total: int
    trailing: int
    blocks: Sequence[_Block]
    cells: Sequence[Sequence[tuple[Shape, int]]]

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of the trainable variables."""
        return [shape for shape, _ in self.cells[0]] if self.cells else []


def _readings(
    optimizer: Mapping[str, Any], slots: Mapping[str, tuple[Shape, str]]
) -> Iterator[tuple[str, _Reading]]:
    """Yields each folder in which slots are stored, and how they are read."""
    inner = _inner(optimizer, slots)
    # Its own four scalars come first; the inner optimizer is also stored by itself.
    folders = [("optimizer/vars", 4), ("optimizer/inner_optimizer/vars", 0)]
    if inner is None:
        folders = [("optimizer/vars", 0)]
    for folder, skip in folders:
        reading = _read(inner or optimizer, slots, folder, skip=skip, inside=inner is not None)
        if reading is not None:
            yield folder, reading


def _read(
    optimizer: Mapping[str, Any],
    slots: Mapping[str, tuple[Shape, str]],
    folder: str,
    *,
    skip: int,
    inside: bool,
) -> _Reading | None:
    """Returns how the slots in a folder are read; `None` if nothing was trained yet."""
    name, config = str(optimizer.get("class_name")), _config(optimizer)
    trailing = 0 if inside else _TRAILING.get(name.lower(), 0)
    own = [slots.get(f"{folder}/{i}") for i in range(len(slots))]
    shapes = [slot[0] for slot in own[: own.index(None) if None in own else None] if slot]
    scheduled = isinstance(config.get("learning_rate"), Mapping)
    head = skip + (1 if scheduled else 2)
    if len(shapes) <= head + trailing:
        return None
    if not str(optimizer.get("module", "keras")).startswith("keras") or name.lower() not in _BLOCKS:
        raise UnsupportedError(
            f"the slots of the optimizer {printable(name)} are not known, and the scalars"
            " of mode gain change their number",
            _WAY_OUT,
        )
    blocks = _BLOCKS[name.lower()](config)
    if inside:
        blocks = _INNER_BLOCKS.get(name.lower(), blocks)
    if config.get("gradient_accumulation_steps"):
        blocks = [_alike(_zero), *blocks]
    if config.get("use_ema"):
        blocks = [_alike(_value), *blocks]
    cells = _cells(shapes[head : len(shapes) - trailing], blocks)
    return _Reading(head, len(shapes), trailing, blocks, cells)


def _cells(slots: Sequence[Shape], blocks: Sequence[_Block]) -> list[list[tuple[Shape, int]]]:
    """Returns, for each block, the shape of each variable and how many slots it has."""
    found: list[list[tuple[Shape, int]]] = []
    at = 0
    for block in blocks:
        cells: list[tuple[Shape, int]] = []
        while at < len(slots) and (not found or len(cells) < len(found[0])):
            if not found and len(blocks) > 1 and len(cells) * len(blocks) >= len(slots):
                break
            count = block.cell(slots[at:])
            if not count:
                raise _unmatched("they do not have the expected shapes")
            cells.append((slots[at + count - 1], count))
            at += count
            if not found and len(blocks) > 1 and _rest_fits(cells, slots[at:], blocks[1:]):
                break
        found.append(cells)
    if at != len(slots) or any(len(cells) != len(found[0]) for cells in found):
        raise _unmatched("their number is not that of the trainable variables")
    return found


def _rest_fits(
    cells: Sequence[tuple[Shape, int]], slots: Sequence[Shape], blocks: Sequence[_Block]
) -> bool:
    """Whether the slots left are exactly the other blocks of as many variables of these shapes."""
    at = 0
    for block in blocks:
        for shape, _ in cells:
            count = block.cell(slots[at:]) if at < len(slots) else 0
            if not count or slots[at + count - 1] != shape:
                return False
            at += count
    return at == len(slots)


def _places(
    variables: Sequence[Variable], shapes: Sequence[Shape]
) -> list[tuple[int, Gamma | Gone]]:
    """Returns before which of the old trainable variables each new one stands, or which goes."""
    forward = [{0}]
    for item in variables:
        forward.append({end for start in forward[-1] for end in _ends(item, shapes, start)})
    alive = {len(shapes)}
    places: list[tuple[int, Gamma | Gone]] = []
    for item, starts in zip(reversed(variables), reversed(forward[:-1]), strict=True):
        alive = {start for start in starts if alive.intersection(_ends(item, shapes, start))}
        if isinstance(item, Gamma | Gone):
            if len(alive) != 1:
                many = "several orders" if alive else "no order"
                raise _unmatched(
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
    elif isinstance(item, Gone):
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
    head: int,
    total: int,
    blocks: Sequence[_Block],
    cells: Sequence[Sequence[tuple[Shape, int]]],
    places: Sequence[tuple[int, Gamma | Gone]],
) -> None:
    gone = {place for place, item in places if isinstance(item, Gone)}
    gammas = [(place, item) for place, item in places if isinstance(item, Gamma)]
    old = new = head
    for block, own in zip(blocks, cells, strict=True):
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
    for _ in range(total - old):
        _move(edits, folder, old, new)
        old, new = old + 1, new + 1


def _move(edits: SlotEdits, folder: str, old: int, new: int) -> None:
    if old != new:
        edits.moves.append((f"{folder}/{old}", f"{folder}/{new}"))


def _unmatched(why: str, kind: type[UnsupportedError] = UnsupportedError) -> UnsupportedError:
    return kind(
        f"the optimizer's slots cannot be matched to variables ({why}), and the scalars of"
        " mode gain change their number",
        _WAY_OUT,
    )
