"""Proves that one live model is another one, converted.

The layers that are spectral in one of the two only are judged by their kernels, and made plain
again in a copy. Then both models are saved, and the files must be the same.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import keras

from snconvert.core.triplet import Triplet
from snconvert.core.verbs import VERBS, WAYS_BACK, Way
from snconvert.core.verdict import Verdict
from snconvert.errors import KernelError, located
from snconvert.jobs.compare import judge, value_differs
from snconvert.jobs.requests import StoredState
from snconvert.kinds.table import RULES
from snconvert.live.internals.class_swap import kernels_by_owner, plain_class, state_of
from snconvert.live.internals.fitting import all_layers
from snconvert.live.internals.optimizer_state import optimizers_of, slots_of
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import numbers_of, spectral_kernels_of
from snconvert.live.loading import import_modules, load, save
from snconvert.live.measure import triplets_in_use
from snconvert.live.model import check_model
from snconvert.live.tree import layer_of, survey
from snconvert.live.undo import undo
from snconvert.live.variables import compare_variables
from snconvert.planning.recipe import Recipe
from snconvert.verification.files import verify_file
from snconvert.verification.findings import Findings, converted, made_plain


def verify_through_keras(
    before: Any,
    after: Any,
    imports: Iterable[str],
    config: str | os.PathLike[str] | None = None,
) -> Verdict:
    """Compares two models that Keras opens, or of which one is live; see `snconvert.verify`.

    Args:
        before: A path or a live model.
        after: The same of the other.
        imports: Modules that register the custom classes of files.
        config: The configuration of the model before, where that is a file of weights only.
    """
    import_modules(imports)
    names, models, warned = [], [], []
    for place, candidate, beside in (("before", before, config), ("after", after, None)):
        path = os.fspath(candidate) if isinstance(candidate, str | os.PathLike) else None
        with located(file=path):
            model, warnings = (candidate, []) if path is None else load(path, beside)
        names.append(path or f"the {'first' if place == 'before' else 'second'} model")
        models.append(model)
        # What is said without a file is said of the second.
        warned += warnings if place == "after" else [f"{names[0]}: {text}" for text in warnings]
    return verify_models(
        models[0], models[1], names=(names[0], names[1]), warnings=warned, trained=False
    )


def verify_models(
    before: Layer,
    after: Layer,
    *,
    names: tuple[str, str] = ("the first model", "the second model"),
    warnings: Iterable[str] = (),
    trained: bool = True,
) -> Verdict:
    """Compares two live models, of which either may be the converted one.

    Args:
        before: The one model.
        after: The other.
        names: What the verdict calls them.
        warnings: What the user should know already.
        trained: Compare how variables are trained, too, of which files say nothing.

    Raises:
        OptionError: One of them is no model, or cannot be saved.
    """
    started = time.perf_counter()
    for model in (before, after):
        check_model(model, "verify", keras.Model)
    old, new = (_spectral(model) for model in (before, after))
    made_spectral = {path: layer for path, layer in new.items() if path not in old}
    no_longer = {path: layer for path, layer in old.items() if path not in new}
    findings = Findings()
    for path, layer in made_spectral.items():
        _judge(path, layer, findings)
    _compare_slots(after, made_spectral, findings)
    if trained:
        compare_variables(before, after, findings)
    plain = undo("remove", after, _selecting(made_spectral))[0] if made_spectral else after
    verdict, way = min(
        ((_saved(source, plain, way), way) for source, way in _ways_back(before, no_longer)),
        key=lambda pair: len(pair[0].differences),
    )
    for path, layer in no_longer.items():
        classes = type(layer).__name__, plain_class(layer).__name__
        baked, triplets = way is not None and VERBS[way].scales, list[Triplet]()
        with suppress(KernelError):  # what is not finite has no norm
            triplets = triplets_in_use(layer, layer.rule, layer.norm) if layer.built else []
        norms = [t.sigma for t in triplets]
        norms_after = [t.norm_in_use for t in triplets] if baked else norms
        findings.changes.append(made_plain(path, *classes, norms, norms_after, baked=baked))
    return Verdict(
        *names,
        (*findings.changes, *verdict.changes),
        (*findings.listed(), *verdict.differences),
        verdict.arrays,
        time.perf_counter() - started,
        (*warnings, *verdict.warnings),
        verdict.lipschitz,
        (*findings.notes, *verdict.notes),
    )


def _spectral(model: Layer) -> dict[str, Layer]:
    nodes = survey(model, RULES).walk()
    return {node.path: layer_of(node) for node in nodes if node.spectral and node.first is None}


def _selecting(chosen: Mapping[str, Layer]) -> Recipe:
    return Recipe(select=lambda path, _: path in chosen)


def _judge(path: str, layer: Layer, findings: Findings) -> None:
    proved = [
        judge(
            x.kernel,
            x.view,
            x.settings,
            StoredState(x.u, x.gamma),
            conv=x.conv,
            bfloat16=x.bfloat16,
        )
        for x in spectral_kernels_of(layer)
    ]
    for result in proved:
        for what in result.wrong:
            findings.differ(path, what)
        for note in result.notes:
            findings.note(path, note)
    classes = plain_class(layer).__name__, type(layer).__name__
    findings.changes.append(converted(path, *classes, proved))


def _compare_slots(model: Layer, new: Mapping[str, Layer], findings: Findings) -> None:
    """Tells which slots of optimizers do not hold for a new gamma what fresh ones do."""
    gammas = [
        variable
        for layer in new.values()
        if layer.mode == "gain"
        for owner, _ in kernels_by_owner(layer, layer.rule)
        for variable in state_of(owner, ("gamma",))
    ]
    for optimizer in optimizers_of(all_layers(model)) if gammas else ():
        for slot, fresh in slots_of(optimizer, gammas):
            what = value_differs(numbers_of(slot), numbers_of(fresh))
            if what is not None:
                findings.differ(slot.path, what)


def _ways_back(before: Layer, gone: Mapping[str, Layer]) -> Iterator[tuple[Layer, Way | None]]:
    """Yields the model before with its layers plain, in every way in which they can be."""
    if not gone:
        yield before, None
        return
    for verb in reversed(WAYS_BACK):  # of two that fit as well, the first counts
        with suppress(KernelError):  # numbers that are not finite are never baked
            yield undo(verb, before, _selecting(gone))[0], verb


def _saved(before: Layer, after: Layer, way: Way | None) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"{name}.keras") for name in ("before", "after")]
        for model, path in zip((before, after), paths, strict=True):
            save(model, path)
        return verify_file(paths[0], paths[1], way=way)
