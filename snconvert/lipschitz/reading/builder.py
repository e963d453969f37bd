"""A network while it is read: operations come one by one; in the end what is of no use goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from snconvert.errors import SourceError, UnsupportedError, printable
from snconvert.lipschitz.network import Does, Input, Network, Operation, Sizes, Unbounded
from snconvert.lipschitz.reading.shapes import LARGEST

MOST = 1 << 18
"""How many calls and operations a network may have."""


MASK = "it uses the mask of its input, which jumps where a step equals the masked value"
MUCH = frozenset({-1})
"""What a mask follows from, where that is not followed any more."""

_MOST_MASKS = 8
_MOVES = ("Cast", "Flatten", "Reshape", "Permute", "ExpandDims", "Squeeze")  # numbers as they are


class Value(NamedTuple):
    """A tensor of the network.

    Attributes:
        place: The operation that makes it.
        sizes: Its sizes, of one sample, without axes that wrappers hide from the layer inside.
        mask: The operations from whose outputs the mask follows that it may carry.
        known: Whether its sizes are known at all.
    """

    place: int
    sizes: Sizes
    mask: frozenset[int] = frozenset()
    known: bool = True


class Builder:
    """Collects the operations of a network."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._behind: dict[int, tuple[str, tuple[int, ...]]] = {}  # its layer's path, its ids
        self._masked: dict[int, frozenset[int]] = {}
        self._hidden: Sizes = ()
        self._count = 0

    def count(self, number: int = 1) -> None:
        """Counts calls or operations.

        Raises:
            UnsupportedError: There are too many.
        """
        self._count += number
        if self._count > MOST:
            raise UnsupportedError(
                f"there are more than {MOST} calls of layers once nested models are opened",
                "Leave out --lipschitz",
            )

    def add(
        self, path: str, class_name: str, does: Does, sizes: Sizes, inputs: Iterable[Value]
    ) -> Value:
        """Adds an operation and returns its output.

        Raises:
            SourceError: Its output is larger than can be.
            UnsupportedError: There are too many.
        """
        self.count()
        if any(size is not None and size > LARGEST for size in sizes):
            raise SourceError(
                f"a tensor of {printable(sizes)} is larger than can be",
                "Repair config.json, or save the model again with Keras",
                path=path,
                class_name=class_name,
            )
        read = tuple(inputs)
        places = tuple(value.place for value in read)
        self._operations.append(Operation(path, class_name, does, places, self._hidden + sizes))
        return Value(len(self._operations) - 1, sizes, _joint(value.mask for value in read))

    def start(self, path: str, class_name: str, sizes: Sizes, ids: tuple[Value, ...]) -> Value:
        """Adds what is behind a discrete layer, which is an input of the network.

        Args:
            path: The layer's path.
            class_name: Its class.
            sizes: Of its output.
            ids: What it looks up.
        """
        value = self.add(path, class_name, Input(path), sizes, ())
        self._behind[value.place] = (path, tuple(one.place for one in ids))
        return value._replace(mask=_joint(one.mask for one in ids))

    def uses_mask(self, value: Value) -> None:
        """Marks the operation that makes `value` as one that uses the mask of its inputs.

        It has a constant only while the mask stays as it is, as that of an embedding does, whose
        ids are held.
        """
        self._masked[value.place] = value.mask

    @contextmanager
    def hiding(self, sizes: Sizes) -> Iterator[None]:
        """Puts axes before those of all operations that are added meanwhile."""
        before, self._hidden = self._hidden, self._hidden + sizes
        yield
        self._hidden = before

    def network(self, outputs: Iterable[tuple[str, Value]], notes: Iterable[str]) -> Network:
        """Returns what the outputs depend on."""
        ends = [(name, value.place) for name, value in outputs]
        used = self._reached(place for _, place in ends)
        self._refuse_discrete(used)
        used = self._reached(place for _, place in ends)
        kept = sorted(used, key=lambda at: not isinstance(self._operations[at].does, Input))
        new = {place: at for at, place in enumerate(kept)}
        operations = [self._operations[place] for place in kept]
        names = iter(numbered(it.does.name for it in operations if isinstance(it.does, Input)))
        operations = [
            it._replace(does=Input(next(names))) if isinstance(it.does, Input) else it
            for it in operations
        ]
        starts = dict.fromkeys(self._behind[at][0] for at in kept if at in self._behind)
        return Network(
            tuple(it._replace(inputs=tuple(new[at] for at in it.inputs)) for it in operations),
            tuple(
                zip(numbered(name for name, _ in ends), (new[at] for _, at in ends), strict=True)
            ),
            tuple(starts),
            tuple(notes),
        )

    def _reached(self, places: Iterable[int]) -> set[int]:
        reached: set[int] = set()
        stack = list(places)
        while stack:
            place = stack.pop()
            if place not in reached:
                reached.add(place)
                stack += self._operations[place].inputs
        return reached

    def _refuse_discrete(self, used: set[int]) -> None:
        """Makes unbounded what jumps with an input that is read as numbers, or computed.

        Two inputs that are close may have other ids or other masks, and the distance between these
        is what the bound leaves out.
        """
        origins = self._origins()
        for place, (_, ids) in list(self._behind.items()):
            found = [origins[at] for at in ids]
            if place not in used:
                continue
            if not all(moved for _, moved in found):
                self._refuse(place, "it looks up numbers that the network computes", ids)
            elif used & {origin for origin, _ in found}:
                self._refuse(place, "it looks up an input that other layers read as numbers", ids)
        for place, mask in self._masked.items():
            known = {None if at < 0 else origins[at][0] for at in mask}
            if place in used and (None in known or used & known):
                self._refuse(place, MASK, self._operations[place].inputs)

    def _refuse(self, place: int, reason: str, inputs: tuple[int, ...]) -> None:
        operation = self._operations[place]
        self._operations[place] = operation._replace(does=Unbounded(reason), inputs=inputs)
        self._behind.pop(place, None)

    def _origins(self) -> list[tuple[int | None, bool]]:
        """Returns the only input that each operation depends on, and whether it was but moved."""
        origins: list[tuple[int | None, bool]] = []
        for place, operation in enumerate(self._operations):
            if isinstance(operation.does, Input):
                origins.append((place, True))
            elif len(operation.inputs) == 1:
                origin, moved = origins[operation.inputs[0]]
                origins.append((origin, moved and operation.class_name in _MOVES))
            else:
                origins.append((None, False))
        return origins


def _joint(masks: Iterable[frozenset[int]]) -> frozenset[int]:
    """Returns all that masks follow from, or that this is much."""
    joint = frozenset[int]().union(*masks)
    return joint if len(joint) <= _MOST_MASKS else MUCH


def numbered(names: Iterable[str]) -> list[str]:
    """Returns the names with a number behind those that were there before.

    Example:
        >>> numbered(["a", "b", "a"])
        ['a', 'b', 'a (2)']
    """
    counts: Counter[str] = Counter()
    result = []
    for name in names:
        counts[name] += 1
        result.append(f"{name} ({counts[name]})" if counts[name] > 1 else name)
    return result
