"""Every row of the table of verbs is a command, a function, and a word of the papers."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import pytest
from places import ROOT

from snconvert import api
from snconvert.cli.commands import app
from snconvert.core.verbs import VERBS, Verb

ROWS = pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)


def registered(name: str) -> Any:
    """Returns the command of a name, `None` if there is none."""
    commands = (c for c in app.registered_commands if c.callback)
    return next((c for c in commands if name in {c.name, c.callback.__name__}), None)


@ROWS
def test_a_verb_is_a_command(verb: Verb) -> None:
    """The command line has the verb, and says in its help what the verb does."""
    command = registered(verb.name)
    assert command is not None, (
        "add to snconvert/cli/commands.py:\n"
        f"@app.command()\ndef {verb.name}(models: Models, ...) -> None:"
    )
    assert command.help or inspect.getdoc(command.callback), (
        f"add a docstring to {verb.name} in snconvert/cli/commands.py: it is what --help says"
    )


@ROWS
def test_a_verb_is_a_function(verb: Verb) -> None:
    """The API has the verb, and the names of the package have the function."""
    function = getattr(api, verb.function, None)
    assert inspect.getdoc(function) if callable(function) else False, (
        f"add to snconvert/api/, with a docstring: def {verb.function}(source, ...):"
    )


@ROWS
def test_a_verb_is_in_the_papers(verb: Verb) -> None:
    """The README shows how to call it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"snconvert {verb.name}" in readme, (
        f"add to the commands in README.md: snconvert {verb.name} model.keras  # what it does"
    )


@ROWS
def test_a_row_is_whole(verb: Verb) -> None:
    """A verb that writes says where to and what was done; the modules of its child are there."""
    assert bool(verb.suffix) == bool(verb.done)
    for module in verb.child_modules:
        assert importlib.util.find_spec(module), (
            f"{module} is no module: see snconvert/core/verbs.py"
        )


def test_the_ways_back_are_called_alike() -> None:
    """`bake` and `remove` have the same options."""
    commands = [registered(name).callback for name in ("bake", "remove")]
    assert inspect.signature(commands[0]) == inspect.signature(commands[1])
