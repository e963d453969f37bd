"""The file carrier: source -> tree -> plan -> new tree and edits of the weights -> output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snconvert import strictjson
from snconvert.archive.contents import Contents
from snconvert.archive.guard import Worker
from snconvert.archive.output import check_output, write_archive, write_folder
from snconvert.archive.source import Source, open_source
from snconvert.errors import (
    OptionError,
    SelectionError,
    SourceError,
    UnsupportedError,
    located,
    printable,
)
from snconvert.h5paths import group_paths
from snconvert.inventory import ACTIVATIONS, Stored, take_inventory
from snconvert.linalg.triplet import Triplet
from snconvert.optimizer_slots import Gamma, SlotEdits, insert_slots
from snconvert.optimizer_slots import Stored as StoredVariables
from snconvert.plans import Plan, Skip, Step, is_leaf, make_plan
from snconvert.provenance import record
from snconvert.recipe import Recipe
from snconvert.report import NO_KERNEL, LayerReport, Report
from snconvert.rules import KernelRule, table
from snconvert.settings import Settings
from snconvert.targets import layer as layer_target
from snconvert.tasks import IN_CHILD, Task
from snconvert.trainable import trainable_count
from snconvert.tree import Node, model_root, parse
from snconvert.versions import check_version, is_keras_2
from snconvert.vetting import vet

SCAN_SECONDS, MOST_SECONDS = 5.0, 60.0
"""How much computing time HDF5 may take over a file's table of contents before it counts as
damaged; models with more layers get more, by `_deadline`."""


_Shapes = dict[Node, list[tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a conversion is.

    Attributes:
        stage: `reading`, `sigma` or `writing`.
        what: The layer just finished, or empty.
        done: Bytes of the stage that are done.
        total: Bytes of the stage in all.
    """

    stage: str
    what: str
    done: int
    total: int


@dataclass(slots=True)
class _Model:
    """An opened model with all that is known of it."""

    source: Source
    metadata: Any
    root: Node
    plan: Plan
    paths: dict[Node, str]
    contents: Contents
    inventory: dict[Node, Stored]
    warnings: list[str]
    triplets: dict[Node, list[Triplet | None]] = field(default_factory=dict)
    seconds_sigma: float = 0.0


def convert_file(
    source: str,
    output: str | None,
    recipe: Recipe,
    *,
    rules: Iterable[KernelRule] = (),
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
    progress: Callable[[Progress], None] | None = None,
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
        progress: Told how far it is.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    _refuse_what_is_to_come(recipe)
    with located(file=source), open_source(source) as opened, Worker(IN_CHILD) as worker:
        if output is not None:
            check_output(source, output, force=force, in_place=in_place)
        model = _open(opened, recipe, table(rules), worker)
        if not model.plan.steps:
            raise SelectionError(*_nothing(model.plan))
        _measure(model, worker, progress, everything=output is None or dry_run)
        status = "convertible" if output is None or dry_run else "converted"
        layers = _layer_reports(model, status)
        size = opened.size
        if output is not None and not dry_run:
            size = _write(model, recipe, layers, output, worker, progress, force=force or in_place)
        else:
            opened.check_weights()  # writing does both on its way
            opened.check_unchanged()
    return Report(
        source=source,
        output=None if dry_run else output,
        target=recipe.target,
        mode=recipe.settings.mode,
        bound=recipe.settings.bound,
        norm=recipe.settings.norm,
        layers=layers,
        bytes=size,
        seconds=time.perf_counter() - started,
        seconds_sigma=model.seconds_sigma,
        warnings=tuple(model.warnings),
    )


def inspect_file(
    source: str,
    recipe: Recipe,
    *,
    rules: Iterable[KernelRule] = (),
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Reports every layer of a file: kind, kernel shape, sigma, convertible or why not.

    Args:
        source: The model's file or folder.
        recipe: What would be converted.
        rules: Rows to use beside `RULES`.
        progress: Told how far it is.
    """
    started = time.perf_counter()
    with located(file=source), open_source(source) as opened, Worker(IN_CHILD) as worker:
        model = _open(opened, recipe, table(rules), worker, lenient=True)
        _measure(model, worker, progress, everything=True)
        opened.check_weights()
        opened.check_unchanged()
        layers = _layer_reports(model, "convertible")
        size = opened.size
    return Report(
        source=source,
        output=None,
        target=recipe.target,
        mode=recipe.settings.mode,
        bound=recipe.settings.bound,
        norm=recipe.settings.norm,
        layers=layers,
        bytes=size,
        seconds=time.perf_counter() - started,
        seconds_sigma=model.seconds_sigma,
        warnings=tuple(model.warnings),
    )


def _refuse_what_is_to_come(recipe: Recipe) -> None:
    if recipe.target != "layer":
        raise UnsupportedError(
            f"--target {recipe.target} is not in this version", "Use --target layer"
        )
    settings = [recipe.settings.norm, *(o.changes.get("norm") for o in recipe.overrides)]
    if "operator" in settings:
        raise UnsupportedError("--norm operator is not in this version", "Use --norm matrix")


def _open(
    source: Source,
    recipe: Recipe,
    rules: Mapping[str, KernelRule],
    worker: Worker,
    *,
    lenient: bool = False,
) -> _Model:
    config = strictjson.loads(source.config, "config.json")
    metadata: Any = {}
    if source.metadata is not None:
        metadata = strictjson.loads(source.metadata, "metadata.json")
    findings = vet(config)
    root = model_root(parse(config))
    aged = check_version(root, metadata)
    plan = make_plan(root, recipe, rules, lenient=lenient)
    paths = group_paths(root)
    contents = worker.call("snconvert.archive.h5:scan", source.weights, seconds=_deadline(source))
    others = ("optimizer", "metrics") if is_keras_2(root, metadata) else ("optimizer",)
    inventory = take_inventory(root, paths, contents, rules, others)
    warnings = [*source.warnings, *aged, *(str(finding) for finding in findings)]
    return _Model(source, metadata, root, plan, paths, contents, inventory, warnings)


def _deadline(source: Source) -> float:
    """A chain of 10 000 layers takes HDF5 seconds; a damaged file would take for ever."""
    return min(SCAN_SECONDS + len(source.config) / 2e5, MOST_SECONDS)


def _nothing(plan: Plan) -> tuple[str, str]:
    reasons: dict[str, str] = {}
    for outcome in plan.outcomes:
        if isinstance(outcome, Skip) and (outcome.rule or outcome.spectral or outcome.node.opaque):
            reasons.setdefault(outcome.reason, printable(outcome.node.path))
    seen = "; ".join(f"{path}: {reason}" for reason, path in list(reasons.items())[:4])
    what = "nothing to convert" + (f" ({seen})" if seen else ": no layer here has a rule")
    return what, "See `snconvert inspect` for every layer, and --kinds, --only and --exclude"


def _measure(
    model: _Model,
    worker: Worker,
    progress: Callable[[Progress], None] | None,
    *,
    everything: bool,
) -> None:
    """Finds sigma and `u` of the kernels to convert, and of all that have a rule if asked."""
    started = time.perf_counter()
    tasks: list[Task] = []
    owners: list[Node] = []
    for outcome in model.plan.outcomes:
        if not everything and isinstance(outcome, Skip):
            continue
        stored = model.inventory.get(outcome.node)
        for kernel in stored.kernels if stored else ():
            node = outcome.node
            tasks.append(
                Task(
                    (node.path, node.class_name),
                    kernel.path,
                    kernel.dataset,
                    kernel.view,
                    isinstance(outcome, Step),
                )
            )
            owners.append(node)
    total = sum(task.dataset.nbytes for task in tasks)
    done = 0

    def tell(message: tuple[str, int]) -> None:
        nonlocal done
        done += message[1]
        if progress is not None:
            progress(Progress("sigma", message[0], done, total))

    if tasks:
        found = worker.call(
            "snconvert.sigmas:measure", model.source.weights, tasks, seconds=None, progress=tell
        )
        for node, triplet in zip(owners, found, strict=True):
            model.triplets.setdefault(node, []).append(triplet)
    model.seconds_sigma = time.perf_counter() - started


def _layer_reports(model: _Model, status: str) -> tuple[LayerReport, ...]:
    own, inner = _stored_shapes(model)
    with_matrices = {
        node
        for shapes_of in (own, inner)
        for node, shapes in shapes_of.items()
        if any(len(shape) > 1 for shape in shapes)
    }
    return tuple(
        _layer_report(outcome, model, status, has_matrix=outcome.node in with_matrices)
        for outcome in model.plan.outcomes
    )


def _layer_report(
    outcome: Step | Skip, model: _Model, status: str, *, has_matrix: bool
) -> LayerReport:
    node = outcome.node
    stored = model.inventory.get(node)
    shape = stored.kernels[0].dataset.shape if stored and stored.kernels else None
    triplets = [triplet for triplet in model.triplets.get(node, []) if triplet is not None]
    sigma = max((triplet.sigma for triplet in triplets), default=None)
    if isinstance(outcome, Step):
        reason = "not built yet: u is found when it is" if shape is None else None
        if triplets and all(triplet.zero for triplet in triplets):
            reason = "a kernel of zeros: it stays zero"
        return LayerReport(
            node.path,
            node.class_name,
            shape,
            status,
            reason,
            outcome.rule.spectral_class,
            sigma,
            None if sigma is None else outcome.settings.sigma_after(sigma),
            max((triplet.residual for triplet in triplets), default=None),
        )
    nothing = outcome.rule is None and not has_matrix and not node.opaque
    after = sigma
    if sigma is not None and node.spectral:
        settings = _settings_of(node)
        # A trained gamma is anything; the report of the conversion itself says where it started.
        after = None if settings.mode == "gain" else settings.sigma_after(sigma)
    return LayerReport(
        node.path,
        node.title,
        shape,
        "spectral" if outcome.spectral else "skipped",
        NO_KERNEL if nothing and node.first is None else outcome.reason,
        None,
        sigma,
        after,
        max((triplet.residual for triplet in triplets), default=None),
    )


def _settings_of(node: Node) -> Settings:
    """Returns how a layer that is spectral already is normalised."""
    try:
        return Settings(
            **{name: node.config[name] for name in layer_target.FIELDS if name in node.config}
        )
    except OptionError as error:
        raise SourceError(
            f"its configuration is invalid: {error.what}",
            "Convert the original model again",
            path=node.path,
            class_name=node.class_name,
        ) from error


def _write(
    model: _Model,
    recipe: Recipe,
    layers: Sequence[LayerReport],
    output: str,
    worker: Worker,
    progress: Callable[[Progress], None] | None,
    *,
    force: bool,
) -> int:
    additions: list[tuple[str, Any]] = []
    old_paths = model.paths
    slots = _optimizer_edits(model)
    for step in model.plan.steps:
        layer_target.wrap(step.node, step.rule, step.settings)
    for node in old_paths:
        # A layer shared by two models stands in both configurations; all copies must agree.
        if node.first is not None and node.first.spectral is None:
            node.entry.update(_twin_entry(node))
    new_paths = group_paths(model.root)
    for step in model.plan.steps:
        stored = model.inventory.get(step.node)
        if stored is None or not stored.kernels:
            continue
        triplets = [triplet for triplet in model.triplets[step.node] if triplet is not None]
        group = new_paths[step.node]
        additions += layer_target.arrays(group, stored, triplets, step.settings)
    moves = [
        (old, new_paths[node])
        for node, old in old_paths.items()
        if old != new_paths[node] and is_leaf(node) and old in model.contents.groups
    ]
    overlay = worker.call(
        "snconvert.archive.h5:edit",
        model.source.weights,
        [*moves, *slots.moves],
        [*additions, *slots.additions],
        seconds=_deadline(model.source),
    )

    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(Progress("writing", "", done, model.source.size))

    writer = write_folder if model.source.kind == "folder" else write_archive
    return writer(
        model.source,
        output,
        config=strictjson.dumps(model.root.entry),
        metadata=lambda digest: _metadata(model.metadata, recipe, layers, digest),
        overlay=overlay,
        assets=_asset_moves(model.source.assets, moves),
        force=force,
        progress=tell,
    )


def _twin_entry(node: Node) -> dict[str, Any]:
    first = node.first
    if first is None:
        return {}
    names = ("module", "class_name", "registered_name", "config")
    return {name: first.entry[name] for name in names if name in first.entry}


def _asset_moves(assets: Iterable[str], moves: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Asset members are named after groups, so they move with them."""
    new_of = dict(moves)
    renamed: dict[str, str] = {}
    for asset in assets:
        for group in _with_parents(asset.removeprefix("assets/")):
            if group in new_of:
                renamed[asset] = f"assets/{new_of[group]}{asset.removeprefix(f'assets/{group}')}"
    return renamed


def _with_parents(path: str) -> Iterable[str]:
    """Yields the path and everything above it: `a/b/c`, `a/b`, `a`."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _optimizer_edits(model: _Model) -> SlotEdits:
    """`gain` adds trainable variables: gives the optimizer a slot for each."""
    compiled = model.root.entry.get("compile_config")
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    slots = {
        path: (dataset.shape, dataset.dtype)
        for path, dataset in model.contents.datasets.items()
        if path.startswith("optimizer/")
    }
    gains = any(step.settings.mode == "gain" for step in model.plan.steps)
    if not gains or not slots or is_keras_2(model.root, model.metadata):
        return SlotEdits()
    if isinstance(optimizer, str):
        # Keras up to 3.5 writes what `compile` was given.
        optimizer = {"module": "keras.optimizers", "class_name": optimizer, "config": {}}
    if not isinstance(optimizer, dict):
        raise UnsupportedError(
            "the file holds optimizer state, but its configuration names no optimizer, and --mode"
            " gain must add to it",
            "Use --mode hard or cap, or save the model again",
        )
    return insert_slots(optimizer, slots, _trainable_variables(model))


def _stored_shapes(model: _Model) -> tuple[_Shapes, _Shapes]:
    """Returns the shapes that each leaf stores itself, and those that layers inside it store."""
    leaves = {path: node for node, path in model.paths.items() if is_leaf(node)}
    own: _Shapes = {}
    inner: _Shapes = {}
    for path, dataset in model.contents.datasets.items():
        owner = path.rpartition("/vars/")[0]
        for group in _with_parents(owner):
            if group in leaves:
                shapes = own if group == owner else inner
                shapes.setdefault(leaves[group], []).append(dataset.shape)
                break
    return own, inner


def _trainable_variables(model: _Model) -> list[StoredVariables | Gamma]:
    """Returns stored variables and new gammas in the order of Keras' trainable variables."""
    steps = {step.node: step for step in model.plan.steps}
    own, inner = _stored_shapes(model)
    variables: list[StoredVariables | Gamma] = []
    for node in model.root.walk():
        if not is_leaf(node) or not node.trainable or node.first is not None:
            continue
        step = steps.get(node)
        gain = step is not None and step.settings.mode == "gain"
        stored = model.inventory.get(node)
        if stored is not None:
            variables += _of_parts(model, node, stored, gain=gain)
            continue
        shapes = own.get(node, [])
        count = trainable_count(node.builtin, node.config, len(shapes)) if node.builtin else None
        if node in inner or count is None:
            unsure = (*shapes, *inner.get(node, []))
            variables.append(StoredVariables(unsure, exact=False))
        else:
            variables.append(StoredVariables(tuple(shapes[:count]), exact=True))
    return variables


def _of_parts(
    model: _Model, node: Node, stored: Stored, *, gain: bool
) -> Iterator[StoredVariables | Gamma]:
    """Yields what each part of a layer with a rule trains: all but its `u`s, then new gammas."""
    triplets = model.triplets.get(node, [None] * len(stored.kernels))
    for part, count in stored.counts.items():
        group = f"{model.paths[node]}/{part}".rstrip("/")
        own = [
            triplet
            for kernel, triplet in zip(stored.kernels, triplets, strict=True)
            if kernel.kernel.group == part
        ]
        trained = count - len(own) if node.spectral else count
        datasets = [model.contents.datasets[f"{group}/vars/{index}"] for index in range(trained)]
        yield StoredVariables(tuple(dataset.shape for dataset in datasets), exact=True)
        if gain:
            yield from (Gamma(triplet.sigma) for triplet in own if triplet is not None)
        for activation in ACTIVATIONS:
            if f"{group}/{activation}" in model.contents.groups:
                inside = f"{group}/{activation}/"
                found = [
                    d.shape
                    for path, d in model.contents.datasets.items()
                    if path.startswith(inside)
                ]
                yield StoredVariables(tuple(found), exact=False)


def _metadata(metadata: Any, recipe: Recipe, layers: Sequence[LayerReport], digest: str) -> bytes:
    """Adds how the file was made under the key `snconvert`; Keras ignores it."""
    made = record(recipe, layers, digest)
    if not isinstance(metadata, dict):
        metadata = {}
    if "snconvert" in metadata:
        made["before"] = metadata["snconvert"]
    return strictjson.dumps({**metadata, "snconvert": made})
