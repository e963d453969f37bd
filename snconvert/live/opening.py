"""Opening files in memory: looked through first, then loaded by Keras; and writing them."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.legacy.saving.legacy_h5_format import load_model_from_hdf5

from snconvert import strictjson
from snconvert.archive import h5
from snconvert.archive.extent import Extent
from snconvert.archive.guard import Worker
from snconvert.archive.kinds import HDF5
from snconvert.archive.source import open_source
from snconvert.errors import OptionError, SourceError, printable
from snconvert.live.walk import Layer
from snconvert.vetting import vet

_NOISE = (
    "compiled metrics have yet to be built",  # Keras says so of every legacy file
    "__array__ implementation doesn't accept a copy keyword",  # numpy, of Keras' variables
)
_TEXTS = {"model_config", "training_config"}
_SECONDS, _BYTES_PER_SECOND = 10.0, 50e6  # what HDF5 may take, before a file counts as damaged


def import_modules(names: Iterable[str]) -> None:
    """Imports the modules that register a file's custom classes.

    Args:
        names: Their names; they are looked for in the current folder too.

    Raises:
        OptionError: One cannot be imported.
    """
    for name in names:
        _import(name)


def _import(name: str) -> None:
    here = os.getcwd()
    if here not in sys.path:
        # A command that is installed has its own folder there, not the user's.
        sys.path.append(here)
    try:
        importlib.import_module(name)
    except Exception as error:
        raise OptionError(
            f"the module {printable(name)!r} cannot be imported: {printable(error)}",
            "Check --import; the module is looked for in the current folder too",
        ) from error


def load(source: str) -> tuple[Layer, list[str]]:
    """Loads a file with Keras, after what it consists of has been looked through.

    HDF5 crashes and hangs on some damaged files, so all of it is read once in a guarded process;
    the configuration is vetted as on the file carrier.

    Args:
        source: A `.keras` file, an unzipped folder, or a legacy whole-model HDF5 file.

    Returns:
        The model, and what could not be carried over.

    Raises:
        SourceError: It cannot be loaded; the message says why.
    """
    legacy = _is_hdf5(source)
    if legacy:
        _check_legacy(source)
    else:
        _check(source)
    loader = load_model_from_hdf5 if legacy else keras.saving.load_model
    with _listening() as told:
        try:
            return loader(source, safe_mode=True), told
        except Exception as error:  # noqa: BLE001 -- Keras and user code raise anything
            first = error
    with _listening() as told:
        try:
            model = loader(source, compile=False, safe_mode=True)
        except Exception as error:
            raise SourceError(
                f"Keras cannot load it: {summary(error)}",
                "Name the modules that register its custom classes with --import, or load it in"
                " Python and use snconvert.apply",
            ) from error
    lost = "the loss, the metrics and the optimizer could not be carried over"
    why = summary(first).rstrip(".")
    return model, [f"{lost} ({why}); compile the result before you train it", *told]


def metadata_of(source: str) -> Any:
    """Returns the parsed `metadata.json` of a file that was loaded, or `None` where it has none."""
    if _is_hdf5(source):
        return None
    with open_source(source) as opened:
        raw = opened.metadata
        return None if raw is None else strictjson.loads(raw, "metadata.json")


def save(model: Layer, path: str) -> None:
    """Saves a live model to a file of our own.

    Raises:
        OptionError: Keras cannot save it.
    """
    try:
        model.save(path)
    except OSError:
        raise
    except Exception as error:
        raise OptionError(
            f"Keras cannot save the model {printable(model.name)!r}: {summary(error)}",
            "Give its custom classes a get_config, as Keras needs it to save them",
        ) from error


def _is_hdf5(source: str) -> bool:
    try:
        with open(source, "rb") as file:
            return file.read(len(HDF5)) == HDF5
    except OSError:
        return False  # a folder, or nothing; opening it says what


def _check(source: str) -> None:
    with open_source(source) as opened, Worker() as worker:
        vet(strictjson.loads(opened.config, "config.json"))
        if opened.metadata is not None:
            strictjson.loads(opened.metadata, "metadata.json")
        opened.check_weights()
        worker.call(h5.read_whole, opened.weights, seconds=_deadline(opened.size))


def _check_legacy(source: str) -> None:
    with open(source, "rb") as file, Worker() as worker:
        size = os.fstat(file.fileno()).st_size
        extent = Extent(file.fileno(), 0, size)
        try:
            texts = worker.call(h5.read_whole, extent, seconds=_deadline(size))
        except SourceError as error:
            what = error.what.replace("model.weights.h5", "the file")
            raise SourceError(what, error.fix) from error
    if "model_config" not in texts:
        raise SourceError(
            "this HDF5 file holds no model configuration, so it is no whole model",
            "Build the model, load_weights into it and save it as .keras",
        )
    for name in _TEXTS & texts.keys():
        vet(strictjson.loads(texts[name].encode("utf-8", "surrogateescape"), name))


def _deadline(size: int) -> float:
    return _SECONDS + size / _BYTES_PER_SECOND


def summary(error: Exception) -> str:
    """Returns the first line of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0] if lines else type(error).__name__)


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collects what Keras warns of, and what it only logs."""
    told: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                told.append(record.getMessage())

    handler, logger = Handler(), logging.getLogger("absl")
    propagate, others = logger.propagate, logger.handlers[:]
    logger.handlers[:], logger.propagate = [handler], False
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield told
    finally:
        logger.handlers[:], logger.propagate = others, propagate
    told += [str(item.message) for item in caught]
    lines = [" ".join(line.split()) for line in told]
    told[:] = [printable(line) for line in lines if not any(noise in line for noise in _NOISE)]
