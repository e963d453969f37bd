"""Prints the manual page of the program: `python docs/manual.py > docs/snconvert.1`."""

# ruff: noqa: T201 -- printing is its job

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from snconvert.cli.commands import app
from snconvert.cli.help.examples import EXAMPLES
from snconvert.cli.help.screens import EXIT_CODES
from snconvert.cli.help.topics import TOPICS


def manual() -> str:
    """Returns the page in the language of man(7)."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    program: Any = typer.main.get_command(app)
    yield '.TH SNCONVERT 1 "" snconvert'
    yield ".SH NAME"
    yield r"snconvert \- spectrally normalise the layers of saved Keras models"
    yield ".SH SYNOPSIS"
    for name, command in program.commands.items():
        arguments = [option for option in command.params if option.param_type_name == "argument"]
        words = [each.metavar if each.required else f"[{each.metavar}]" for each in arguments]
        yield from (f".B snconvert {name}", " ".join(["[OPTIONS]", *words]), ".br")
    yield ".SH DESCRIPTION"
    yield _escaped(program.help)
    yield ".SH COMMANDS"
    for name, command in program.commands.items():
        yield f'.SS "snconvert {name}"'
        yield _escaped(command.help)
        for option in command.params:
            yield from _option(option)
    yield ".SH TOPICS"
    for name, topic in TOPICS.items():
        yield f'.SS "{name}: {_escaped(topic.title)}"'
        yield from _markdown(topic.text)
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES.items():
        yield from (".TP", f".B {code}", _escaped(meaning))
    yield ".SH EXAMPLES"
    for examples in EXAMPLES.values():
        for command, about in examples:
            yield from (".TP", f".B {_escaped(command)}", _escaped(about))


def _option(option: Any) -> Iterator[str]:
    if option.param_type_name == "argument":
        spelling = option.metavar
    else:
        value = "" if option.is_flag else f" {option.metavar}"
        spelling = f"{', '.join(option.opts)}{value}"
    yield from (".TP", f".B {_escaped(spelling)}")
    first, *others = option.help.split("\n\n")
    yield _escaped(first)
    for paragraph in others:
        yield from (".br", _escaped(paragraph))


def _markdown(text: str) -> Iterator[str]:
    """Yields paragraphs, items of lists, and indented blocks, which keep their lines."""
    for block in re.split(r"\n\n|\n(?=- )", text.strip("\n")):
        if block.startswith("    "):
            yield from (".IP", ".nf", *map(_escaped, block.splitlines()), ".fi")
        elif block.startswith("- "):
            yield from (r".IP \(bu 2", _escaped(" ".join(block[2:].split())))
        else:
            yield from (".PP", _escaped(" ".join(block.split())))


def _escaped(text: str) -> str:
    """Returns a text in which no letter is one of the language."""
    text = re.sub(r"[\\'`~^-]", lambda letter: _LETTERS[letter[0]], text)
    return rf"\&{text}" if text.startswith(".") else text


_LETTERS = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "~": r"\(ti", "^": r"\(ha", "-": r"\-"}

if __name__ == "__main__":
    print(manual(), end="")
