"""The kernels of a model without values, in its files: their norms, and what `bake` makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from snconvert.archive.source import Source
from snconvert.config.tree import Node
from snconvert.core.report import OnProgress, cumulative
from snconvert.files.targets import norm_of
from snconvert.jobs.requests import Scaling, Task
from snconvert.live.folders.skeleton import Skeleton
from snconvert.live.internals.class_swap import built_for, kernels_by_owner
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import settings_of
from snconvert.live.tree import layer_of
from snconvert.planning.measured import Measured
from snconvert.planning.plan import Skip, Step
from snconvert.planning.recipe import Recipe
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Product, State


def measure(
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


def products_of(
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
