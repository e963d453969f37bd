"""Targets that put another object around a layer, in memory: through a file.

What a file holds after it, the model that comes back holds: both carriers agree by construction.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import keras

from snconvert.archive.output import Destination
from snconvert.archive.source import Source
from snconvert.core.network_bound import NetworkBound, Unbounded
from snconvert.core.report import Report
from snconvert.errors import SnconvertError, UnsupportedError, located
from snconvert.files.budget import Chosen, choose_bounds
from snconvert.files.convert import convert_file, inspect_file, open_planned
from snconvert.files.inventory import ACTIVATIONS
from snconvert.files.lipschitz import bound_of
from snconvert.files.measure import measure
from snconvert.files.model import describe, open_source, open_weights
from snconvert.files.targets import TARGETS
from snconvert.files.targets.target import Target
from snconvert.files.undo import undo_file
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import table
from snconvert.live.internals.saved_owners import holds_its_layers, original_class
from snconvert.live.internals.walk import Layer, descendants, has_graph, scope_of
from snconvert.live.loading import load, save
from snconvert.live.lower_bound import lower_bound
from snconvert.planning.inspection import Inspection
from snconvert.planning.recipe import Recipe
from snconvert.sandbox.worker import Worker

T = TypeVar("T")
_ROUNDING = 1.001  # what float32 may add to a lower bound
_CONTRADICTION = (
    "What was found on the true model is above the bound: do not rely on it, and report the model"
    " as an error in snconvert."
)


def convert_by_file(
    model: Layer,
    recipe: Recipe,
    rules: Iterable[KernelRule] = (),
    *,
    dry_run: bool = False,
    asked: Inspection | None = None,
    in_place: bool = False,
) -> tuple[Layer, Report]:
    """Converts a live model through a file.

    Args:
        model: A live model.
        recipe: Which layers, and the target.
        rules: Rows to use beside `RULES`.
        dry_run: Report only.
        asked: With `dry_run`: only look at the model, and at what.
        in_place: Is refused.

    Raises:
        SnconvertError: It cannot be done.
    """

    def work(source: str, output: Destination | None) -> Report:
        if asked is not None:
            return inspect_file(source, recipe, asked, rules=rules)
        return convert_file(source, output, recipe, rules=rules)

    return _by_file(model, TARGETS[recipe.target], work, dry_run=dry_run, in_place=in_place)


def undo_by_file(
    verb: str,
    target: Target,
    model: Layer,
    recipe: Recipe,
    *,
    dry_run: bool = False,
    in_place: bool = False,
    metadata: Any = None,
) -> tuple[Layer, Report]:
    """Makes the normalised layers of a live model plain, through a file.

    Args:
        verb: `bake` or `remove`.
        target: The target that has put something around layers of the model.
        model: A live model.
        recipe: Which layers, and the target.
        dry_run: Report only.
        in_place: Is refused.
        metadata: The `metadata.json` of the file that the model is from.

    Raises:
        SnconvertError: It cannot be done.
    """
    return _by_file(
        model,
        target,
        lambda source, output: undo_file(verb, source, output, recipe, metadata=metadata),
        dry_run=dry_run,
        in_place=in_place,
    )


def with_bound(
    report: Report, model: Layer, asked: Inspection, rules: Iterable[KernelRule] = ()
) -> Report:
    """Returns a report with the network's Lipschitz bound, if that was asked for.

    Args:
        report: Of a live model, or of the file that it is from.
        model: The model.
        asked: What was asked for.
        rules: Rows to use beside `RULES`.

    Returns:
        The report; a model whose code makes its layers has no bound, and that is told.

    Raises:
        SnconvertError: Keras cannot save the model, or its file describes no network.
    """
    if not asked.lipschitz:
        return report
    bound = report.lipschitz or _bound_by_file(model, rules)
    if asked.samples and has_graph(model):
        lower = lower_bound(model, asked.samples)
        bound = bound._replace(lower=lower, samples=asked.samples)
        limit = math.inf if bound.bound is None else bound.bound.value or math.inf
        if lower is not None and lower > limit * _ROUNDING:
            bound = bound._replace(notes=(*bound.notes, _CONTRADICTION))
    return replace(report, lipschitz=bound)


def with_lower_bound(
    report: Report, asked: Inspection, config: str | os.PathLike[str] | None = None
) -> Report:
    """Returns the report of a file with what its network's bound cannot be below.

    Args:
        report: Of a file, with its bound.
        asked: What was asked for.
        config: The configuration of the model, where the file holds weights only.

    Raises:
        SourceError: Keras cannot load the file.
    """
    with located(file=report.source):
        return with_bound(report, load(report.source, config)[0], asked)


def choose_by_file(model: Layer, recipe: Recipe, rules: Iterable[KernelRule]) -> Chosen:
    """Returns the choice of bounds for a live model's `lipschitz`, that of its file.

    Args:
        model: The model.
        recipe: What to convert and how.
        rules: Rows to use beside `RULES`.

    Raises:
        SnconvertError: It cannot be done.
    """
    unsaved = _what_no_file_tells(model)
    if unsaved is not None:
        raise UnsupportedError(
            f"{unsaved.reason}, so that no bound is known",
            "Build it with the functional API and registered functions, or leave out --lipschitz",
            path=unsaved.path,
            class_name=unsaved.class_name,
        )

    def choose(source: Source, worker: Worker) -> Chosen:
        opened, plan = open_planned(source, recipe, table(rules), worker)
        nodes = [(step.node, True, step.settings.norm) for step in plan.steps]
        measured = measure(opened, nodes, worker, None)
        return choose_bounds(opened, plan, measured, recipe.lipschitz or 0.0)

    return _saved(model, "apply", choose)


def _bound_by_file(model: Layer, rules: Iterable[KernelRule]) -> NetworkBound:
    unsaved = _what_no_file_tells(model)
    if unsaved is not None:
        return NetworkBound(None, (), None, (), (unsaved,))
    rows = table(rules)
    return _saved(
        model,
        "inspect",
        lambda source, worker: bound_of(open_weights(describe(source), rows, worker)),
    )


def _what_no_file_tells(model: Layer) -> Unbounded | None:
    """Returns a part of a model of which its file says less than there is, or something else.

    Of a function that is not registered Keras saves the name, and loads what has that name.
    """
    if not holds_its_layers(model):
        why = "what it computes only its own Python code tells"
        return Unbounded(model.name, original_class(model).__name__, why)
    for _, layer in descendants(model):
        for function in (getattr(layer, name, None) for name in ACTIVATIONS):
            name = getattr(function, "__name__", "")
            keras_own = getattr(keras.activations, name, function)
            if keras_own is not function and keras.saving.get_registered_name(function) == name:
                why = f"its activation is no function of Keras', but has the name of one, {name}"
                return Unbounded(layer.name, original_class(layer).__name__, why)
    return None


def _saved(model: Layer, verb: str, work: Callable[[Source, Worker], T]) -> T:
    """Returns what `work` makes of the file of a live model."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        save(model, path)
        try:
            with open_source(verb, path, None) as (source, worker):
                return work(source, worker)
        except SnconvertError as error:
            error.file = None  # a name that nobody knows
            raise


def _by_file(
    model: Layer,
    target: Target,
    work: Callable[[str, Destination | None], Report],
    *,
    dry_run: bool,
    in_place: bool,
) -> tuple[Layer, Report]:
    wrapper = f"keras' {target.WRAPPER}"
    if in_place:
        raise UnsupportedError(
            f"{wrapper} is another object than the layer inside, so a model cannot change in place",
            "Leave out --in-place",
        )
    if not holds_its_layers(model):
        raise UnsupportedError(
            f"the code of {original_class(model).__name__} makes its layers, and would make them"
            f" without {wrapper} when the model is loaded",
            "Choose target layer, or put the wrapper around them in that code",
        )
    with tempfile.TemporaryDirectory() as folder:
        source, output = (os.path.join(folder, f"{name}.keras") for name in ("before", "after"))
        save(model, source)
        try:
            report = work(source, None if dry_run else Destination(output))
            with scope_of(model):
                result, notes = (model, []) if dry_run else load(output)
        except SnconvertError as error:
            error.file = None  # a name that nobody knows
            raise
    names: dict[str, Any] = {"source": model.name, "output": None}
    return result, replace(report, **names, warnings=(*report.warnings, *notes))
