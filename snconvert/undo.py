"""The ways back on files: `bake` keeps the effective kernels, `remove` the raw ones.

Both turn every spectral layer, and every layer in Keras' own `SpectralNormalization`, into the
plain Keras layer, and leave no trace of this package in the file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from snconvert.archive.contents import Product
from snconvert.archive.guard import Worker
from snconvert.archive.output import check_output
from snconvert.archive.source import open_source
from snconvert.errors import SelectionError, SourceError, located
from snconvert.h5paths import group_paths
from snconvert.opened import Opened, describe, kernel_shape, open_weights
from snconvert.optimizer_edits import Gammas, optimizer_edits, stored_shapes
from snconvert.plans import Selection, is_leaf
from snconvert.provenance import recorded_factors, without_layers
from snconvert.recipe import Recipe
from snconvert.report import NO_KERNEL, LayerReport, Progress, Report
from snconvert.rewriting import Edits, Tell, layer_moves, with_twins, write_model
from snconvert.rules import RULES, SPECTRAL
from snconvert.settings import Settings
from snconvert.targets import keras as wrapper
from snconvert.targets import layer
from snconvert.targets.layer import settings_of
from snconvert.tasks import IN_CHILD, Factor, Scaling
from snconvert.tree import Node

_PLAIN = "not spectral"
_UNKNOWN = (
    "the kernel in keras' SpectralNormalization was normalised in place, by how much is not"
    " recorded; `snconvert bake` keeps it as it is"
)
Verb = Literal["bake", "remove"]


@dataclass(frozen=True, slots=True)
class _Model:
    opened: Opened
    layers: dict[Node, Settings]  # the spectral layers, and how they are normalised
    wrapped: dict[Node, float]  # the wrappers, and what their kernels were multiplied by
    left: dict[Node, str]  # what stays as it is, and why


def undo_file(
    verb: Verb,
    source: str,
    output: str | None,
    recipe: Recipe,
    *,
    force: bool = False,
    in_place: bool = False,
    progress: Tell = None,
) -> Report:
    """Turns the spectral layers of a file into plain ones.

    Args:
        verb: `bake`: every kernel becomes `s(sigma) * W`, as inference uses it. `remove`: it stays
            as it is stored; where the conversion had normalised it, it is divided by the recorded
            factor.
        source: The model's file or folder.
        output: Where the result goes; `None`: nowhere, only the report is wanted.
        recipe: Its `only`, `exclude` and `select` say which layers.
        force: Replace an existing output.
        in_place: `output` is the source itself.
        progress: Told how far it is.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    with located(file=source), open_source(source) as opened, Worker(IN_CHILD[verb]) as worker:
        if output is not None:
            check_output(source, output, force=force, in_place=in_place)
        described = describe(opened)
        _refuse_newer(described.root)
        model = _find(open_weights(described, RULES, worker), recipe, verb)
        factors = _factors(model, worker, progress) if verb == "bake" else {}
        divisors = model.wrapped if verb == "remove" else {}
        status = "convertible" if output is None else "converted"
        layers = _reports(model, factors, status)
        size = opened.size
        if output is not None:
            edits = _edit(model, factors, divisors)
            gone = {node.path for node in (*model.layers, *model.wrapped)}
            size = write_model(
                model.opened,
                edits,
                output,
                worker,
                metadata=lambda _: without_layers(model.opened.metadata, gone),
                force=force or in_place,
                progress=progress,
            )
        else:
            opened.check_weights()
            opened.check_unchanged()
    modes = {settings.mode for settings in model.layers.values()} or {"hard"}
    bounds = {settings.bound for settings in model.layers.values()} or {1.0}
    told = (
        f"{len(divisors)} kernels had been normalised when they were converted: they were divided"
    )
    told += " by the recorded factor, which restores them to float rounding"
    return Report(
        source=source,
        output=output,
        target="keras" if model.wrapped and not model.layers else "layer",
        mode=modes.pop() if len(modes) == 1 else "mixed",
        bound=max(bounds),
        norm="matrix",
        layers=layers,
        bytes=size,
        seconds=time.perf_counter() - started,
        warnings=(*model.opened.warnings, *([told] if divisors else [])),
        verb=verb,
    )


def _refuse_newer(root: Node) -> None:
    for node in root.walk():
        if node.spectral is not None and node.spectral not in SPECTRAL:
            raise SourceError(
                f"this version of snconvert knows no {node.spectral}",
                "Use the version that the file was made with, or a newer one",
                path=node.path,
                class_name=node.class_name,
            )


def _find(opened: Opened, recipe: Recipe, verb: Verb) -> _Model:
    recorded = recorded_factors(opened.metadata)
    nodes = [node for node in opened.root.walk() if node.path]
    selection = Selection(recipe, nodes)
    model = _Model(opened, {}, {}, {})
    for node in nodes:
        parent = node.parent
        inside = parent is not None and parent.builtin == wrapper.CLASS
        wraps = node.builtin == wrapper.CLASS and bool(node.children)
        if inside or not (wraps or is_leaf(node)):
            continue
        excluded = selection.why_excluded(node)
        if not (wraps or node.spectral):
            model.left[node] = _PLAIN
        elif excluded:
            model.left[node] = excluded
        elif node.first is not None:
            model.left[node] = f"the same layer as {node.first.path}"
        elif wraps:
            factor = recorded.get(node.path, {}).get("kernel")
            if factor is None and verb == "remove":
                model.left[node] = _UNKNOWN
            else:
                model.wrapped[node] = factor or 1.0
        else:
            model.layers[node] = settings_of(node)
    if not model.layers and not model.wrapped:
        reasons = sorted({reason for reason in model.left.values() if reason != _PLAIN})
        raise SelectionError(
            f"nothing to undo ({'; '.join(reasons)})"
            if reasons
            else "nothing to undo: no layer here is spectral",
            "See `snconvert inspect` for every layer, and --only and --exclude",
        )
    return model


def _factors(model: _Model, worker: Worker, progress: Tell) -> dict[str, Factor]:
    """Returns what inference multiplies each kernel by, by the kernel's path."""
    opened = model.opened
    tasks: list[Scaling] = []
    for node, settings in model.layers.items():
        stored = opened.inventory.get(node)
        if stored is None or not stored.kernels:
            continue
        where = (node.path, node.class_name)
        for kernel, gamma, u in layer.states(opened.paths[node], stored, settings):
            place = (kernel.path, kernel.dataset, kernel.view)
            tasks.append(Scaling(where, *place, u, gamma, settings))
    total, done = sum(task.dataset.nbytes for task in tasks), 0

    def tell(message: tuple[str, int]) -> None:
        nonlocal done
        done += message[1]
        if progress is not None:
            progress(Progress("sigma", message[0], done, total))

    if not tasks:
        return {}
    found = worker.call(
        "snconvert.effective:factors", opened.source.weights, tasks, seconds=None, progress=tell
    )
    return {task.path: factor for task, factor in zip(tasks, found, strict=True)}


def _edit(model: _Model, factors: Mapping[str, Factor], divisors: Mapping[Node, float]) -> Edits:
    opened, edits = model.opened, Edits()
    gone = {n: Gammas(gone=True) for n, settings in model.layers.items() if settings.mode == "gain"}
    edits.add_slots(optimizer_edits(opened, gone))
    for node, settings in model.layers.items():
        stored = opened.inventory.get(node)
        if stored is not None and stored.kernels:
            for kernel, gamma, u in layer.states(opened.paths[node], stored, settings):
                edits.removals += [path for path in (gamma, u) if path is not None]
                if kernel.path in factors:
                    edits.products.append(Product(kernel.path, factors[kernel.path].factor))
    for node, _ in with_twins(opened.paths, model.layers):
        layer.unwrap(node, SPECTRAL[str(node.spectral)])
    inner = {node: node.children[0] for node in model.wrapped}
    for node in model.wrapped:
        edits.removals.append(opened.paths[node])
        if node in divisors:
            path = f"{opened.paths[inner[node]]}/vars/0"
            edits.products.append(Product(path, 1.0 / divisors[node]))
    for node, _ in with_twins(opened.paths, inner):
        wrapper.unwrap(node)
    paths = group_paths(opened.root)
    places = {node: paths.get(node, old) for node, old in opened.paths.items()}
    places |= {inner[node]: paths[node] for node in model.wrapped}
    edits.moves += layer_moves(opened, places)
    return edits


def _reports(model: _Model, factors: Mapping[str, Factor], status: str) -> tuple[LayerReport, ...]:
    own, inner = stored_shapes(model.opened)
    reports: list[LayerReport] = []
    for node in model.opened.root.walk():
        shape = kernel_shape(model.opened, node)
        if node in model.left:
            shapes = [*own.get(node, []), *inner.get(node, [])]
            bare = not node.opaque and all(len(shape) < 2 for shape in shapes)  # noqa: PLR2004 -- the rank of a matrix
            reason = model.left[node]
            if bare and reason == _PLAIN:
                reason = NO_KERNEL
            reports.append(LayerReport(node.path, node.title, shape, "skipped", reason))
        elif node in model.layers:
            stored = model.opened.inventory.get(node)
            known = [factors[k.path] for k in (stored.kernels if stored else ()) if factors]
            plain = SPECTRAL[str(node.spectral)].class_name
            sigma = max((factor.sigma for factor in known), default=None)
            after = max((factor.sigma * factor.factor for factor in known), default=None)
            reports.append(
                LayerReport(node.path, node.class_name, shape, status, None, plain, sigma, after)
            )
        elif node in model.wrapped:
            child = node.children[0]
            shape = kernel_shape(model.opened, child)
            reports.append(
                LayerReport(node.path, node.class_name, shape, status, None, child.class_name)
            )
    return tuple(reports)
