"""Sigma and `u` of the kernels of a model in a file, found in the guarded process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from snconvert.archive.output import Output
from snconvert.config.tree import Node
from snconvert.core.report import OnProgress, Progress, cumulative
from snconvert.core.spectrum import SPECTRA, cost_of
from snconvert.core.system import processes
from snconvert.core.triplet import Triplet
from snconvert.errors import located
from snconvert.files.model import Opened
from snconvert.jobs.requests import Task
from snconvert.planning.measured import Measured
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import State


def measure(
    model: Opened,
    nodes: Iterable[tuple[Node, bool, str]],
    worker: Worker,
    progress: OnProgress,
    *,
    certify: bool = False,
    states: Mapping[str, State] | None = None,
) -> Measured:
    """Finds the leading singular triplet of kernels, and what a stored `u` makes of them.

    Args:
        model: The model.
        nodes: The layers, each with whether it must have one, and which norm sigma is.
        worker: The guarded process.
        progress: Called with how far the work is.
        certify: Prove each sigma.
        states: How kernels are normalised already, by their datasets.

    Raises:
        KernelError: A kernel that must have one holds NaN or infinity; or a sigma is to be proved,
            and cannot be.
    """
    started = time.perf_counter()
    tasks: list[Task] = []
    owners: list[Node] = []
    for node, required, norm in nodes:
        stored = model.inventory.get(node)
        for kernel in stored.kernels if stored else ():
            where = (node.path, node.class_name)
            with located(path=node.path, class_name=node.class_name):
                conv = kernel.map_of(norm)
            place = (kernel.path, kernel.dataset, kernel.view)
            state = (states or {}).get(kernel.path)
            tasks.append(Task(where, *place, required, certify, conv, state))
            owners.append(node)
    tell = cumulative(progress, "sigma", sum(task.dataset.nbytes for task in tasks))
    triplets: dict[Node, list[Triplet | None]] = {}
    if tasks:
        results = worker.call(
            "snconvert.jobs.measure:measure",
            model.source.weights,
            tasks,
            seconds=None,
            progress=tell,
        )
        for node, triplet in zip(owners, results, strict=True):
            triplets.setdefault(node, []).append(triplet)
    return Measured(triplets, time.perf_counter() - started)


def with_spectra(
    model: Opened, measured: Measured, worker: Worker, progress: OnProgress
) -> Measured:
    """Returns the norms of kernels with the singular values of those that have a norm.

    Args:
        model: The model.
        measured: The norms.
        worker: The guarded process.
        progress: Called with the cost in words, where it is much, then with how far the work is.
    """
    tasks: list[Task] = []
    places: list[tuple[Node, int]] = []
    for node, triplets in measured.triplets.items():
        for index, kernel in enumerate(model.inventory[node].kernels):
            if triplets[index] is not None:
                where = (node.path, node.class_name)
                tasks.append(Task(where, kernel.path, kernel.dataset, kernel.view, required=False))
                places.append((node, index))
    if not tasks:
        return measured
    total = sum(task.dataset.nbytes for task in tasks)
    cost = cost_of([task.view.shape for task in tasks], processes())
    if progress is not None and cost is not None:
        progress(Progress(SPECTRA, cost, 0, total))
    found = {node: list(triplets) for node, triplets in measured.triplets.items()}
    spectra = worker.call(
        "snconvert.jobs.spectrum:spectra",
        model.source.weights,
        tasks,
        seconds=None,
        progress=cumulative(progress, SPECTRA, total),
    )
    for (node, index), spectrum in zip(places, spectra, strict=True):
        triplet = found[node][index]
        if triplet is not None:
            found[node][index] = triplet._replace(spectrum=spectrum)
    return Measured(found, measured.seconds)


def watched(begun: Output | None, progress: OnProgress) -> OnProgress:
    """Lets a full disk or a damaged archive end the search for `u` between two large kernels."""
    if begun is None:
        return progress

    def tell(done: Progress) -> None:
        begun.check()
        if progress is not None:
            progress(done)

    return tell
