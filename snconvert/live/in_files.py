"""Models in folders whose layers only Python code knows, converted file by file.

The model is built without values; its own code says which layers there are and where their
variables lie. Sigma and `u` are found in the files, as on the file carrier, and the files are copied
with what changes in them, so that the weights are never in memory as a whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from snconvert.archive.output import Destination
from snconvert.archive.source import METADATA, Source
from snconvert.config import strict_json
from snconvert.config.references import needs
from snconvert.config.tree import Node
from snconvert.core.report import LayerReport, OnProgress, Report, begin_stage, cumulative
from snconvert.core.verbs import VERBS
from snconvert.errors import OptionError
from snconvert.files.model import begin_output, deadline, open_source
from snconvert.files.normalised import NormalisedLayer, first_target
from snconvert.files.targets import norm_of
from snconvert.formats.table import open_model
from snconvert.jobs.requests import Scaling, Task
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import RULES, table
from snconvert.live.internals.class_swap import built_for, kernels_by_owner
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import named_kernels, settings_of, shape_of
from snconvert.live.measure import facts_of
from snconvert.live.skeleton import IN_FILES, Skeleton, build, fit
from snconvert.live.targets import IN_MEMORY
from snconvert.live.targets.target import LiveStep
from snconvert.live.tree import layer_of, plan_for, survey
from snconvert.live.undo import chosen_layers
from snconvert.planning.inspection import Inspection
from snconvert.planning.layer_rows import (
    LayerFacts,
    left_row,
    norm_after_undoing,
    plain_row,
    plan_rows,
    report_of,
)
from snconvert.planning.measured import Measured, without_failed
from snconvert.planning.plan import Skip, Step, nothing_to_convert, with_obstacles
from snconvert.planning.recipe import Recipe
from snconvert.planning.record import record, with_record, without_layers
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Product, State

_TARGET = "layer"


def is_in_files(source: str, recipe: Recipe) -> bool:
    """Whether a model is in a folder of files that only fit together by its own code."""
    if not os.path.isdir(source):
        return False
    with open_model(source, config=recipe.config) as opened:
        return opened.format in IN_FILES


def apply_in_files(
    source: str,
    output: Destination | None,
    recipe: Recipe,
    *,
    rules: Iterable[KernelRule] = (),
    asked: Inspection | None = None,
    progress: OnProgress = None,
) -> Report:
    """Converts a folder whose model only Python code can build, or looks at it.

    Args:
        source: The folder.
        output: Where the result goes; `None`: nowhere, only the report is wanted.
        recipe: What to convert and how; the modules that it names are imported.
        rules: Rows to use beside `RULES`.
        asked: Without `output`: only look at the model, and at what.
        progress: Called with how far the work is.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    _check(recipe, asked)
    rows, lenient = table(rules), asked is not None
    with open_source("apply", source, output, recipe.config) as (opened, worker):
        skeleton = _skeleton(opened, worker)
        looked = recipe.looking_at_all() if lenient else recipe
        plan = plan_for(survey(skeleton.model, rows), looked, rows, lenient=lenient)
        target = IN_MEMORY[_TARGET]
        plan = with_obstacles(plan, lambda x, rule: target.obstacle(x.node, rule))
        if not plan.steps and not lenient:
            raise nothing_to_convert(plan)
        if output is not None:
            opened.hash_ahead()
        with begin_output(opened, output, progress) as begun:
            sigmas = asked is None or asked.sigma
            outcomes = plan.outcomes if output is None else plan.steps
            measured = _measure(
                skeleton, outcomes if sigmas else (), recipe, (opened, worker), progress
            )
            plan = without_failed(plan, measured) if lenient else plan
            status = "convertible" if output is None else "converted"

            def facts(outcome: Step | Skip) -> LayerFacts:
                rule = outcome.rule if isinstance(outcome, Step) else None
                new = None if rule is None else rule.spectral_class
                return facts_of(outcome, recipe.settings.norm, new)

            layers = plan_rows(plan, measured, recipe, status, facts)
            size = opened.size
            if begun is not None:
                target.convert(
                    skeleton.model,
                    [
                        LiveStep(layer_of(x.node), x.rule, x.settings, measured.known(x.node))
                        for x in plan.steps
                    ],
                )
                size = _write(
                    skeleton,
                    (opened, worker),
                    begun,
                    lambda old: with_record(old, record(recipe, layers, opened.sha256(), {})),
                    (),
                    progress,
                )
    return report_of(
        "apply" if asked is None else "inspect",
        _TARGET,
        [recipe.settings],
        layers,
        started,
        source=source,
        output=None if output is None else output.path,
        bytes=size,
        seconds_sigma=measured.seconds,
        warnings=tuple(opened.warnings),
        needs=_needs(skeleton),
        loads=False,
    )


def undo_in_files(
    verb: str,
    source: str,
    output: Destination | None,
    recipe: Recipe,
    *,
    progress: OnProgress = None,
) -> Report:
    """Makes the spectral layers of such a folder plain, as `snconvert.files.undo.undo_file` does.

    Args:
        verb: `bake` or `remove`.
        source: As for `apply_in_files`.
        output: As for `apply_in_files`.
        recipe: Which layers; the modules that it names are imported.
        progress: As for `apply_in_files`.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    with open_source(verb, source, output, recipe.config) as (opened, worker):
        skeleton = _skeleton(opened, worker)
        root = survey(skeleton.model, RULES)
        chosen, left = chosen_layers(root, recipe, verb)
        target = IN_MEMORY[_TARGET]
        for node in chosen:
            target.check_undo(node)
        settings = [layer.settings for layer in chosen.values()]
        measured = _measure(skeleton, chosen, recipe, (opened, worker), progress)
        products = _products(skeleton, chosen, (opened, worker)) if VERBS[verb].scales else []
        status = "convertible" if output is None else "converted"
        layers = _rows(verb, root, chosen, left, status, measured)
        size = opened.size
        with begin_output(opened, output, progress) as begun:
            if begun is not None:
                gone = {node.path for node in chosen}
                owners = [layer_of(node) for node in chosen]
                target.make_plain("remove", skeleton.model, [(x, x.rule) for x in owners])
                size = _write(
                    skeleton,
                    (opened, worker),
                    begun,
                    lambda old: without_layers(old, gone),
                    products,
                    progress,
                )
    return report_of(
        verb,
        first_target(chosen.values()),
        settings,
        layers,
        started,
        source=source,
        output=None if output is None else output.path,
        bytes=size,
        seconds_sigma=measured.seconds,
        warnings=tuple(opened.warnings),
        needs=_needs(skeleton),
        loads=False,
    )


def _check(recipe: Recipe, asked: Inspection | None) -> None:
    unable = {
        f"target {recipe.target}": recipe.target != _TARGET,
        "lipschitz": recipe.lipschitz is not None or (asked is not None and asked.lipschitz),
        "spectrum": asked is not None and asked.spectrum,
        "html": recipe.page,
    }
    for name, wanted in unable.items():
        if wanted:
            raise OptionError(
                f"{name} is not there for a folder whose layers only its package's code knows",
                "Leave it out, or load the model and use snconvert.apply and snconvert.inspect",
            )


def _skeleton(opened: Source, worker: Worker) -> Skeleton:
    skeleton = build(opened)
    seconds = deadline(opened)
    fit(skeleton, worker.call("snconvert.weights.shards:scan", opened.weights, seconds=seconds))
    return skeleton


def _measure(
    skeleton: Skeleton,
    outcomes: Iterable[Any],
    recipe: Recipe,
    place: tuple[Source, Worker],
    progress: OnProgress,
) -> Measured:
    """Finds the triplets of the kernels of layers, those that are to be converted and others."""
    started = time.perf_counter()
    tasks: list[Task] = []
    owners: list[Node] = []
    for outcome in outcomes:
        node = outcome if isinstance(outcome, Node) else outcome.node
        layer, required = layer_of(node), isinstance(outcome, Step)
        rule = layer.rule if node.spectral else outcome.rule
        if rule is None or not layer.built or node.first is not None:
            continue
        if isinstance(outcome, Skip) and outcome.obstacle:
            continue
        norm = layer.norm if node.spectral else norm_of(outcome, recipe.settings.norm)
        config = layer.get_config()
        for owner, kernels in kernels_by_owner(layer, rule):
            for kernel in kernels:
                path, dataset = skeleton.dataset(getattr(owner, kernel.name))
                view = kernel.view(dataset.shape, config)
                conv = kernel.map_of(norm, dataset.shape, config, built_for(layer))
                state = _state(skeleton, owner, kernel.name) if node.spectral else None
                where = (node.path, node.class_name)
                form = (where, path, dataset, view, required, recipe.certify, conv, state)
                tasks.append(Task(*form))
                owners.append(node)
    triplets: dict[Node, list[Any]] = {}
    if tasks:
        source, worker = place
        tell = cumulative(progress, "sigma", sum(task.dataset.nbytes for task in tasks))
        results = worker.call(
            "snconvert.jobs.measure:measure", source.weights, tasks, seconds=None, progress=tell
        )
        for node, triplet in zip(owners, results, strict=True):
            triplets.setdefault(node, []).append(triplet)
    return Measured(triplets, time.perf_counter() - started)


def _state(skeleton: Skeleton, owner: Layer, kernel: str) -> State:
    """Returns where a spectral layer stores how a kernel is normalised."""
    prefix = owner._prefix(kernel)  # noqa: SLF001 -- as everything in `live`
    gamma = getattr(owner, f"{prefix}gamma") if owner.mode == "gain" else None
    return State(
        skeleton.dataset(getattr(owner, f"{prefix}u")),
        None if gamma is None else skeleton.dataset(gamma),
        settings_of(owner),
    )


def _products(
    skeleton: Skeleton, chosen: Iterable[Node], place: tuple[Source, Worker]
) -> list[Product]:
    """Returns by what `bake` multiplies the kernels."""
    tasks: list[Scaling] = []
    for node in chosen:
        layer = layer_of(node)
        config = layer.get_config()
        for owner, kernels in kernels_by_owner(layer, layer.rule):
            for kernel in kernels:
                path, dataset = skeleton.dataset(getattr(owner, kernel.name))
                state = _state(skeleton, owner, kernel.name)
                conv = kernel.map_of(layer.norm, dataset.shape, config, built_for(layer))
                u: Any = state.u
                gamma = None if state.gamma is None else state.gamma[0]
                view = kernel.view(dataset.shape, config)
                where = (node.path, node.class_name)
                form = (where, path, dataset, view, u[0], gamma, settings_of(owner), conv)
                tasks.append(Scaling(*form))
    source, worker = place
    name = "snconvert.jobs.effective:factors"
    factors = worker.call(name, source.weights, tasks, seconds=None)
    return [Product(task.path, factor) for task, factor in zip(tasks, factors, strict=True)]


def _rows(
    verb: str,
    root: Node,
    chosen: Mapping[Node, NormalisedLayer],
    left: Mapping[Node, str],
    status: str,
    measured: Measured,
) -> list[LayerReport]:
    rows: list[LayerReport] = []
    for node in root.walk():
        layer = layer_of(node)
        if node in chosen:
            rule, live = layer.rule, IN_MEMORY[_TARGET]
            shape = shape_of(layer, rule) if layer.built else None
            kernels = named_kernels(layer, rule) if layer.built else ()
            plain = live.plain_class(node)
            facts = LayerFacts(node.class_name, plain, layer.norm, shape, kernels)
            after = norm_after_undoing(verb, {})
            rows.append(plain_row(node, facts, measured.known(node), status, after))
        elif node in left and node.path and not node.children:
            bare = not any(len(variable.shape) > 1 for variable in layer.weights)
            rows.append(left_row(node, LayerFacts(node.title, bare=bare), left[node]))
    return rows


def _write(
    skeleton: Skeleton,
    place: tuple[Source, Worker],
    begun: Any,
    recorded: Any,
    products: Sequence[Product],
    progress: OnProgress,
) -> int:
    """Writes the files as the model is now; returns the size of the output in bytes."""
    source, worker = place
    edits = skeleton.edits()
    overlay = worker.call(
        "snconvert.weights.shards:edit",
        source.weights,
        edits.moves,
        edits.additions,
        edits.removals,
        products,
        seconds=deadline(source),
    )
    old = strict_json.loads(source.metadata or b"{}", METADATA)
    tell = cumulative(progress, "writing", source.weights.size)

    def metadata() -> bytes:
        begin_stage(progress, "hashing")
        return strict_json.dumps(recorded(old))

    size: int = begun.finish(
        texts=skeleton.configs(),
        metadata=metadata,
        overlay=overlay,
        progress=lambda count: tell(("", count)),
    )
    return size


def _needs(skeleton: Skeleton) -> tuple[str, ...]:
    return needs(keras.saving.serialize_keras_object(skeleton.model))
