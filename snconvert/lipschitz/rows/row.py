"""One row of the table of layers, and what its function sees of a call."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from snconvert.errors import SourceError, printable
from snconvert.kinds.kernel_rule import Kernel
from snconvert.lipschitz.network import Does, Linear, StoredArray, StoredKernel, Unbounded
from snconvert.lipschitz.reading.builder import Builder, Value
from snconvert.lipschitz.reading.shapes import Sizes, finite
from snconvert.weights.contents import Dataset

REPAIR = "Repair the layer's configuration and save the model again"

LARGEST = sys.float_info.max
"""The largest finite number; integers may be larger."""

NOT_STORED = Unbounded("the file holds no weights for it")


class OwnKernel(NamedTuple):
    """A kernel of a layer.

    Attributes:
        rule: Its row in the table of kinds.
        stored: Where it lies, and how it is normalised.
    """

    rule: Kernel
    stored: StoredKernel


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation.

    Attributes:
        builder: The network so far.
        path: The layer's path.
        class_name: Its class.
        config: Its configuration.
        inputs: The tensors that it reads, in order; at least one.
        args: Its positional arguments, with values for tensors.
        kwargs: Its named arguments, likewise.
        kernels: Its kernels, by their names.
        datasets: The arrays that it stores itself, in its own order; those of parts by their group.
        training: Whether it is called as in training.
    """

    builder: Builder
    path: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[Value, ...]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    kernels: Mapping[str, OwnKernel] = field(default_factory=dict)
    datasets: Mapping[str, tuple[tuple[str, Dataset], ...]] = field(default_factory=dict)
    training: bool = False

    @property
    def sizes(self) -> Sizes:
        """The sizes of its first input."""
        return self.inputs[0].sizes

    @property
    def channels_axis(self) -> int:
        """The axis of the channels, from the end."""
        return -len(self.sizes) if self.channels_first else -1

    @property
    def channels_first(self) -> bool:
        """Whether the channels are the first axis of a sample."""
        return self.config.get("data_format") == "channels_first"

    def add(
        self, does: Does, sizes: Sizes, inputs: tuple[Value, ...] = (), name: str = ""
    ) -> Value:
        """Adds an operation to the network and returns its output.

        Args:
            does: What it does.
            sizes: Of its output.
            inputs: What it reads; by default what the call reads.
            name: What it is called; by default as the class.
        """
        read = inputs or self.inputs
        return self.builder.add(self.path, name or self.class_name, does, sizes, read)

    def same(self, does: Does, inputs: tuple[Value, ...] = (), name: str = "") -> Value:
        """Adds an operation whose output has the sizes of its input."""
        return self.add(does, (inputs or self.inputs)[0].sizes, inputs, name)

    def array(self, position: int, count: int, group: str = "") -> StoredArray | None:
        """Returns one of the arrays that it stores, or `None` where there are not so many.

        Args:
            position: Which, in the order in which the layer makes them.
            count: How many there have to be.
            group: The part of the layer that owns it.
        """
        stored = self.datasets.get(group, ())
        return StoredArray(*stored[position]) if len(stored) == count else None

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Returns whether an entry of the configuration is true."""
        return bool(self.config.get(key, default))

    def number(self, key: str, default: float) -> float:
        """Returns a number of the configuration.

        Raises:
            SourceError: It is none.
        """
        value = self.config.get(key, default)
        number = finite(value)
        if number is None:
            raise SourceError(f"`{key}` is {printable(value)}, but a number is expected", REPAIR)
        return number


Answer = Value | tuple[Value, ...] | Unbounded
"""What a call puts out: a tensor, several, or why there is no constant."""


class Row(NamedTuple):
    """One class, or several that differ in their rank only.

    Attributes:
        classes: Their names.
        constant: The constant in words, for the table of the documentation.
        read: Adds a call to the network.
        joins: Whether it is meant to read several tensors.
        masks: Whether it uses a mask of its input, and has its constant while that is held.
        bounded: Whether it may have a constant.
    """

    classes: tuple[str, ...]
    constant: str
    read: Callable[[Call], Answer]
    joins: bool = False
    masks: bool = False
    bounded: bool = True


def ranks(name: str, *numbers: int) -> tuple[str, ...]:
    """Returns the names of a class that exists for several ranks.

    Example:
        >>> ranks("Conv{}D", 1, 2)
        ('Conv1D', 'Conv2D')
    """
    return tuple(name.format(number) for number in numbers or (1, 2, 3))


def sample_rank(class_name: str) -> int | None:
    """Returns how many axes a sample has that a class of a fixed rank reads, `None` of others.

    Example:
        >>> sample_rank("MaxPooling2D"), sample_rank("Dense")
        (3, None)
    """
    found = re.search(r"(\d)D", class_name)
    return None if found is None else int(found[1]) + 1


def none(*classes: str, because: str) -> Row:
    """Returns the row of classes that have no constant."""
    return Row(classes, f"none: {because}", lambda _: Unbounded(because), bounded=False)


def linear(
    call: Call, name: str, sizes: Sizes, inputs: tuple[Value, ...] = (), **choices: Any
) -> Value | Unbounded:
    """Adds the map by one kernel of a layer.

    Args:
        call: The call of the layer.
        name: The kernel's name.
        sizes: Of the output.
        inputs: What it reads; by default what the call reads.
        choices: Other attributes of `Linear`.
    """
    kernel = call.kernels.get(name)
    if kernel is None:
        return NOT_STORED
    return call.add(Linear(kernel.stored, **choices), sizes, inputs)
