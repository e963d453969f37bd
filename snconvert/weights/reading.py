"""Reading the HDF5 file of the weights, within what Keras writes.

These functions run inside a `sandbox.worker.Worker`. libhdf5 is asked for as little as possible, in
an order in which each answer makes the next question safe: the link before the object, the layout
before the shape, the filters before any read. Attributes are not read, but for the one that tells
bfloat16 from other opaque data.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5g, h5l, h5o, h5pl, h5s

from snconvert.core import system
from snconvert.core.foreign import unknown_weights
from snconvert.errors import SnconvertError, SourceError, printable
from snconvert.weights.contents import Contents, Dataset
from snconvert.weights.datasets import describe, numpy_type
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import OverlayFile

_MOST_OBJECTS = 1_000_000
_DEEPEST = 512
_RESAVE = "Save the model again with Keras"


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
    extent, path = extent.holding(path)
    with opened(OverlayFile(extent), "r") as file, translated(path):
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


def read_kernel(extent: Extent, path: str, dataset: Dataset) -> np.ndarray:
    """Returns one array as it is stored, without a copy where it is contiguous in the file.

    Args:
        extent: The bytes of the HDF5 file.
        path: The dataset's path in `Contents.datasets`.
        dataset: Its entry there.
    """
    if dataset.offset is None:
        return read_dataset(extent, path)
    data = extent.view(dataset.nbytes, dataset.offset)
    return np.frombuffer(data, numpy_type(dataset)).reshape(dataset.shape)


def read_whole(extent: Extent) -> None:
    """Reads all that a loader may ask HDF5 for: the structure, every attribute, encoded data.

    After it has come back, a process with more to lose can read the file by itself.

    Args:
        extent: The bytes of the HDF5 file.

    Raises:
        SourceError: As for `scan`.
    """
    contents = scan(extent)
    codecs.lookup("ascii")  # its module is a file, and no file can be opened below
    with opened(OverlayFile(extent), "r") as file:
        for path in ("", *contents.groups, *contents.datasets):
            with translated(path or "the root"):
                item = file[path or "/"]
                list(item.attrs.items())
                if path in contents.datasets and contents.datasets[path].offset is None:
                    item[()]


def _scan(file: OverlayFile, size: int) -> Contents:
    contents = Contents()
    with opened(file, "r") as h5, translated("the root"):
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
                raise SourceError("the HDF5 file holds too many objects", _RESAVE)
            with translated(below):
                item = h5o.open(group, name.encode())
                if isinstance(item, h5g.GroupID):
                    _check_group(path, name, below)
                    contents.groups.add(below)
                    stack.append((below, item, _links(below, item)))
                else:
                    contents.datasets[below] = describe(below, item, size)
    _check_overlaps(contents)
    return contents


def _links(path: str, group: Any) -> list[tuple[str, int]]:
    """Returns names and object addresses of a group's members, following no link."""
    raw_links: list[tuple[bytes, int, int]] = []

    def add(name: bytes, info: Any) -> bool | None:
        raw_links.append((name, info.type, info.u))
        return True if len(raw_links) > _MOST_OBJECTS else None

    group.links.iterate(add, info=True)
    links = []
    for raw, kind, address in reversed(raw_links):
        name = raw.decode("utf-8", "backslashreplace")
        if kind != h5l.TYPE_HARD:
            what = {h5l.TYPE_SOFT: "a soft", h5l.TYPE_EXTERNAL: "an external"}.get(kind, "another")
            shown = printable(f"{path}/{name}".removeprefix("/"))
            raise SourceError(f"{shown} is {what} link, which is not followed", _RESAVE)
        if name.encode() != raw or not name.isprintable() or name in ("", ".", "..") or "/" in name:
            raise SourceError(
                f"the name {printable(f'{path}/{name}')!r} in the HDF5 file is not plain",
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


@contextlib.contextmanager
def opened(file: OverlayFile, mode: str) -> Iterator[Any]:
    """Opens an HDF5 file; as long as it is open, libhdf5 can open no other file by any path.

    That is so on systems that can forbid it; links to other files are refused on all of them.
    """
    while h5pl.size():  # TensorFlow makes the plugin path a relative folder
        h5pl.remove(0)
    with system.no_more_files():
        with translated("the file"):
            h5 = h5py.File(file, mode)
        try:
            yield h5
        finally:
            with translated("the file"):
                h5.close()


class translated:  # noqa: N801 - reads like a function; a generator takes twice the time
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
                f"the HDF5 structure is damaged or truncated at {printable(self._path)} ({text})",
                "Save the model again with Keras or take an intact copy",
            ) from error
