"""The file carrier: source -> tree -> plan -> new tree and edits of the weights -> output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from snconvert.archive.output import Destination
from snconvert.archive.source import Source
from snconvert.config.weight_groups import group_paths
from snconvert.core.report import LayerReport, OnProgress, Report, begin_stage, within
from snconvert.files.edits import Edits, with_shared, write_model
from snconvert.files.measure import measure, watched, with_spectra
from snconvert.files.model import (
    Opened,
    begin_output,
    describe,
    kernel_shape,
    kernels_of,
    loading_facts,
    open_source,
    open_weights,
)
from snconvert.files.normalised import layer_moves, states_in_use
from snconvert.files.optimizer_state import Gammas, optimizer_edits, stored_shapes
from snconvert.files.targets import TARGETS, already, norm_of
from snconvert.files.targets.layer import spelling_of
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import table
from snconvert.page.model_graph import graph_of
from snconvert.planning.inspection import Inspection
from snconvert.planning.layer_rows import LayerFacts, no_spectrum, plan_rows, report_of
from snconvert.planning.measured import Measured, without_failed
from snconvert.planning.plan import Plan, Skip, Step, make_plan, nothing_to_convert, with_obstacles
from snconvert.planning.recipe import Recipe
from snconvert.planning.record import record, with_record
from snconvert.sandbox.worker import Worker

Check = Callable[[Source, str, Worker, OnProgress], None]
"""Raises an error unless the finished result at a path is the source, converted."""


def convert_file(
    source: str,
    output: Destination | None,
    recipe: Recipe,
    *,
    rules: Iterable[KernelRule] = (),
    check: Check | None = None,
    progress: OnProgress = None,
) -> Report:
    """Converts one file or folder; `snconvert.apply_file` and the command line end here.

    Args:
        source: The model's file or folder.
        output: Where the result goes; `None`: nowhere, only the report is wanted.
        recipe: What to convert and how.
        rules: Rows to use beside `RULES`.
        check: Called before the result takes its place.
        progress: Called with how far the work is.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    with open_source("apply", source, output, recipe.config, progress=progress) as (
        opened,
        worker,
    ):
        model, plan = open_planned(opened, recipe, table(rules), worker)
        if not plan.steps:
            raise nothing_to_convert(plan)
        network, settings = None, recipe.settings
        graph = graph_of(model.root) if recipe.page else None
        TARGETS[recipe.target].check_model(model.root)
        outcomes = plan.outcomes if output is None else plan.steps
        status = "convertible" if output is None else "converted"
        chosen = [(x.node, isinstance(x, Step), norm_of(x, recipe.settings.norm)) for x in outcomes]
        if output is not None or recipe.page:  # beside the search for u, too
            opened.hash_ahead()
        with begin_output(opened, output, progress) as begun:
            tell = watched(begun, progress)
            known = states_in_use(model) if output is None else {}
            measured = measure(model, chosen, worker, tell, certify=recipe.certify, states=known)
            if recipe.lipschitz is not None:
                from snconvert.files.budget import choose_bounds  # noqa: PLC0415 - as below

                scale, network = choose_bounds(model, plan, measured, recipe.lipschitz, tell)
                plan, settings = plan.scaled(scale), settings.scaled(scale)
            layers = layer_reports(model, plan, measured, recipe, status)
            size = opened.size
            if begun is not None:
                spellings = _spellings(plan)
                edits = _edit(model, plan, measured, recipe)
                factors = _factors(model, plan, edits)
                checking = within(progress, "checking")
                size = write_model(
                    model,
                    edits,
                    begun,
                    metadata=lambda: with_record(
                        model.metadata, record(recipe, layers, opened.sha256(), factors, spellings)
                    ),
                    progress=progress,
                    check=check and (lambda result: check(opened, result, worker, checking)),
                )
            sha256 = opened.sha256() if recipe.page else None
    return report_of(
        "apply",
        recipe.target,
        [settings],
        layers,
        started,
        source=source,
        output=None if output is None else output.path,
        bytes=size,
        seconds_sigma=measured.seconds,
        warnings=model.warnings,
        **loading_facts(model),
        lipschitz=network,
        graph=graph,
        source_sha256=sha256,
    )


def inspect_file(
    source: str,
    recipe: Recipe,
    asked: Inspection,
    *,
    rules: Iterable[KernelRule] = (),
    progress: OnProgress = None,
) -> Report:
    """Reports every layer of a file: kind, kernel shape, sigma, convertible or why not.

    Args:
        source: The model's file or folder.
        recipe: What would be converted; all kinds, unless it says which.
        asked: What else is looked at.
        rules: Rows to use beside `RULES`.
        progress: Called with how far the work is.
    """
    started = time.perf_counter()
    recipe = replace(recipe, lipschitz=None)  # nothing is chosen
    ranged = not (asked.sigma or asked.spectrum or asked.lipschitz or recipe.page)
    with open_source("inspect", source, None, recipe.config, ranged=ranged, progress=progress) as (
        opened,
        worker,
    ):
        everything = recipe.looking_at_all()
        model, plan = open_planned(opened, everything, table(rules), worker, lenient=True)
        looked = plan.outcomes if asked.sigma else ()
        chosen = [(x.node, False, norm_of(x, recipe.settings.norm)) for x in looked]
        known = states_in_use(model)
        if recipe.page:
            opened.hash_ahead()
        measured = measure(model, chosen, worker, progress, certify=recipe.certify, states=known)
        if asked.spectrum:
            measured = with_spectra(model, measured, worker, progress)
        plan = without_failed(plan, measured)
        network = None
        if asked.lipschitz:
            from snconvert.files.lipschitz import bound_of  # noqa: PLC0415 - few runs ask for it

            network = bound_of(model, progress)
        begin_stage(progress, "checking")
        opened.check_weights()
        sha256 = opened.sha256() if recipe.page else None
        opened.check_unchanged()
        layers = layer_reports(model, plan, measured, recipe, "convertible", looks=True)
        size = opened.size
    return report_of(
        "inspect",
        recipe.target,
        [recipe.settings],
        layers,
        started,
        source=source,
        output=None,
        bytes=size,
        seconds_sigma=measured.seconds,
        warnings=(*model.warnings, *no_spectrum(layers, asked)),
        lipschitz=network,
        graph=graph_of(model.root) if recipe.page else None,
        source_sha256=sha256,
    )


def open_planned(
    source: Source,
    recipe: Recipe,
    rules: Mapping[str, KernelRule],
    worker: Worker,
    *,
    lenient: bool = False,
) -> tuple[Opened, Plan]:
    """Opens a model whose source is open, and plans what is done to it.

    Args:
        source: The model's file or folder.
        recipe: What to convert and how.
        rules: The rows to use, by class name.
        worker: The guarded process.
        lenient: As for `make_plan`.
    """
    described = describe(source)
    plan = make_plan(described.root, recipe, rules, already, lenient=lenient)
    model = open_weights(described, rules, worker)
    target = TARGETS[recipe.target]
    return model, with_obstacles(
        plan, lambda x, rule: target.obstacle(x.node, rule, model.inventory.get(x.node))
    )


def layer_reports(
    model: Opened,
    plan: Plan,
    measured: Measured,
    recipe: Recipe,
    status: str,
    *,
    looks: bool = False,
) -> tuple[LayerReport, ...]:
    """Returns the rows of a model's layers, as `plan_rows` does."""
    own, inner = stored_shapes(model)
    with_matrices = {
        node
        for shapes_of in (own, inner)
        for node, shapes in shapes_of.items()
        if any(len(shape) > 1 for shape in shapes)
    }
    new_class = TARGETS[recipe.target].new_class

    def facts_of(outcome: Step | Skip) -> LayerFacts:
        node, step = outcome.node, outcome if isinstance(outcome, Step) else None
        return LayerFacts(
            node.title if step is None else node.class_name,
            None if step is None else new_class(node, step.rule),
            norm_of(outcome, recipe.settings.norm),
            kernel_shape(model, node),
            kernels_of(model.inventory.get(node)),
            bare=not node.opaque and (node.first or node) not in with_matrices,
        )

    return plan_rows(plan, measured, recipe, status, facts_of, looks=looks)


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
    factors: dict[str, dict[str, float]] = {}
    for step in plan.steps:
        stored = model.inventory.get(step.node)
        for kernel in stored.kernels if stored else ():
            if kernel.path in by_path:
                own = factors.setdefault(step.node.path, {})
                own[kernel.kernel.path] = by_path[kernel.path]
    return factors
