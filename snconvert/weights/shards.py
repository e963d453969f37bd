"""Weights in several HDF5 files, read and edited as if they were in one.

Keras spreads the variables of a model over files of a largest size, and a map says which file holds
which group. The group of one layer may begin in one file and go on in the next. All functions run
inside the guarded process, and take weights in one file, too.

Reference: keras/src/saving/saving_lib.py, `ShardedH5IOStore`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from snconvert.errors import SourceError, printable
from snconvert.weights import editing, reading
from snconvert.weights.contents import Contents, Product
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay, ShardedOverlay


def scan(extent: Extent) -> Contents:
    """Returns what the weights hold, as `reading.scan` does.

    Args:
        extent: The bytes of one HDF5 file, or of several.

    Raises:
        SourceError: As `reading.scan` does, with the name of the file; or two files hold one array.
    """
    if not extent.shards:
        return reading.scan(extent)
    contents, start = Contents(), 0
    holders: dict[str, str] = {}
    for name, part, _, prefix in extent.shards:
        with _in_shard(name):
            held = reading.scan(part)
        for own, dataset in held.datasets.items():
            path = prefix + own
            if path in holders:
                raise SourceError(
                    f"{printable(path)} is both in {printable(holders[path])} and in"
                    f" {printable(name)}",
                    "Save the weights again with Keras",
                )
            holders[path] = name
            moved = None if dataset.offset is None else dataset.offset + start
            contents.datasets[path] = dataset._replace(offset=moved)
        contents.groups |= {prefix + group for group in held.groups}
        start += part.size
    return contents


def datasets_of(extent: Extent) -> frozenset[str]:
    """Returns the paths of the datasets in one HDF5 file, which it checks as `scan` does."""
    return frozenset(reading.scan(extent).datasets)


def edit(
    extent: Extent,
    moves: Sequence[tuple[str, str]],
    additions: Sequence[tuple[str, Any]] = (),
    removals: Sequence[str] = (),
    products: Sequence[Product] = (),
) -> Overlay | ShardedOverlay:
    """Renames, removes and adds objects, as `editing.edit` does, each in the file where it is.

    What is added goes into the file that holds the last variable of its group.

    Args:
        extent: The bytes of one HDF5 file, or of several.
        moves: As for `editing.edit`.
        additions: As for `editing.edit`.
        removals: As for `editing.edit`.
        products: As for `editing.edit`.
    """
    if not extent.shards:
        return editing.edit(extent, moves, additions, removals, products)
    new_of = dict(moves)
    gone = set(removals)
    places: dict[str, int] = {}  # path after the edit -> number of the file
    moved: dict[str, str] = {}
    for number, shard in enumerate(extent.shards):
        for path in shard.datasets:
            new = _moved(path, new_of, gone)
            if new is not None:
                moved[path] = new
                places[new] = number
        own = [x for x in products if x.copy is not None and x.path in shard.datasets]
        places |= {str(x.copy): number for x in own}
    homes = _homes(places, len(extent.shards) - 1)
    added = [(homes(path), path, array) for path, array in additions]
    places |= {path: number for number, path, _ in added}
    overlays, grown = [], sum(array.nbytes for _, array in additions)
    for number, (name, part, datasets, prefix) in enumerate(extent.shards):
        with _in_shard(name):
            held = reading.scan(part)
            there = {prefix + path for path in (*held.groups, *held.datasets)}
            sizes = {prefix + path: dataset.nbytes for path, dataset in held.datasets.items()}
            grown -= sum(sizes[path] for path in datasets - moved.keys())
            copied = [x.path for x in products if x.copy is not None and x.path in datasets]
            grown += sum(sizes[path] for path in copied)
            cut = len(prefix)
            overlays.append(
                editing.edit(
                    part,
                    [(old[cut:], new[cut:]) for old, new in moves if old in there],
                    [(path[cut:], array) for where, path, array in added if where == number],
                    [path[cut:] for path in removals if path in there],
                    [
                        Product(x.path[cut:], x.factor, None if x.copy is None else x.copy[cut:])
                        for x in products
                        if x.path in datasets
                    ],
                )
            )
    changed = {old: new for old, new in moved.items() if old != new}
    return ShardedOverlay(tuple(overlays), places, changed, grown)


@contextlib.contextmanager
def _in_shard(name: str) -> Iterator[None]:
    try:
        yield
    except SourceError as error:
        raise SourceError(f"in {printable(name)}, {error.what}", error.fix) from error


def _homes(places: Mapping[str, int], last: int) -> Any:
    """Returns a function that says in which file a new array goes."""
    by_group: dict[str, int] = {}
    for path, number in places.items():
        for group in _above(path):
            by_group[group] = max(number, by_group.get(group, 0))
    return lambda path: next((by_group[g] for g in _above(path) if g in by_group), last)


def _above(path: str) -> Iterator[str]:
    """Yields the groups that a path lies in, the closest first."""
    while path := path.rpartition("/")[0]:
        yield path


def _moved(path: str, new_of: Mapping[str, str], gone: Collection[str]) -> str | None:
    """Returns the path after the edit, `None` if it is gone: the closest edit above it counts."""
    for group in (path, *_above(path)):
        if group in new_of:
            return new_of[group] + path[len(group) :]
        if group in gone:
            return None
    return path
