"""Proves that one live model is another one, converted.

The layers that are spectral in one of the two only are judged by their kernels, and made plain
again in a copy. Then both models are saved, and the files must be the same.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from snconvert.comparison import judge
from snconvert.differing import Findings
from snconvert.errors import located
from snconvert.live.adoption import kernels_by_owner, plain_class
from snconvert.live.kernels import kernels_of
from snconvert.live.models import check_model
from snconvert.live.opening import import_modules, load, save
from snconvert.live.survey import layer_of, survey
from snconvert.live.undoing import undo
from snconvert.live.walk import Layer
from snconvert.recipe import Recipe
from snconvert.rules import RULES
from snconvert.settings import Settings
from snconvert.tasks import Proved
from snconvert.tree import Node
from snconvert.undo import Verb
from snconvert.verdict import Change, Verdict
from snconvert.verifying import verify_file

_WAYS: tuple[Verb, ...] = ("remove", "bake")


def verify_through_keras(before: Any, after: Any, imports: Iterable[str]) -> Verdict:
    """Compares two models that Keras opens, or of which one is live; see `snconvert.verify`.

    Args:
        before: A path or a live model.
        after: The same of the other.
        imports: Modules that register the custom classes of files.
    """
    import_modules(imports)
    names, models, told = [], [], []
    for place, given in (("before", before), ("after", after)):
        path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
        with located(file=path):
            model, warnings = (given, []) if path is None else load(path)
        names.append(path or place)
        models.append(model)
        told += warnings
    return verify_models(models[0], models[1], names=(names[0], names[1]), warnings=told)


def verify_models(
    before: Layer,
    after: Layer,
    *,
    names: tuple[str, str] = ("before", "after"),
    warnings: Iterable[str] = (),
) -> Verdict:
    """Compares two live models, of which either may be the converted one.

    Args:
        before: The one model.
        after: The other.
        names: What the verdict calls them.
        warnings: What the user should know already.

    Raises:
        OptionError: One of them is no model, or cannot be saved.
    """
    started = time.perf_counter()
    for model in (before, after):
        check_model(model, "verify", keras.Model)
    mine, its = (_spectral(model) for model in (before, after))
    new = {path: node for path, node in its.items() if path not in mine}
    gone = {path: node for path, node in mine.items() if path not in its}
    found = Findings()
    for path, node in new.items():
        _judge(path, node, found)
    plain = undo("remove", after, _selecting(new))[0] if new else after
    verdict, way = min(
        ((_saved(one, plain), way) for one, way in _ways_back(before, gone)),
        key=lambda pair: len(pair[0].differences),
    )
    for path, node in gone.items():
        layer = layer_of(node)
        what = "plain, scaled" if way == "bake" else "plain"
        found.changes.append(Change(path, type(layer).__name__, plain_class(layer).__name__, what))
    return Verdict(
        *names,
        (*found.changes, *verdict.changes),
        (*found.told(), *verdict.differences),
        verdict.arrays,
        time.perf_counter() - started,
        (*warnings, *found.notes, *verdict.warnings),
    )


def _spectral(model: Layer) -> dict[str, Node]:
    root = survey(model, RULES)
    return {node.path: node for node in root.walk() if node.spectral and node.first is None}


def _selecting(chosen: Mapping[str, Node]) -> Recipe:
    return Recipe(select=lambda path, _: path in chosen)


def _ways_back(before: Layer, gone: Mapping[str, Node]) -> Iterable[tuple[Layer, Verb | None]]:
    """Yields the model before with its layers plain, in every way in which they can be."""
    if not gone:
        yield before, None
        return
    for way in _WAYS:
        yield undo(way, before, _selecting(gone))[0], way


def _judge(path: str, node: Node, found: Findings) -> None:
    layer = layer_of(node)
    rule = layer.rule
    settings = Settings(layer.mode, layer.bound, layer.power_iterations, layer.norm)
    names = [
        (owner, owner._prefix(kernel.name))  # noqa: SLF001 -- as everything in `live`
        for owner, kernels in kernels_by_owner(layer, rule)
        for kernel in kernels
    ]
    proved: list[Proved] = []
    for (owner, prefix), (value, view, half, conv) in zip(
        names if layer.built else (),
        kernels_of(layer, rule, layer.norm) if layer.built else (),
        strict=True,
    ):
        u = np.asarray(keras.ops.convert_to_numpy(getattr(owner, f"{prefix}u")), np.float64)
        gamma = float(getattr(owner, f"{prefix}gamma")) if layer.mode == "gain" else None
        proved.append(judge(value, view, settings, u, gamma, conv=conv, bfloat16=half))
    for result in proved:
        for what in result.wrong:
            found.differ(path, what)
        found.notes += [f"{path}: {note}" for note in result.notes]
    sigma = max((p.sigma for p in proved if p.sigma is not None), default=None)
    reached = max((p.reached for p in proved if p.reached is not None), default=None)
    classes = plain_class(layer).__name__, type(layer).__name__
    found.changes.append(Change(path, *classes, "converted", sigma, reached))


def _saved(one: Layer, two: Layer) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"{name}.keras") for name in ("before", "after")]
        for model, path in zip((one, two), paths, strict=True):
            save(model, path)
        return verify_file(paths[0], paths[1])
