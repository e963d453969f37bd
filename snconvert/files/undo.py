"""The ways back on files: `bake` keeps the effective kernels, `remove` the raw ones.

Both turn every spectral layer, and every layer in Keras' own `SpectralNormalization`, into the
plain Keras layer, and leave no trace of this package in the file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal

from snconvert.archive.output import Output, begin, check_output
from snconvert.config.constraint_entry import found_in, settings_of
from snconvert.config.references import needs
from snconvert.config.tree import Node
from snconvert.core.report import LayerReport, Report, Tell, adding_up
from snconvert.core.settings import Settings
from snconvert.core.verbs import IN_CHILD
from snconvert.errors import OptionError, SelectionError, located
from snconvert.files.edits import write_model
from snconvert.files.measure import measure, watched
from snconvert.files.model import (
    Opened,
    describe,
    keras_loads,
    kernel_shape,
    kernels_of,
    open_weights,
)
from snconvert.files.normalised import (
    Normalised,
    find,
    is_constrained,
    kernel_of,
    owner_of,
    refuse_newer,
    scalings,
    states,
    unwrap,
)
from snconvert.files.optimizer_state import stored_shapes
from snconvert.formats.table import FORMATS, open_model
from snconvert.jobs.requests import Factor
from snconvert.kinds.table import RULES, SPECTRAL
from snconvert.planning.layer_rows import (
    RESTORED,
    LayerFacts,
    left_row,
    norm_after_undoing,
    plain_row,
    report_of,
)
from snconvert.planning.measured import Measured
from snconvert.planning.plan import Selection, is_wrapper
from snconvert.planning.recipe import Recipe, recipe
from snconvert.planning.record import without_layers
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Product

_PLAIN = "not spectral"
_UNKNOWN = (
    "the kernel{} was normalised in place, by how much is not recorded; `snconvert bake` keeps it"
    " as it is"
)
Verb = Literal["bake", "remove"]


def choosing(verb: Verb, **options: Any) -> Recipe:
    """Returns the recipe of a way back, which has options for the choice of layers only.

    Args:
        verb: The way back.
        **options: `only`, `exclude`, `select` and `imports`, as for `snconvert.recipe.recipe`.

    Raises:
        OptionError: There is another one among them.
    """
    useless = sorted(options.keys() - {"only", "exclude", "select", "imports"})
    if useless:
        raise OptionError(
            f"{verb} has no option {useless[0]!r}", "It has only, exclude, select and imports"
        )
    return recipe(None, **options)


def undo_file(
    verb: Verb,
    source: str,
    output: str | None,
    recipe: Recipe,
    *,
    force: bool = False,
    in_place: bool = False,
    metadata: Any = None,
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
        metadata: The `metadata.json` to go by, where it is not the source's own.
        progress: Told how far it is.

    Raises:
        SnconvertError: It cannot be done; nothing was written.
    """
    started = time.perf_counter()
    with located(file=source), open_model(source) as opened, Worker(IN_CHILD[verb]) as worker:
        writer = FORMATS[opened.format].writer
        if output is not None:
            check_output(source, output, writer, force=force, in_place=in_place)
        described = describe(opened)
        if metadata is not None:
            described = replace(described, metadata=metadata)
        refuse_newer(described.root)
        model = open_weights(described, RULES, worker)
        found = _find(model, recipe, verb)
        settings = _settings(found)  # before the configuration is that of plain layers
        factors = _factors(found, worker, progress) if verb == "bake" else {}
        divisors = _divisors(found) if verb == "remove" else {}
        status = "convertible" if output is None else "converted"
        size = opened.size
        writing: AbstractContextManager[Output | None] = nullcontext()
        if output is not None:  # copies the weights beside the search for sigma
            writing = begin(opened, output, writer, force=force or in_place)
        with writing as begun:
            chosen = [(owner_of(node), False, norm) for node, norm in _norms(found)]
            tell = watched(begun, progress)
            measured = measure(model, chosen, worker, tell, states=states(model))
            layers = _reports(found, measured, verb, divisors, status)
            if begun is not None:
                gone = {node.path for node in (*found.layers, *found.wrapped, *found.constrained)}
                products = [Product(path, factor.factor) for path, factor in factors.items()]
                products += [Product(path, 1.0 / factor) for path, factor in divisors.items()]
                size = write_model(
                    model,
                    unwrap(found, products),
                    begun,
                    worker,
                    metadata=lambda: without_layers(model.metadata, gone),
                    progress=progress,
                )
            else:
                opened.check_weights()
                opened.check_unchanged()
    return report_of(
        verb,
        _target(found),
        settings,
        layers,
        started,
        source=source,
        output=output,
        bytes=size,
        seconds_sigma=measured.seconds,
        warnings=(*model.warnings, *([RESTORED] if divisors else [])),
        needs=needs(model.root.entry),
        loads=keras_loads(model),
    )


def _find(model: Opened, recipe: Recipe, verb: Verb) -> Normalised:
    selection = Selection(recipe, [node for node in model.root.walk() if node.path])

    def why_left(node: Node) -> str | None:
        if not (is_wrapper(node) or node.spectral or is_constrained(node)):
            return _PLAIN
        return selection.why_excluded(node)

    found = find(model, why_left)
    if verb == "remove":
        for node in [node for node, factor in found.wrapped.items() if factor is None]:
            del found.wrapped[node]
            found.left[node] = _UNKNOWN.format(" in keras' SpectralNormalization")
        for node, recorded in list(found.constrained.items()):
            stored = model.inventory.get(node)
            built = stored is not None and stored.kernels
            if built and (not recorded or None in recorded.values()):
                del found.constrained[node]
                found.left[node] = _UNKNOWN.format("")
    if not (found.layers or found.wrapped or found.constrained):
        reasons = sorted({reason for reason in found.left.values() if reason != _PLAIN})
        raise SelectionError(
            f"nothing to undo ({'; '.join(reasons)})"
            if reasons
            else "nothing to undo: no layer here is spectral",
            "See `snconvert inspect` for every layer, and --only and --exclude",
        )
    return found


def _settings(found: Normalised) -> list[Settings]:
    """Returns how the layers are normalised, each in its own way."""
    constraints = [options for node in found.constrained for _, options in found_in(node.config)]
    wrapped = [Settings() for _ in found.wrapped]
    return [*found.layers.values(), *map(settings_of, constraints), *wrapped]


def _divisors(found: Normalised) -> dict[str, float]:
    """Returns what kernels were multiplied by when they were converted, by dataset."""
    model = found.model
    divisors = {kernel_of(model, node): factor for node, factor in found.wrapped.items()}
    for node, recorded in found.constrained.items():
        stored = model.inventory.get(node)
        divisors |= {k.path: recorded[k.kernel.path] for k in (stored.kernels if stored else ())}
    return {path: factor for path, factor in divisors.items() if factor is not None}


def _target(found: Normalised) -> str:
    if found.layers:
        return "layer"
    return "keras" if found.wrapped else "constraint"


def _factors(found: Normalised, worker: Worker, progress: Tell) -> dict[str, Factor]:
    """Returns what inference multiplies each kernel by, by the kernel's path."""
    tasks = scalings(found)
    if not tasks:
        return {}
    total = sum(task.dataset.nbytes for task in tasks)
    factors = worker.call(
        "snconvert.jobs.effective:factors",
        found.model.source.weights,
        tasks,
        seconds=None,
        progress=adding_up(progress, "sigma", total),
    )
    return {task.path: factor for task, factor in zip(tasks, factors, strict=True)}


def _norms(found: Normalised) -> list[tuple[Node, str]]:
    """Returns the layers that become plain, each with the norm that sigma is."""
    others = (*found.wrapped, *found.constrained)
    norms = [(node, settings.norm) for node, settings in found.layers.items()]
    return [*norms, *((node, "matrix") for node in others)]


def _reports(
    found: Normalised,
    measured: Measured,
    verb: Verb,
    divisors: Mapping[str, float],
    status: str,
) -> tuple[LayerReport, ...]:
    model, norms = found.model, dict(_norms(found))
    own_shapes, inner = stored_shapes(model)
    reports: list[LayerReport] = []
    for node in model.root.walk():
        if node in found.left:
            first = node.first or node
            shapes = [*own_shapes.get(first, []), *inner.get(first, [])]
            bare = not node.opaque and all(len(shape) < 2 for shape in shapes)  # noqa: PLR2004 -- the rank of a matrix
            reason = found.left[node]
            facts = LayerFacts(
                node.title, shape=kernel_shape(model, node), bare=bare and reason == _PLAIN
            )
            reports.append(left_row(node, facts, reason))
        elif node in norms:
            owner = owner_of(node)
            stored = model.inventory.get(owner)
            kernels = stored.kernels if stored is not None else ()
            own = {k.kernel.path: divisors[k.path] for k in kernels if k.path in divisors}
            plain = SPECTRAL[str(node.spectral)].class_name if node.spectral else owner.class_name
            facts = LayerFacts(
                node.class_name, plain, norms[node], kernel_shape(model, owner), kernels_of(stored)
            )
            after = norm_after_undoing(verb, own)
            reports.append(plain_row(node, facts, measured.known(owner), status, after))
    return tuple(reports)
