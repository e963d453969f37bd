"""The help screens: typer's, and below them examples that can be copied."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from snconvert.cli.help.examples import EXAMPLES, example_lines
from snconvert.cli.help.usage import UsageError, meant

PRINTED = "What is printed"
"""The heading under which help lists the options that every command has."""

EXIT_CODES = {
    0: "done",
    1: "an error, which one line on stderr tells",
    2: "wrong usage",
    3: "`verify` found a difference",
    130: "interrupted by Ctrl-C",
}
"""What the exit codes mean."""

MORE = "More: `snconvert help` lists the topics that it explains; docs/ in the source."
"""The last line of every help."""


class Command(TyperCommand):
    """A command with `--no-color`, whose help ends with its examples."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.params.append(_no_color(PRINTED))

    def get_help(self, ctx: Any) -> str:
        """Prints the options, or returns them where rich is switched off, and returns the rest."""
        return _joined(super().get_help(ctx), _examples(self.name or ""), MORE)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints the options in boxes, or has the formatter write them where they are piped."""
        with _plain_where_piped(self):
            super().format_help(ctx, formatter)

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002 - lines are broken
        """Returns what the list of commands says of it, whole."""
        return super().get_short_help_str(1000)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments; an error in them knows its command, also where click forgets it."""
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Returns the words of the usage line, without the braces that typer puts around some."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def get_help_option(self, ctx: Any) -> Any:
        """Returns the option `--help`, which is listed with its like."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = PRINTED
        return option


class Program(TyperGroup):
    """The program, with `--no-color`, whose help ends with examples and the exit codes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.params.append(_no_color(None))

    def get_help(self, ctx: Any) -> str:
        """Prints the commands, or returns them where rich is switched off, and returns the rest."""
        codes = "\n".join(f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items())
        return _joined(super().get_help(ctx), _examples(""), f"Exit codes:\n{codes}", MORE)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints the commands in boxes, or has the formatter write them where they are piped."""
        with _plain_where_piped(self):
            super().format_help(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds a command; a wrong one is an error that suggests the right one."""
        word = args[0]
        if word not in self.commands and not ctx.resilient_parsing and not word.startswith("-"):
            near = meant(word, list(self.commands))
            if not near and os.path.exists(word):
                near = f" Did you mean `{ctx.info_name} inspect {word}`?"
            ctx.fail(f"no such command: {word}.{near}")
        return super().resolve_command(ctx, args)


@contextlib.contextmanager
def _plain_where_piped(command: TyperCommand | TyperGroup) -> Iterator[None]:
    """Has help be without boxes in pipes, and as `NO_COLOR` says: neither bold nor dim."""
    if not (sys.stdout.isatty() or os.environ.get("FORCE_COLOR")):
        mode, command.rich_markup_mode = command.rich_markup_mode, None
        yield
        command.rich_markup_mode = mode
        return
    from typer import rich_utils

    system = rich_utils.COLOR_SYSTEM
    rich_utils.COLOR_SYSTEM = None if os.environ.get("NO_COLOR") else system
    yield
    rich_utils.COLOR_SYSTEM = system


def _no_color(panel: str | None) -> TyperOption:
    """Returns the option, which `snconvert.cli.commands.main` heeds before anything is read."""
    return TyperOption(
        param_decls=["--no-color"],
        is_flag=True,
        expose_value=False,
        help="No colours, as with NO_COLOR set.",
        rich_help_panel=panel,
    )


def _examples(name: str) -> str:
    return "\n".join(("Examples:", *example_lines(EXAMPLES[name])))


def _joined(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))
