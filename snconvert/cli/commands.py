"""The command line: one function per verb."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

# What TensorFlow has to tell when it starts is no concern of who converts a file.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer

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
    WayBack,
)
from snconvert.cli.runner import handled, run
from snconvert.cli.verify import verify
from snconvert.core.json_lines import json_line
from snconvert.core.version import __version__
from snconvert.sandbox import signals

app = typer.Typer(
    name="snconvert",
    help="Rewrite the layers of a saved Keras model into spectrally normalised ones, weights and"
    " all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        print(f"snconvert {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def apply(
    models: Models,
    output: Output = None,
    conv: Conv = False,
    kinds: Kinds = None,
    only: Only = None,
    exclude: Exclude = None,
    target: Target = None,
    mode: Mode = None,
    bound: Bound = None,
    power_iterations: Iterations = None,
    norm: Norm = None,
    recipe: RecipeFile = None,
    imports: Import = None,
    config: Config = None,
    lipschitz: Budget = None,
    certify: Certify = False,
    html: Html = None,
    dry_run: DryRun = False,
    verify: Annotated[bool, typer.Option("--verify", help="Prove the result first.")] = False,
    in_place: InPlace = False,
    force: Force = False,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Convert: every selected layer becomes spectrally normalised, all weights are carried over."""
    options = _set_only(
        recipe_file=recipe,
        conv=conv,
        kinds=kinds,
        only=only,
        exclude=exclude,
        target=target,
        mode=mode,
        bound=bound,
        power_iterations=power_iterations,
        norm=norm,
        imports=imports,
        config=config,
        lipschitz=lipschitz,
        certify=certify,
        html=html,
        dry_run=dry_run,
        force=force,
        in_place=in_place,
        verify=verify,
    )
    run("apply", models, output, options, jobs, Display(as_json, quiet, verbose))


def _way_back(verb: str) -> Callable[..., None]:
    """Returns the function of a verb that makes layers plain again; all have the same options."""

    def undo(
        models: Models,
        output: WayBack = None,
        only: Only = None,
        exclude: Exclude = None,
        imports: Import = None,
        config: Config = None,
        dry_run: DryRun = False,
        in_place: InPlace = False,
        force: Force = False,
        jobs: Jobs = 1,
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        options = _set_only(
            only=only,
            exclude=exclude,
            imports=imports,
            config=config,
            dry_run=dry_run,
            force=force,
            in_place=in_place,
        )
        run(verb, models, output, options, jobs, Display(as_json, quiet, verbose))

    return undo


app.command(
    "bake",
    help="Fold the normalisation into plain Keras layers: same outputs, no overhead, loads"
    " anywhere.\n\nThe result goes to MODEL with -baked before the suffix.",
)(_way_back("bake"))
app.command(
    "remove",
    help="Undo the conversion: plain Keras layers with the raw kernels, as they were.\n\n"
    "The result goes to MODEL with -plain before the suffix.",
)(_way_back("remove"))


@app.command()
def inspect(
    models: Models,
    conv: Conv = False,
    kinds: Kinds = None,
    only: Only = None,
    exclude: Exclude = None,
    target: Target = None,
    mode: Mode = None,
    bound: Bound = None,
    norm: Norm = None,
    recipe: RecipeFile = None,
    imports: Import = None,
    config: Config = None,
    certify: Certify = False,
    html: Html = None,
    no_sigma: NoSigma = False,
    spectrum: Spectrum = False,
    lipschitz: Lipschitz = False,
    samples: Samples = None,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show every layer: class, kernels, norms, and by which option it converts or why not."""
    options = _set_only(
        recipe_file=recipe,
        conv=conv,
        kinds=kinds,
        only=only,
        exclude=exclude,
        target=target,
        mode=mode,
        bound=bound,
        norm=norm,
        imports=imports,
        config=config,
        certify=certify,
        html=html,
        spectrum=spectrum,
        lipschitz=lipschitz,
        samples=samples,
    )
    if no_sigma:
        options["sigma"] = False
    run("inspect", models, None, options, jobs, Display(as_json, quiet, verbose))


@app.command()
def upgrade(
    models: Models,
    output: WayBack = None,
    config: Config = None,
    dry_run: DryRun = False,
    force: Force = False,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write what an older Keras saved as a .keras file of Keras 3; nothing else changes.

    The result goes to MODEL with -keras3 before .keras.
    """
    options = _set_only(config=config, dry_run=dry_run, force=force)
    run("upgrade", models, output, options, jobs, Display(as_json, quiet, verbose))


app.command()(verify)


@app.command()
def rules(as_json: Json = False) -> None:
    """List the layer kinds that this version knows."""
    from snconvert.cli import tables
    from snconvert.kinds.table import RULES

    with handled():
        if as_json:
            print(json_line(tables.rules_json()))
        else:
            tables.print_rules(list(RULES.values()), sys.stdout)


def _set_only(**options: Any) -> dict[str, Any]:
    """Returns the options that are set."""
    return {
        name: value
        for name, value in options.items()
        if value is not None and value is not False and value != []
    }


def main() -> None:
    """Runs the command line."""
    signals.end_at_once()
    try:
        try:
            app()
        finally:
            signals.ignore()
    except OSError as error:
        drop_output()
        reason = error.strerror or error
        complain(f"the system refused ({reason}). Check disk, memory and `ulimit -a`.")
        sys.exit(1)
    except signals.Interrupted as interruption:
        complain("interrupted. Outputs that are there are complete, the others are not there.")
        sys.exit(128 + interruption.number)
