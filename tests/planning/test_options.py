"""The options of the Python functions: where people see them, and what is said of wrong ones."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest
import typer
from places import DATA, MODELS, ROOT

import snconvert
from snconvert.cli.commands import app
from snconvert.core.settings import FIELDS
from snconvert.core.targets import TARGETS, Target
from snconvert.errors import OptionError, UnknownOptionError
from snconvert.planning import options
from snconvert.planning.inspection import Inspection
from snconvert.planning.recipe import Recipe, recipe

MODEL = MODELS / "a01_seq_plain.keras"
FUNCTIONS = {
    "apply_file": options.ApplyFileOptions,
    "inspect": options.InspectOptions,
    "bake_file": options.UndoFileOptions,
    "remove_file": options.UndoFileOptions,
    "recipe": options.RecipeOptions,
    "apply": options.ConversionOptions,
    "plan": options.ConversionOptions,
    "bake": options.LayerOptions,
    "remove": options.LayerOptions,
    "project": options.ProjectionOptions,
    "SpectralProjection": options.ProjectionOptions,
}
"""The functions that take options; of those behind `recipe` the module needs keras."""
ALL = [
    pytest.param(name, marks=[] if place < 5 else pytest.mark.keras)
    for place, name in enumerate(FUNCTIONS)
]
COMMANDS = {"apply": "apply_file", "inspect": "inspect"} | {
    verb: f"{verb}_file" for verb in ("bake", "remove", "upgrade")
}
SPELT = {"models": "source", "recipe": "recipe_file", "no_sigma": "sigma"}
SHOWN = {"jobs", "as_json", "quiet", "verbose", "no_color", "scheduler"}
"""What concerns the command line alone: how many at once, and what is printed."""
IN_PYTHON = {"rules", "progress", "select", "overrides", "power_iterations", "output"}
"""What an option of a command need not be: objects of Python, and what makes no difference."""


def function(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = recipe if name == "recipe" else getattr(snconvert, name)
    return found


@pytest.mark.parametrize("name", ALL)
def test_the_signature_has_each_option(name: str) -> None:
    """Each is a keyword with its type, which is `None` unless it is given."""
    parameters = inspect.signature(function(name)).parameters
    hints = get_type_hints(FUNCTIONS[name])
    shown = {key: one.annotation for key, one in parameters.items() if key in hints}
    assert shown == hints
    for key in hints:
        assert (parameters[key].kind, parameters[key].default) == (
            inspect._ParameterKind.KEYWORD_ONLY,
            None,
        )
    assert "options" not in parameters


@pytest.mark.parametrize("name", ALL)
def test_the_docstring_has_each_option(name: str) -> None:
    """Each has an entry below `Args`, as all other parameters."""
    text = str(inspect.getdoc(function(name)))
    section = text.split("Args:\n")[1].split("\n\n", maxsplit=1)[0]
    entries = re.findall(r"^    (\w+): \S", section, re.MULTILINE)
    assert entries == list(inspect.signature(function(name)).parameters)
    assert "**" not in section


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_called_as_on_the_command_line(command: str) -> None:
    """A command and its function have the same options by the same names."""
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    flags = {SPELT.get(one.name, one.name) for one in parameters} - SHOWN
    known = set(inspect.signature(function(COMMANDS[command])).parameters)
    assert flags <= known, f"{sorted(flags - known)}: no option of {COMMANDS[command]}"
    assert known - flags <= IN_PYTHON, f"{sorted(known - flags)}: no option of {command}"


def test_options_make_a_recipe() -> None:
    """What `recipe` takes is what a `Recipe` holds, and what is looked at is an `Inspection`."""
    held = {field.name for field in fields(Recipe)} - {"settings", "kinds_chosen", "page"}
    assert set(get_type_hints(options.RecipeOptions)) == held | {*FIELDS, "conv"}
    assert set(get_type_hints(options.SettingsOptions)) == set(FIELDS)
    looked = get_type_hints(options.InspectionOptions).keys()
    assert {field.name for field in fields(Inspection)} <= looked
    assert get_args(Target) == tuple(TARGETS)


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_option(name: str) -> None:
    """It is an error of a call as of a value, says what was meant, and lists what there is."""
    before = [] if name in {"SpectralProjection", "recipe"} else [MODEL]
    for wrong, meant in {"onyl": "only", "exclud": "exclude", "selekt": "select"}.items():
        for builtin in (TypeError, ValueError, OptionError):
            with pytest.raises(builtin, match=f"^{name} has no option '{wrong}'") as caught:
                function(name)(*before, **{wrong: None})
        assert re.search(
            rf"Did you mean {meant}\? Known are .*only, exclude, select", str(caught.value)
        )
    with pytest.raises(UnknownOptionError, match=r"'zzz'\. Known are "):
        function(name)(*before, zzz=1)


def test_what_was_meant() -> None:
    """Functions suggest their other keywords, too; recipes and overrides what they can hold."""
    with pytest.raises(UnknownOptionError, match="Did you mean force"):
        snconvert.apply_file(MODEL, forse=True)  # type: ignore[call-arg]
    with pytest.raises(UnknownOptionError, match=r"an override.*'moed'\. Did you mean mode"):
        recipe(overrides={"a": {"moed": "cap"}})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize("wrong", [3, ["head"], {1: {}}, {"head": 2.0}])
def test_overrides_of_another_form(wrong: Any) -> None:
    """They are a mapping of mappings."""
    with pytest.raises(OptionError, match=r"Give a dictionary with names as keys"):
        recipe(overrides=wrong)


def test_none_is_not_given() -> None:
    """An option that is `None` has its default, in an override as well."""
    given = dict.fromkeys(get_type_hints(options.RecipeOptions))
    assert recipe(**given) == recipe()  # type: ignore[arg-type]
    settings: Any = {"head": {"mode": None, "bound": 2.0}}
    assert recipe(overrides=settings).overrides[0].changes == {"bound": 2.0}


def raising(path: str, class_name: str) -> bool:  # noqa: ARG001
    raise KeyError(path)


@pytest.mark.parametrize(
    ("select", "message", "cause"),
    [
        (lambda path: True, r"raised TypeError: .*takes 1 positional argument", TypeError),  # noqa: ARG005
        (lambda path, kind: path.nam, r"raised AttributeError: .*'nam'", AttributeError),  # noqa: ARG005
        (raising, "raised KeyError: 'first'", KeyError),
    ],
)
def test_a_function_that_does_not_select(select: Any, message: str, cause: type[Exception]) -> None:
    """Its error tells the call and the signature, and has the function's own as its cause."""
    with pytest.raises(OptionError, match=rf"select\('first', 'Dense'\) {message}") as caught:
        snconvert.inspect(MODEL, select=select)
    assert "Give a function (path: str, class_name: str) -> bool." in str(caught.value)
    assert type(caught.value.__cause__) is cause
    with pytest.raises(OptionError, match=r"select is 'dense'\. Give a function"):
        snconvert.inspect(MODEL, select="dense")  # type: ignore[arg-type]


def test_type_checkers_know_the_options() -> None:
    """mypy finds an error in each line of the example that is wrong, and in no other."""
    example = DATA / "typing" / "options.py"
    lines = example.read_text(encoding="utf-8").splitlines()
    wrong = [number for number, line in enumerate(lines, start=1) if line.endswith("# wrong")]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(example)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.findall(r"options\.py:(\d+): error", checked.stdout)
    assert [int(number) for number in found] == wrong, checked.stdout + checked.stderr
