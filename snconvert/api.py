"""The Python API: the same verbs as the command line, on files and on live models."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from snconvert.convert import convert_file, inspect_file
from snconvert.errors import OptionError
from snconvert.recipe import recipe
from snconvert.report import Progress, Report
from snconvert.rules import KernelRule

StrPath = str | os.PathLike[str]
_LEGACY = (".h5", ".hdf5")


def default_output(source: StrPath) -> str:
    r"""Returns where the result goes when nothing is said: `-sn` before the suffix.

    Example:
        >>> default_output("gan/critic.keras").replace("\\", "/")
        'gan/critic-sn.keras'
    """
    path = Path(source)
    if path.name in ("", ".."):  # a folder that is named by where it lies
        path = Path(os.path.abspath(path))
    suffix = ".keras" if path.suffix in _LEGACY else path.suffix
    return str(path.parent / f"{path.stem}-sn{suffix}")


def apply_file(
    source: StrPath,
    output: StrPath | None = None,
    *,
    recipe_file: StrPath | None = None,
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
    rules: Iterable[KernelRule] = (),
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Report:
    """Converts a saved model, file to file, without importing keras or a backend.

    With `imports` the file goes through Keras (safe mode on) and the memory carrier instead; legacy
    whole-model `.h5` files need that, if only as `imports=["keras"]`.

    Args:
        source: A `.keras` file, the folder that `model.save(..., zipped=False)` wrote, or a legacy
            `.h5` file of a whole model.
        output: Where the result goes; by default `source` with `-sn` before the suffix.
        recipe_file: A TOML file with options; those given here win over it.
        dry_run: Report what would be done, write nothing.
        force: Replace an existing output.
        in_place: Replace `source` itself.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        progress: Called with a `Progress` as it goes on.
        **options: `target`, `mode`, `bound`, `power_iterations`, `norm`, `kinds`, `conv`, `only`,
            `exclude`, `select`, `overrides`, `imports`, as in `snconvert.recipe.recipe`.

    Returns:
        What was done to each layer.

    Raises:
        SnconvertError: It cannot be done; the message says what and how to fix it, and nothing was
            written.
    """
    source = os.fspath(source)
    if in_place and output is not None:
        raise OptionError("both an output and in_place are given", "Give one of them")
    target = source if in_place else default_output(source) if output is None else os.fspath(output)
    made = recipe(recipe_file, **options)
    if made.imports:
        return _through_keras()(
            source,
            None if dry_run else target,
            made,
            rules=rules,
            dry_run=dry_run,
            force=force,
            in_place=in_place,
        )
    return convert_file(
        source,
        None if dry_run else target,
        made,
        rules=rules,
        dry_run=dry_run,
        force=force,
        in_place=in_place,
        progress=progress,
    )


def inspect(
    source: StrPath | Any,
    *,
    recipe_file: StrPath | None = None,
    rules: Iterable[KernelRule] = (),
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Report:
    """Reports every layer of a model: class, kernel, sigma, convertible or why not.

    Args:
        source: A `.keras` file, an unzipped folder, a legacy `.h5` file, or a live `keras.Model`.
        recipe_file: A TOML file with options; those given here win over it.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        progress: Called with a `Progress` as it goes on, for files.
        **options: As for `apply_file`; here `kinds` is `all` unless given.

    Raises:
        SnconvertError: The file cannot be read.
    """
    options = {"kinds": "all", **options}
    if not isinstance(source, str | os.PathLike):
        from snconvert.live.carrier import inspect as inspect_model

        return inspect_model(source, rules=rules, recipe_file=recipe_file, **options)
    made = recipe(recipe_file, **options)
    path = os.fspath(source)
    if made.imports:
        return _through_keras()(path, None, made, rules=rules, dry_run=True, lenient=True)
    return inspect_file(path, made, rules=rules, progress=progress)


def _through_keras() -> Callable[..., Report]:
    """Imports the memory carrier, without what TensorFlow says on stderr when it starts."""
    # It says so in C++, before any setting of it could be heard.
    fresh = "keras" not in sys.modules and "tensorflow" not in sys.modules
    with _hushed() if fresh else nullcontext():
        from snconvert.live.files import apply_through_keras
    return apply_through_keras


@contextmanager
def _hushed() -> Iterator[None]:
    """Sends what is written to the descriptor of stderr nowhere."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
