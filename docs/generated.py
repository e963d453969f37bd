"""The parts of pages that are made from the program: `<!-- generated: NAME -->` stands for them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from inspect import cleandoc
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from snconvert import errors
from snconvert.cli.commands import app
from snconvert.core.public_names import HOME
from snconvert.kinds.table import RULES

ROOT = Path(__file__).parent.parent
_MARK = re.compile(r"^<!-- generated: (\w+)(.*) -->$", re.MULTILINE)


def fill(page: str) -> str:
    """Returns the text of a page with the generated parts in it."""
    return _MARK.sub(lambda mark: _PARTS[mark[1]](*mark[2].split()), page)


def commands() -> str:
    """Returns a section for each command: usage, arguments, options, examples."""
    group: Any = typer.main.get_command(app)
    return "\n\n".join(
        "\n\n".join(_command(f"{group.name} {name}", command))
        for name, command in group.commands.items()
    )


def _command(name: str, command: Any) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    yield f"## {name}"
    yield _text(command.help)
    yield f"```text\n{name} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield f"```{{program}} {name}\n```"
    shown = [option for option in command.params if not getattr(option, "hidden", False)]
    for panel, members in groupby(shown, lambda option: option.rich_help_panel):
        if panel:
            yield f"**{panel}**"
        for option in members:
            yield f"```{{option}} {_spelling(option, context)}\n{_text(option.help or '')}\n```"
    if command.epilog:
        yield _text(command.epilog)


def _spelling(option: Any, context: Any) -> str:
    value = "" if getattr(option, "is_flag", False) else option.make_metavar(context)
    if option.param_type_name == "argument":
        return str(value)
    return ", ".join(f"{name} {value}".strip() for name in option.opts)


def _text(text: str) -> str:
    """Returns a help text as Markdown, in which neither `*` nor `_` means anything."""
    text = re.sub(r"([*_<>\[\]|\\])", r"\\\1", cleandoc(text.replace("\b", "")))
    return re.sub(r"(?<!\S)(--[a-z][\w-]*)", r"`\1`", text)


def kinds() -> str:
    """Returns the table of the kinds of layers."""
    rows = (
        (f"`{rule.kind}`", f"`{rule.class_name}`", f"`{rule.spectral_class}`", _kernels(rule))
        for rule in RULES.values()
    )
    return _table(("kind", "layer of Keras", "becomes", "kernels"), rows)


def _kernels(rule: Any) -> str:
    return ", ".join(f"`{kernel.name}`" for kernel in rule.kernels)


def layers() -> str:
    """Returns the documentation of every layer."""
    names = (name for name, home in HOME.items() if home == "layers")
    return _documented("autoclass", (f"snconvert.{name}" for name in names))


def error_classes() -> str:
    """Returns the documentation of every class of errors."""
    classes = (value for value in vars(errors).values() if isinstance(value, type))
    names = (value.__name__ for value in classes if issubclass(value, Exception))
    return _documented("autoexception", (f"snconvert.errors.{name}" for name in names))


def _documented(directive: str, names: Iterable[str]) -> str:
    lines = "\n".join(f".. {directive}:: {name}" for name in names)
    return f"```{{eval-rst}}\n{lines}\n```"


def output(*arguments: str) -> str:
    """Returns what a command prints in a copy of the samples' folder."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "samples", Path(folder) / "samples")
        command = [sys.executable, "-m", "snconvert", *arguments]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        printed = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    return f"```text\n{printed}```"


def root(name: str) -> str:
    """Returns a page at the root of the checkout, its links seen from `docs/`."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\]\((?!\w+:|#)", "](/../", text)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(heads)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_PARTS: dict[str, Callable[..., str]] = {
    part.__name__: part for part in (commands, kinds, layers, error_classes, output, root)
}
