"""Messages in Python's words, and on the command line in flags."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from places import MODELS, ROOT
from typer.testing import CliRunner

import snconvert
from snconvert.cli.commands import app
from snconvert.core.public_names import HOME
from snconvert.core.verbs import VERBS
from snconvert.errors import OptionError
from snconvert.planning.plan import Plan, nothing_to_convert
from snconvert.wording import OPTIONS, SWITCHES, flags, spoken

PACKAGE = ROOT / "snconvert"
COMMANDS = ("commands", "options", "runner", "results", "summary")
ASIDE = {"wording.py", *(f"cli/{name}.py" for name in COMMANDS)}
"""Where no text is that Python shows."""


def command_flags() -> dict[str, bool]:
    """Returns all flags of the command line by their names, with whether each takes a value."""
    group = typer.main.get_command(app)
    return {
        name.removeprefix("--"): not parameter.is_flag
        for command in group.commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for name in parameter.opts
        if name.startswith("--")
    }


def docstrings(tree: ast.AST) -> set[ast.AST]:
    """Returns the constants that are docstrings, or explain the name above them."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def messages() -> Iterator[tuple[str, str]]:
    """Yields the texts of the package that hold a flag or a command, with where they stand."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        explained = docstrings(tree)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node not in explained
                and name not in ASIDE
                and not name.startswith("cli/help/")
                and re.search(r"--[a-z]|`snconvert ", node.value)
            ):
                yield f"{name}:{node.lineno}", node.value


MESSAGES = dict(messages())


@pytest.mark.parametrize("place", MESSAGES)
def test_every_message_has_its_words(place: str) -> None:
    """No text that Python shows names a flag or a command of the command line."""
    text = spoken(MESSAGES[place], of_file=True)
    named = re.findall(r"--([a-z][a-z-]*)", text)
    assert not set(named) & command_flags().keys(), f"{place}: give it words in wording.py: {text}"
    assert "`snconvert " not in text, f"{place}: {text}"
    # A word that joins two parts of a sentence is no value.
    values = re.findall(r'[a-z_]+="([a-z]+)"', text)
    known = "hard cap gain layer keras constraint matrix operator all conv attention recurrent"
    assert set(values) <= set(known.split()), f"{place}: {text}"


def test_there_are_messages() -> None:
    """The search above finds what it looks for."""
    assert len(MESSAGES) > 40
    assert any("--force" in text for text in MESSAGES.values())


def test_flags_are_those_of_the_command_line() -> None:
    """The tables name flags that there are, with and without a value."""
    there = command_flags()
    ours = dict.fromkeys(SWITCHES, False) | dict.fromkeys(OPTIONS, True)
    there["lipschitz"] = True  # of `apply`; that of `inspect` has none
    assert {name: there[name] for name in ours} == ours


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Use --force to replace it", "Use force=True to replace it"),
        ("Leave out --in-place", "Leave out in_place=True"),
        ("2 more with --conv, 1 with --kinds recurrent", 'conv=True, 1 with kinds="recurrent"'),
        ("all 4 with --kinds all", 'all 4 with kinds="all"'),
        ("Use --mode hard or cap, or --target layer", '"hard" or "cap", or target="layer"'),
        ("Use --mode hard or cap, or save", 'Use mode="hard" or "cap", or save'),
        ("and --kinds, --only and --exclude", "and kinds, only and exclude"),
        ("with --import my_net.layers, or", 'with imports=["my_net.layers"], or'),
        ("without --import it is converted", "without imports=[...] it is converted"),
        ("with --config FILE.json: what", 'with config="FILE.json": what'),
        ("Leave out --no-sigma, or --certify", "Leave out sigma=False, or certify=True"),
        ("Use --norm operator with --lipschitz", 'Use norm="operator" with lipschitz'),
        ("Check the path of --recipe", "Check the path of recipe_file"),
        ("`pip install --upgrade keras`", "`pip install --upgrade keras`"),
        ("a--b and -- and ---", "a--b and -- and ---"),
    ],
)
def test_words(written: str, said: str) -> None:
    """Flags become arguments, with values as Python writes them."""
    assert said in spoken(written)
    with flags():
        assert spoken(written) == written


@pytest.mark.parametrize("verb", VERBS)
def test_commands(verb: str) -> None:
    """Commands become functions that are there, of models and of files."""
    for of_file in (False, True):
        name = re.fullmatch(
            r"snconvert\.(\w+)\([a-z, ]+\)", spoken(f"`snconvert {verb}`", of_file=of_file)
        )
        assert name is not None
        assert name[1] in HOME


def test_an_error_says_it_in_its_reader_s_words() -> None:
    """The command line prints flags, before and after which Python has its own words."""
    error = nothing_to_convert(Plan(()))
    python = "(snconvert.RULES). See snconvert.inspect(model) for every layer."
    assert str(error).endswith(python)
    run = CliRunner().invoke(app, ["apply", str(MODELS / "a01_seq_plain.keras"), "--exclude", "*"])
    assert run.exit_code == 1
    assert "See `snconvert inspect` for every layer, and --kinds, --only and" in run.stderr
    assert str(error).endswith(python)


def test_existing_outputs(tmp_path: Path) -> None:
    """The way out is an argument of the function that was called."""
    (tmp_path / "out.keras").write_text("mine")
    with pytest.raises(FileExistsError, match=r"exists already\. Use force=True to replace it\.$"):
        snconvert.apply_file(MODELS / "a01_seq_plain.keras", tmp_path / "out.keras")


@pytest.mark.keras
def test_a_table_in_python() -> None:
    """Reasons and legends of a printed report name arguments; its rows keep the flags."""
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8, 2)), layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(2)]
    )
    report = snconvert.inspect(model)
    assert "with conv=True" in str(report)
    assert not re.search("--[a-z]", str(report))
    assert not re.search("--[a-z]", report._repr_html_())
    assert report.layers[0].reason == "with --conv"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        snconvert.apply(model)
    (warning,) = [one for one in caught if "plain" in str(one.message)]
    assert warning.filename == __file__
    assert "Give conv=True to convert more" in str(warning.message)


def test_wrong_patterns_are_value_errors() -> None:
    """What no layer matches, and what is no pattern, are errors in a value."""
    for wrong in ("nix", "re:("):
        with pytest.raises(ValueError, match="pattern"):
            snconvert.apply_file(MODELS / "a01_seq_plain.keras", dry_run=True, only=[wrong])
    with pytest.raises(OptionError, match=r"^mode is 3\. Choose one of hard, cap, gain\.$"):
        snconvert.apply_file(MODELS / "a01_seq_plain.keras", dry_run=True, mode=3)  # type: ignore[arg-type]
