"""Reading and editing the HDF5 file of the weights, within what Keras writes.

These functions run inside a `guard.Worker`. libhdf5 is asked for as little as possible, in an
order in which each answer makes the next question safe: the link before the object, the layout
before the shape, the filters before any read. Attributes are not read, but for the one that tells
bfloat16 from other opaque data.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import math
import resource
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5p, h5pl, h5s, h5t

from snconvert.core.foreign import unknown_weights
from snconvert.errors import SnconvertError, SourceError, printable
from snconvert.weights.contents import Contents, Dataset, Product
from snconvert.weights.datasets import describe, numpy_type
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay, OverlayFile
from snconvert.weights.scaling import Fill, scale

_MOST_OBJECTS = 1_000_000
_DEEPEST = 512
_EDIT_BLOCK = 4096  # of 10 000 scattered edits, less is kept than with larger blocks
_LOOKED_AT = 1000
_TEMPORARY = "snconvert.tmp"
_RESAVE = "Save the model again with Keras"

Item = TypeVar("Item")


def scan(extent: Extent) -> Contents:
    """Returns what the file holds, after checking all of its structure and none of its data.

    Args:
        extent: The bytes of the HDF5 file.

    Raises:
        SourceError: The file is damaged, or holds what Keras does not write: links, external,
            virtual or missing data, unknown filters or types. The message names the object.
    """
    error = unknown_weights(extent.pread(8, 0))
    if error is not None:
        raise error
    return _scan(OverlayFile(extent), extent.size)


def read_dataset(extent: Extent, path: str) -> np.ndarray:
    """Returns one array, decoded.

    For data that is not contiguous in the file; what is can be mapped, see `Dataset.offset`.

    Args:
        extent: The bytes of the HDF5 file.
        path: The dataset's path in `Contents.datasets`.

    Returns:
        The array as stored: same shape, type and byte order; bfloat16 as the uint16 of its bits.

    Raises:
        SourceError: As for `scan`.
    """
    with _opened(OverlayFile(extent), "r") as file, _translated(path):
        group: Any = h5g.open(file.id, b"/")
        for name in path.encode().split(b"/"):
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise SourceError(f"{printable(path)} is a link, not data", _RESAVE)
            group = h5o.open(group, name)
        dataset = describe(path, group, extent.size)
        if dataset.offset is not None:
            data = extent.pread(dataset.nbytes, dataset.offset)
            return np.frombuffer(data, numpy_type(dataset)).reshape(dataset.shape)
        array = np.empty(dataset.shape, numpy_type(dataset))
        raw = array.view("V2") if dataset.dtype == "bfloat16" else array
        group.read(h5s.ALL, h5s.ALL, raw, group.get_type())
        return array


def read_kernel(extent: Extent, mapped: memoryview, path: str, dataset: Dataset) -> np.ndarray:
    """Returns one array as it is stored, without a copy where it is contiguous in the file.

    Args:
        extent: The bytes of the HDF5 file.
        mapped: They, in memory.
        path: The dataset's path in `Contents.datasets`.
        dataset: What `scan` has found of it.
    """
    if dataset.offset is None:
        return read_dataset(extent, path)
    count = math.prod(dataset.shape)
    flat = np.frombuffer(mapped, numpy_type(dataset), count, dataset.offset)
    return flat.reshape(dataset.shape)


def read_whole(extent: Extent) -> dict[str, str]:
    """Reads all that a loader may ask HDF5 for: the structure, every attribute, encoded data.

    After it has come back, a process with more to lose can read the file by itself.

    Args:
        extent: The bytes of the HDF5 file.

    Returns:
        The texts among the attributes of the root, by name: the configuration in legacy files.

    Raises:
        SourceError: As for `scan`.
    """
    contents = scan(extent)
    texts: dict[str, str] = {}
    codecs.lookup("ascii")  # its module is a file, and no file can be opened below
    with _opened(OverlayFile(extent), "r") as file:
        for path in ("", *contents.groups, *contents.datasets):
            with _translated(path or "the root"):
                found = file[path or "/"]
                for name, value in found.attrs.items():
                    text = value.decode() if isinstance(value, bytes) else value
                    if not path and isinstance(text, str):
                        texts[name] = text
                if path in contents.datasets and contents.datasets[path].offset is None:
                    found[()]
    return texts


def edit(
    extent: Extent,
    moves: Sequence[tuple[str, str]],
    additions: Sequence[tuple[str, np.ndarray]] = (),
    removals: Sequence[str] = (),
    products: Sequence[Product] = (),
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

    Returns:
        The changed blocks and the fills. Same arguments, same bytes.

    Raises:
        SourceError: The file is damaged, or a path is not there or is taken.
    """
    file = OverlayFile(extent, _EDIT_BLOCK)
    with _opened(file, "r+") as h5, _translated("the file"):
        root = h5g.open(h5.id, b"/")
        if _TEMPORARY in h5 or any(_TEMPORARY in path for move in moves for path in move):
            raise SourceError(f"{_TEMPORARY} is the name of a group in the file", _RESAVE)
        factors = [h5o.open(root, product.path.encode()) for product in products]
        edited = {old for old, _ in moves}.union(removals)
        moves = [(old, new) for old, new in moves if old != new or _below(old, edited)]
        held = {old: old for old, _ in moves}
        if any(_below(old, edited) or new in edited or _below(new, edited) for old, new in moves):
            # One stands in the way of another: all of them first go aside.
            h5g.create(root, _TEMPORARY.encode())
            held = {old: f"{_TEMPORARY}/{index}" for index, old in enumerate(held)}
        # From below upwards, so that every old path still leads to its object.
        for old in sorted([*held, *removals], key=_depth, reverse=True):
            with _translated(old):
                if old not in held:
                    root.unlink(old.encode())
                elif held[old] != old:
                    root.links.move(old.encode(), root, held[old].encode())
        made: set[str] = set()
        # From above downwards, so that every new path leads somewhere.
        for old, new in sorted(moves, key=lambda move: _depth(move[1])):
            with _translated(new):
                _make_parents(root, new, made)
                root.links.move(held[old].encode(), root, new.encode())
                made.add(new)
        if _TEMPORARY in h5:
            root.unlink(_TEMPORARY.encode())
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)
        for path, array in additions:
            with _translated(path):
                _make_parents(root, path, made)
                _add(root, path, array, properties)
        fills: list[Fill] = []
        pairs = zip(products, factors, strict=True)
        # Copies first: what is multiplied in place must be multiplied once.
        for product, found in sorted(pairs, key=lambda pair: pair[0].copy is None):
            with _translated(product.path):
                fills += _multiply(root, product, found, extent.size, made)
    seen = {above for path, _ in additions for above in _above(path)}
    _verify(file, [new for _, new in moves if new not in seen], additions)
    return file.overlay()._replace(fills=tuple(sorted(fills, key=lambda fill: fill.offset)))


def _scan(file: OverlayFile, size: int) -> Contents:
    contents = Contents()
    with _opened(file, "r") as h5, _translated("the root"):
        root = h5g.open(h5.id, b"/")
        seen = {h5o.get_info(root).addr}
        # Depth first, so that only the groups on the way are open: libhdf5 slows down with many.
        stack = [("", root, _links("", root))]
        while stack:
            path, group, links = stack[-1]
            if not links:
                stack.pop()
                continue
            name, address = links.pop()
            below = f"{path}/{name}" if path else name
            if address in seen:
                raise SourceError(
                    f"{printable(below)} is a second hard link to an object that has another path",
                    _RESAVE,
                )
            seen.add(address)
            if len(seen) > _MOST_OBJECTS or len(stack) > _DEEPEST:
                raise SourceError("model.weights.h5 holds too many objects", _RESAVE)
            with _translated(below):
                found = h5o.open(group, name.encode())
                if isinstance(found, h5g.GroupID):
                    _check_group(path, name, below)
                    contents.groups.add(below)
                    stack.append((below, found, _links(below, found)))
                else:
                    contents.datasets[below] = describe(below, found, size)
    _check_overlaps(contents)
    return contents


def _links(path: str, group: Any) -> list[tuple[str, int]]:
    """Returns names and object addresses of a group's members, following no link."""
    found: list[tuple[bytes, int, int]] = []

    def add(name: bytes, info: Any) -> bool | None:
        found.append((name, info.type, info.u))
        return True if len(found) > _MOST_OBJECTS else None

    group.links.iterate(add, info=True)
    links = []
    for raw, kind, address in reversed(found):
        name = raw.decode("utf-8", "backslashreplace")
        if kind != h5l.TYPE_HARD:
            what = {h5l.TYPE_SOFT: "a soft", h5l.TYPE_EXTERNAL: "an external"}.get(kind, "another")
            shown = printable(f"{path}/{name}".removeprefix("/"))
            raise SourceError(f"{shown} is {what} link, which is not followed", _RESAVE)
        if name.encode() != raw or not name.isprintable() or name in ("", ".", "..") or "/" in name:
            raise SourceError(
                f"the name {printable(f'{path}/{name}')!r} in model.weights.h5 is not plain",
                _RESAVE,
            )
        links.append((name, address))
    return links


def _check_group(parent: str, name: str, path: str) -> None:
    if name.isdecimal() and parent.rpartition("/")[2] == "vars":
        raise SourceError(
            f"{printable(path)} is a group, but a dataset (an array) was expected there", _RESAVE
        )


def _check_overlaps(contents: Contents) -> None:
    places = sorted(
        (dataset.offset, dataset.offset + dataset.nbytes, path)
        for path, dataset in contents.datasets.items()
        if dataset.offset is not None
    )
    for (_, end, path), (start, _, other) in itertools.pairwise(places):
        if start < end:
            raise SourceError(
                f"{printable(path)} and {printable(other)} share bytes of the file", _RESAVE
            )


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


def _make_parents(root: Any, path: str, made: set[str]) -> None:
    for above in _above(path):
        if above not in made and not root.links.exists(above.encode()):
            h5g.create(root, above.encode())
        made.add(above)


def _add(root: Any, path: str, array: np.ndarray, properties: Any) -> None:
    stored = np.ascontiguousarray(array).reshape(array.shape)
    kind = h5t.py_create(stored.dtype)
    shape = h5s.create_simple(stored.shape) if stored.shape else h5s.create(h5s.SCALAR)
    dataset = h5d.create(root, path.encode(), kind, shape, properties)
    dataset.write(h5s.ALL, h5s.ALL, stored, kind)
    if array.dtype.name == "bfloat16":
        h5py.Dataset(dataset).attrs["dtype"] = "bfloat16"


def _multiply(root: Any, product: Product, found: Any, size: int, made: set[str]) -> list[Fill]:
    """Multiplies one array: by a fill where it lies in one piece, else here and now."""
    dataset = describe(product.path, found, size)
    target, offset = found, dataset.offset
    if product.copy is not None:
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)
        properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5d.FILL_TIME_NEVER)
        _make_parents(root, product.copy, made)
        kind, space = found.get_type(), found.get_space()
        target = h5d.create(root, product.copy.encode(), kind, space, properties)
        if dataset.dtype == "bfloat16":
            h5py.Dataset(target).attrs["dtype"] = "bfloat16"
        offset = target.get_offset()
    if dataset.offset is not None and offset is not None:
        return [Fill(offset, dataset, product.factor)]
    array = np.empty(dataset.shape, numpy_type(dataset))
    raw = array.view("V2") if dataset.dtype == "bfloat16" else array
    found.read(h5s.ALL, h5s.ALL, raw, found.get_type())
    scale(array.data.cast("B"), dataset, product.factor)
    target.write(h5s.ALL, h5s.ALL, raw, found.get_type())
    return []


def _verify(
    file: OverlayFile, paths: Sequence[str], additions: Sequence[tuple[str, np.ndarray]]
) -> None:
    """Opens the result once more: what it was edited into must be readable from its bytes.

    Beyond `_LOOKED_AT` objects it looks at as many of them, the first and the last included.
    """
    with _opened(file, "r") as h5:
        root = h5g.open(h5.id, b"/")
        for path in _some(paths):
            with _translated(path):
                h5o.open(root, path.encode())
        for path, array in _some(additions):
            with _translated(path):
                found = describe(path, h5o.open(root, path.encode()), file.size)
                if found.shape != array.shape or found.dtype != array.dtype.name:
                    raise SourceError(f"{printable(path)} was not written as it should be", _RESAVE)


def _some(items: Sequence[Item]) -> Sequence[Item]:
    step = max(1, -(-len(items) // _LOOKED_AT))
    return [*items[:-1:step], *items[-1:]]


@contextlib.contextmanager
def _opened(file: OverlayFile, mode: str) -> Iterator[Any]:
    """Opens an HDF5 file; as long as it is open, libhdf5 can open no other file by any path."""
    while h5pl.size():  # TensorFlow makes the plugin path a relative folder
        h5pl.remove(0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with _translated("the file"):
            h5 = h5py.File(file, mode)
        try:
            yield h5
        finally:
            with _translated("the file"):
                h5.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class _translated:  # noqa: N801 - reads like a function; a generator takes twice the time
    """Turns whatever h5py raises on damaged files into an error that names the object."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # h5py has eight types, and none of them in common
        if isinstance(error, Exception) and not isinstance(error, (SnconvertError, MemoryError)):
            text = printable(error).strip("'\"")
            raise SourceError(
                f"the HDF5 structure of model.weights.h5 is damaged or truncated at "
                f"{printable(self._path)} ({text})",
                "Save the model again with Keras or take an intact copy",
            ) from error
