"""What makes the weights of an older file those of Keras 3: arrays get other paths, a few are new.

Needs neither numpy nor h5py: `jobs.relocate` does the work, in the guarded process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Constant(NamedTuple):
    """A number, or an array of one number, that the file gets.

    Attributes:
        path: Its path afterwards.
        dtype: Its type, as numpy names it.
        value: The number.
        shape: Its shape.
    """

    path: str
    dtype: str
    value: float
    shape: tuple[int, ...] = ()


class Computed(NamedTuple):
    """An array that is computed from old ones.

    Attributes:
        path: Its path afterwards.
        formula: The name of the function in `jobs.relocate` that computes it.
        sources: The paths of the old arrays, before.
    """

    path: str
    formula: str
    sources: tuple[str, ...]


@dataclass(slots=True)
class Relocation:
    """What changes in the weights of an older file.

    Attributes:
        moves: Pairs of a path before and a path afterwards, simultaneous; arrays or groups.
        removals: Paths before of groups or arrays that Keras 3 does not look for.
        constants: Numbers, and arrays of one number, that are new.
        computed: Arrays that are computed; their sources are among the removals.
        groups: Pairs of the group of a layer in an archive before and afterwards, by which assets
            are named.
    """

    moves: list[tuple[str, str]] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    computed: list[Computed] = field(default_factory=list)
    groups: list[tuple[str, str]] = field(default_factory=list)
