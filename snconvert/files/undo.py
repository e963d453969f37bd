"""The ways back on files: `bake` keeps the effective kernels, `remove` the raw ones.

Both turn every spectral layer, and every layer in Keras' own `SpectralNormalization`, into the
plain Keras layer, and leave no layer of this package in the file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from snconvert.archive.output import Destination
from snconvert.config.tree import Node
from snconvert.core.report import LayerReport, OnProgress, Report, cumulative
from snconvert.core.verbs import VERBS
from snconvert.errors import NothingLeftError, SelectionError
from snconvert.files.edits import write_model
from snconvert.files.measure import measure, watched
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
from snconvert.files.normalised import (
    Normalised,
    first_target,
    normalised_layers,
    refuse_newer,
    scalings,
    states_in_use,
    unwrap,
)
from snconvert.files.optimizer_state import stored_shapes
from snconvert.files.targets import target_of
from snconvert.kinds.table import RULES
from snconvert.planning.layer_rows import (
    RESTORED,
    LayerFacts,
    left_row,
    norm_after_undoing,
    plain_row,
    report_of,
)
from snconvert.planning.measured import Measured
from snconvert.planning.recipe import Recipe
from snconvert.planning.record import without_layers
from snconvert.planning.selection import Selection
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Product

_PLAIN = "not spectral"
_UNKNOWN = (
    "the kernel{} was normalised in place, by how much is not recorded; `snconvert bake` keeps it"
    " as it is"
)


def undo_file(
    verb: str,
    source: str,
    output: Destination | None,
    recipe: Recipe,
    *,
    metadata: Any = None,
    progress: OnProgress = None,
) -> Report:
    """Turns the spectral layers of a file into plain ones.

    Args:
        verb: `bake`: every kernel becomes `s(sigma) * W`, as inference uses it. `remove`: it stays
            as it is stored; where the conversion had normalised it, it is divided by the recorded
            factor.
        source: The model's file or folder.
        output: Where the result goes; `None`: nowhere, only the report is wanted.
        recipe: Its `only`, `exclude` and `select` say which layers.
        metadata: The `metadata.json` to go by, where it is not the source's own.
        progress: Called with how far the work is.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    with open_source(verb, source, output, recipe.config, progress=progress) as (opened, worker):
        described = describe(opened)
        if metadata is not None:
            described = replace(described, metadata=metadata)
        refuse_newer(described.root)
        model = open_weights(described, RULES, worker)
        normalised = _chosen_layers(model, recipe, verb)
        # Before the configuration is that of plain layers.
        settings = [layer.settings for layer in normalised.layers.values()]
        factors = _factors(normalised, worker, progress) if VERBS[verb].scales else {}
        divisors = _divisors(normalised) if VERBS[verb].divides else {}
        status = "convertible" if output is None else "converted"
        size = opened.size
        with begin_output(opened, output, progress) as begun:
            chosen = [
                (layer.target.owner_of(node), False, layer.norm)
                for node, layer in normalised.layers.items()
            ]
            tell = watched(begun, progress)
            measured = measure(model, chosen, worker, tell, states=states_in_use(model))
            layers = _reports(normalised, measured, verb, divisors, status)
            if begun is not None:
                gone = {node.path for node in normalised.layers}
                products = [Product(path, factor) for path, factor in factors.items()]
                products += [Product(path, 1.0 / factor) for path, factor in divisors.items()]
                size = write_model(
                    model,
                    unwrap(normalised, products),
                    begun,
                    metadata=lambda: without_layers(model.metadata, gone),
                    progress=progress,
                )
    return report_of(
        verb,
        first_target(normalised.layers.values()),
        settings,
        layers,
        started,
        source=source,
        output=None if output is None else output.path,
        bytes=size,
        seconds_sigma=measured.seconds,
        warnings=(*model.warnings, *([RESTORED] if divisors else [])),
        **loading_facts(model),
    )


def _chosen_layers(model: Opened, recipe: Recipe, verb: str) -> Normalised:
    """Returns the layers that become plain.

    Raises:
        SelectionError: There is none.
    """
    selection = Selection(recipe, [node for node in model.root.walk() if node.path])

    def why_left(node: Node) -> str | None:
        return _PLAIN if target_of(node) is None else selection.why_excluded(node)

    normalised = normalised_layers(model, why_left)
    layers, left = normalised.layers, normalised.left
    if VERBS[verb].divides:
        unknown = [node for node, layer in layers.items() if None in layer.factors.values()]
        for node in unknown:
            wrapper = layers.pop(node).target.WRAPPER
            left[node] = _UNKNOWN.format("" if wrapper is None else f" in keras' {wrapper}")
    if not layers:
        reasons = sorted({reason for reason in left.values() if reason != _PLAIN})
        kind = SelectionError if reasons else NothingLeftError
        raise kind(
            f"nothing to undo ({'; '.join(reasons)})"
            if reasons
            else f"nothing to {verb}: no layer here is spectral",
            "See `snconvert inspect` for every layer, and --only and --exclude",
        )
    return normalised


def _divisors(normalised: Normalised) -> dict[str, float]:
    """Returns what kernels were multiplied by when they were converted, by dataset."""
    divisors: dict[str, float] = {}
    for node, layer in normalised.layers.items():
        stored = normalised.model.inventory.get(layer.target.owner_of(node))
        for kernel in stored.kernels if stored is not None else ():
            factor = layer.factors.get(kernel.kernel.path)
            if factor is not None:
                divisors[kernel.path] = factor
    return divisors


def _factors(normalised: Normalised, worker: Worker, progress: OnProgress) -> dict[str, float]:
    """Returns what inference multiplies each kernel by, by the kernel's path."""
    tasks = scalings(normalised)
    if not tasks:
        return {}
    total = sum(task.dataset.nbytes for task in tasks)
    factors = worker.call(
        "snconvert.jobs.effective:factors",
        normalised.model.source.weights,
        tasks,
        seconds=None,
        progress=cumulative(progress, "sigma", total),
    )
    return {task.path: factor for task, factor in zip(tasks, factors, strict=True)}


def _reports(
    normalised: Normalised,
    measured: Measured,
    verb: str,
    divisors: Mapping[str, float],
    status: str,
) -> tuple[LayerReport, ...]:
    model = normalised.model
    own_shapes, inner = stored_shapes(model)
    reports: list[LayerReport] = []
    for node in model.root.walk():
        if node in normalised.left:
            first = node.first or node
            shapes = [*own_shapes.get(first, []), *inner.get(first, [])]
            bare = not node.opaque and all(len(shape) < 2 for shape in shapes)  # noqa: PLR2004 -- the rank of a matrix
            reason = normalised.left[node]
            facts = LayerFacts(
                node.title, shape=kernel_shape(model, node), bare=bare and reason == _PLAIN
            )
            reports.append(left_row(node, facts, reason))
        elif (layer := normalised.layers.get(node)) is not None:
            owner, plain = layer.target.owner_of(node), layer.target.plain_class(node)
            stored = model.inventory.get(owner)
            kernels = stored.kernels if stored is not None else ()
            own = {k.kernel.path: divisors[k.path] for k in kernels if k.path in divisors}
            facts = LayerFacts(
                node.class_name, plain, layer.norm, kernel_shape(model, owner), kernels_of(stored)
            )
            after = norm_after_undoing(verb, own)
            reports.append(plain_row(node, facts, measured.known(owner), status, after))
    return tuple(reports)
