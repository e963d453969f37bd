"""The file carrier: source -> tree -> plan -> new tree and edits of the weights -> output."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from snconvert.archive.output import Output, begin, check_output
from snconvert.archive.source import Source, open_source
from snconvert.config.references import needs
from snconvert.config.weight_groups import group_paths
from snconvert.core.report import (
    BOUNDED,
    NO_KERNEL,
    NOT_FINITE,
    UNPROVED,
    UNUSABLE,
    ZERO,
    LayerReport,
    Report,
    Tell,
    also,
    in_use,
    norm_of,
    numbers,
)
from snconvert.core.verbs import IN_CHILD
from snconvert.errors import located
from snconvert.files.edits import Edits, with_shared, write_model
from snconvert.files.measure import Measured, measure, watched
from snconvert.files.model import (
    Opened,
    describe,
    keras_loads,
    kernel_shape,
    kernels_of,
    open_weights,
)
from snconvert.files.normalised import layer_moves, states_in_use
from snconvert.files.optimizer_state import Gammas, optimizer_edits, stored_shapes
from snconvert.files.targets import TARGETS, already, target_of
from snconvert.files.targets.layer import spelling_of
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import table
from snconvert.planning.plan import Plan, Skip, Step, make_plan, nothing_to_convert, with_obstacles
from snconvert.planning.recipe import Recipe
from snconvert.planning.record import record, with_record
from snconvert.sandbox.worker import Worker


def convert_file(
    source: str,
    output: str | None,
    recipe: Recipe,
    *,
    rules: Iterable[KernelRule] = (),
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
    verify: bool = False,
    progress: Tell = None,
) -> Report:
    """Converts one file or folder; `snconvert.apply_file` and the command line end here.

    Args:
        source: The model's file or folder.
        output: Where the result goes; `None` with `dry_run`.
        recipe: What to convert and how.
        rules: Rows to use beside `RULES`.
        dry_run: Measure and report, write nothing.
        force: Replace an existing output.
        in_place: `output` is the source itself.
        verify: Compare the result with the source before it takes its place.
        progress: Told how far it is.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    with located(file=source), open_source(source) as opened, Worker(IN_CHILD["apply"]) as worker:
        if output is not None:
            check_output(source, output, force=force, in_place=in_place)
        model, plan = _open(opened, recipe, table(rules), worker)
        if not plan.steps:
            raise nothing_to_convert(plan)
        TARGETS[recipe.target].check_model(model.root)
        to = None if dry_run else output
        outcomes = plan.outcomes if to is None else plan.steps
        status = "convertible" if to is None else "converted"
        chosen = [(x.node, isinstance(x, Step), _norm_for(x, recipe)) for x in outcomes]
        writing: AbstractContextManager[Output | None] = nullcontext()
        if to is not None:  # copies and hashes the weights beside the search for u
            opened.hash_ahead()
            writing = begin(opened, to, force=force or in_place)
        with writing as begun:
            tell = watched(begun, progress)
            known = states_in_use(model) if to is None else {}
            measured = measure(model, chosen, worker, tell, certify=recipe.certify, states=known)
            layers = _layer_reports(model, plan, measured, recipe, status)
            size = opened.size
            if begun is not None:
                spellings = _spellings(plan)
                edits = _edit(model, plan, measured, recipe)
                factors = _factors(model, plan, edits)
                size = write_model(
                    model,
                    edits,
                    begun,
                    worker,
                    metadata=lambda: with_record(
                        model.metadata, record(recipe, layers, opened.sha256(), factors, spellings)
                    ),
                    progress=progress,
                    check=_check(opened, worker) if verify else None,
                )
            else:
                opened.check_weights()  # writing does both on its way
                opened.check_unchanged()
    return Report(
        source=source,
        output=to,
        target=recipe.target,
        mode=recipe.settings.mode,
        bound=recipe.settings.bound,
        norm=recipe.settings.norm,
        layers=layers,
        bytes=size,
        seconds=time.perf_counter() - started,
        seconds_sigma=measured.seconds,
        warnings=model.warnings,
        needs=needs(model.root.entry),
        loads=keras_loads(model),
    )


def inspect_file(
    source: str,
    recipe: Recipe,
    *,
    rules: Iterable[KernelRule] = (),
    progress: Tell = None,
) -> Report:
    """Reports every layer of a file: kind, kernel shape, sigma, convertible or why not.

    Args:
        source: The model's file or folder.
        recipe: What would be converted; all kinds, unless it says which.
        rules: Rows to use beside `RULES`.
        progress: Told how far it is.
    """
    started = time.perf_counter()
    with located(file=source), open_source(source) as opened, Worker(IN_CHILD["inspect"]) as worker:
        everything = recipe.looking_at_all()
        model, plan = _open(opened, everything, table(rules), worker, lenient=True)
        chosen = [(x.node, False, _norm_for(x, recipe)) for x in plan.outcomes]
        known = states_in_use(model)
        measured = measure(model, chosen, worker, progress, certify=recipe.certify, states=known)
        plan = Plan(tuple(_as_measured(outcome, measured) for outcome in plan.outcomes))
        opened.check_weights()
        opened.check_unchanged()
        layers = _layer_reports(model, plan, measured, recipe, "convertible")
        size = opened.size
    return Report(
        source=source,
        output=None,
        target=recipe.target,
        mode=recipe.settings.mode,
        bound=recipe.settings.bound,
        norm=norm_of(layers, recipe.settings.norm),
        layers=layers,
        bytes=size,
        seconds=time.perf_counter() - started,
        seconds_sigma=measured.seconds,
        warnings=model.warnings,
        verb="inspect",
    )


def _as_measured(outcome: Step | Skip, measured: Measured) -> Step | Skip:
    """Returns the outcome, or that a kernel of the layer has no sigma."""
    if isinstance(outcome, Step) and None in measured.triplets.get(outcome.node, []):
        return Skip(outcome.node, NOT_FINITE, outcome.rule)
    return outcome


def _check(source: Source, worker: Worker) -> Callable[[str], None]:
    from snconvert.verification.files import check_result  # noqa: PLC0415 -- few runs need it

    return functools.partial(check_result, source, worker=worker)


def _norm_for(outcome: Step | Skip, recipe: Recipe) -> str:
    """Returns which norm is taken of a layer: that by which it is or will be normalised."""
    if isinstance(outcome, Step):
        return outcome.settings.norm
    target = target_of(outcome.node)
    if target is None or target.IN_PLACE:
        return recipe.settings.norm
    return target.settings_of(outcome.node).norm


def _open(
    source: Source,
    recipe: Recipe,
    rules: Mapping[str, KernelRule],
    worker: Worker,
    *,
    lenient: bool = False,
) -> tuple[Opened, Plan]:
    described = describe(source)
    plan = make_plan(described.root, recipe, rules, already, looks=lenient)
    model = open_weights(described, rules, worker)
    target = TARGETS[recipe.target]
    return model, with_obstacles(
        plan, lambda x, rule: target.obstacle(x.node, rule, model.inventory.get(x.node))
    )


def _layer_reports(
    model: Opened, plan: Plan, measured: Measured, recipe: Recipe, status: str
) -> tuple[LayerReport, ...]:
    own, inner = stored_shapes(model)
    with_matrices = {
        node
        for shapes_of in (own, inner)
        for node, shapes in shapes_of.items()
        if any(len(shape) > 1 for shape in shapes)
    }
    return tuple(
        _step_report(outcome, model, measured, recipe, status)
        if isinstance(outcome, Step)
        else _skip_report(
            outcome,
            model,
            measured,
            recipe,
            has_matrix=(outcome.node.first or outcome.node) in with_matrices,
        )
        for outcome in plan.outcomes
    )


def _step_report(
    step: Step, model: Opened, measured: Measured, recipe: Recipe, status: str
) -> LayerReport:
    node, shape, settings = step.node, kernel_shape(model, step.node), step.settings
    triplets = measured.known(node)
    reason = "not built yet: u is found when it is" if shape is None else None
    stored = model.inventory.get(node)
    maps = [kernel.map_of(settings.norm) for kernel in stored.kernels] if stored else []
    if any(conv is not None and conv.wrapped for conv in maps):
        reason = BOUNDED
    if triplets and all(triplet.zero for triplet in triplets):
        reason = ZERO
    missing = None if step.rule.kind in recipe.kinds else step.rule.kind
    return LayerReport(
        node.path,
        node.class_name,
        shape,
        status,
        also(missing, reason),
        TARGETS[recipe.target].new_class(node, step.rule),
        norm=settings.norm,
        missing_kind=missing,
        **numbers(
            kernels_of(stored), triplets, lambda _, triplet: settings.sigma_after(triplet.sigma)
        ),
    )


def _skip_report(
    skip: Skip, model: Opened, measured: Measured, recipe: Recipe, *, has_matrix: bool
) -> LayerReport:
    node, triplets = skip.node, measured.known(skip.node)
    reason, norm = skip.reason, _norm_for(skip, recipe)
    if recipe.certify and triplets and norm == "operator":
        reason = f"{reason}; {UNPROVED}"
    values = numbers(kernels_of(model.inventory.get(node)), triplets, in_use)
    if triplets and values["sigma_after"] is None:
        reason = f"{reason}; {UNUSABLE}"
    if skip.spectral and None in measured.triplets.get(node, []):
        reason = f"{reason}; {NOT_FINITE}"
    nothing = skip.rule is None and not (skip.again or has_matrix or node.opaque)
    return LayerReport(
        skip.path,
        node.title,
        kernel_shape(model, node),
        "spectral" if skip.spectral else "skipped",
        NO_KERNEL if nothing else reason,
        norm=norm,
        bound=skip.bound,
        missing_kind=skip.kind,
        **values,
    )


def _edit(model: Opened, plan: Plan, measured: Measured, recipe: Recipe) -> Edits:
    """Edits the configuration of each layer, and returns what changes in the weights."""
    target = TARGETS[recipe.target]
    new = {
        step.node: Gammas(tuple(triplet.sigma for triplet in measured.known(step.node)))
        for step in plan.steps
        if step.settings.mode == "gain"
    }
    edits = Edits()
    edits.add_slots(optimizer_edits(model, new))
    steps = {step.node: step for step in plan.steps}
    for node, step in with_shared(model.paths, steps):
        stored, triplets = model.inventory.get(step.node), measured.known(step.node)
        target.wrap(node, step.rule, step.settings, stored, triplets)
    paths = group_paths(model.root)
    places = paths | {step.node: target.place(paths[step.node]) for step in plan.steps}
    edits.moves += layer_moves(model, places)
    for step in plan.steps:
        stored = model.inventory.get(step.node)
        if stored is not None and stored.kernels:
            triplets = measured.known(step.node)
            edits.add(target.edits(paths[step.node], stored, triplets, step.settings))
    return edits


def _spellings(plan: Plan) -> dict[str, dict[str, Any]]:
    """Returns how Keras layers are named that are to be converted, where that is not as today."""
    named = {x.node.path: spelling_of(x.node) for x in plan.steps if x.node.builtin}
    return {path: spelling for path, spelling in named.items() if spelling is not None}


def _factors(model: Opened, plan: Plan, edits: Edits) -> dict[str, dict[str, float]]:
    """Returns what the kernels of each layer are multiplied by, where the target does so."""
    by_path = {product.path: product.factor for product in edits.products if not product.copy}
    found: dict[str, dict[str, float]] = {}
    for step in plan.steps:
        stored = model.inventory.get(step.node)
        for kernel in stored.kernels if stored else ():
            if kernel.path in by_path:
                factors = found.setdefault(step.node.path, {})
                factors[kernel.kernel.path] = by_path[kernel.path]
    return found
