"""The command line: one function per verb, one place where errors become messages."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

# What TensorFlow has to tell when it starts is no concern of who converts a file.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer

from snconvert.core.version import __version__
from snconvert.errors import OptionError, SnconvertError, counted, printable
from snconvert.sandbox import signals

if TYPE_CHECKING:
    from snconvert.core.report import Progress, Report

app = typer.Typer(
    name="snconvert",
    help="Rewrite the layers of a saved Keras model into spectrally normalised ones, weights and"
    " all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Files, folders or globs.", show_default=False),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="PATH", help="Default: MODEL with -sn before the suffix."
    ),
]
Conv = Annotated[bool, typer.Option("--conv", help="Convolutions too.")]
Kinds = Annotated[
    str | None,
    typer.Option(metavar="LIST|all", help="Of dense, conv, attention, recurrent, embedding."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only layers whose path matches (glob, or re:REGEX)."),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Leave these layers as they are.")
]
Target = Annotated[str | None, typer.Option(metavar="layer|keras|constraint")]
Mode = Annotated[str | None, typer.Option(metavar="hard|cap|gain")]
Bound = Annotated[float | None, typer.Option(metavar="C", help="The norm to set or allow.")]
Iterations = Annotated[
    int | None, typer.Option("--power-iterations", metavar="N", help="Rounds per training step.")
]
Norm = Annotated[str | None, typer.Option(metavar="matrix|operator")]
RecipeFile = Annotated[
    str | None, typer.Option("--recipe", metavar="FILE.toml", help="Options from a file.")
]
Import = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Registers the file's custom classes."),
]
Certify = Annotated[
    bool, typer.Option("--certify", help="Prove each sigma in float64; takes several times longer.")
]
Jobs = Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Models worked on at once.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="List every layer.")]


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


DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace MODEL itself.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing OUT.")]
WayBack = Annotated[
    str | None, typer.Option("-o", "--output", metavar="PATH", help="Default: see above.")
]


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
    certify: Certify = False,
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
    _check_places(output, in_place, force)
    options = {
        "recipe_file": recipe,
        "conv": conv or None,
        "kinds": kinds,
        "only": only or None,
        "exclude": exclude or None,
        "target": target,
        "mode": mode,
        "bound": bound,
        "power_iterations": power_iterations,
        "norm": norm,
        "imports": imports or None,
        "certify": certify or None,
        "dry_run": dry_run,
        "force": force,
        "in_place": in_place,
        "verify": verify,
    }
    _run("apply_file", models, output, options, jobs, as_json, quiet, verbose)


@app.command()
def bake(
    models: Models,
    output: WayBack = None,
    only: Only = None,
    exclude: Exclude = None,
    imports: Import = None,
    dry_run: DryRun = False,
    in_place: InPlace = False,
    force: Force = False,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fold the normalisation into plain Keras layers: same outputs, no overhead, loads anywhere.

    The result goes to MODEL with -baked before the suffix.
    """
    _check_places(output, in_place, force)
    options = _undo_options(only, exclude, imports, dry_run, force, in_place)
    _run("bake_file", models, output, options, jobs, as_json, quiet, verbose)


@app.command()
def remove(
    models: Models,
    output: WayBack = None,
    only: Only = None,
    exclude: Exclude = None,
    imports: Import = None,
    dry_run: DryRun = False,
    in_place: InPlace = False,
    force: Force = False,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Undo the conversion: plain Keras layers with the raw kernels, as they were.

    The result goes to MODEL with -plain before the suffix.
    """
    _check_places(output, in_place, force)
    options = _undo_options(only, exclude, imports, dry_run, force, in_place)
    _run("remove_file", models, output, options, jobs, as_json, quiet, verbose)


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
    certify: Certify = False,
    jobs: Jobs = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show every layer: class, kernels, norms, and by which option it converts or why not."""
    options = {
        "recipe_file": recipe,
        "conv": conv or None,
        "kinds": kinds,
        "only": only or None,
        "exclude": exclude or None,
        "target": target,
        "mode": mode,
        "bound": bound,
        "norm": norm,
        "imports": imports or None,
        "certify": certify or None,
    }
    options = {key: value for key, value in options.items() if value is not None}
    _run("inspect", models, None, options, jobs, as_json, quiet, verbose)


@app.command()
def verify(
    before: Annotated[str, typer.Argument(metavar="BEFORE", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="AFTER", show_default=False)],
    imports: Import = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove that AFTER is BEFORE, converted, baked or made plain again; exit code 3: it is not."""
    from snconvert import api
    from snconvert.cli import tables

    signals.interrupt()
    with _handled():
        with contextlib.nullcontext() if quiet else _progress_bar() as progress:
            verdict = api.verify(before, after, imports=imports or (), progress=progress)
        for warning in counted(verdict.warnings) if not quiet else ():
            about = "" if warning.startswith(f"{before}: ") else f"{printable(after)}: "
            print(f"warning: {about}{warning}", file=sys.stderr)
        if as_json:
            print(json.dumps(verdict.as_json()))
        elif not quiet:
            tables.print_verdict(verdict, sys.stdout)
    if not verdict:
        _fail_silently(3)


@app.command()
def rules(as_json: Json = False) -> None:
    """List the layer kinds that this version knows."""
    from snconvert.cli import tables
    from snconvert.kinds.table import RULES

    with _handled():
        if as_json:
            print(json.dumps(tables.rules_json()))
        else:
            tables.print_rules(list(RULES.values()), sys.stdout)


def _check_places(output: str | None, in_place: bool, force: bool) -> None:
    if in_place and output is not None:
        raise typer.BadParameter("--in-place and --output exclude each other")
    if in_place and force:
        raise typer.BadParameter("--in-place and --force exclude each other")


def _undo_options(
    only: list[str] | None,
    exclude: list[str] | None,
    imports: list[str] | None,
    dry_run: bool,
    force: bool,
    in_place: bool,
) -> dict[str, Any]:
    return {
        "only": only or None,
        "exclude": exclude or None,
        "imports": imports or None,
        "dry_run": dry_run,
        "force": force,
        "in_place": in_place,
    }


def _run(
    verb: str,
    models: list[str],
    output: str | None,
    options: dict[str, Any],
    jobs: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    # numpy and h5py cost more than the rest together: --help and typing errors need neither.
    from snconvert import api
    from snconvert.cli import models as batch
    from snconvert.cli import tables

    signals.interrupt()
    reports: dict[int, Report] = {}
    failed = False
    with _handled():
        several = len(models) > 1 or batch.means_several(models[0])
        name = verb.removesuffix("_file")
        sources = batch.expand(models, name) if several else models
        targets: list[str | None] = [output] * len(sources)
        if several and name != verb and not options["in_place"] and not options["dry_run"]:
            targets = list(batch.outputs(sources, output, name))
        show_progress = not quiet and len(sources) == 1
        with _progress_bar() if show_progress else contextlib.nullcontext() as progress:
            job = functools.partial(_job, getattr(api, verb), options, progress)
            with contextlib.closing(batch.run(job, sources, targets, jobs)) as outcomes:
                for index, outcome in outcomes:
                    if isinstance(outcome, SnconvertError):
                        failed = True
                        _complain(outcome)
                        if isinstance(outcome, OptionError) and outcome.file is None:
                            _fail_silently(2)
                    else:
                        reports[index] = outcome
        done = [reports[index] for index in sorted(reports)]
        for report in done:
            for warning in counted(report.warnings) if not quiet else ():
                print(f"warning: {report.source}: {warning}", file=sys.stderr)
        if as_json and (done or several):
            shapes = [report.as_json() for report in done]
            print(json.dumps(shapes if several else shapes[0]))
        elif not quiet:
            for report in done:
                tables.print_report(report, sys.stdout, verbose=verbose)
    if failed:
        _fail_silently(1)


def _job(
    function: Callable[..., Report],
    options: dict[str, Any],
    progress: Callable[[Progress], None] | None,
    source: str,
    target: str | None,
) -> Report:
    outputs = {} if target is None else {"output": target}
    return function(source, **outputs, **options, progress=progress)


@contextlib.contextmanager
def _handled() -> Iterator[None]:
    """Turns errors into one line and an exit code; nothing a user did ends in a traceback."""
    try:
        yield
        sys.stdout.flush()
    except OptionError as error:
        # A wrong flag is wrong usage; a wrong recipe file is an error in a file.
        _fail(error, code=1 if error.file else 2)
    except SnconvertError as error:
        _fail(error, code=1)
    except BrokenPipeError:
        # The reader of our output (`| head`) has seen enough.
        _drop_output()
        _fail_silently(1)
    except MemoryError:
        _complain("out of memory. Free some and try again.")
        _fail_silently(1)


def _drop_output() -> None:
    """What is still buffered for stdout would only raise the same error again at the end."""
    with contextlib.suppress(OSError):  # there may be no descriptor left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: SnconvertError | str) -> None:
    print(f"error: {error}", file=sys.stderr)


def _fail(error: SnconvertError, *, code: int) -> NoReturn:
    _complain(error)
    _fail_silently(code)


def _fail_silently(code: int) -> NoReturn:
    raise typer.Exit(code)


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], None] | None]:
    """Shows layer, bytes and time left on a terminal, once the work lasts half a second."""
    if not sys.stderr.isatty():
        yield None
        return
    from snconvert.cli.progress import ProgressBar

    with ProgressBar() as bar:
        yield bar.update


def main() -> None:
    """Runs the command line."""
    signals.end_at_once()
    try:
        try:
            app()
        finally:
            signals.ignore()
    except OSError as error:
        _drop_output()
        reason = error.strerror or error
        _complain(f"the system refused ({reason}). Check disk, memory and `ulimit -a`.")
        sys.exit(1)
    except signals.Interrupted as interruption:
        _complain("interrupted. Outputs that are there are complete, the others are not there.")
        sys.exit(128 + interruption.number)
