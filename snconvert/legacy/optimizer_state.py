"""The state of an optimizer in an older file, in the order of Keras 3.

Keras 3 stores it by position: iteration, learning rate, then blocks of slots. Files of Keras 2 have
no learning rate there, so that it comes from the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from snconvert.config.dtype_policies import policy_names
from snconvert.config.tree import Node
from snconvert.core.optimizer_families import BLOCKS, TRAILING
from snconvert.errors import printable
from snconvert.legacy.layer_variables import Variable
from snconvert.legacy.optimizer_slots import Shape, Stored, blocks_of, find_slots
from snconvert.legacy.relocation import Computed, Constant, Relocation

_FOLDER, _INNER = "optimizer/vars", "optimizer/inner_optimizer/vars"
_RATES = {"sgd": 0.01, "schedulefreeadamw": 0.0025}
"""Default learning rates other than 0.001, for configurations that are only a name."""
_SCALE = 2.0**15
_MOST_NEW = 64 << 20
"""Up to how many bytes slots are made anew, or a second time, for Keras to find them."""


class Trained(NamedTuple):
    """The variables of a model that were, or will be, trained.

    Attributes:
        expected: Those that Keras 3 will train once it has loaded the model.
        candidates: Lists of those that may have been trained when the file was written.
        shapes: The shape of each, by its path.
        changed: Paths of variables whose numbers stand in another order in Keras 3.
    """

    expected: Sequence[Variable]
    candidates: Sequence[Sequence[Variable]]
    shapes: Mapping[str, Shape]
    changed: frozenset[str] = frozenset()


class _Optimizer(NamedTuple):
    """An optimizer that a model was compiled with.

    Attributes:
        name: Its class name.
        config: Its configuration.
        known: Whether it is one of Keras' own whose slots have the shapes of their variables.
        scale: The loss scale, if one is around it.
    """

    name: str
    config: Mapping[str, Any]
    known: bool
    scale: float | None


class _Reset(Exception):  # noqa: N818 - it is a reason, not an error
    """Says why the state does not go over."""


_Places = Mapping[tuple[str, str], str]
"""Name of a slot, and path of its variable -> the slot's path in the file."""


def relocate_state(
    root: Node, trained: Trained, stored: Stored, result: Relocation
) -> tuple[str, ...]:
    """Adds what becomes of an optimizer's state to a relocation.

    Args:
        root: The model, with its `compile_config`.
        trained: What the optimizer trains.
        stored: What the file holds of it.
        result: Where moves and new arrays are added.

    Returns:
        What the user should know.
    """
    optimizer = _optimizer(root)
    if optimizer is None:
        return ()
    notes: tuple[str, ...] = ()
    iteration: str | None = None
    places: _Places = {}
    try:
        iteration, places = _places(optimizer, trained, stored)
    except _Reset as reason:
        which = f"The state of the optimizer ({printable(optimizer.name)})"
        notes = (f"{which} does not go over: {reason}. Training goes on with a fresh one",)
    if optimizer.known:
        _write(optimizer, trained, iteration, places, result)
    return notes


def keras3_state(root: Node, stored: Stored, result: Relocation) -> None:
    """Adds the moves of a state that Keras 3 wrote, which lists it as it stores it.

    Args:
        root: As for `relocate_state`.
        stored: As for `relocate_state`.
        result: As for `relocate_state`.
    """
    if _optimizer(root) is None:
        return
    paths = list(stored.shapes)
    result.moves += [(path, f"{_FOLDER}/{index}") for index, path in enumerate(paths)]
    if any(name.endswith("/dynamic_scale") for name in stored.names):
        sizes = (4 * math.prod(shape) for shape in stored.shapes.values())
        if sum(sizes) <= _MOST_NEW:
            inner = enumerate(paths[4:])
            result.computed += [Computed(f"{_INNER}/{i}", "copy", (path,)) for i, path in inner]


def has_schedule(root: Node) -> bool:
    """Whether a model's learning rate is a schedule, which is not stored.

    Args:
        root: The model, with its `compile_config`.
    """
    optimizer = _optimizer(root)
    return optimizer is not None and isinstance(optimizer.config.get("learning_rate"), dict)


def _optimizer(root: Node) -> _Optimizer | None:
    compiled = root.entry.get("compile_config")
    if not isinstance(compiled, dict):
        return None
    entry, scale = compiled.get("optimizer"), None
    # `compile` puts one around what it is given (keras/src/trainers/trainer.py).
    if compiled.get("auto_scale_loss", True):
        mixed = "mixed_float16" in policy_names(root.config.get("dtype"))
        scale = _SCALE if mixed else None
    if isinstance(entry, dict) and str(entry.get("class_name")) == "LossScaleOptimizer":
        config = entry.get("config")
        config = config if isinstance(config, dict) else {}
        initial = config.get("initial_scale")
        scale = float(initial) if _is_number(initial) else _SCALE
        entry = config.get("inner_optimizer")
    if isinstance(entry, str):
        entry = {"class_name": entry}
    if not isinstance(entry, dict):
        return None
    name, config = str(entry.get("class_name")), entry.get("config")
    config = config if isinstance(config, dict) else {}
    known = str(entry.get("module", "keras")).startswith("keras") and name.lower() in BLOCKS
    known = known and all(block.initial for block in BLOCKS[name.lower()](config))
    return _Optimizer(name, config, known, scale)


def _places(optimizer: _Optimizer, trained: Trained, stored: Stored) -> tuple[str | None, _Places]:
    """Returns the path of the iteration, and of each slot.

    Raises:
        _Reset: The slots do not fit the variables, or mean something else in Keras 3.
    """
    name, config = optimizer.name.lower(), optimizer.config
    if not optimizer.known:
        if len(stored.shapes) > 1:
            raise _Reset("how Keras 3 orders it is not known")
        return None, {}
    iteration, slots = find_slots(name, config, stored)
    if slots is None:
        return iteration, {}
    if name == "nadam":
        raise _Reset("Keras 3 computes its steps by another formula")
    wanted = [slot for block in blocks_of(name, config) for slot in block.initial]
    for candidate in trained.candidates:
        by_slot = slots(len(candidate))
        shapes = [trained.shapes[variable.path] for variable in candidate]
        if all(
            slot in by_slot and [stored.shapes[path] for path in by_slot[slot]] == shapes
            for slot in wanted
        ):
            break
    else:
        raise _Reset("its slots do not fit the trainable variables of the model")
    expected = {variable.path for variable in trained.expected}
    if wanted and not trained.changed.isdisjoint(expected):
        raise _Reset("Keras 3 keeps the weights of some layers in another order")
    return iteration, {
        (slot, variable.path): path
        for slot in wanted
        for variable, path in zip(candidate, by_slot[slot], strict=True)
    }


class _New(NamedTuple):
    """An array of the state: an old one, or filled with a number."""

    dtype: str
    source: str | None
    value: Any = 0.0
    shape: Shape = ()

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return 4 * math.prod(self.shape)


def _write(
    optimizer: _Optimizer,
    trained: Trained,
    iteration: str | None,
    places: _Places,
    result: Relocation,
) -> None:
    state = list(_state(optimizer, trained, iteration, places))
    fresh = [new for new in state if new.source is None]
    # What does not start as a number starts as its variable.
    if sum(new.size for new in fresh) > _MOST_NEW or not all(
        _is_number(new.value) for new in fresh
    ):
        return
    around: list[_New] = []
    if optimizer.scale is not None:
        around = [
            _New("int64", None),
            _New("float32", None),
            _New("int64", None),
            _New("float32", None, optimizer.scale),
        ]
        if sum(new.size for new in state) <= _MOST_NEW:
            _add(_INNER, state, result, twice=True)
    else:
        state += [_New("float32", None, 1.0)] * TRAILING.get(optimizer.name.lower(), 0)
    _add(_FOLDER, [*around, *state], result)


def _add(folder: str, state: Sequence[_New], result: Relocation, *, twice: bool = False) -> None:
    for index, new in enumerate(state):
        path = f"{folder}/{index}"
        if new.source is None:
            result.constants.append(Constant(path, new.dtype, new.value, new.shape))
        elif new.dtype == "int64":
            result.computed.append(Computed(path, "int64", (new.source,)))
        elif twice:
            result.computed.append(Computed(path, "copy", (new.source,)))
        else:
            result.moves.append((new.source, path))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _state(
    optimizer: _Optimizer, trained: Trained, iteration: str | None, places: _Places
) -> Iterator[_New]:
    """Yields the state in Keras 3's order."""
    name, config = optimizer.name.lower(), optimizer.config
    yield _New("int64", iteration)
    rate = config.get("learning_rate", _RATES.get(name, 0.001))
    if _is_number(rate):
        yield _New("float32", None, float(rate))
    for block in blocks_of(name, config):
        for variable in trained.expected:
            for slot, start in block.initial.items():
                shape = trained.shapes[variable.path]
                yield _New("float32", places.get((slot, variable.path)), start, shape)
