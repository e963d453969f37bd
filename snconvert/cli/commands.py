"""The command line: one function per verb."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, Any

# What TensorFlow has to tell when it starts is no concern of who converts a file.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer

from snconvert.cli import completion
from snconvert.cli.help.command import show
from snconvert.cli.help.screens import Command, Program
from snconvert.cli.help.usage import UsageError, message
from snconvert.cli.messages import Display, complain, drop_output
from snconvert.cli.options import (
    Bound,
    Budget,
    Certify,
    Config,
    Conv,
    DryRun,
    Exclude,
    Force,
    Html,
    Import,
    InPlace,
    Iterations,
    Jobs,
    Json,
    Kinds,
    Lipschitz,
    Mode,
    Models,
    Norm,
    NoSigma,
    Only,
    Output,
    Quiet,
    RecipeFile,
    Samples,
    Spectrum,
    Target,
    Verbose,
    Verify,
)
from snconvert.cli.runner import handled, run
from snconvert.cli.verify import verify
from snconvert.core.version import __version__
from snconvert.display import json_line
from snconvert.sandbox import signals

CONVERT, LOOK, LEARN = "Convert, and back", "Look, and prove", "Learn more"

app = typer.Typer(
    name="snconvert",
    cls=Program,
    help="Rewrite the layers of a saved Keras model into spectrally normalised ones, weights and"
    " all.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        print(f"snconvert {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command(cls=Command, rich_help_panel=CONVERT)
def apply(
    models: Models,
    conv: Conv = False,
    kinds: Kinds = None,
    only: Only = None,
    exclude: Exclude = None,
    mode: Mode = None,
    bound: Bound = None,
    norm: Norm = None,
    target: Target = None,
    power_iterations: Iterations = None,
    lipschitz: Budget = None,
    recipe_file: RecipeFile = None,
    output: Output = None,
    dry_run: DryRun = False,
    in_place: InPlace = False,
    force: Force = False,
    html: Html = None,
    verify: Verify = False,
    certify: Certify = False,
    imports: Import = None,
    config: Config = None,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Convert: every selected layer becomes spectrally normalised, all weights are carried over."""
    _run("apply", **locals())


@app.command(cls=Command, rich_help_panel=CONVERT)
def bake(
    models: Models,
    only: Only = None,
    exclude: Exclude = None,
    output: Output = None,
    dry_run: DryRun = False,
    in_place: InPlace = False,
    force: Force = False,
    imports: Import = None,
    config: Config = None,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fold the normalisation into plain Keras layers: same outputs, no overhead, for deployment."""
    _run("bake", **locals())


@app.command(cls=Command, rich_help_panel=CONVERT)
def remove(
    models: Models,
    only: Only = None,
    exclude: Exclude = None,
    output: Output = None,
    dry_run: DryRun = False,
    in_place: InPlace = False,
    force: Force = False,
    imports: Import = None,
    config: Config = None,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Undo the conversion: plain Keras layers with the raw kernels, as they were."""
    _run("remove", **locals())


@app.command(cls=Command, rich_help_panel=CONVERT)
def upgrade(
    models: Models,
    output: Output = None,
    dry_run: DryRun = False,
    force: Force = False,
    config: Config = None,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write what an older Keras saved as a .keras file of Keras 3; nothing else changes."""
    _run("upgrade", **locals())


@app.command(cls=Command, rich_help_panel=LOOK)
def inspect(
    models: Models,
    conv: Conv = False,
    kinds: Kinds = None,
    only: Only = None,
    exclude: Exclude = None,
    mode: Mode = None,
    bound: Bound = None,
    norm: Norm = None,
    target: Target = None,
    recipe_file: RecipeFile = None,
    lipschitz: Lipschitz = False,
    samples: Samples = None,
    certify: Certify = False,
    html: Html = None,
    imports: Import = None,
    config: Config = None,
    jobs: Jobs = 1,
    spectrum: Spectrum = False,
    no_sigma: NoSigma = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show every layer: class, kernels, norms, and by which option it converts or why not."""
    options = locals()
    for model in models if lipschitz else ():
        if re.fullmatch(r"[\d.]+", model) and not os.path.lexists(model):
            raise typer.BadParameter(
                f"--lipschitz of `inspect` takes no value ({model}): it bounds the network as it"
                f" is. `snconvert apply --lipschitz {model}` chooses bounds"
            )
    _run("inspect", **options)


app.command(cls=Command, rich_help_panel=LOOK)(verify)


@app.command(cls=Command, rich_help_panel=LOOK)
def rules(as_json: Json = False) -> None:
    """List the layer kinds that this version knows."""
    from snconvert.cli import tables
    from snconvert.kinds.table import RULES

    with handled():
        if as_json:
            print(json_line(tables.rules_json()))
        else:
            tables.print_rules(list(RULES.values()), sys.stdout)


app.command("help", cls=Command, rich_help_panel=LEARN)(show)


def _run(
    verb: str,
    *,
    models: list[str],
    jobs: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    output: str | None = None,
    no_sigma: bool = False,
    **options: Any,
) -> None:
    """Runs a verb with what its command was given, by the names of parameters."""
    given = {
        name: value
        for name, value in options.items()
        if value is not None and value is not False and value != []
    }
    if no_sigma:
        given["sigma"] = False
    run(verb, models, output, given, jobs, Display(as_json, quiet, verbose))


def _choose_colors(arguments: list[str]) -> None:
    """Heeds `--no-color` wherever it stands, before anything is printed: also wrong usage."""
    if "--no-color" in arguments:
        os.environ["NO_COLOR"] = "1"
        os.environ.pop("FORCE_COLOR", None)


def main() -> None:
    """Runs the command line."""
    signals.end_at_once()
    _choose_colors(sys.argv)
    completion.mend_words()
    try:
        try:
            code = app(prog_name=app.info.name, standalone_mode=False)
        finally:
            signals.ignore()
    except UsageError as error:
        complain(message(error))
        code = 2
    except OSError as error:
        drop_output()
        reason = error.strerror or error
        complain(f"the system refused ({reason}). Check disk, memory and `ulimit -a`.")
        code = 1
    except signals.Interrupted as interruption:
        complain("interrupted. Outputs that are there are complete, the others are not there.")
        code = 128 + interruption.number
    sys.exit(code)
