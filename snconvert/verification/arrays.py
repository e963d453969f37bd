"""Which array of one model belongs to which of another, and whether it is what it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from snconvert.config.tree import Node
from snconvert.config.weight_groups import group_paths
from snconvert.core.optimizer_families import LOSS_SCALE
from snconvert.core.report import OnProgress, cumulative
from snconvert.core.verbs import WAYS_BACK, Way
from snconvert.files.edits import Edits, asset_moves
from snconvert.files.model import Opened
from snconvert.files.optimizer_state import Gammas, optimizer_edits, untrained_slots
from snconvert.jobs.requests import UNCHANGED, Compared, Pair
from snconvert.sandbox.worker import Worker
from snconvert.verification.findings import Findings
from snconvert.weights.contents import Dataset


class Renamed:
    """The arrays of a model by the names that they have when all its layers are plain.

    Args:
        model: A model whose tree was edited.
        edits: What belongs to that edit.
    """

    def __init__(self, model: Opened, edits: Edits) -> None:
        self.model, self.edits = model, edits
        places = {**dict.fromkeys(edits.removals), **dict(edits.moves)}
        self.arrays: dict[str, str] = {}
        for path in model.contents.datasets:
            old = path
            while old and old not in places:
                old = old.rpartition("/")[0]
            new = places.get(old, old)
            if new is not None:
                self.arrays[new + path[len(old) :]] = path

    def dataset(self, name: str) -> tuple[str, Dataset]:
        """Returns the path of an array, and what the file says of it."""
        path = self.arrays[name]
        return path, self.model.contents.datasets[path]


def compare_arrays(
    before: Renamed,
    after: Renamed,
    factors: Mapping[str, Mapping[Way, float]],
    findings: Findings,
    progress: OnProgress,
    way: Way | None = None,
) -> dict[str, float]:
    """Compares all arrays of two models.

    Args:
        before: The arrays of the one model.
        after: The arrays of the other.
        factors: What kernels may have been multiplied by, by their dataset before.
        findings: Takes what differs.
        progress: Called with how far the comparison is.
        way: What has made layers plain, `bake` or `remove`, if that is known.

    Returns:
        The factors that explain the arrays after, by the path before.
    """
    layers = {group: node.path for node, group in group_paths(before.model.root).items()}

    def located_by_layer(name: str, what: str) -> tuple[str, str]:
        group = name
        while group and group not in layers:
            group = group.rpartition("/")[0]
        path = layers.get(group, "") if group else ""
        return path or name, f"{name}: {what}" if path else what

    worker = before.model.worker
    built = _compare_built_slots(before, after, findings, worker)
    for name in sorted((before.arrays.keys() ^ after.arrays.keys()) - built):
        findings.differ(
            *located_by_layer(name, f"stored {'before' if name in before.arrays else 'after'} only")
        )
    names = [name for name in before.arrays if name in after.arrays]
    pairs = [
        Pair(
            *before.dataset(name),
            *after.dataset(name),
            factors.get(before.arrays[name], UNCHANGED),
        )
        for name in names
    ]
    weights = before.model.source.weights, after.model.source.weights
    results = compared(worker, *weights, pairs, progress)
    way = way or _way_back(results)
    explained: dict[str, float] = {}
    for name, pair, ways in zip(names, pairs, results, strict=True):
        result = ways.get("apply") or ways.get(way, _UNKNOWN)
        if result.factor is None:
            others = [other for other, it in ways.items() if it.factor is not None]
            left = f"; it is as {others[0]} leaves it, and others as {way}" if others else ""
            findings.differ(*located_by_layer(name, result.what + left))
            continue
        explained[pair.before] = result.factor
    findings.arrays += len(names)
    return explained


_UNKNOWN = Compared(None, "by what it is to be divided is not recorded")


def _way_back(results: Iterable[Mapping[Way, Compared]]) -> Way:
    """Returns the way that explains the most kernels which are plain now; it has to explain all."""
    kernels = [ways for ways in results if "apply" not in ways]

    def wrong(way: Way) -> tuple[int, int]:
        left = [ways.get(way, _UNKNOWN) for ways in kernels]
        left = [result for result in left if result.factor is None]
        return len(left), sum(result.off for result in left)

    return min(WAYS_BACK, key=wrong)


def compared(
    worker: Worker, before: Any, after: Any, pairs: list[Pair], progress: OnProgress = None
) -> list[dict[Way, Compared]]:
    """Compares pairs of arrays of two weights files."""
    if not pairs:
        return []
    tell = cumulative(progress, "comparing", sum(pair.first.nbytes for pair in pairs))
    name = "snconvert.jobs.compare:compare"
    results: list[dict[Way, Compared]]
    results = worker.call(name, before, after, pairs, seconds=None, progress=tell)
    return results


def compare_fresh_slots(
    before: Opened, gammas: Mapping[Node, Gammas], after: Opened, findings: Findings, worker: Worker
) -> None:
    """Adds to the findings which slots of new scalars do not hold what fresh ones do."""
    stored = after.contents.datasets
    fresh = optimizer_edits(before, gammas).additions if any(x.new for x in gammas.values()) else []
    fresh = [(path, array) for path, array in fresh if path in stored]  # others are found elsewhere
    if not fresh:
        return
    name = "snconvert.jobs.compare:compare_values"
    results = worker.call(name, after.source.weights, fresh, seconds=None)
    for (path, _), what in zip(fresh, results, strict=True):
        if what is not None:
            findings.differ(path, what)


def _compare_built_slots(
    before: Renamed, after: Renamed, findings: Findings, worker: Worker
) -> set[str]:
    """Adds to the findings which slots are wrong that Keras built as it loaded a compiled model.

    Returns:
        The names of the slots that Keras builds in loading. There are none if the optimizer had
        slots before; an optimizer that has taken a step has them, or never will.
    """
    stored = {name for name in before.arrays if name.startswith("optimizer/")}
    if any(before.dataset(name)[1].shape for name in stored):
        return set()
    if (
        any(name.startswith("optimizer/inner_optimizer/") for name in stored)
        and _BEHIND not in stored
    ):
        before.arrays = {_behind_loss_scale(name): path for name, path in before.arrays.items()}
    new = sorted(
        name for name in after.arrays.keys() - before.arrays.keys() if name.startswith("optimizer/")
    )
    fresh = untrained_slots(after.model) if new else {}
    built = [name for name in new if after.arrays[name] in fresh]
    if built:
        slots = [(*after.dataset(name), fresh[after.arrays[name]]) for name in built]
        function = "snconvert.jobs.compare:compare_constants"
        results = worker.call(function, after.model.source.weights, slots, seconds=None)
        for name, what in zip(built, results, strict=True):
            if what is not None:
                findings.differ(name, what)
    return set(built)


_BEHIND = f"optimizer/vars/{2 + len(LOSS_SCALE)}"


def _behind_loss_scale(name: str) -> str:
    """Returns the name that a variable gets when the loss scale that it stands behind is built."""
    folder, _, index = name.rpartition("/")
    if folder != "optimizer/vars" or int(index) < 2:  # noqa: PLR2004 -- its iteration and rate
        return name
    return f"{folder}/{int(index) + len(LOSS_SCALE)}"


def compare_assets(before: Renamed, after: Renamed, findings: Findings) -> None:
    """Adds to the findings which assets, as vocabularies, are not the same."""
    old, new = (_digests(side) for side in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            findings.differ(name, f"there {'before' if name in old else 'after'} only")
        elif old[name] != new[name]:
            findings.differ(name, "holds other bytes")


def _digests(side: Renamed) -> dict[str, bytes]:
    source = side.model.source
    names = asset_moves(source.assets, side.edits.moves)
    digests: dict[str, bytes] = {}
    for asset in source.assets:
        digest = hashlib.sha256()
        for chunk in source.read(asset):
            digest.update(chunk)
        digests[names.get(asset, asset)] = digest.digest()
    return digests
