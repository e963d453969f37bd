"""Which HDF5 datasets are weights that Keras could have written, and where their bytes lie."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from h5py import h5a, h5d, h5s, h5t, h5z

from snconvert.errors import SourceError, printable
from snconvert.weights.contents import Dataset

_MOST_AXES = 8
_LARGEST_DECODED = 512 << 20
_LARGEST_CHUNK = 64 << 20
_BOMB_RATIO, _BOMB_SIZE = 200, 16 << 20
_RESAVE = "Save the model again with Keras"

_TYPES: tuple[tuple[Any, str, Literal["little", "big"]], ...] = (
    (h5t.IEEE_F32LE, "float32", "little"),
    (h5t.STD_I64LE, "int64", "little"),
    (h5t.STD_I32LE, "int32", "little"),
    (h5t.STD_I8LE, "int8", "little"),
    (h5t.IEEE_F16LE, "float16", "little"),
    (h5t.IEEE_F64LE, "float64", "little"),
    (h5t.STD_U8LE, "uint8", "little"),
    (h5t.STD_I16LE, "int16", "little"),
    (h5t.STD_U16LE, "uint16", "little"),
    (h5t.STD_U32LE, "uint32", "little"),
    (h5t.STD_U64LE, "uint64", "little"),
    (h5t.IEEE_F32BE, "float32", "big"),
    (h5t.IEEE_F64BE, "float64", "big"),
    (h5t.IEEE_F16BE, "float16", "big"),
    (h5t.STD_I8BE, "int8", "big"),
    (h5t.STD_U8BE, "uint8", "big"),
    (h5t.STD_I16BE, "int16", "big"),
    (h5t.STD_I32BE, "int32", "big"),
    (h5t.STD_I64BE, "int64", "big"),
    (h5t.STD_U16BE, "uint16", "big"),
    (h5t.STD_U32BE, "uint32", "big"),
    (h5t.STD_U64BE, "uint64", "big"),
)
_CLASSES = {
    h5t.STRING: "text",
    h5t.COMPOUND: "a compound",
    h5t.ENUM: "an enum (a bool of numpy)",
    h5t.VLEN: "of variable length",
    h5t.REFERENCE: "a reference",
    h5t.OPAQUE: "opaque and not labelled as bfloat16",
}
_FILTERS = {h5z.FILTER_DEFLATE: "gzip", h5z.FILTER_SHUFFLE: "shuffle"}


def numpy_type(dataset: Dataset) -> np.dtype[Any]:
    """Returns the numpy type of the stored bytes; uint16 for the bits of a bfloat16."""
    name = "uint16" if dataset.dtype == "bfloat16" else dataset.dtype
    return np.dtype(name).newbyteorder("<" if dataset.byteorder == "little" else ">")


def describe(path: str, item: Any, size: int) -> Dataset:
    """Returns place, shape and type of an HDF5 dataset, after checking that all of it is stored.

    Args:
        path: Its path, for messages.
        item: The low-level object (`h5py.h5o.open`).
        size: The size of the HDF5 file in bytes.

    Raises:
        SourceError: It is no dataset, or one that Keras does not write.
    """
    shown = printable(path)
    if not isinstance(item, h5d.DatasetID):
        raise SourceError(
            f"{shown} is an unexpected object: a named datatype, not a group or dataset", _RESAVE
        )
    properties = item.get_create_plist()
    layout = properties.get_layout()
    if layout == h5d.VIRTUAL:
        raise SourceError(f"{shown} is a virtual dataset: its data is in other files", _RESAVE)
    if properties.get_external_count():
        raise SourceError(f"{shown} is external: its data is in another file", _RESAVE)
    _check_filters(shown, properties)
    dtype, byteorder, width = _dtype(shown, item)
    space = item.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        raise SourceError(f"{shown} is empty: it has no shape", _RESAVE)
    shape = tuple(int(length) for length in space.get_simple_extent_dims())
    if len(shape) > _MOST_AXES or 0 in shape:
        text = printable(shape)
        raise SourceError(f"{shown} has shape {text}: empty or of too high a rank", _RESAVE)
    nbytes = math.prod(shape) * width
    stored = item.get_storage_size()
    if layout == h5d.CONTIGUOUS:
        offset = item.get_offset()
        if offset is None or stored != nbytes or offset + nbytes > size:
            raise SourceError(
                f"{shown} has shape {shape}, {nbytes} bytes, but {stored} bytes of it are stored "
                f"(at {'no place' if offset is None else f'byte {offset}'} of {size})",
                _RESAVE,
            )
        return Dataset(shape, dtype, byteorder, offset, nbytes)
    _check_decoded(shown, nbytes, stored, size)
    if layout == h5d.CHUNKED:
        _check_chunks(shown, item, properties.get_chunk(), shape, width)
    return Dataset(shape, dtype, byteorder, None, nbytes)


def _check_filters(shown: str, properties: Any) -> None:
    for index in range(properties.get_nfilters()):
        number, *_, name = properties.get_filter(index)
        if number not in _FILTERS:
            raise SourceError(
                f"{shown} is compressed by filter {number} ({printable(name.decode('latin-1'))}); "
                "only gzip and shuffle are read",
                "Load the model with Keras and save it again",
            )


def _dtype(shown: str, item: Any) -> tuple[str, Literal["little", "big"], int]:
    stored = item.get_type()
    if stored.committed():
        raise SourceError(f"the type of {shown} is a named datatype", _RESAVE)
    attributes = h5a.get_num_attrs(item)
    for known, name, byteorder in _TYPES:
        if stored.equal(known):
            # Keras reads any array that is labelled so as bfloat16, whatever it holds.
            if attributes and h5a.exists(item, b"dtype"):
                raise SourceError(
                    f"{shown} is of type {name}, but labelled with another dtype", _RESAVE
                )
            return name, byteorder, stored.get_size()
    kind = stored.get_class()
    opaque2 = kind == h5t.OPAQUE and stored.get_size() == 2  # noqa: PLR2004 - as bfloat16
    if opaque2 and attributes and _label(item) == "bfloat16":
        return "bfloat16", "little", 2
    what = _CLASSES.get(kind, "not a number of a standard format")
    raise SourceError(
        f"the type of {shown} ({stored.get_size()} bytes) is {what}; numbers are expected", _RESAVE
    )


def _label(item: Any) -> str | None:
    """Returns the `dtype` attribute if it is one short text."""
    if not h5a.exists(item, b"dtype"):
        return None
    attribute = h5a.open(item, b"dtype")
    if attribute.get_type().get_class() != h5t.STRING or attribute.shape != ():
        return None
    text = np.empty((), dtype=attribute.dtype)
    attribute.read(text)
    value = text[()]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _check_decoded(shown: str, nbytes: int, stored: int, size: int) -> None:
    bomb = nbytes > _BOMB_SIZE and nbytes > _BOMB_RATIO * stored
    if not 0 < stored <= size or bomb:
        raise SourceError(
            f"{shown} has a shape of {nbytes} bytes, but only {stored} bytes of it are stored",
            _RESAVE,
        )
    if nbytes > _LARGEST_DECODED:
        raise SourceError(
            f"{shown} is chunked or compressed and too large to decode ({nbytes} bytes)",
            "Load the model with Keras and save it again, which stores it plainly",
        )


def _check_chunks(
    shown: str, item: Any, chunk: tuple[int, ...], shape: tuple[int, ...], width: int
) -> None:
    if math.prod(chunk) * width > _LARGEST_CHUNK:
        raise SourceError(f"{shown} has a chunk size of {chunk}, which is too large", _RESAVE)
    expected = math.prod(-(-length // part) for length, part in zip(shape, chunk, strict=True))
    present = item.get_num_chunks()
    if present != expected:
        raise SourceError(
            f"{shown} has shape {shape}, but only {present} of {expected} chunks are stored",
            _RESAVE,
        )
