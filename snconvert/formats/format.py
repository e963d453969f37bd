"""What there is to know about one kind of saved model: a row of `formats.table.FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from snconvert.archive.source import Source
from snconvert.archive.zip_writer import Writer
from snconvert.sandbox.worker import Worker

S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True)
class Format(Generic[S]):
    """One kind of saved model.

    Attributes:
        name: Its name, unique in the table.
        container: Whether it is a file or a folder.
        recognise: Whether such an open file or folder is of this format, by its first bytes and
            the names of its members; no row before this one in the table has recognised it.
        read: Fills in `config`, `metadata`, `weights` and `assets` of an open file or folder, as
            those of a model of Keras 3, or raises `SourceError` for what is missing, hostile or
            damaged. HDF5 runs in the worker that is given.
        writer: What writes the result of a conversion, which is always a model of Keras 3.
        older: Whether the input is no model of Keras 3, so that no result takes its place.
        beside: Whether the configuration may be given beside the input.
    """

    name: str
    container: type[S]
    recognise: Callable[[S], bool]
    read: Callable[[S, Worker], None]
    writer: type[Writer]
    older: bool = False
    beside: bool = False
