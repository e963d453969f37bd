"""Layers that stand in a model more than once."""

from __future__ import annotations

from snconvert.config.parsing import parse
from snconvert.config.tree import MODELS
from snconvert.legacy.objects import Entry


def share(root: Entry, *, stored_once: bool) -> list[str]:
    """Makes the ids of shared layers true.

    Keras writes an id where it meets a layer again, and often none in the first place, so that it
    makes two layers of one when it loads the file. A layer of two models it cannot load at all.

    Args:
        root: The model, in the words of Keras 3; it is changed.
        stored_once: Whether the weights lie in the first place only.

    Returns:
        The paths of layers of two models that become layers of their own, as their weights are
        stored in both places.
    """
    nodes = list(parse(root).walk())
    firsts = {node.first for node in nodes}
    apart = []
    for node in nodes:
        first, entry = node.first, node.entry
        if "shared_object_id" not in entry:
            continue
        if first is None:
            if node not in firsts:
                del entry["shared_object_id"]
        elif node.parent is not None and node.parent.builtin in MODELS:
            if not stored_once:
                del entry["shared_object_id"]
                apart.append(node.path)
        else:
            first.entry.setdefault("shared_object_id", entry["shared_object_id"])
    return apart
