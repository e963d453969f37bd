"""The topics of `snconvert help`: they are true, short, and reach what they name."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

import pytest
import typer

from snconvert.cli.commands import app
from snconvert.cli.help.screens import EXIT_CODES
from snconvert.cli.help.topics import TOPICS, WIDTH
from snconvert.cli.help.values import VALUES
from snconvert.core.settings import FIELDS
from snconvert.core.verbs import VERBS
from snconvert.planning.recipe import recipe

COMMANDS = typer.main.get_command(app).commands
TEXTS = {name: topic.text for name, topic in TOPICS.items()}
OPTIONS = {
    flag for command in COMMANDS.values() for option in command.params for flag in option.opts
}


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_is_short(name: str) -> None:
    """It is one screen, of lines that fit in it."""
    lines = TEXTS[name].splitlines()
    assert len(lines) <= 24
    assert max(map(len, (*lines, TOPICS[name].title))) <= WIDTH
    assert TEXTS[name].endswith("\n")
    assert name not in COMMANDS


@pytest.mark.parametrize("name", TOPICS)
def test_what_a_topic_names_is_there(name: str) -> None:
    """Its commands are understood; its options and the topics it refers to exist."""
    text = TEXTS[name]
    lines = re.findall(r"^    (snconvert .*)$", text, re.MULTILINE)
    for line in lines:
        _, verb, *arguments = shlex.split(line)
        if verb in COMMANDS:
            COMMANDS[verb].make_context(verb, arguments)
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert flags <= OPTIONS | {"--install-completion"}
    spoken = " ".join(text.split())
    assert set(re.findall(r"`snconvert help ([a-z-]+)`", spoken)) <= TOPICS.keys()
    verbs = set(re.findall(r"`snconvert ([a-z]+)", spoken))
    assert verbs <= COMMANDS.keys()


def test_values_and_codes_are_explained() -> None:
    """Every value of an option, suffix of a result and exit code has its place."""
    for topic, option in (
        ("kinds", "kinds"),
        ("modes", "mode"),
        ("norms", "norm"),
        ("targets", "target"),
    ):
        assert all(f"- `{value}`: " in TEXTS[topic] for value in VALUES[option])
    assert all(f"- `{code}`: " in TEXTS["exit-codes"] for code in EXIT_CODES)
    assert all(f"`{verb.suffix}`" in TEXTS["files"] for verb in VERBS.values() if verb.suffix)
    assert all(f"`{field}`" in TEXTS["recipes"] for field in FIELDS)


def test_the_recipe_is_one(tmp_path: Path) -> None:
    """The file that is shown can be read, and gives what it says."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", TEXTS["recipes"], re.MULTILINE)
    shown = next(block for block in blocks if "[[layer]]" in block)
    file = tmp_path / "recipe.toml"
    file.write_text(textwrap.dedent(shown).partition("snconvert")[0])
    read = recipe(file)
    assert (read.kinds, read.settings.mode, read.exclude) == (("dense", "conv"), "cap", ("head",))
    assert [override.match for override in read.overrides] == ["encoder/*"]
