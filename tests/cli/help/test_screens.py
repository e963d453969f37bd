"""The help screens: every option says what it does, in 80 columns."""

from __future__ import annotations

import re

import pytest
import typer

from snconvert.cli.commands import app
from snconvert.cli.help.examples import EXAMPLES, example_lines
from snconvert.cli.help.screens import EXIT_CODES, MORE
from snconvert.cli.help.values import VALUES

COMMANDS = typer.main.get_command(app).commands
OPTIONS = [
    pytest.param(name, option, id=f"{name} {option.name}")
    for name, command in COMMANDS.items()
    for option in command.params
]


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    app([*arguments, "--help"], prog_name="snconvert", standalone_mode=False)
    return capsys.readouterr().out


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_an_option_says_all(command: str, option: typer.core.TyperOption) -> None:
    """What it does, what it is unless given, and, where it has a choice, each value."""
    assert option.help
    assert option.help.endswith(".")
    if command != "help" and not isinstance(option, typer.core.TyperArgument):
        assert option.rich_help_panel
    takes_a_value = not getattr(option, "is_flag", True)
    if takes_a_value:
        assert option.metavar
        assert re.search(r"[Dd]efault", option.help)
    for value, meaning in VALUES.get(option.name or "", {}).items():
        assert f"{value}: {meaning}." in option.help


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_a_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It has 80 columns at most, all options, examples to copy, and no escapes where piped."""
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, *filter(None, [command]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text
    assert "│" not in text
    flags = {flag for option in COMMANDS[command].params for flag in option.opts} if command else ()
    assert all(flag in text for flag in flags if flag.startswith("-"))
    assert {"--no-color", "--help", "-h"} <= set(re.split(r"[\s,]+", text))
    assert all(line in lines for line in example_lines(EXAMPLES[command]))
    assert lines[-1] == MORE
    (usage,) = [line for line in lines if line.strip().startswith("Usage:")]
    assert "{" not in usage


def test_boxes_are_for_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or where colours are asked for."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for arguments in ([], ["apply"]):
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert "│" in help_of(capsys, *arguments)
        monkeypatch.setenv("NO_COLOR", "1")
        plain = help_of(capsys, *arguments)
        assert "│" in plain
        assert "\x1b" not in plain


def test_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of the program has every command and exit code; without a command it is usage."""
    text = help_of(capsys)
    for code, meaning in EXIT_CODES.items():
        assert f"  {code:<3}  {meaning}\n" in text
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert app([], prog_name="snconvert", standalone_mode=False) == 2
    assert capsys.readouterr().out == text
