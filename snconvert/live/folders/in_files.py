"""Models in folders whose layers only Python code knows, converted file by file.

The model is built without values; its own code says which layers there are and where their
variables lie. Sigma and `u` are found in the files, as on the file carrier, and the files are
copied with what changes in them, so that the weights are never in memory as a whole.
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
from snconvert.formats.table import open_model
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import RULES, table
from snconvert.live.folders.kernels import measure, products_of
from snconvert.live.folders.skeleton import IN_FILES, Skeleton, build, fit
from snconvert.live.kernels import named_kernels, shape_of
from snconvert.live.measure import facts_of
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
from snconvert.weights.contents import Product

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
            measured = measure(
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
        measured = measure(skeleton, chosen, recipe, (opened, worker), progress)
        products = products_of(skeleton, chosen, (opened, worker)) if VERBS[verb].scales else []
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
