"""Which formats there are, and opening a saved model of any of them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from typing import Any

from snconvert.address import Address, place_of
from snconvert.archive.descriptors import check_descriptors
from snconvert.archive.file_source import FileSource
from snconvert.archive.folder_source import FolderSource
from snconvert.archive.remote_source import RemoteSource
from snconvert.archive.source import (
    CONFIG,
    METADATA,
    WEIGHTS,
    WEIGHTS_MAP,
    Source,
    kind_of_file,
)
from snconvert.core import foreign
from snconvert.core.report import OnProgress
from snconvert.core.settings import check_config
from snconvert.errors import (
    SnconvertError,
    SourceError,
    SourceNotFoundError,
    SourcePermissionError,
    located,
    printable,
)
from snconvert.formats import keras2_archive, keras3
from snconvert.formats.format import Format
from snconvert.formats.hdf5_model import HDF5_MODEL
from snconvert.formats.keras3 import LARGEST
from snconvert.formats.preset import PRESET
from snconvert.formats.sharded import SHARDED
from snconvert.formats.weights_and_config import WEIGHTS_AND_CONFIG, given_twice
from snconvert.sandbox.worker import Worker

_ROWS: tuple[Format[Any], ...] = (
    PRESET,
    SHARDED,
    WEIGHTS_AND_CONFIG,
    HDF5_MODEL,
    keras2_archive.ARCHIVE,
    keras2_archive.FOLDER,
    keras3.ARCHIVE,
    keras3.FOLDER,
)
FORMATS: Mapping[str, Format[Any]] = {row.name: row for row in _ROWS}
"""The formats by their names. The first that recognises an input reads it; those of Keras 3 come
last, as they say what a zip archive or a folder lacks."""


def is_model_folder(path: str) -> bool:
    """Whether a folder is meant as one model, and no place where models lie."""
    names = (CONFIG, WEIGHTS, WEIGHTS_MAP, METADATA, foreign.SAVED_MODEL)
    return any(os.path.lexists(os.path.join(path, name)) for name in names)


def open_model(
    path: str | os.PathLike[str],
    worker: Worker | None = None,
    config: str | os.PathLike[str] | None = None,
    *,
    ranged: bool = False,
    progress: OnProgress = None,
) -> Source:
    """Opens a saved model for reading and checks its outside.

    Args:
        path: A file or a folder of any format, or the URL of a file. The extension does not matter.
        worker: The guarded process in which HDF5 runs, for formats that keep more than weights in
            it; by default one of its own.
        config: A JSON file with the configuration of a model whose weights only are in `path`.
        ranged: Fetch from a URL only what is read, which is not the weights.
        progress: Called with how much of a URL is downloaded, else.

    Raises:
        SourceError: The input is missing, is something else (the message says what), is damaged,
            or holds what Keras does not write.
        OptionError: `config` is no path, or is given beside a model that has a configuration of its
            own.
        UnsupportedError: This process may open too few files.
    """
    shown = place_of(path)
    check_config(config)
    beside = None if config is None else _read_beside(place_of(config))
    with located(file=shown):
        check_descriptors()
        try:
            source = _container(shown, ranged=ranged, progress=progress)
            source.beside = beside
            try:
                if worker is None:
                    with contextlib.closing(Worker()) as own:
                        _read(source, own)
                else:
                    _read(source, worker)
            except BaseException:
                source.close()
                raise
        except SnconvertError:  # some are an `OSError` or a `ValueError`, too
            raise
        except (OSError, ValueError) as error:
            raise _unreadable(error) from error
    return source


def _neighbour(path: Any) -> str | None:
    """Returns the file beside a path that is not there whose name is nearest to its own."""
    from difflib import get_close_matches  # noqa: PLC0415 -- few runs need it

    if not isinstance(path, str):
        return None
    folder, name = os.path.split(path)
    with contextlib.suppress(OSError):
        for near in get_close_matches(name, os.listdir(folder or "."), 1, cutoff=0.8):
            return os.path.join(folder, near)
    return None


def _unreadable(error: OSError | ValueError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        near = _neighbour(error.filename)
        there = f": {printable(near)} is there" if near else ""
        return SourceNotFoundError("there is no such file", f"Check the path{there}")
    reason = getattr(error, "strerror", None) or error  # ValueError: a NUL in the path
    kind = SourcePermissionError if isinstance(error, PermissionError) else SourceError
    return kind(f"the file cannot be read ({reason})", "Check the path")


def _read_beside(path: str) -> tuple[str, bytes]:
    """Returns path and bytes of a configuration that is given beside weights."""
    with located(file=path):
        try:
            remote = isinstance(path, Address)
            with RemoteSource(path) if remote else FileSource(path) as file:
                if file.is_zip or file.size > LARGEST[CONFIG]:
                    raise SourceError(
                        "this is no configuration of a model as JSON",
                        "Give what `model.to_json()` returns, or the config.json of a .keras file",
                    )
                return path, file.head(file.size)
        except SnconvertError:
            raise
        except (OSError, ValueError) as error:
            raise _unreadable(error) from error


def _container(path: str, *, ranged: bool, progress: OnProgress) -> Source:
    if isinstance(path, Address):
        return RemoteSource(path, ranged=ranged, progress=progress)
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
            if source.beside is not None and not row.beside:
                raise given_twice()
            source.format = row.name
            row.read(source, worker)
            return
    if isinstance(source, FileSource):
        raise foreign.unknown_file(source.head(foreign.HEAD), source.size)
