"""The command `help`."""

from __future__ import annotations

import pytest

from snconvert.cli.commands import app
from snconvert.cli.help.topics import TOPICS
from snconvert.cli.help.usage import UsageError


def run(*arguments: str) -> None:
    app(list(arguments), prog_name="snconvert", standalone_mode=False)


def test_it_lists_the_topics(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a word it lists what there is, a line each."""
    run("help")
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(TOPICS)
    assert max(map(len, lines)) <= 80


def test_it_explains_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the text of a topic below its title."""
    run("help", "modes")
    text = capsys.readouterr().out
    assert text == f"modes: {TOPICS['modes'].title}\n\n{TOPICS['modes'].text}"


@pytest.mark.parametrize("command", ["apply", "verify", "help"])
def test_it_shows_the_help_of_a_command(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """`help COMMAND` is `COMMAND --help`."""
    run("help", command)
    text = capsys.readouterr().out
    run(command, "--help")
    assert text == capsys.readouterr().out
    assert f"Usage: snconvert {command} " in text


def test_a_wrong_word_is_told() -> None:
    """An unknown topic suggests the one that was meant."""
    with pytest.raises(UsageError, match=r"'mode' is no topic.*Did you mean 'modes'\?"):
        run("help", "mode")
    with pytest.raises(UsageError, match=r"no command\. See `snconvert help`"):
        run("help", "xyzzy")
