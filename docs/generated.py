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
from snconvert.formats.table import FORMATS
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
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{name} {usage}\n```"
    options = [option for option in command.params if not getattr(option, "hidden", False)]
    for panel, members in groupby(options, lambda option: option.rich_help_panel):
        if panel:
            yield f"**{panel}**"
        yield "\n\n".join(_option(option, context) for option in members)
    if command.epilog:
        yield _text(command.epilog)


def _option(option: Any, context: Any) -> str:
    spelling = ", ".join(option.opts) if option.param_type_name == "option" else ""
    metavar = option.make_metavar(context) if not getattr(option, "is_flag", False) else ""
    body = _text(option.help or "").replace("\n", "\n  ")
    return f"`{f'{spelling} {metavar}'.strip()}`\n: {body}"


def _text(text: str) -> str:
    """Returns a help text as Markdown, in which neither `*` nor `_` means anything."""
    return re.sub(r"([*_<>\[\]|`\\])", r"\\\1", cleandoc(text.replace("\b", "")))


def kinds() -> str:
    """Returns the table of the kinds of layers."""
    rows = (
        (f"`{rule.kind}`", f"`{rule.class_name}`", f"`{rule.spectral_class}`", _kernels(rule))
        for rule in RULES.values()
    )
    return _table(("kind", "layer of Keras", "becomes", "kernels"), rows)


def _kernels(rule: Any) -> str:
    return ", ".join(f"`{kernel.name}`" for kernel in rule.kernels)


def formats() -> str:
    """Returns the list of formats."""
    return ", ".join(f"`{name}`" for name in FORMATS)


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
            command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True, text=True
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
    part.__name__: part for part in (commands, kinds, formats, layers, error_classes, output, root)
}
