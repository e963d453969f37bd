"""The parts of pages that are made from the program: `<!-- generated: NAME -->` stands for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer

from snconvert import errors
from snconvert.cli.commands import app
from snconvert.cli.help.examples import EXAMPLES, example_lines
from snconvert.cli.help.topics import TOPICS
from snconvert.cli.help.values import VALUES
from snconvert.core.public_names import HOME
from snconvert.kinds.table import RULES

ROOT = Path(__file__).parent.parent
_MARK = re.compile(r"^<!-- generated: (\w+)(.*) -->$", re.MULTILINE)


def fill(page: str) -> str:
    """Returns the text of a page with the generated parts in it."""
    return _MARK.sub(lambda mark: _PARTS[mark[1]](*mark[2].split()), page)


def commands() -> str:
    """Returns a section for each command: usage, examples, arguments, options."""
    group: Any = typer.main.get_command(app)
    return "\n\n".join(
        part for name, each in group.commands.items() for part in _command(name, each)
    )


def _command(name: str, command: Any) -> Iterator[str]:
    full = f"snconvert {name}"
    context = command.make_context(full, [], resilient_parsing=True)
    usage = f"{full} {' '.join(command.collect_usage_pieces(context))}"
    examples = "\n".join(line.strip() for line in example_lines(EXAMPLES[name]))
    yield f"## {full}"
    yield _text(command.help)
    yield f"```text\n{usage}\n```"
    yield f"```bash\n{examples}\n```"
    yield f"```{{program}} {full}\n```"
    panels: dict[str | None, list[Any]] = {}
    for option in command.params:
        panels.setdefault(option.rich_help_panel, []).append(option)
    for panel, options in panels.items():
        if panel:
            yield f"**{panel}**"
        for option in options:
            text = _text(option.help or "")
            for value in VALUES.get(option.name, ()):
                text = text.replace(f"\n\n{value}: ", f"\n- `{value}`: ")
            yield f"```{{option}} {_spelling(option, context)}\n{text}\n```"


def topics() -> str:
    """Returns a section for each topic of `snconvert help`."""
    return "\n\n".join(
        f"## {name}\n\n*{_text(it.title)}*\n\n{it.text}" for name, it in TOPICS.items()
    )


def _spelling(option: Any, context: Any) -> str:
    value = "" if getattr(option, "is_flag", False) else option.make_metavar(context)
    if option.param_type_name == "argument":
        return str(value)
    return ", ".join(f"{name} {value}".strip() for name in option.opts)


def _text(text: str) -> str:
    """Returns a help text as Markdown: options become code, and `*` and the like stay letters."""
    parts = re.split(r"(`[^`]*`|(?<!\S)--[a-z][\w-]*)", cleandoc(text))
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = f"`{part.strip('`')}`"
        else:
            parts[number] = re.sub(r"([*_<>\[\]|\\])", r"\\\1", part)
    return "".join(parts)


def kinds() -> str:
    """Returns the table of the kinds of layers."""
    lines = ["| kind | layer of Keras | becomes | kernels |", "|---|---|---|---|"]
    for rule in RULES.values():
        cells = (rule.kind, rule.class_name, rule.spectral_class)
        kernels = ", ".join(f"`{kernel.name}`" for kernel in rule.kernels)
        lines.append(f"| {' | '.join(f'`{cell}`' for cell in cells)} | {kernels} |")
    return "\n".join(lines)


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


def root(name: str) -> str:
    """Returns a page at the root of the checkout, its links seen from `docs/`."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\]\((?!\w+:|#)", "](/../", text)


_PARTS: dict[str, Callable[..., str]] = {
    part.__name__: part for part in (commands, topics, kinds, layers, error_classes, root)
}
