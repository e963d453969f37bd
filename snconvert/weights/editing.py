"""Editing the HDF5 file of the weights in a copy-on-write view; runs inside the guarded process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5o, h5p, h5s, h5t

from snconvert.errors import SourceError, printable
from snconvert.weights.contents import Product
from snconvert.weights.datasets import describe, numpy_type
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay, OverlayFile
from snconvert.weights.reading import opened, translated
from snconvert.weights.scaling import Fill, scale

_EDIT_BLOCK = 4096  # of 10 000 scattered edits, less is kept than with larger blocks
_LOOKED_AT = 1000
_TEMPORARY = "snconvert.tmp"
_RESAVE = "Save the model again with Keras"

Item = TypeVar("Item")


def edit(
    extent: Extent,
    moves: Sequence[tuple[str, str]],
    additions: Sequence[tuple[str, np.ndarray]] = (),
    removals: Sequence[str] = (),
    products: Sequence[Product] = (),
    attributes: Sequence[str] = (),
) -> Overlay:
    """Renames, removes and adds objects in a copy-on-write view of the file.

    The moves are simultaneous: every old path is a path before the edit, every new one a path
    after it, so that chains and swaps work. What lies below a moved group moves along, unless a
    move or removal of its own says otherwise. Groups on the way to a new path are made.

    Args:
        extent: The bytes of an HDF5 file that `scan` has accepted.
        moves: Pairs of old and new path, of groups or datasets.
        additions: Pairs of path after the edit and small array, written contiguously. An array
            of type bfloat16 (of ml_dtypes) is written as Keras does.
        removals: Paths before the edit of groups or datasets to be dropped.
        products: Arrays to be multiplied, in place or into a new array.
        attributes: Attributes of the root to be dropped, if they are there.

    Returns:
        The changed blocks and the fills. Same arguments, same bytes.

    Raises:
        SourceError: The file is damaged, or a path is not there or is taken.
    """
    file = OverlayFile(extent, _EDIT_BLOCK)
    with opened(file, "r+") as h5, translated("the file"):
        root = h5g.open(h5.id, b"/")
        if _TEMPORARY in h5 or any(_TEMPORARY in path for move in moves for path in move):
            raise SourceError(f"{_TEMPORARY} is the name of a group in the file", _RESAVE)
        factors = [h5o.open(root, product.path.encode()) for product in products]
        edited = {old for old, _ in moves}.union(removals)
        moves = [(old, new) for old, new in moves if old != new or _below(old, edited)]
        places = {old: old for old, _ in moves}
        if any(_below(old, edited) or new in edited or _below(new, edited) for old, new in moves):
            # One stands in the way of another: all of them first go aside.
            h5g.create(root, _TEMPORARY.encode())
            places = {old: f"{_TEMPORARY}/{index}" for index, old in enumerate(places)}
        # From below upwards, so that every old path still leads to its object.
        for old in sorted([*places, *removals], key=_depth, reverse=True):
            with translated(old):
                if old not in places:
                    root.unlink(old.encode())
                elif places[old] != old:
                    root.links.move(old.encode(), root, places[old].encode())
        groups: set[str] = set()
        # From above downwards, so that every new path leads somewhere.
        for old, new in sorted(moves, key=lambda move: _depth(move[1])):
            with translated(new):
                _make_parents(root, new, groups)
                root.links.move(places[old].encode(), root, new.encode())
                groups.add(new)
        if _TEMPORARY in h5:
            root.unlink(_TEMPORARY.encode())
        for name in attributes:
            with translated("the root"):
                if h5a.exists(root, name.encode()):
                    h5a.delete(root, name.encode())
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)
        for path, array in additions:
            with translated(path):
                _make_parents(root, path, groups)
                _add(root, path, array, properties)
        fills: list[Fill] = []
        pairs = zip(products, factors, strict=True)
        # Copies first: what is multiplied in place must be multiplied once.
        for product, item in sorted(pairs, key=lambda pair: pair[0].copy is None):
            with translated(product.path):
                fills += _multiply(root, product, item, extent.size, groups)
    seen = {above for path, _ in additions for above in _above(path)}
    _verify(file, [new for _, new in moves if new not in seen], additions)
    return file.overlay()._replace(fills=tuple(sorted(fills, key=lambda fill: fill.offset)))


def _depth(path: str) -> int:
    return path.count("/")


def _below(path: str, edited: set[str]) -> bool:
    """Whether something above `path` moves or goes, so that it has to be moved to stay."""
    return any(above in edited for above in _above(path))


def _above(path: str) -> Iterator[str]:
    """Yields the groups on the way to `path`."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def _make_parents(root: Any, path: str, groups: set[str]) -> None:
    for above in _above(path):
        if above not in groups and not root.links.exists(above.encode()):
            h5g.create(root, above.encode())
        groups.add(above)


def _add(root: Any, path: str, array: np.ndarray, properties: Any) -> None:
    stored = np.ascontiguousarray(array).reshape(array.shape)
    kind = h5t.py_create(stored.dtype)
    shape = h5s.create_simple(stored.shape) if stored.shape else h5s.create(h5s.SCALAR)
    dataset = h5d.create(root, path.encode(), kind, shape, properties)
    dataset.write(h5s.ALL, h5s.ALL, stored, kind)
    if array.dtype.name == "bfloat16":
        h5py.Dataset(dataset).attrs["dtype"] = "bfloat16"


def _multiply(root: Any, product: Product, item: Any, size: int, groups: set[str]) -> list[Fill]:
    """Multiplies one array: by a fill where it lies in one piece, else here and now."""
    dataset = describe(product.path, item, size)
    target, offset = item, dataset.offset
    if product.copy is not None:
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)
        properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5d.FILL_TIME_NEVER)
        _make_parents(root, product.copy, groups)
        kind, space = item.get_type(), item.get_space()
        target = h5d.create(root, product.copy.encode(), kind, space, properties)
        if dataset.dtype == "bfloat16":
            h5py.Dataset(target).attrs["dtype"] = "bfloat16"
        offset = target.get_offset()
    if dataset.offset is not None and offset is not None:
        return [Fill(offset, dataset, product.factor)]
    array = np.empty(dataset.shape, numpy_type(dataset))
    raw = array.view("V2") if dataset.dtype == "bfloat16" else array
    item.read(h5s.ALL, h5s.ALL, raw, item.get_type())
    scale(array.data.cast("B"), dataset, product.factor)
    target.write(h5s.ALL, h5s.ALL, raw, item.get_type())
    return []


def _verify(
    file: OverlayFile, paths: Sequence[str], additions: Sequence[tuple[str, np.ndarray]]
) -> None:
    """Opens the result once more: what it was edited into must be readable from its bytes.

    Beyond `_LOOKED_AT` objects it looks at as many of them, the first and the last included.
    """
    with opened(file, "r") as h5:
        root = h5g.open(h5.id, b"/")
        for path in _some(paths):
            with translated(path):
                h5o.open(root, path.encode())
        for path, array in _some(additions):
            with translated(path):
                dataset = describe(path, h5o.open(root, path.encode()), file.size)
                if dataset.shape != array.shape or dataset.dtype != array.dtype.name:
                    raise SourceError(f"{printable(path)} was not written as it should be", _RESAVE)


def _some(items: Sequence[Item]) -> Sequence[Item]:
    step = max(1, -(-len(items) // _LOOKED_AT))
    return [*items[:-1:step], *items[-1:]]
