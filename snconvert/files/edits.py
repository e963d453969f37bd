"""Writing a model whose tree was edited: groups follow their layers, arrays come, go and change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from snconvert.archive.output import Output
from snconvert.archive.source import CONFIG
from snconvert.config import strict_json
from snconvert.config.tree import Node
from snconvert.core.report import OnProgress, begin_stage, cumulative
from snconvert.files.model import Opened, is_older
from snconvert.files.optimizer_slots import SlotEdits
from snconvert.planning.record import with_source
from snconvert.weights.contents import Product

T = TypeVar("T")


@dataclass(slots=True)
class Edits:
    """What changes in the weights.

    Attributes:
        moves: Pairs of old and new path, simultaneous.
        additions: Paths after the edit and small arrays.
        removals: Paths before the edit.
        products: Arrays that are multiplied.
    """

    moves: list[tuple[str, str]] = field(default_factory=list)
    additions: list[tuple[str, Any]] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)

    def add(self, other: Edits) -> None:
        """Takes over other edits."""
        self.moves += other.moves
        self.additions += other.additions
        self.removals += other.removals
        self.products += other.products

    def add_slots(self, slots: SlotEdits) -> None:
        """Takes over the edits of the optimizer's state."""
        self.moves += slots.moves
        self.additions += slots.additions
        self.removals += slots.removals


def write_model(
    model: Opened,
    edits: Edits,
    output: Output,
    *,
    metadata: Callable[[], Any],
    progress: OnProgress,
    check: Callable[[str], None] | None = None,
) -> int:
    """Writes a model after the configurations of its nodes have been edited.

    Args:
        model: The model.
        edits: What changes in the weights.
        output: Where the result goes; it is finished.
        metadata: Returns what `metadata.json` is to hold.
        progress: Called with how far the work is.
        check: Called with a path to the finished output, before it takes its place.

    Returns:
        The output's size in bytes.
    """
    source = model.source
    tell = cumulative(progress, "writing", source.weights.size)
    overlay = model.worker.call(
        "snconvert.weights.shards:edit",
        source.weights,
        edits.moves,
        edits.additions,
        edits.removals,
        edits.products,
        seconds=model.seconds,
    )

    def recorded() -> bytes:
        begin_stage(progress, "hashing")
        made = metadata()
        return strict_json.dumps(with_source(made, source.sha256()) if is_older(source) else made)

    def checked(result: str) -> None:
        if check is not None:
            begin_stage(progress, "checking")
            check(result)
        begin_stage(progress, "flushing")

    return output.finish(
        texts={CONFIG: strict_json.dumps(model.root.entry)},
        metadata=recorded,
        overlay=overlay,
        assets=asset_moves(model.source.assets, edits.moves),
        progress=lambda count: tell(("", count)),
        check=checked,
    )


def with_shared(nodes: Iterable[Node], chosen: Mapping[Node, T]) -> Iterator[tuple[Node, T]]:
    """Yields what was chosen for each node, for the further entries of a shared layer as well.

    A layer that several models share stands in the configuration of each, and all must agree.

    Args:
        nodes: All nodes.
        chosen: Something by first node.
    """
    for node in nodes:
        first = node if node.first is None else node.first
        if first in chosen:
            yield node, chosen[first]


def asset_moves(assets: Iterable[str], moves: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Returns the new names of assets: they are named after groups, so they move with them."""
    new_of = dict(moves)
    renamed: dict[str, str] = {}
    for asset in assets:
        group = asset.removeprefix("assets/")
        while group:
            if group in new_of:
                renamed[asset] = f"assets/{new_of[group]}{asset.removeprefix(f'assets/{group}')}"
            group = group.rpartition("/")[0]
    return renamed
