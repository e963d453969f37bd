"""What a comparison of two models finds, and how two configurations differ."""

from __future__ import annotations

import json
from collections import Counter
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
    for path, what in _unequal(_Side(before), _Side(after), layers):
        found.differ(path, what)


class _Side:
    """One of two configurations, and which objects it says are one.

    Keras numbers shared objects by their addresses, so that only which have the same number counts.
    A number that stands once says something of a layer, whose first entry may be without, but not
    of another object: what it was shared with is not in the file. And a dtype policy is the same
    policy, one object or several.

    Args:
        root: The model.
    """

    def __init__(self, root: Node) -> None:
        self.root = root.entry
        self._layers = {id(node.entry) for node in root.walk()}
        self._counts = Counter(_numbers(root.entry))
        self._others = {"none": "none"}

    def number(self, entry: Mapping[str, Any], place: str) -> str:
        """Returns what number an object has that says something, or `none`."""
        number = repr(entry.get(_ID))
        alone = self._counts[number] == 1 and id(entry) not in self._layers
        return "none" if _ID not in entry or alone or place.endswith("dtype") else number

    def stands_for(self, own: str, other: str) -> bool:
        """Whether a number has stood for one of the other configuration so far."""
        return self._others.setdefault(own, other) == other


def _numbers(config: Any) -> Iterator[str]:
    stack = [("", config)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, dict):
            if _ID in value and place != "dtype":
                yield repr(value[_ID])
            stack += value.items()
        elif isinstance(value, list):
            stack += [("", item) for item in value]


def _unequal(before: _Side, after: _Side, layers: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """Yields layer and field of each difference."""
    stack = [("config.json", "", before.root, after.root)]
    while stack:
        layer, place, a, b = stack.pop()
        layer, place = (layers[id(a)], "") if id(a) in layers else (layer, place)
        if isinstance(a, dict) and isinstance(b, dict):
            one, two = before.number(a, place), after.number(b, place)
            if not (before.stands_for(one, two) and after.stands_for(two, one)):
                what = f"is {one} before, {two} after, so that other objects are one"
                yield layer, f"{f'{place}.{_ID}'.lstrip('.')} {printable(what)}"
            for key in sorted({*a, *b} - {_ID}, reverse=True):
                inner = f"{place}.{key}" if place else str(key)
                if key not in a or key not in b:
                    where = "before" if key in a else "after"
                    yield layer, f"{printable(inner)} is there {where} only"
                else:
                    stack.append((layer, inner, a[key], b[key]))
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            below = [f"{place}.{index}" for index in range(len(a))]
            stack += [
                (layer, *item) for item in zip(reversed(below), a[::-1], b[::-1], strict=True)
            ]
        elif type(a) is not type(b) or repr(a) != repr(b):  # NaN is NaN, but -0.0 is not 0.0
            yield layer, f"{printable(place)} is {_short(a)} before, {_short(b)} after"


def _short(value: Any) -> str:
    text = printable(json.dumps(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
