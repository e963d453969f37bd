"""Which formats there are, and opening a saved model of any of them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from typing import Any

from snconvert.archive.descriptors import check_descriptors
from snconvert.archive.file_source import FileSource
from snconvert.archive.folder_source import FolderSource
from snconvert.archive.source import CONFIG, METADATA, WEIGHTS, Source, kind_of_file, refuse_url
from snconvert.core import foreign
from snconvert.errors import SourceError, located
from snconvert.formats import keras3
from snconvert.formats.format import Format
from snconvert.sandbox.worker import Worker

_ROWS: tuple[Format[Any], ...] = (
    keras3.ARCHIVE,
    keras3.FOLDER,
)
FORMATS: Mapping[str, Format[Any]] = {row.name: row for row in _ROWS}
"""The formats by their names. The first that recognises an input reads it; those of Keras 3 come
last, as they say what a zip archive or a folder lacks."""


def is_model_folder(path: str) -> bool:
    """Whether a folder is meant as one model, and no place where models lie."""
    names = (CONFIG, WEIGHTS, METADATA, foreign.SAVED_MODEL)
    return any(os.path.lexists(os.path.join(path, name)) for name in names)


def open_model(path: str | os.PathLike[str], worker: Worker | None = None) -> Source:
    """Opens a saved model for reading and checks its outside.

    Args:
        path: A file or a folder of any format. The extension does not matter.
        worker: The guarded process in which HDF5 runs, for formats that keep more than weights in
            it; by default one of its own.

    Raises:
        SourceError: The input is missing, is something else (the message says what), is damaged,
            or holds what Keras does not write.
        UnsupportedError: This process may open too few files.
    """
    shown = os.fspath(path)
    with located(file=shown):
        refuse_url(shown)
        check_descriptors()
        try:
            source = _container(shown)
            try:
                if worker is None:
                    with contextlib.closing(Worker()) as own:
                        _read(source, own)
                else:
                    _read(source, worker)
            except BaseException:
                source.close()
                raise
        except FileNotFoundError:
            raise SourceError("there is no such file", "Check the path") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise SourceError(f"the file cannot be read ({reason})", "Check the path") from error
    return source


def _container(path: str) -> Source:
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return FolderSource(path)
    if not stat.S_ISREG(mode):
        raise SourceError(
            f"this is {kind_of_file(mode)}, not a file", "Save it to a file and name that"
        )
    return FileSource(path)


def _read(source: Source, worker: Worker) -> None:
    for row in FORMATS.values():
        if isinstance(source, row.container) and row.recognise(source):
            source.format = row.name
            row.read(source, worker)
            return
    if isinstance(source, FileSource):
        raise foreign.unknown_file(source.head(foreign.HEAD), source.size)
