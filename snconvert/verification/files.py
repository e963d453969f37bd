"""Proves that one file is another one, converted: `snconvert verify`.

Both models are opened, and the layers that have another form in the other model are taken back to
plain ones, on paper. Then the configurations must be equal, and the arrays bit for bit, but for
kernels that the conversion, or `bake`, multiplies: these by that factor. Of each layer that was
converted sigma is found anew from the raw kernel, and what is stored must fit it; so neither the
record in the file nor the code that wrote it is trusted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from snconvert.archive.source import Source
from snconvert.config.tree import Node
from snconvert.core.report import OnProgress, begin_stage
from snconvert.core.verbs import VERBS, Way
from snconvert.core.verdict import Change, Verdict
from snconvert.errors import OutputError, SnconvertError, located
from snconvert.files.measure import measure
from snconvert.files.model import Opened, describe, open_weights
from snconvert.files.normalised import layers_of, refuse_newer, unwrap
from snconvert.files.targets import owner_of
from snconvert.files.targets.target import Copy
from snconvert.formats.table import open_model
from snconvert.jobs.requests import Proved
from snconvert.kinds.table import RULES
from snconvert.sandbox.worker import Worker
from snconvert.verification.arrays import (
    Renamed,
    compare_arrays,
    compare_assets,
    compare_fresh_slots,
    compared,
)
from snconvert.verification.findings import Findings, compare_configs, converted, made_plain
from snconvert.verification.forms import PLAIN, drop_defaults, form_of
from snconvert.verification.proofs import (
    Side,
    add_proofs,
    converted_of,
    factors_of,
    new_gammas,
    prove_kernels,
    side_of,
    used_factors,
)
from snconvert.verification.records import check_bound, check_records


def verify_file(
    before: str,
    after: str,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: OnProgress = None,
    way: Way | None = None,
) -> Verdict:
    """Compares two files or folders, of which either may be the converted one.

    Args:
        before: The one model.
        after: The other.
        config: The configuration of the one, where it is a file of weights only.
        progress: Called with how far the comparison is.
        way: What has made layers plain, `bake` or `remove`, if that is known.

    Raises:
        SnconvertError: One of them cannot be read.
    """
    started = time.perf_counter()
    with (
        Worker(VERBS["verify"].child_modules) as worker,
        located(file=before),
        open_model(before, worker, config, progress=progress) as first,
        located(file=after),
        open_model(after, worker, progress=progress) as second,
    ):
        findings, opened = _compare(first, second, worker, progress, way)
        begin_stage(progress, "checking")
        notes = list(findings.notes)
        if any(change.what == "converted" for change in findings.changes):
            notes += _of_another_source(first, opened.metadata)
        for source in (first, second):
            source.check_weights()
            source.check_unchanged()
    seconds = time.perf_counter() - started
    changes = tuple(findings.changes)
    return Verdict(
        before,
        after,
        changes,
        findings.listed(),
        findings.arrays,
        seconds,
        opened.warnings,
        findings.lipschitz,
        tuple(notes),
    )


def check_result(source: Source, result: str, worker: Worker, progress: OnProgress = None) -> None:
    """Raises `OutputError` if a result is not its source, converted, to the last bit.

    Args:
        source: The input.
        result: The path at which the result is for now.
        worker: The guarded process.
        progress: Called with how far the comparison is.
    """
    try:
        with open_model(result, worker) as written:
            written.check_weights()
            findings, opened = _compare(source, written, worker, progress)
            notes = [*findings.notes, *_of_another_source(source, opened.metadata)]
    except SnconvertError as error:
        wrong = [f"it cannot be read: {error.what}"]
    else:
        wrong = [*map(str, findings.listed()), *notes]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise OutputError(
            f"the result is not what was to be written: {wrong[0]}{more}",
            "Nothing was written; check memory and disk, and report it if it happens again",
        )


def _of_another_source(source: Source, metadata: Any) -> Iterator[str]:
    """Yields a warning if the record says that the result was made of another file."""
    record = metadata.get("snconvert") if isinstance(metadata, dict) else None
    recorded = record.get("source_sha256") if isinstance(record, dict) else None
    if isinstance(recorded, str) and source.sha256() != recorded:
        yield "its record says that it was made of a file with other bytes"


def _compare(
    first: Source, second: Source, worker: Worker, progress: OnProgress, way: Way | None = None
) -> tuple[Findings, Opened]:
    """Compares two models; where kernels of the first were normalised, the other way round as well.

    The second may be the very original of the first, and not what `remove` makes of the first: then
    a conversion of the second makes the first.
    """
    findings, after, restored = _converted(first, second, worker, progress, way)
    if findings.differences and restored:
        back = _converted(second, first, worker, progress, way)[0]
        if not back.differences:
            findings, findings.changes = back, [_turned(change) for change in back.changes]
    return findings, after


def _converted(
    first: Source, second: Source, worker: Worker, progress: OnProgress, way: Way | None
) -> tuple[Findings, Opened, bool]:
    """Compares two models, of which the second is to be made of the first.

    Returns:
        The findings, the second model, and whether layers are plain in it whose kernels are
        normalised in the first.
    """
    findings = Findings()
    before, after = (_open(source, worker) for source in (first, second))
    pairs = _pairs(before.root, after.root, findings)
    if findings.differences:
        return findings, after, False
    changed = {x: y for x, y in pairs.items() if form_of(x) != form_of(y)}
    sides = side_of(before, set(changed)), side_of(after, set(changed.values()))
    restored = any(layer.target.IN_PLACE for layer in sides[0].normalised.layers.values())
    classes = {x: (x.class_name, y.class_name) for x, y in changed.items()}
    kernels = {x: sides[0].kernels(x) for x in changed}
    for side in sides:
        compare_copies(side, findings, worker)
    proved = prove_kernels(sides, changed, findings, worker, progress)
    recorded = Findings()  # added at last: what the file holds counts for more
    new = converted_of(sides, changed, proved)
    check_records(before, after, new, recorded)
    check_bound(after, new, recorded, progress)
    used = used_factors(sides[0], findings, worker)
    old = sides[0].normalised.layers
    plain = [(owner_of(x), False, layer.norm) for x, layer in old.items()]
    measured = measure(before, plain, worker, progress)
    sigmas = {x: [triplet.sigma for triplet in measured.known(owner_of(x))] for x in changed}
    compare_fresh_slots(before, new_gammas(sides, changed, proved), after, findings, worker)
    factors = factors_of(sides, changed, proved, used, findings)
    renamed = [Renamed(side.model, unwrap(side.normalised)) for side in sides]
    for side in sides:
        drop_defaults(side.model.root)
    compare_configs(before.root, after.root, findings)
    explained = compare_arrays(renamed[0], renamed[1], factors, findings, progress, way)
    compare_assets(renamed[0], renamed[1], findings)
    for x in changed:
        add_proofs(x.path, kernels[x], proved, explained, findings)
    findings.differences += recorded.differences
    findings.lipschitz = recorded.lipschitz
    for x in changed:
        explaining = [explained.get(kernel.path) for kernel in kernels[x]]
        known = [proved[kernel.path] for kernel in kernels[x] if kernel.path in proved]
        change = _change(x.path, *classes[x], explaining, known, sigmas[x])
        findings.changes.append(change._replace(sigma_after=None) if None in explaining else change)
    return findings, after, restored


def _open(source: Source, worker: Worker) -> Opened:
    with located(file=source.path):
        described = describe(source, opaque=True)
        refuse_newer(described.root)
        return open_weights(described, RULES, worker)


def _pairs(before: Node, after: Node, findings: Findings) -> dict[Node, Node]:
    """Pairs layers by their paths, and adds to the findings which are without a partner."""
    old = {node.path: node for node in layers_of(before)}
    new = {node.path: node for node in layers_of(after)}
    for path in old:
        if path not in new:
            findings.differ(path, "the layer is not there after")
    for path in new:
        if path not in old:
            findings.differ(path, "the layer was not there before")
    pairs = {node: new[path] for path, node in old.items() if path in new}
    for x, y in pairs.items():
        if PLAIN not in {form_of(x), form_of(y)} and form_of(x) != form_of(y):
            findings.differ(
                x.path, f"{form_of(x)} before, {form_of(y)} after: compare with the original"
            )
    return pairs


def compare_copies(side: Side, findings: Findings, worker: Worker) -> None:
    """Adds to the findings which layers store variables that they should not, or other copies."""
    copies: list[tuple[Node, Copy]] = []
    for node, layer in side.normalised.layers.items():
        flaws = list(layer.target.stored_flaws(side.model, node))
        for what in flaws:
            findings.differ(node.path, what)
        if not flaws:
            copies += [(node, copy) for copy in layer.target.copies(side.model, node)]
    weights = side.model.source.weights
    results = compared(worker, weights, weights, [copy.pair for _, copy in copies])
    for (node, copy), result in zip(copies, results, strict=True):
        if result["apply"].factor is None:
            findings.differ(node.path, f"{copy.what}: {result['apply'].what}")


def _turned(change: Change) -> Change:
    classes, norms = (change.new_class, change.class_name), (change.sigma_after, change.sigma)
    return Change(change.path, *classes, "plain, scaled", *norms)


def _change(
    path: str,
    class_name: str,
    new_class: str,
    factors: list[float | None],
    proved: list[Proved],
    norms: list[float],
) -> Change:
    if proved:
        return converted(path, class_name, new_class, proved)
    pairs = zip(norms, factors, strict=False)
    after = [norm * factor for norm, factor in pairs if factor is not None]
    baked = any(factor not in {None, 1.0} for factor in factors)
    return made_plain(path, class_name, new_class, norms, after, baked=baked)
