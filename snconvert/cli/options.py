"""The options of the commands, each with its flag, its help and its type.

A paragraph of a help text begins on a line of its own on the screen.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from snconvert.cli import completion
from snconvert.cli.help.screens import PRINTED
from snconvert.cli.help.usage import check_value
from snconvert.cli.help.values import described
from snconvert.core.settings import Settings
from snconvert.core.verbs import VERBS
from snconvert.planning.patterns import split

LAYERS = "Which layers"
NORMALISE = "How they are normalised"
READ = "What is read"
WRITTEN = "What is written"
PROVED = "What is proved"

_DEFAULTS = Settings()
_SUFFIXES = [f"{verb.suffix} ({verb.name})" for verb in VERBS.values() if verb.suffix]


def _choice(option: str, help: str, metavar: str, panel: str) -> Any:  # noqa: A002 - as typer
    """Returns an option whose values are those of a table."""

    def check(value: str | None) -> str | None:
        for each in [] if value is None else split(value) if option == "kinds" else [value]:
            check_value(option, each)
        return value

    return typer.Option(
        metavar=metavar,
        help=f"{help}\n\n{described(option)}",
        rich_help_panel=panel,
        callback=check,
        autocompletion=completion.values(option),
    )


def _patterns(help: str) -> Any:  # noqa: A002 - as typer
    """Returns an option of patterns, which commas separate."""

    def take_apart(values: list[str] | None) -> list[str]:
        return [part for value in values or () for part in split(value)]

    return typer.Option(
        metavar="PATTERN",
        help=help,
        rich_help_panel=LAYERS,
        callback=take_apart,
        autocompletion=completion.layers,
    )


def _model(metavar: str, help: str) -> Any:  # noqa: A002 - as typer
    return typer.Argument(
        metavar=metavar, help=help, show_default=False, autocompletion=completion.models
    )


Models = Annotated[
    list[str],
    _model("MODEL...", "Saved models (`snconvert help files`), folders of them, or quoted globs."),
]
Before = Annotated[str, _model("BEFORE", "The model as it was.")]
After = Annotated[str, _model("AFTER", "What was made of it.")]

Conv = Annotated[
    bool,
    typer.Option(
        "--conv", help="Convolutions as well: --kinds dense,conv.", rich_help_panel=LAYERS
    ),
]
Kinds = Annotated[
    str | None,
    _choice(
        "kinds",
        "Kinds of layers, with commas between. Default: dense; inspect: all.",
        "LIST",
        LAYERS,
    ),
]
Only = Annotated[
    list[str] | None,
    _patterns(
        "Only layers whose path matches: a glob (encoder/*) or re:REGEX; several with commas, or"
        " the option again. Default: all."
    ),
]
Exclude = Annotated[
    list[str] | None,
    _patterns("Leave these layers as they are; patterns as of --only. Default: none."),
]

Mode = Annotated[
    str | None,
    _choice("mode", "What a layer does about the norm of its kernel, sigma.", "MODE", NORMALISE),
]
Bound = Annotated[
    float | None,
    typer.Option(
        metavar="C",
        help=f"The norm that hard sets and cap allows. Default: {_DEFAULTS.bound:g}.",
        rich_help_panel=NORMALISE,
    ),
]
Norm = Annotated[str | None, _choice("norm", "Which norm sigma is.", "NORM", NORMALISE)]
Target = Annotated[
    str | None, _choice("target", "What a converted layer becomes.", "TARGET", NORMALISE)
]
Iterations = Annotated[
    int | None,
    typer.Option(
        "--power-iterations",
        metavar="N",
        help="Rounds of power iteration, by which sigma follows the kernel, in each training step."
        f" Default: {_DEFAULTS.power_iterations}.",
        rich_help_panel=NORMALISE,
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--lipschitz",
        metavar="K",
        help="Choose the bounds so that the certified Lipschitz bound of the network is at most K;"
        " implies --norm operator. Default: each layer has the bound C.",
        rich_help_panel=NORMALISE,
    ),
]
RecipeFile = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="FILE.toml",
        help="These options from a file, for single layers, too; options given here win over it"
        " (`snconvert help recipes`). Default: none.",
        rich_help_panel=NORMALISE,
        autocompletion=completion.files(".toml"),
    ),
]

Import = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="A Python module that registers the model's custom classes; can be repeated. The model"
        " then goes through Keras. Default: none; custom classes stay as they are.",
        rich_help_panel=READ,
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.json",
        help="The configuration of a model of which MODEL holds the weights only: what"
        " model.to_json() returns, or a config.json. Default: MODEL has its own.",
        rich_help_panel=READ,
        autocompletion=completion.files(".json"),
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        help="How many of several models are worked on at once. Default: 1.",
        show_default=False,
        rich_help_panel=READ,
    ),
]

Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="The file to write, or the folder for the results, which is made: of several MODELs,"
        " or with a slash at the end. Default:"
        f" beside MODEL. With {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} before the suffix,"
        " but where a file is named.",
        rich_help_panel=WRITTEN,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print what would be done, write nothing.", rich_help_panel=WRITTEN
    ),
]
InPlace = Annotated[
    bool, typer.Option("--in-place", help="Replace MODEL itself.", rich_help_panel=WRITTEN)
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace an output that exists.", rich_help_panel=WRITTEN),
]
Html = Annotated[
    str | None,
    typer.Option(
        "--html",
        metavar="FILE.html",
        help="The report as a page, too; needs jinja2. Default: none.",
        rich_help_panel=WRITTEN,
    ),
]

Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Verify the result before it takes its place.",
        rich_help_panel=PROVED,
    ),
]
Certify = Annotated[
    bool,
    typer.Option(
        "--certify",
        help="Prove each sigma in float64; takes several times as long.",
        rich_help_panel=PROVED,
    ),
]
Lipschitz = Annotated[
    bool,
    typer.Option(
        "--lipschitz",
        help="A certified Lipschitz bound of the whole network.",
        rich_help_panel=PROVED,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="With --lipschitz: try N points in Keras for what the bound cannot be below. Default:"
        " none.",
        rich_help_panel=PROVED,
    ),
]

NoSigma = Annotated[
    bool,
    typer.Option(
        "--no-sigma", help="Read no kernel: classes and shapes, at once.", rich_help_panel=PRINTED
    ),
]
Spectrum = Annotated[
    bool,
    typer.Option(
        "--spectrum",
        help="The singular values of every kernel: rank, condition.",
        rich_help_panel=PRINTED,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="JSON for programs on stdout (`snconvert help json`).",
        rich_help_panel=PRINTED,
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.", rich_help_panel=PRINTED)]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Every layer.", rich_help_panel=PRINTED)
]
