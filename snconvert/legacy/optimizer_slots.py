"""The slots of an optimizer in an older file, found by their names or by their order.

    Keras 2.0 to 2.2        `Adam/iterations:0`, `training/Adam/Variable_7:0`; slot after slot
    Keras 2.3               `Adam/iterations:0`, `training/Adam/m_0_1:0`; slot after slot
    tf.keras up to 2.10     `Adam/iter:0`, `Adam/dense/kernel/m:0`
    Keras 2.11 to 2.15      `iteration:0`, `Adam/m/dense/kernel:0` or `m/dense/kernel:0`
    archives of Keras 2     as these, without names: `optimizer/vars/0`, ...

Variables come in the order of the model's trainable ones, in Keras 2.0 in that of their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from snconvert.core.optimizer_families import BLOCKS, Block, alike

Shape = tuple[int, ...]

_OTHER_NAMES: Mapping[str, Mapping[str, str]] = {
    "sgd": {"momentum": "m"},
    "adamax": {"v": "u"},
    "rmsprop": {"rms": "velocity", "mg": "average_gradient"},
    "adadelta": {"accum_grad": "accumulated_grad", "accum_var": "accumulated_delta_var"},
}
"""Optimizer -> what tf.keras up to 2.10 calls its slots -> what later ones do."""

_NUMBERED = re.compile(r"Variable|^training(_\d+)?/[^/]+/[a-z_]+\d+(_\d+)?$")
"""Names that say no variable, but at most the number of one."""

_PLACEHOLDER = (1,)
"""The shape of what Keras 2.2 and 2.3 store for each variable of Adam where there is no `vhat`."""


class Stored(NamedTuple):
    """The state in an older file.

    Attributes:
        shapes: The variables' shapes in their order, by path.
        names: What the file calls them; empty in archives of Keras 2.
    """

    shapes: Mapping[str, Shape]
    names: Sequence[str] = ()


Slots = Callable[[int], Mapping[str, Sequence[str]]]
"""Number of variables -> name of each slot -> its path for each variable; nothing if the number
cannot be right."""


def blocks_of(name: str, config: Mapping[str, Any]) -> list[Block]:
    """Returns the blocks of an optimizer.

    Args:
        name: Its class name in lower case, one of `BLOCKS`.
        config: Its configuration.
    """
    return [*([alike(average=None)] if config.get("use_ema") else []), *BLOCKS[name](config)]


def first_named(names: Sequence[str], variable: str) -> int | None:
    """Returns the index of a variable's first slot among those of such names, if it has any.

    Args:
        names: What the file calls the slots.
        variable: What it calls the variable.

    Example:
        >>> first_named(["Adam/iter:0", "Adam/dense/kernel/m:0"], "dense/kernel:0")
        1
    """
    inside = f"/{variable.partition(':')[0]}/"
    paths = (f"/{name.partition(':')[0]}/" for name in names)
    return next((index for index, path in enumerate(paths) if inside in path), None)


def find_slots(
    name: str, config: Mapping[str, Any], stored: Stored
) -> tuple[str | None, Slots | None]:
    """Returns the path of the iteration, and how slots are found; `None` if there are none.

    Args:
        name: The optimizer's class name in lower case.
        config: Its configuration.
        stored: What the file holds.
    """
    # Keras 2 always has momenta for SGD.
    momentum = config.get("momentum") or name == "sgd"
    blocks = blocks_of(name, {**config, "momentum": momentum})
    if not stored.names:
        first, *paths = stored.shapes or (None,)
        return first, _by_block(paths, blocks) if paths else None
    texts = [text.partition(":")[0] for text in stored.names]
    iteration: str | None = None
    rest: dict[str, str] = {}
    for text, (path, shape) in zip(texts, stored.shapes.items(), strict=True):
        last = text.rpartition("/")[2]
        if iteration is None and last.startswith("iter") and shape == ():
            iteration = path
        elif last != "learning_rate":
            rest[path] = text
    if not rest:
        return iteration, None
    if any(_NUMBERED.search(text) for text in rest.values()):
        return iteration, _by_slot({path: stored.shapes[path] for path in rest}, blocks)
    return iteration, _by_name(name, rest, blocks)


def _by_block(paths: Sequence[str], blocks: Sequence[Block]) -> Slots:
    """Returns the slots of blocks that go through the variables, as in Keras 3."""

    def slots(count: int) -> Mapping[str, Sequence[str]]:
        by_slot: dict[str, Sequence[str]] = {}
        start = 0
        for block in blocks:
            size = len(block.initial)
            end = start + count * size
            for index, slot in enumerate(block.initial):
                by_slot[slot] = paths[start + index : end : size]
            start = end
        return by_slot if start == len(paths) else {}

    return slots


def _by_slot(rest: Mapping[str, Shape], blocks: Sequence[Block]) -> Slots:
    """Returns the slots where each goes through the variables by itself."""
    names, paths = [slot for block in blocks for slot in block.initial], list(rest)

    def slots(count: int) -> Mapping[str, Sequence[str]]:
        over = [rest[path] for path in paths[count * len(names) :]]
        if len(paths) < count * len(names) or over not in ([], [_PLACEHOLDER] * count):
            return {}
        return {slot: paths[index * count :][:count] for index, slot in enumerate(names)}

    return slots


def _by_name(name: str, rest: Mapping[str, str], blocks: Sequence[Block]) -> Slots:
    """Returns the slots where names tell them: behind the variable's name, or before it."""
    known = {slot: slot for block in blocks for slot in block.initial}
    known |= _OTHER_NAMES.get(name, {})
    by_slot: dict[str, list[str]] = {}
    for path, text in rest.items():
        parts = text.split("/")
        slot = next((part for part in (parts[-1], *parts[:2]) if part in known), None)
        if slot is not None:
            by_slot.setdefault(known[slot], []).append(path)
    return lambda _: by_slot
