"""The layout of an optimizer's stored slots: how many there are of each trainable variable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from snconvert.core.optimizer_families import (
    BLOCKS,
    INNER_BLOCKS,
    TRAILING,
    Block,
    Shape,
    alike,
)
from snconvert.errors import UnsupportedError, printable

Slots = Mapping[str, tuple[Shape, str]]
"""Shape and dtype of the datasets below `optimizer/`, by path."""

_WAY_OUT = (
    "Let Keras open the file with --import keras, or save the model without its optimizer"
    " (include_optimizer=False), or convert with --mode hard or cap"
)


class SlotLayout(NamedTuple):
    """The slots of one optimizer.

    Attributes:
        head: How many variables come before them.
        total: How many variables the optimizer has, with `trailing` ones behind the slots.
        trailing: See `total`.
        blocks: The blocks of slots.
        sizes: For each block, the shape of each variable and how many slots it has.
    """

    head: int
    total: int
    trailing: int
    blocks: Sequence[Block]
    sizes: Sequence[Sequence[tuple[Shape, int]]]

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of the trainable variables."""
        return [shape for shape, _ in self.sizes[0]] if self.sizes else []


def slot_layouts(optimizer: Mapping[str, Any], slots: Slots) -> Iterator[tuple[str, SlotLayout]]:
    """Yields each folder in which slots are stored, and how they are read.

    Args:
        optimizer: The serialised optimizer of the file's `compile_config`.
        slots: The stored slots.

    Raises:
        UnsupportedError: The optimizer is none of Keras' own, or its slots cannot be matched.
    """
    inner = inner_optimizer(optimizer, slots)
    # Its own four scalars come first; the inner optimizer is also stored by itself.
    folders = [("optimizer/vars", 4), ("optimizer/inner_optimizer/vars", 0)]
    if inner is None:
        folders = [("optimizer/vars", 0)]
    for folder, skip in folders:
        layout = _layout(inner or optimizer, slots, folder, skip=skip, inside=inner is not None)
        if layout is not None:
            yield folder, layout


def _layout(
    optimizer: Mapping[str, Any],
    slots: Slots,
    folder: str,
    *,
    skip: int,
    inside: bool,
) -> SlotLayout | None:
    """Returns how the slots in a folder are read; `None` if nothing was trained yet."""
    name, config = str(optimizer.get("class_name")), config_of(optimizer)
    trailing = 0 if inside else TRAILING.get(name.lower(), 0)
    own = [slots.get(f"{folder}/{i}") for i in range(len(slots))]
    shapes = [slot[0] for slot in own[: own.index(None) if None in own else None] if slot]
    scheduled = isinstance(config.get("learning_rate"), Mapping)
    head = skip + (1 if scheduled else 2)
    if len(shapes) <= head + trailing:
        return None
    if not str(optimizer.get("module", "keras")).startswith("keras") or name.lower() not in BLOCKS:
        raise UnsupportedError(
            f"the slots of the optimizer {printable(name)} are not known, and the scalars"
            " of mode gain change their number",
            _WAY_OUT,
        )
    blocks = BLOCKS[name.lower()](config)
    if inside:
        blocks = INNER_BLOCKS.get(name.lower(), blocks)
    if config.get("gradient_accumulation_steps"):
        blocks = [alike(gradient=0.0), *blocks]
    if config.get("use_ema"):
        blocks = [alike(average=None), *blocks]
    sizes = _sizes(shapes[head : len(shapes) - trailing], blocks)
    return SlotLayout(head, len(shapes), trailing, blocks, sizes)


def _sizes(slots: Sequence[Shape], blocks: Sequence[Block]) -> list[list[tuple[Shape, int]]]:
    """Returns, for each block, the shape of each variable and how many slots it has."""
    sizes: list[list[tuple[Shape, int]]] = []
    offset = 0
    for block in blocks:
        own: list[tuple[Shape, int]] = []
        while offset < len(slots) and (not sizes or len(own) < len(sizes[0])):
            if not sizes and len(blocks) > 1 and len(own) * len(blocks) >= len(slots):
                break
            count = block.match(slots[offset:])
            if not count:
                raise unmatched("they do not have the expected shapes")
            own.append((slots[offset + count - 1], count))
            offset += count
            if not sizes and len(blocks) > 1 and _rest_fits(own, slots[offset:], blocks[1:]):
                break
        sizes.append(own)
    if offset != len(slots) or any(len(own) != len(sizes[0]) for own in sizes):
        raise unmatched("their number is not that of the trainable variables")
    return sizes


def _rest_fits(
    sizes: Sequence[tuple[Shape, int]], slots: Sequence[Shape], blocks: Sequence[Block]
) -> bool:
    """Whether the slots left are exactly the other blocks of as many variables of these shapes."""
    offset = 0
    for block in blocks:
        for shape, _ in sizes:
            count = block.match(slots[offset:]) if offset < len(slots) else 0
            if not count or slots[offset + count - 1] != shape:
                return False
            offset += count
    return offset == len(slots)


def is_guessed(optimizer: Mapping[str, Any], slots: Slots) -> bool:
    """Whether the number of slots that a variable has is a guess, as of Muon.

    Args:
        optimizer: As for `slot_layouts`.
        slots: As for `slot_layouts`.
    """
    inner = inner_optimizer(optimizer, slots) or optimizer
    return str(inner.get("class_name")).lower() == "muon"


def inner_optimizer(optimizer: Mapping[str, Any], slots: Slots) -> Mapping[str, Any] | None:
    """Returns what a `LossScaleOptimizer` is around, `None` if the optimizer is another one.

    Under the policy mixed_float16 `compile` puts one around what it is given, and what it was given
    is what the configuration names: then only the stored state tells.
    """
    if str(optimizer.get("class_name")).lower() == "lossscaleoptimizer":
        inner = config_of(optimizer).get("inner_optimizer")
        return inner if isinstance(inner, Mapping) else None
    wrapped = any(path.startswith("optimizer/inner_optimizer/") for path in slots)
    return optimizer if wrapped else None


def config_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the configuration of a serialised optimizer."""
    config = entry.get("config")
    return config if isinstance(config, Mapping) else {}


def unmatched(why: str, kind: type[UnsupportedError] = UnsupportedError) -> UnsupportedError:
    """Returns the error for slots that belong to no variables, or to several in turn."""
    return kind(
        f"the optimizer's slots cannot be matched to variables ({why}), and the scalars of"
        " mode gain change their number",
        _WAY_OUT,
    )
