"""Opening files in memory: looked through first, then loaded by Keras; and writing them."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras

from snconvert.archive.output import Destination
from snconvert.archive.source import unchanged
from snconvert.config import strict_json
from snconvert.config.references import foreign_objects, is_legacy
from snconvert.config.safety import Finding, layer_name, vet
from snconvert.config.tree import MODELS
from snconvert.errors import OptionError, SnconvertError, SourceError, counted, printable, quoted
from snconvert.files.model import is_older
from snconvert.files.upgrade import upgrade_file
from snconvert.formats.table import open_model
from snconvert.live.folders.skeleton import IN_FILES, load_whole
from snconvert.live.internals.walk import Layer
from snconvert.sandbox.worker import Worker
from snconvert.weights.reading import read_whole

_NOISE = (
    "compiled metrics have yet to be built",  # Keras says so of every legacy file
    "__array__ implementation doesn't accept a copy keyword",  # numpy, of Keras' variables
)
_LISTED = 5
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
        what = f"the module {printable(name)!r} cannot be imported: {quoted(error)}"
        fix = "Check --import; the module is looked for in the current folder too"
        folder, file = os.path.split(name)
        if file.endswith(".py"):
            what = f"{printable(name)!r} is a file, and a module is to be named"
            fix = f"Write --import {printable(file.removesuffix('.py'))}"
            if os.path.normpath(folder) != os.curdir:
                fix += f", and set PYTHONPATH={printable(folder)}, where it is"
        raise OptionError(what, fix) from error


def load(source: str, config: str | os.PathLike[str] | None = None) -> tuple[Layer, list[str]]:
    """Loads a file with Keras, after what it consists of has been looked through.

    HDF5 crashes and hangs on some damaged files, so all of it is read once in a guarded process;
    the configuration is vetted as on the file carrier. What an older Keras saved is first written
    as a model of Keras 3.

    Args:
        source: A model of any format.
        config: Its configuration, where it is a file of weights only.

    Returns:
        The model, and what could not be carried over.

    Raises:
        SourceError: It cannot be loaded; the message says why.
    """
    with unchanged(source):
        if os.path.isdir(source):
            with open_model(source, config=config) as opened:
                if opened.format in IN_FILES:
                    return load_whole(opened), list(opened.warnings)
        return _load(source, config)


def _load(source: str, config: str | os.PathLike[str] | None) -> tuple[Layer, list[str]]:
    with _of_keras_3(source, config) as (path, notes):
        contents = _check(path)
        with _listening() as warned:
            try:
                return keras.saving.load_model(path, safe_mode=True), [*notes, *warned]
            except Exception as error:  # noqa: BLE001 -- Keras and user code raise anything
                first = error
        with _listening() as warned:
            try:
                model = keras.saving.load_model(path, compile=False, safe_mode=True)
            except Exception as error:
                raise _refusal(contents, error) from error
    lost = "the loss, the metrics and the optimizer could not be carried over"
    why = _summary(first).rstrip(".")
    lost = f"{lost} ({why}); compile the result before you train it"
    return model, [*notes, lost, *warned]


@contextmanager
def _of_keras_3(
    source: str, config: str | os.PathLike[str] | None
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the path of a model of Keras 3, and what the user should know of it."""
    with open_model(source, config=config) as opened:
        older = is_older(opened)
    if not older:
        yield source, ()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        report = upgrade_file(source, Destination(path), config=config)
        yield path, report.warnings


class _Contents(NamedTuple):
    """What a file holds that Keras may refuse.

    Attributes:
        config: The parsed configuration.
        findings: The layers that run code of their own.
    """

    config: Any
    findings: list[Finding]


def _refusal(contents: _Contents, error: Exception) -> SourceError:
    """Returns the error for a file that Keras does not load: the cause, and the way out of it."""
    if contents.findings:
        finding = contents.findings[0]
        way = (
            "use snconvert.apply on it; without --import the file is converted and the layer"
            " carried over, not run"
        )
        return SourceError(
            f"Keras does not load it in its safe mode: {finding.what}",
            f"If you trust the file, load it in Python with safe_mode=False and {way}",
            path=finding.path,
            class_name=finding.class_name,
        )
    missing = _unregistered(contents.config)
    if missing:
        names = [printable(name) for name in missing]
        modules = [printable(module) for module in dict.fromkeys(missing.values()) if module]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return SourceError(
            f"Keras does not know {', '.join(names[:_LISTED])}{more}",
            "Name the modules that register the user's own classes and functions with --import"
            + (f" (by the file: {', '.join(modules[:_LISTED])})" if modules else ""),
        )
    return SourceError(
        f"Keras cannot load it: {_summary(error)}",
        "keras.saving.load_model fails on it, too: convert the model with snconvert.apply in the"
        " code that builds it",
    )


def _unregistered(config: Any) -> dict[str, str | None]:
    """Returns what no module here has registered: the user's classes and functions by name.

    With each comes the module that the file names, if it names one.
    """
    named = dict(foreign_objects(config))
    stack = [config]
    while stack:  # of legacy files, where a class of Keras is a bare name
        value = stack.pop()
        if isinstance(value, dict):
            name = value.get("class_name")
            if is_legacy(value) and isinstance(name, str) and layer_name(value) is not None:
                named |= {} if hasattr(keras.layers, name) or name in MODELS else {name: None}
            value = list(value.values())
        stack += [child for child in value if isinstance(child, dict | list)]
    registered = keras.saving.get_registered_object
    return {name: module for name, module in named.items() if registered(name) is None}


def save(model: Layer, path: str) -> None:
    """Saves a live model to a file of our own.

    Raises:
        OptionError: Keras cannot save it.
    """
    with saving(OptionError, f"the model {printable(model.name)!r}"):
        model.save(path)


@contextmanager
def saving(error_class: type[SnconvertError], what: str) -> Iterator[None]:
    """Turns what Keras raises when it saves a model into an error of this package.

    Args:
        error_class: The class of the error.
        what: What the error's message calls the model.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise error_class(
            f"Keras cannot save {what}: {_summary(error)}",
            "Give its custom classes a get_config, as Keras needs it to save them",
        ) from error


def _check(source: str) -> _Contents:
    with open_model(source) as opened, Worker() as worker:
        config = strict_json.loads(opened.config, "config.json")
        findings = vet(config)
        opened.check_weights()
        worker.call(read_whole, opened.weights, seconds=_deadline(opened.size))
    return _Contents(config, findings)


def _deadline(size: int) -> float:
    return _SECONDS + size / _BYTES_PER_SECOND


def _summary(error: Exception) -> str:
    """Returns the first line of an error, and the second where the first announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if lines[0].endswith(":") and len(lines) > 1:
        return quoted(f"{lines[0]} {lines[1]}")
    return quoted(lines[0])


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collects what Keras warns of, and what it only logs."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                messages.append(record.getMessage())

    handler, logger = Handler(), logging.getLogger("absl")
    propagate, others = logger.propagate, logger.handlers[:]
    logger.handlers[:], logger.propagate = [handler], False
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
    finally:
        logger.handlers[:], logger.propagate = others, propagate
    messages += [str(item.message) for item in caught]
    lines = [" ".join(line.split()) for line in messages]
    messages[:] = counted(quoted(line) for line in lines if not any(x in line for x in _NOISE))
