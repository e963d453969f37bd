"""Files that only Python code can open: through Keras into memory, converted there, and saved."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import IO, Any

import keras

from snconvert.archive.atomic import new_file, new_folder, writing
from snconvert.archive.output import Destination
from snconvert.archive.source import CONFIG, METADATA, unchanged
from snconvert.compat.saving import save_model
from snconvert.config import strict_json
from snconvert.config.parsing import parse
from snconvert.config.references import OURS, needs
from snconvert.core.report import Report
from snconvert.core.settings import scale
from snconvert.core.system import flush
from snconvert.errors import OptionError, OutputError, located, printable
from snconvert.files.model import check_destination, is_older
from snconvert.files.targets import TARGETS
from snconvert.formats.table import open_model
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.live.convert import convert, plan_of
from snconvert.live.folders.in_files import apply_in_files, is_in_files, undo_in_files
from snconvert.live.internals.walk import Layer
from snconvert.live.loading import import_modules, load, saving
from snconvert.live.targets import wrapping_target
from snconvert.live.undo import undo
from snconvert.page.model_graph import graph_of
from snconvert.planning.inspection import Inspection
from snconvert.planning.recipe import Recipe
from snconvert.planning.record import record, with_record, with_source, without_layers

_CHUNK = 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that zip knows: the same model gives the same bytes
_OURS = ("keras", "snconvert")  # which whoever loads the result imports anyway
_SAVED = "the converted model"


def apply_through_keras(
    source: str,
    output: Destination | None,
    recipe: Recipe,
    imports: Iterable[str] = (),
    *,
    rules: Iterable[KernelRule] = (),
    asked: Inspection | None = None,
) -> Report:
    """Converts a file by loading it with Keras, converting the live model, and saving that.

    Args:
        source: A model of any format.
        output: Where the result goes: a `.keras` file, or for a folder a folder; `None`: nowhere,
            only the report is wanted.
        recipe: What to convert and how.
        imports: Modules that register the file's custom classes, beside those of `recipe`.
        rules: Rows to use beside `RULES`.
        asked: Without `output`: only look at the model, and at what.

    Returns:
        The report; its warnings say what could not be carried over.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """

    def work(model: Layer, _: Any) -> tuple[Layer, Report]:
        if output is None:
            return model, plan_of(model, recipe, rules, asked)
        return convert(model, recipe, rules=rules, in_place=TARGETS[recipe.target].WRAPPER is None)

    modules = (*recipe.imports, *imports)
    import_modules(modules)
    if is_in_files(source, recipe):
        return apply_in_files(source, output, recipe, rules=rules, asked=asked)
    return _through_keras(
        source,
        output,
        work,
        lambda report, metadata: with_record(
            metadata, record(recipe, report.layers, _digest(source), _factors(recipe, report))
        ),
        replace(recipe, imports=modules),
    )


def undo_through_keras(
    verb: str,
    source: str,
    output: Destination | None,
    recipe: Recipe,
) -> Report:
    """Bakes a file, or undoes its conversion, by loading and saving it with Keras.

    Args:
        verb: `bake` or `remove`.
        source: As for `apply_through_keras`.
        output: Where the result goes; `None`: nowhere, only the report is wanted.
        recipe: Which layers; its `imports` register the file's custom classes.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """

    def work(model: Layer, metadata: Any) -> tuple[Layer, Report]:
        return undo(
            verb,
            model,
            recipe,
            in_place=wrapping_target(model) is None,
            dry_run=output is None,
            metadata=metadata,
            measured=True,
        )

    import_modules(recipe.imports)
    if is_in_files(source, recipe):
        return undo_in_files(verb, source, output, recipe)
    return _through_keras(
        source,
        output,
        work,
        lambda report, metadata: without_layers(
            metadata, {layer.path for layer in report.layers if layer.status == "converted"}
        ),
        recipe,
    )


def _factors(recipe: Recipe, report: Report) -> dict[str, dict[str, float]]:
    """Returns what kernels were multiplied by, where only the record keeps that."""
    if not TARGETS[recipe.target].RECORDED:
        return {}
    done = [layer for layer in report.layers if layer.status == "converted"]
    return {layer.path: {"kernel": scale(layer.sigma or 0.0, recipe.settings)} for layer in done}


def _holds_ours(model: Layer) -> bool:
    """Whether Keras needs this package to load a model."""
    return OURS in needs(keras.saving.serialize_keras_object(model))


def _through_keras(
    source: str,
    output: Destination | None,
    work: Callable[[Layer, Any], tuple[Layer, Report]],
    recorded: Callable[[Report, Any], Any],
    recipe: Recipe,
) -> Report:
    started = time.perf_counter()
    folder = os.path.isdir(source)
    with located(file=source):
        if output is not None and not folder and not output.path.endswith(".keras"):
            raise OptionError(
                f"the output is {printable(output.path)!r}, but Keras writes .keras files",
                "Give an output that ends in .keras",
            )
        with unchanged(source):
            with open_model(source, config=recipe.config) as opened:
                if output is not None:
                    check_destination(opened, output)
                older = is_older(opened)
                graph = None
                if recipe.page:
                    graph = graph_of(parse(strict_json.loads(opened.config, CONFIG)))
                metadata = strict_json.loads(opened.metadata or b"null", METADATA)
            sha256 = _digest(source) if recipe.page else None
            model, warned = load(source, recipe.config)
            model, report = work(model, metadata)
            if output is not None:
                metadata = recorded(report, metadata)
                if older:
                    metadata = with_source(metadata, _digest(source))
        if output is not None:
            own = metadata.get("snconvert") if isinstance(metadata, dict) else None
            _save(model, output, own, folder)
    return replace(
        report,
        source=source,
        graph=graph,
        source_sha256=sha256,
        output=None if output is None else output.path,
        bytes=_size(source if output is None else output.path),
        seconds=time.perf_counter() - started,
        warnings=(*warned, *report.warnings),
        needs=(
            *([OURS] if output and _holds_ours(model) else []),
            *(f"`import {printable(name)}`" for name in recipe.imports if name not in _OURS),
        ),
    )


def _save(model: Layer, output: Destination, own: dict[str, Any] | None, folder: bool) -> None:
    with writing(output.path):
        real, force = os.path.realpath(output.path), output.replaces
        if folder:
            with new_folder(real, force) as place, saving(OutputError, _SAVED):
                save_model(model, place, zipped=False)
                _change(os.path.join(place, METADATA), lambda old: _with_record(old, own))
                _change(os.path.join(place, CONFIG), _numbered)
                for path, _, names in os.walk(place):
                    for name in names:
                        _change(os.path.join(path, name), None)
            return
        # Keras' file has no name, so that nothing of it can be left behind.
        with (
            tempfile.TemporaryFile(dir=os.path.dirname(real)) as plain,
            new_file(real, force) as descriptor,
            os.fdopen(os.dup(descriptor), "w+b") as target,
        ):
            with saving(OutputError, _SAVED):
                save_model(model, plain)
            _rewrite(plain, target, own)


def _change(path: str, change: Callable[[bytes], bytes] | None) -> None:
    """Changes a file, if that is wanted, and flushes it to the disk."""
    with open(path, "r+b") as file:
        if change is not None:
            content = change(file.read())
            file.seek(0)
            file.truncate()
            file.write(content)
            file.flush()
        flush(file.fileno())


def _rewrite(plain: IO[bytes], target: IO[bytes], record: dict[str, Any] | None) -> None:
    """Copies the archive, with what is added to its metadata and without the times."""
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            info = zipfile.ZipInfo(member.filename, _DATE)
            info.external_attr = 0o600 << 16
            if member.filename == METADATA:
                new.writestr(info, _with_record(old.read(member), record))
                continue
            if member.filename == CONFIG:
                new.writestr(info, _numbered(old.read(member)))
                continue
            info.file_size = member.file_size
            with old.open(member) as reader, new.open(info, "w") as writer:
                while chunk := reader.read(_CHUNK):
                    writer.write(chunk)


def _with_record(metadata: bytes, record: dict[str, Any] | None) -> bytes:
    kept = json.loads(metadata)
    kept.pop("date_saved", None)
    own = {} if record is None else {"snconvert": record}
    return json.dumps({**kept, **own}).encode()


def _numbered(config: bytes) -> bytes:
    """Numbers shared objects in their order, where Keras writes their addresses in memory."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return match[1] + numbers.setdefault(match[2], str(len(numbers) + 1))

    return re.sub(r'("shared_object_id": )(\d+)', number, config.decode()).encode()


def _digest(source: str) -> str | None:
    if not os.path.isfile(source):
        return None
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(output: str) -> int:
    if not os.path.isdir(output):
        return os.path.getsize(output)
    return sum(
        os.path.getsize(os.path.join(place, name))
        for place, _, names in os.walk(output)
        for name in names
    )
