"""What a comparison of two models finds, and how two configurations differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from snconvert.errors import printable
from snconvert.tree import Node
from snconvert.verdict import Change, Difference

_MOST, _LONGEST = 50, 60
_ID = "shared_object_id"


@dataclass(slots=True)
class Findings:
    """What is found along the way.

    Attributes:
        differences: What a conversion does not explain.
        notes: What is explained, but not to the last bit as it would be computed here.
        changes: The layers of another form.
        arrays: How many arrays were compared.
    """

    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    arrays: int = 0

    def differ(self, path: str, what: str) -> None:
        """Adds a difference in a layer, or in something else that has a name."""
        self.differences.append(Difference(printable(path), what))

    def note(self, path: str, what: str) -> None:
        """Adds a note on a layer, or on something else that has a name."""
        self.notes.append(str(Difference(printable(path), what)))

    def told(self) -> tuple[Difference, ...]:
        """Returns the first differences, and how many more there are."""
        told, rest = self.differences[:_MOST], len(self.differences) - _MOST
        return (*told, Difference("", f"{rest} more differences")) if rest > 0 else tuple(told)


def compare_configs(before: Node, after: Node, found: Findings) -> None:
    """Tells in which layer and field two trees' configurations differ.

    Args:
        before: The root of the one tree.
        after: That of the other.
        found: What is told of it.
    """
    layers = {id(node.entry): node.path for node in before.walk() if node.path}
    for path, what in _unequal(before.entry, after.entry, layers):
        found.differ(path, what)


def _unequal(one: Any, two: Any, layers: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """Yields layer and field of each difference.

    Keras numbers shared objects by their addresses: the numbers may differ, if all do so alike.
    """
    ids: tuple[dict[int, int], dict[int, int]] = ({}, {})  # one to one, in both directions
    stack = [("config.json", "", one, two)]
    while stack:
        layer, place, a, b = stack.pop()
        layer, place = (layers[id(a)], "") if id(a) in layers else (layer, place)
        if isinstance(a, dict) and isinstance(b, dict):
            for key in sorted({*a, *b}, reverse=True):
                inner = f"{place}.{key}" if place else str(key)
                if key == _ID and place.endswith("dtype"):
                    continue  # a policy is the same policy, one object or several
                if key not in a or key not in b:
                    where = "before" if key in a else "after"
                    yield layer, f"{printable(inner)} is there {where} only"
                elif key != _ID:
                    stack.append((layer, inner, a[key], b[key]))
                elif not _is_same(a[key], b[key], ids):
                    old, new = _short(a[key]), _short(b[key])
                    what = f"is {old} before, {new} after, which stands for other objects"
                    yield layer, f"{printable(inner)} {what}"
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            below = [f"{place}.{index}" for index in range(len(a))]
            stack += [
                (layer, *item) for item in zip(reversed(below), a[::-1], b[::-1], strict=True)
            ]
        elif type(a) is not type(b) or repr(a) != repr(b):  # NaN is NaN, but -0.0 is not 0.0
            yield layer, f"{printable(place)} is {_short(a)} before, {_short(b)} after"


def _is_same(one: Any, two: Any, ids: tuple[dict[int, int], dict[int, int]]) -> bool:
    """Whether two numbers of shared objects have stood for each other so far."""
    if type(one) is not int or type(two) is not int:
        return type(one) is type(two) and bool(one == two)
    return ids[0].setdefault(one, two) == two and ids[1].setdefault(two, one) == one


def _short(value: Any) -> str:
    text = printable(json.dumps(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
