"""What a comparison of two models finds, and how two configurations differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from snconvert.config.keras_modules import torch_optimizer
from snconvert.config.tree import Node
from snconvert.core.magnitude import Magnitude
from snconvert.core.verdict import Change, Difference
from snconvert.errors import printable
from snconvert.jobs.requests import Proved

_MOST, _LONGEST = 50, 60
_ID = "shared_object_id"


@dataclass(slots=True)
class Findings:
    """What a comparison has found so far.

    Attributes:
        differences: What a conversion does not explain.
        notes: What is explained, but not to the last bit as it would be computed here.
        changes: The layers of another form.
        arrays: How many arrays were compared.
        lipschitz: As of `Verdict`.
    """

    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    arrays: int = 0
    lipschitz: tuple[Magnitude, float] | None = None

    def differ(self, path: str, what: str) -> None:
        """Adds a difference in a layer, or in something else that has a name."""
        self.differences.append(Difference(printable(path), what))

    def note(self, path: str, what: str) -> None:
        """Adds a note on a layer, or on something else that has a name."""
        self.notes.append(str(Difference(printable(path), what)))

    def listed(self) -> tuple[Difference, ...]:
        """Returns the first differences, and how many more there are."""
        first, rest = self.differences[:_MOST], len(self.differences) - _MOST
        return (*first, Difference("", f"{rest} more differences")) if rest > 0 else tuple(first)


def converted(path: str, class_name: str, new_class: str, proved: Sequence[Proved]) -> Change:
    """Returns the change of a layer that was converted.

    Args:
        path: The layer's path.
        class_name: The layer's class before.
        new_class: The layer's class after.
        proved: The proofs of the layer's kernels.
    """
    return Change(path, class_name, new_class, "converted", *largest_norms(proved))


def made_plain(
    path: str,
    class_name: str,
    new_class: str,
    norms: Iterable[float],
    norms_after: Iterable[float],
    *,
    baked: bool,
) -> Change:
    """Returns the change of a layer that has become plain.

    Args:
        path: The layer's path.
        class_name: The layer's class before.
        new_class: The layer's class after.
        norms: The norms of the layer's kernels before, as far as they are known.
        norms_after: The same after.
        baked: Whether kernels were multiplied.
    """
    what = "plain, scaled" if baked else "plain"
    return Change(path, class_name, new_class, what, _largest(norms), _largest(norms_after))


def largest_norms(proved: Sequence[Proved]) -> tuple[float | None, float | None]:
    """Returns the largest sigma that was proved, and the largest that inference has."""
    return _largest(p.sigma for p in proved), _largest(p.reached for p in proved)


def _largest(numbers: Iterable[float | None]) -> float | None:
    return max((x for x in numbers if x is not None), default=None)


def compare_configs(before: Node, after: Node, findings: Findings) -> None:
    """Adds to the findings in which layer and field the configurations of two models differ.

    Args:
        before: The root of the one model.
        after: The root of the other.
        findings: Takes the differences.
    """
    layers = {id(node.entry): node.path for node in before.walk()}
    shared: list[_Numbered] = []
    for path, what in _unequal(before.entry, after.entry, layers, shared):
        findings.differ(path, what)
    for layer, place, old, new in _regrouped(shared):
        what = f"is {_short(old)} before, {_short(new)} after, so that other objects are one"
        findings.differ(layer, f"{f'{place}.{_ID}'.lstrip('.')} {what}")


def compare_settings(
    path: str, before: Mapping[str, Any], after: Mapping[str, Any], findings: Findings
) -> None:
    """Adds to the findings in which fields two configurations of one layer differ.

    Args:
        path: The layer's path.
        before: The one configuration.
        after: The other.
        findings: Takes the differences.
    """
    for _, what in _unequal(before, after, {}, []):
        findings.differ(path, what)


class _Numbered(NamedTuple):
    """An object that is shared, in both configurations.

    Attributes:
        layer: The path of the layer that has the object.
        place: The object's place in the layer's configuration.
        before: The object's number before, `None` if it has none.
        after: The object's number after.
        is_layer: Whether the object is a layer itself.
    """

    layer: str
    place: str
    before: int | None
    after: int | None
    is_layer: bool


def _unequal(
    before: Any, after: Any, layers: Mapping[int, str], shared: list[_Numbered]
) -> Iterator[tuple[str, str]]:
    """Yields layer and field of each difference, and lists which objects are numbered as shared."""
    stack = [("config.json", "", before, after)]
    while stack:
        layer, place, a, b = stack.pop()
        is_layer = id(a) in layers
        layer, place = (layers[id(a)] or layer, "") if is_layer else (layer, place)
        if isinstance(a, dict) and isinstance(b, dict):
            a, b = _as_elsewhere(a), _as_elsewhere(b)
            # A policy is the same policy, one object or several.
            if (_ID in a or _ID in b) and not place.endswith("dtype"):
                shared.append(_Numbered(layer, place, a.get(_ID), b.get(_ID), is_layer))
            below = []
            for key in (*a, *sorted(b.keys() - a.keys())):
                inner = f"{place}.{key}" if place else str(key)
                if key == _ID:
                    continue
                if key not in a or key not in b:
                    where = "before" if key in a else "after"
                    yield layer, f"{printable(inner)} is there {where} only"
                else:
                    below.append((layer, inner, a[key], b[key]))
            stack += reversed(below)
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            pairs = enumerate(zip(a, b, strict=True))
            below = [(layer, f"{place}.{index}", *pair) for index, pair in pairs]
            stack += reversed(below)
        elif type(a) is not type(b) or repr(a) != repr(b):  # NaN is NaN, but -0.0 is not 0.0
            yield layer, f"{printable(place)} is {_short(a)} before, {_short(b)} after"


def _as_elsewhere(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns the entry of one of PyTorch's optimizers as the other backends write it."""
    name = str(entry.get("class_name"))
    of_torch = {
        "module": torch_optimizer(name),
        "registered_name": name,
    }
    if {key: entry.get(key) for key in of_torch} != of_torch:
        return entry
    return {**entry, "module": "keras.optimizers", "registered_name": None}


def _regrouped(shared: Sequence[_Numbered]) -> Iterator[tuple[str, str, Any, Any]]:
    """Yields an object of each group that is another group in the other configuration.

    Keras numbers shared objects by their addresses, so that only which have one number counts. It
    numbers all uses of a layer, but of another object all but the first that it meets; and those
    without a number it makes anew. So each time that it loads and saves a model, the first one of a
    group leaves it. A number that only one object has says nothing.
    """
    groups: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
    for index, each in enumerate(shared):
        for group, number in zip(groups, (each.before, each.after), strict=True):
            if number is not None:
                group.setdefault(repr(number), []).append(index)
    numbers = [(each.before, each.after) for each in shared]
    for side in (0, 1):
        own_groups, other_groups = groups[side], groups[1 - side]
        for members in own_groups.values():
            others = {repr(numbers[index][1 - side]) for index in members} - {"None"}
            rest = [other_groups[other] for other in others] or [[]]
            is_layer = shared[members[0]].is_layer
            is_new = side == 1 and rest == [[]] and len(members) > 1
            if is_new or len(rest) > 1 or not _is_rest(members, rest[0], exact=is_layer):
                index = next((i for i in members if None not in numbers[i]), members[0])
                yield shared[index][:4]


def _is_rest(members: list[int], others: list[int], *, exact: bool) -> bool:
    """Whether one group is what is left of the other one, from either side."""
    shorter = min(len(members), len(others))
    ends = [group[len(group) - shorter :] for group in (members, others)]
    return members == others or (not exact and ends[0] == ends[1])


def _short(value: Any) -> str:
    text = printable(json.dumps(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
