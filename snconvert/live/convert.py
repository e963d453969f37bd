"""Converting live models: survey, plan, measure, copy, convert."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, Unpack

from snconvert.core.report import LayerReport, Report
from snconvert.errors import SnconvertWarning, printable
from snconvert.files.budget import Chosen
from snconvert.files.targets import TARGETS
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import table
from snconvert.live.by_file import choose_by_file, convert_by_file, with_bound
from snconvert.live.internals.copying import Copies
from snconvert.live.internals.fitting import take_up
from snconvert.live.internals.walk import Layer, scope_of
from snconvert.live.measure import facts_of, measure
from snconvert.live.model import check_model, size_of
from snconvert.live.targets import IN_MEMORY
from snconvert.live.targets.target import LiveStep
from snconvert.live.tree import layer_of, plan_for, shared_between, survey
from snconvert.planning.inspection import Inspection
from snconvert.planning.layer_rows import LayerFacts, no_spectrum, plan_rows, report_of
from snconvert.planning.measured import Measured, without_failed
from snconvert.planning.options import (
    ConversionOptions,
    InspectionOptions,
    check_names,
    with_options,
)
from snconvert.planning.plan import Plan, Skip, Step, nothing_to_convert, with_obstacles
from snconvert.planning.recipe import Recipe, recipe
from snconvert.wording import spoken

StrPath = str | os.PathLike[str]
Model = TypeVar("Model")


@with_options(ConversionOptions)
def apply(
    model: Model,
    *,
    in_place: bool = False,
    rules: Iterable[KernelRule] = (),
    recipe_file: StrPath | None = None,
    **options: Unpack[ConversionOptions],
) -> Model:
    """Converts the layers of a live model, whatever its topology.

    Names, identity of the layers in graphs, lists and attributes, `isinstance`, losses, metrics and
    the state of optimizers stay. What comes back saves, loads, trains and exports like any model.

    Args:
        model: A `keras.Model`, or any layer that holds layers.
        in_place: Convert `model` itself; otherwise it is left untouched, and shares no variable
            with what comes back.
        rules: Layer kinds of your own, beside `snconvert.rules.RULES`.
        recipe_file: A TOML file with options; those given here win over it.
        **options: `snconvert.planning.options.ConversionOptions`; `None` means not given.

    Returns:
        The converted model.

    Raises:
        SnconvertError: It cannot be done; the message says what and how to fix it, and nothing was
            changed.

    Warns:
        SnconvertWarning: Layers stay plain whose kind nobody has chosen; none is given where
            `kinds` or `conv` says what to convert, nor of layers that a pattern leaves out.

    Example:
        >>> import keras, snconvert
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> snconvert.apply(model, mode="cap", bound=2.0).layers[0].bound
        2.0
    """
    check_names(apply, options)
    chosen = recipe(recipe_file, **options)
    layer: Layer = model
    result: Model
    result, report = convert(layer, chosen, rules=rules, in_place=in_place)
    messages = list(report.warnings)
    missing = [row.missing_kind for row in report.layers if row.missing_kind is not None]
    if missing and not chosen.kinds_chosen:
        counts = Counter(missing)
        argument = "conv=True" if [*counts] == ["conv"] else f"kinds={[*chosen.kinds, *counts]}"
        stay = "1 layer stays" if len(missing) == 1 else f"{len(missing)} layers stay"
        messages.append(
            f"{stay} plain: {', '.join(f'{count} {kind}' for kind, count in counts.items())}. Give"
            f" {argument} to convert more, or kinds={list(chosen.kinds)} to leave it at that"
            " without this warning."
        )
    for message in messages:
        text = f"{printable(layer.name)}: {spoken(message)}"
        warnings.warn(text, SnconvertWarning, stacklevel=2)
    return result


@with_options(ConversionOptions)
def plan(
    model: Layer,
    *,
    rules: Iterable[KernelRule] = (),
    recipe_file: StrPath | None = None,
    **options: Unpack[ConversionOptions],
) -> Report:
    """Reports what `apply` with the same options would do, and does not do it.

    Args:
        model: A live model.
        rules: As for `apply`.
        recipe_file: As for `apply`.
        **options: `snconvert.planning.options.ConversionOptions`; `None` means not given.

    Returns:
        The report; `as_json()` has the shape of `--json`, `snconvert.render` prints it.

    Raises:
        SnconvertError: `apply` would raise it.
    """
    check_names(plan, options)
    return plan_of(model, recipe(recipe_file, **options), rules)


@with_options(InspectionOptions)
def inspect(
    model: Layer,
    *,
    rules: Iterable[KernelRule] = (),
    recipe_file: StrPath | None = None,
    **options: Unpack[InspectionOptions],
) -> Report:
    """Reports every layer of a live model: kernel, sigma, convertible or why not.

    Without `kinds` and `conv` all kinds are looked at, and each layer says which option converts
    it.

    Args:
        model: A live model.
        rules: As for `apply`.
        recipe_file: As for `apply`.
        **options: `snconvert.planning.options.InspectionOptions`; `None` means not given.
    """
    check_names(inspect, options)
    asked, rest = Inspection.taken_from(options)
    return plan_of(model, recipe(recipe_file, **rest), rules, asked)


@dataclass(frozen=True, slots=True)
class _Prepared:
    plan: Plan
    measured: Measured
    chosen: Chosen | None = None


def convert(
    model: Layer, recipe: Recipe, *, rules: Iterable[KernelRule] = (), in_place: bool = False
) -> tuple[Layer, Report]:
    """Converts a live model by a recipe, and says what was done.

    Args:
        model: A live model.
        recipe: What to convert and how.
        rules: Rows to use beside `RULES`.
        in_place: Convert `model` itself.
    """
    started = time.perf_counter()
    check_model(model, "apply")
    take_up(model)
    if TARGETS[recipe.target].WRAPPER is not None:
        return convert_by_file(model, recipe, rules, in_place=in_place)
    prepared = _prepare(model, recipe, rules, everything=False)
    prepared = _with_bounds(prepared, model, recipe, rules)
    measured = prepared.measured
    steps = [
        LiveStep(layer_of(node), rule, settings, measured.known(node) or None)
        for node, rule, settings in prepared.plan.steps
    ]
    reports = _layer_reports(recipe, prepared, "converted")
    result = model
    if not in_place:
        copies = Copies(model)
        result = copies.model
        steps = [step._replace(layer=copies.of(step.layer)) for step in steps]
    with scope_of(model):
        IN_MEMORY[recipe.target].convert(result, steps)
    return result, _report("apply", model, recipe, reports, prepared, started)


def plan_of(
    model: Layer,
    recipe: Recipe,
    rules: Iterable[KernelRule] = (),
    asked: Inspection | None = None,
) -> Report:
    """Reports what `convert` would do by a recipe.

    Args:
        model: A live model.
        recipe: What to convert and how.
        rules: Rows to use beside `RULES`.
        asked: Only look, and at what: take layers that cannot be converted, and having nothing to
            convert, as they are, and look at all kinds unless the recipe says which.
    """
    started = time.perf_counter()
    check_model(model, "plan" if asked is None else "inspect")
    take_up(model)
    if TARGETS[recipe.target].WRAPPER is not None:
        report = convert_by_file(model, recipe, rules, dry_run=True, asked=asked)[1]
        return report if asked is None else with_bound(report, model, asked)
    recipe = recipe if asked is None else replace(recipe, lipschitz=None)
    prepared = _prepare(model, recipe, rules, asked)
    prepared = _with_bounds(prepared, model, recipe, rules)
    reports = _layer_reports(recipe, prepared, "convertible", looks=asked is not None)
    if asked is None:
        return _report("apply", model, recipe, reports, prepared, started)
    report = _report("inspect", model, recipe, reports, prepared, started)
    report = replace(report, warnings=(*report.warnings, *no_spectrum(reports, asked)))
    return with_bound(report, model, asked, rules)


def _prepare(
    model: Layer,
    recipe: Recipe,
    rules: Iterable[KernelRule],
    asked: Inspection | None = None,
    *,
    everything: bool = True,
) -> _Prepared:
    rows, lenient, looks = table(rules), asked is not None, asked or Inspection()
    looked = recipe.looking_at_all() if lenient else recipe
    plan = plan_for(survey(model, rows), looked, rows, lenient=lenient)
    target = IN_MEMORY[recipe.target]
    plan = with_obstacles(plan, lambda x, rule: target.obstacle(x.node, rule))
    if not lenient and not plan.steps:
        raise nothing_to_convert(plan)
    if not lenient:
        target.check_model(model)
    measured = measure(
        plan if looks.sigma else Plan(()),
        recipe.settings.norm,
        everything=everything,
        certify=recipe.certify,
        lenient=lenient,
        spectrum=looks.spectrum,
    )
    return _Prepared(without_failed(plan, measured) if lenient else plan, measured)


def _with_bounds(
    prepared: _Prepared, model: Layer, recipe: Recipe, rules: Iterable[KernelRule]
) -> _Prepared:
    """Returns what is prepared with the bounds of layers that the recipe's `lipschitz` asks for."""
    if recipe.lipschitz is None:
        return prepared
    chosen = choose_by_file(model, recipe, rules)
    return _Prepared(prepared.plan.scaled(chosen.scale), prepared.measured, chosen)


def _layer_reports(
    recipe: Recipe, prepared: _Prepared, status: str, *, looks: bool = False
) -> tuple[LayerReport, ...]:
    class_after = TARGETS[recipe.target].new_class

    def facts(outcome: Step | Skip) -> LayerFacts:
        new = class_after(outcome.node, outcome.rule) if isinstance(outcome, Step) else None
        return facts_of(outcome, recipe.settings.norm, new)

    return plan_rows(prepared.plan, prepared.measured, recipe, status, facts, looks=looks)


def _report(
    verb: str,
    model: Layer,
    recipe: Recipe,
    layers: Sequence[LayerReport],
    prepared: _Prepared,
    started: float,
) -> Report:
    settings, chosen = recipe.settings, prepared.chosen
    return report_of(
        verb,
        recipe.target,
        [settings if chosen is None else settings.scaled(chosen.scale)],
        layers,
        started,
        source=model.name,
        output=None,
        bytes=size_of(model),
        seconds_sigma=prepared.measured.seconds,
        warnings=shared_between(model),
        lipschitz=None if chosen is None else chosen.network,
    )
