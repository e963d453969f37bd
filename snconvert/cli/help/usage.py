"""Wrong usage, said in one line with the word that was meant and the way to the help."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import typer

from snconvert.cli.help.values import VALUES
from snconvert.errors import escaped

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""The base of what click raises; newer typers bring a click of their own."""

_TOPICS = {"kinds": "kinds", "mode": "modes", "norm": "norms", "target": "targets"}


def meant(word: str, known: list[str]) -> str:
    """Returns a question after the word that was meant, with a space before; empty if none is near.

    Example:
        >>> meant("hrad", ["hard", "cap"]), meant("--mod", ["--model", "--import"])
        (" Did you mean 'hard'?", " Did you mean '--model'?")
    """
    begun = [each for each in known if word.strip("-") and each.startswith(word)]
    near = begun[:1] or get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def check_value(option: str, value: str) -> None:
    """Raises `typer.BadParameter` unless an option has a value."""
    if value not in VALUES[option]:
        raise typer.BadParameter(
            f"{value!r} is not one of {', '.join(VALUES[option])}."
            f"{meant(value, list(VALUES[option]))} See `snconvert help {_TOPICS[option]}`."
        )


def message(error: Any) -> str:
    """Returns what is said of wrong usage: what is wrong, and where the help is.

    Args:
        error: A `UsageError`.
    """
    context = error.ctx
    what = error.format_message().removeprefix("Invalid value: ")
    what = what.replace(" (env var: 'None')", "")  # as typer before 0.26 has it
    if type(error).__name__ == "NoSuchOption":
        known = [flag for option in context.command.get_params(context) for flag in option.opts]
        flags = [flag for flag in known if flag.startswith("--")]
        what = f"no such option: {error.option_name}.{meant(error.option_name, flags)}"
    what = what[:1].lower() + what[1:]
    if what[-1] not in ".?":
        what += "."
    if context is not None and "See `" not in what:
        what += f" See `{context.command_path} --help`."
    return escaped(what)
