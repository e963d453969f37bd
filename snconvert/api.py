"""The Python API: the same verbs as the command line, on files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from snconvert.convert import Progress, convert_file, inspect_file
from snconvert.errors import OptionError
from snconvert.recipe import Recipe, recipe
from snconvert.report import Report
from snconvert.rules import KernelRule

StrPath = str | os.PathLike[str]


def default_output(source: StrPath) -> str:
    r"""Returns where the result goes when nothing is said: `-sn` before the suffix.

    Example:
        >>> default_output("gan/critic.keras").replace("\\", "/")
        'gan/critic-sn.keras'
    """
    path = Path(source)
    return str(path.with_name(f"{path.stem}-sn{path.suffix}"))


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

    Args:
        source: A `.keras` file, or the folder that `model.save(..., zipped=False)` wrote.
        output: Where the result goes; by default `source` with `-sn` before the suffix.
        recipe_file: A TOML file with options; those given here win over it.
        dry_run: Report what would be done, write nothing.
        force: Replace an existing output.
        in_place: Replace `source` itself.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        progress: Called with a `Progress` as it goes on.
        **options: `target`, `mode`, `bound`, `power_iterations`, `norm`, `kinds`, `conv`, `only`,
            `exclude`, `select`, `overrides`, as in `snconvert.recipe.recipe`.

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
    return convert_file(
        source,
        None if dry_run else target,
        recipe(recipe_file, **options),
        rules=rules,
        dry_run=dry_run,
        force=force,
        in_place=in_place,
        progress=progress,
    )


def inspect(
    source: StrPath,
    *,
    recipe_file: StrPath | None = None,
    rules: Iterable[KernelRule] = (),
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Report:
    """Reports every layer of a saved model: class, kernel, sigma, convertible or why not.

    Args:
        source: A `.keras` file or an unzipped folder.
        recipe_file: A TOML file with options; those given here win over it.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        progress: Called with a `Progress` as it goes on.
        **options: As for `apply_file`; here `kinds` is `all` unless given.

    Raises:
        SnconvertError: The file cannot be read.
    """
    made: Recipe = recipe(recipe_file, **{"kinds": "all", **options})
    return inspect_file(os.fspath(source), made, rules=rules, progress=progress)
