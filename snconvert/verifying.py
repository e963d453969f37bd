"""Proves that one file is another one, converted: `snconvert verify`.

Both models are opened, and the layers that have another form in the other model are taken back to
plain ones, on paper. Then the configurations must be equal, and the arrays bit for bit, but for
kernels that the conversion, or `bake`, multiplies: these by that factor. Of each layer that was
converted sigma is found anew from the raw kernel, and what is stored must fit it; so neither the
record in the file nor the code that wrote it is trusted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snconvert.archive.guard import Worker
from snconvert.archive.source import Source, open_source
from snconvert.correspondence import Renamed, compare_arrays, compare_assets, compared
from snconvert.differing import Findings, compare_configs
from snconvert.errors import KernelError, OutputError, SnconvertError, located
from snconvert.inventory import StoredKernel
from snconvert.opened import Opened, describe, open_weights
from snconvert.report import Progress
from snconvert.rewriting import Tell
from snconvert.rules import RULES
from snconvert.settings import Settings
from snconvert.targets.layer import states
from snconvert.tasks import IN_CHILD, Factor, Pair, Proof, Proved
from snconvert.tree import Node
from snconvert.unwrapping import (
    Normalised,
    find,
    is_wrapper,
    kernel_of,
    layers_of,
    refuse_newer,
    scalings,
    unwrap,
)
from snconvert.verdict import Change, Verdict

_CHUNK = 1 << 20


def verify_file(before: str, after: str, *, progress: Tell = None) -> Verdict:
    """Compares two files or folders, of which either may be the converted one.

    Args:
        before: The one model.
        after: The other.
        progress: Told how far it is.

    Raises:
        SnconvertError: One of them cannot be read.
    """
    started = time.perf_counter()
    with (
        Worker(IN_CHILD["verify"]) as worker,
        located(file=before),
        open_source(before) as one,
        located(file=after),
        open_source(after) as two,
    ):
        found, opened = _compare(one, two, worker, progress)
        warnings = (*opened.warnings, *found.notes, *_of_another_source(one, opened.metadata))
        for source in (one, two):
            source.check_weights()
            source.check_unchanged()
    seconds = time.perf_counter() - started
    changes = tuple(found.changes)
    return Verdict(before, after, changes, found.told(), found.arrays, seconds, warnings)


def check_result(source: Source, result: str, worker: Worker) -> None:
    """Raises `OutputError` if a result is not its source, converted, to the last bit.

    Args:
        source: The input.
        result: Where the result is for now.
        worker: Where the work is done.
    """
    try:
        with open_source(result) as written:
            written.check_weights()
            found, _ = _compare(source, written, worker, None)
    except SnconvertError as error:
        wrong = [f"it cannot be read: {error.what}"]
    else:
        wrong = [*map(str, found.told()), *found.notes]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise OutputError(
            f"the result is not what was to be written: {wrong[0]}{more}",
            "Nothing was written; check memory and disk, and report it if it happens again",
        )


def _of_another_source(one: Source, metadata: Any) -> Iterator[str]:
    """Yields a warning if the record says that the result was made of another file."""
    record = metadata.get("snconvert") if isinstance(metadata, dict) else None
    said = record.get("source_sha256") if isinstance(record, dict) else None
    if not isinstance(said, str):
        return
    digest = hashlib.sha256()
    for _, extent in one.parts():
        at = 0
        while chunk := extent.pread(_CHUNK, at):
            digest.update(chunk)
            at += len(chunk)
    if digest.hexdigest() != said:
        yield "its record says that it was made of a file with other bytes"


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two models.

    Attributes:
        model: It.
        normalised: Its normalised layers that have another form in the other model.
    """

    model: Opened
    normalised: Normalised

    def kernels(self, node: Node) -> tuple[StoredKernel, ...]:
        """Returns the stored kernels of a layer, in a wrapper or not."""
        stored = self.model.inventory.get(node.children[0] if is_wrapper(node) else node)
        return stored.kernels if stored is not None else ()


def _compare(one: Source, two: Source, worker: Worker, progress: Tell) -> tuple[Findings, Opened]:
    found = Findings()
    before, after = (_open(source, worker) for source in (one, two))
    pairs = _pairs(before.root, after.root, found)
    if found.differences:
        return found, after
    changed = {x: y for x, y in pairs.items() if _form(x) != _form(y)}
    sides = _side(before, set(changed)), _side(after, set(changed.values()))
    classes = {x: (x.class_name, y.class_name) for x, y in changed.items()}
    kernels = {x: sides[0].kernels(x) for x in changed}
    for side in sides:
        _compare_copies(side, found, worker)
    proved = _prove(sides, changed, found, worker, progress)
    used = _used(sides[0], found, worker)
    factors = _factors(sides, changed, proved, used)
    renamed = [Renamed(side.model, unwrap(side.normalised)) for side in sides]
    compare_configs(before.root, after.root, found)
    explained = compare_arrays(renamed[0], renamed[1], factors, found, worker, progress)
    compare_assets(renamed[0], renamed[1], found)
    for x in changed:
        how = [explained.get(kernel.path) for kernel in kernels[x]]
        known = [proved[kernel.path] for kernel in kernels[x] if kernel.path in proved]
        norms = [used[kernel.path].sigma for kernel in kernels[x] if kernel.path in used]
        found.changes.append(_change(x.path, *classes[x], how, known, norms))
    return found, after


def _open(source: Source, worker: Worker) -> Opened:
    with located(file=source.path):
        described = describe(source, opaque=True)
        refuse_newer(described.root)
        return open_weights(described, RULES, worker)


def _form(node: Node) -> str:
    if node.spectral is not None:
        return "spectral"
    return "wrapped" if is_wrapper(node) else "plain"


def _side(model: Opened, changed: set[Node]) -> _Side:
    def why_left(node: Node) -> str | None:
        return None if node in changed and _form(node) != "plain" else "of the same form"

    return _Side(model, find(model, why_left))


def _pairs(before: Node, after: Node, found: Findings) -> dict[Node, Node]:
    """Pairs the layers by their paths, and tells which are without a partner."""
    one = {node.path: node for node in layers_of(before)}
    two = {node.path: node for node in layers_of(after)}
    for path in one.keys() - two.keys():
        found.differ(path, "the layer is not there after")
    for path in two.keys() - one.keys():
        found.differ(path, "the layer was not there before")
    pairs = {node: two[path] for path, node in one.items() if path in two}
    for x, y in pairs.items():
        if "plain" not in {_form(x), _form(y)} and _form(x) != _form(y):
            found.differ(x.path, f"{_form(x)} before, {_form(y)} after: compare with the original")
    return pairs


def _compare_copies(side: _Side, found: Findings, worker: Worker) -> None:
    """Tells where Keras' wrapper and the layer inside store different kernels."""
    datasets, pairs, owners = side.model.contents.datasets, [], []
    for node in side.normalised.wrapped:
        mine, its = f"{side.model.paths[node]}/vars/0", kernel_of(side.model, node)
        if mine in datasets and its in datasets:
            pairs.append(Pair(its, datasets[its], mine, datasets[mine]))
            owners.append(node)
    weights = side.model.source.weights
    for node, result in zip(owners, compared(worker, weights, weights, pairs), strict=True):
        if result.what:
            found.differ(node.path, f"the wrapper's copy of the kernel: {result.what}")


def _prove(
    sides: tuple[_Side, _Side],
    changed: Mapping[Node, Node],
    found: Findings,
    worker: Worker,
    progress: Tell,
) -> dict[str, Proved]:
    """Finds sigma of each kernel that was normalised anew; returns it by the kernel's path."""
    before, after = sides
    proofs: list[Proof] = []
    for x, y in changed.items():
        raw = {kernel.kernel.path: kernel for kernel in before.kernels(x)}
        for kernel, gamma, u, settings in _states(after, y):
            one, vector = raw.get(kernel.kernel.path), after.model.contents.datasets.get(u)
            if one is not None and vector is not None:
                place = (one.path, one.dataset, one.view)
                proofs.append(Proof(x.path, *place, u, vector.dtype, gamma, settings))
            elif one is not None:
                found.differ(x.path, f"its u is not there ({u})")
    total, done = sum(proof.dataset.nbytes for proof in proofs), 0

    def tell(message: tuple[str, int]) -> None:
        nonlocal done
        done += message[1]
        if progress is not None:
            progress(Progress("sigma", message[0], done, total))

    results: list[Proved] = []
    if proofs:
        weights = before.model.source.weights, after.model.source.weights
        name = "snconvert.comparison:prove"
        results = worker.call(name, *weights, proofs, seconds=None, progress=tell)
    for proof, result in zip(proofs, results, strict=True):
        for what in result.wrong:
            found.differ(proof.layer, what)
        found.notes += [f"{proof.layer}: {note}" for note in result.notes]
    return {proof.kernel: result for proof, result in zip(proofs, results, strict=True)}


def _states(side: _Side, node: Node) -> Iterator[tuple[StoredKernel, str | None, str, Settings]]:
    """Yields each kernel of a normalised layer, the datasets of its gamma and `u`, and how."""
    if is_wrapper(node):
        for kernel in side.kernels(node):
            yield kernel, None, f"{side.model.paths[node]}/vars/1", Settings()
    elif node in side.normalised.layers:
        settings, stored = side.normalised.layers[node], side.model.inventory.get(node)
        if stored is not None and stored.kernels:
            for kernel, gamma, u in states(side.model.paths[node], stored, settings):
                yield kernel, gamma, u, settings


def _used(side: _Side, found: Findings, worker: Worker) -> dict[str, Factor]:
    """Returns what inference multiplied the kernels by that are plain after."""
    tasks = scalings(side.normalised)
    if not tasks:
        return {}
    name, weights = "snconvert.effective:factors", side.model.source.weights
    try:
        factors = worker.call(name, weights, tasks, seconds=None, progress=lambda _: None)
    except KernelError as error:
        found.notes.append(f"{error.path}: {error.what}")
        return {}
    return {task.path: factor for task, factor in zip(tasks, factors, strict=True)}


def _factors(
    sides: tuple[_Side, _Side],
    changed: Mapping[Node, Node],
    proved: Mapping[str, Proved],
    used: Mapping[str, Factor],
) -> dict[str, tuple[float, ...]]:
    """Returns by what the kernels may have been multiplied, by the kernel before."""
    factors: dict[str, tuple[float, ...]] = {}
    for x, y in changed.items():
        for kernel in sides[0].kernels(x):
            path = kernel.path
            if is_wrapper(y) and path in proved:
                factors[path] = (1.0 / (proved[path].sigma or 1.0),)
            elif is_wrapper(x):
                recorded = sides[0].normalised.wrapped.get(x)
                factors[path] = (1.0,) if recorded is None else (1.0, 1.0 / recorded)
            elif path in used:
                factors[path] = (1.0, used[path].factor)
    return factors


def _change(
    path: str,
    class_name: str,
    new_class: str,
    how: list[float | None],
    proved: list[Proved],
    norms: list[float],
) -> Change:
    if proved:
        sigma = max((p.sigma for p in proved if p.sigma is not None), default=None)
        reached = max((p.reached for p in proved if p.reached is not None), default=None)
        return Change(path, class_name, new_class, "converted", sigma, reached)
    baked = any(factor not in {None, 1.0} for factor in how)
    sigma = max(norms, default=None)
    after = [norm * factor for norm, factor in zip(norms, how, strict=False) if factor is not None]
    what = "plain, scaled" if baked else "plain"
    return Change(path, class_name, new_class, what, sigma, max(after, default=None))
