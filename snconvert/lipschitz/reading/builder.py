"""A network while it is read: operations come one by one; in the end what is of no use goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from snconvert.errors import UnsupportedError
from snconvert.lipschitz.network import Does, Input, Network, Operation, Sizes, Unbounded

MOST = 1 << 18
"""How many calls and operations a network may have."""


class Value(NamedTuple):
    """A tensor of the network.

    Attributes:
        place: The operation that makes it.
        sizes: Its sizes, of one sample, without axes that wrappers hide from the layer inside.
        masked: Whether it may carry a mask.
        known: Whether its sizes are known at all.
    """

    place: int
    sizes: Sizes
    masked: bool = False
    known: bool = True


class Builder:
    """Collects the operations of a network."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._behind: dict[int, tuple[str, tuple[int, ...]]] = {}  # its layer's path, its ids
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
                "Leave out --lipschitz (lipschitz in Python)",
            )

    def add(
        self, path: str, class_name: str, does: Does, sizes: Sizes, inputs: Iterable[Value]
    ) -> Value:
        """Adds an operation and returns its output.

        Raises:
            UnsupportedError: There are too many.
        """
        self.count()
        read = tuple(inputs)
        places = tuple(value.place for value in read)
        self._operations.append(Operation(path, class_name, does, places, self._hidden + sizes))
        return Value(len(self._operations) - 1, sizes, any(value.masked for value in read))

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
        return value._replace(masked=any(one.masked for one in ids))

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
        self._refuse_starts(used)
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

    def _refuse_starts(self, used: set[int]) -> None:
        """Makes discrete layers unbounded whose ids are no input, or one that is read as numbers.

        Two inputs that are close may have other ids, and the distance between these is what the
        bound leaves out.
        """
        for place, (_, ids) in list(self._behind.items()):
            if place not in used:
                continue
            origins = self._reached(ids)
            inputs = {at for at in origins if isinstance(self._operations[at].does, Input)}
            shapes = all(_keeps_ids(self._operations[at]) for at in origins - inputs)
            if shapes and not used & inputs:
                continue
            reason = "it looks up numbers that the network computes"
            if shapes:
                reason = "it looks up an input that other layers read as numbers"
            old = self._operations[place]
            self._operations[place] = old._replace(does=Unbounded(reason), inputs=ids)
            del self._behind[place]


def _keeps_ids(operation: Operation) -> bool:
    """Whether it does no more than move numbers."""
    return operation.class_name in {"Flatten", "Reshape", "Permute", "ExpandDims", "Squeeze"}


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
