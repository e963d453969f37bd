"""Wrong usage: one line that says what is wrong, what was meant, and where the help is."""

from __future__ import annotations

import pytest

from snconvert.cli.commands import app
from snconvert.cli.help.usage import UsageError, meant, message


def said(*arguments: str) -> str:
    with pytest.raises(UsageError) as raised:
        app(list(arguments), prog_name="snconvert", standalone_mode=False)
    return message(raised.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("aply m", "no such command: aply. Did you mean 'apply'? See `snconvert --help`."),
        ("xyzzy", "no such command: xyzzy. See `snconvert --help`."),
        ("--verion", "no such option: --verion. Did you mean '--version'? See `snconvert --help`."),
        (
            "apply m --mod hard",
            "no such option: --mod. Did you mean '--mode'? See `snconvert apply --help`.",
        ),
        (
            "apply m --power 3",
            (
                "no such option: --power. Did you mean '--power-iterations'?"
                " See `snconvert apply --help`."
            ),
        ),
        ("bake m --xyzzy", "no such option: --xyzzy. See `snconvert bake --help`."),
        (
            "apply m --mode hrad",
            (
                "invalid value for '--mode': 'hrad' is not one of hard, cap, gain."
                " Did you mean 'hard'? See `snconvert help modes`."
            ),
        ),
        (
            "inspect m --kinds conv,dens",
            (
                "invalid value for '--kinds': 'dens' is not one of dense, conv, attention,"
                " recurrent, embedding, all. Did you mean 'dense'? See `snconvert help kinds`."
            ),
        ),
        (
            "apply m --norm hard,cap",
            (
                "invalid value for '--norm': 'hard,cap' is not one of matrix, operator."
                " See `snconvert help norms`."
            ),
        ),
        (
            "apply m --target kers",
            (
                "invalid value for '--target': 'kers' is not one of layer, keras, constraint."
                " Did you mean 'keras'? See `snconvert help targets`."
            ),
        ),
        (
            "apply m --bound x",
            "invalid value for '--bound': 'x' is not a valid float. See `snconvert apply --help`.",
        ),
        ("apply", "missing argument 'MODEL...'. See `snconvert apply --help`."),
        ("verify a", "missing argument 'AFTER'. See `snconvert verify --help`."),
        ("apply m -o", "option '-o' requires an argument. See `snconvert apply --help`."),
        (
            "apply m -o x --in-place",
            "--in-place and --output exclude each other. See `snconvert apply --help`.",
        ),
    ],
)
def test_wrong_usage_is_one_line(line: str, expected: str) -> None:
    """It names what is wrong, the word that was meant if one is near, and the help."""
    assert said(*line.split()) == expected


def test_a_file_without_a_command(tmp_path: object) -> None:
    """Where the command was forgotten, that is what is said."""
    assert said(str(tmp_path)).endswith(
        f"Did you mean `snconvert inspect {tmp_path}`? See `snconvert --help`."
    )


def test_what_was_typed_is_escaped() -> None:
    """Nothing of the line reaches the terminal as it is."""
    for line in (["app\x1b[31mly"], ["apply", "m", "--mode", "\x1b[31m"], ["help", "\n"]):
        assert said(*line).isprintable()


def test_what_was_meant() -> None:
    """Words that begin so come first, then those that are near; nothing far off."""
    assert meant("--no", ["--norm", "--no-sigma"]) == " Did you mean '--norm'?"
    assert meant("verfy", ["verify", "rules"]) == " Did you mean 'verify'?"
    assert meant("x", ["verify", "rules"]) == ""
    assert meant("--", ["--norm"]) == ""
