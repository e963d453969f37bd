"""What an earlier run has made of the same bytes with the same options, and may be left as it is.

Such a result has these options and the SHA-256 of the input in its record in `metadata.json`, and
is what that run writes: with its layers plain, its configuration is that of the input, and every
array is there bit for bit, kernels that the conversion multiplies by the recorded factor. It is
read to its end. What the run has added, `u` and `gamma`, and the norms in the record are taken as
they are: to find sigma anew is most of what a conversion costs, and `verify` does it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from snconvert.archive.atomic import exists
from snconvert.archive.output import Destination
from snconvert.archive.source import Source
from snconvert.config import strict_json
from snconvert.config.tree import Node
from snconvert.core.report import OnProgress, Progress, Report, begin_stage, within
from snconvert.core.verbs import Way
from snconvert.errors import SnconvertError, located, printable
from snconvert.files.convert import Check, layer_reports, open_planned
from snconvert.files.edits import Edits
from snconvert.files.model import (
    Described,
    Opened,
    describe,
    loading_facts,
    open_source,
    open_weights,
)
from snconvert.files.normalised import layers_of, normalised_layers, refuse_newer, unwrap
from snconvert.files.targets import target_of
from snconvert.files.upgrade import refuse_today, upgrade_report
from snconvert.formats.table import open_model
from snconvert.kinds.table import RULES
from snconvert.page.model_graph import graph_of
from snconvert.planning.layer_rows import report_of
from snconvert.planning.measured import Measured
from snconvert.planning.plan import nothing_to_convert
from snconvert.planning.recipe import Recipe
from snconvert.planning.record import with_recorded
from snconvert.verification.arrays import Renamed, compare_arrays, compare_assets
from snconvert.verification.files import compare_copies
from snconvert.verification.findings import Findings, compare_configs
from snconvert.verification.forms import flaws
from snconvert.verification.proofs import Side
from snconvert.verification.records import recorded_layers


def applied_earlier(
    source: str,
    output: Destination,
    recipe: Recipe,
    *,
    check: Check | None = None,
    progress: OnProgress = None,
) -> Report:
    """Returns the report of a conversion whose result is there, with the norms of its record.

    Args:
        source: The model's file or folder.
        output: Where the result goes, and something is.
        recipe: What to convert and how; nothing that only Python code knows.
        check: As for `convert_file`.
        progress: Called with how far the comparison is.

    Raises:
        OutputError: What is there is something else, was made in another way, or is not whole.
        SnconvertError: There would be no conversion, either.
    """
    started, out = time.perf_counter(), output.path
    judged = output._replace(force=True)  # what is there is judged here
    with open_source("apply", source, judged, recipe.config, progress=progress) as (opened, worker):
        model, plan = open_planned(opened, recipe, RULES, worker)
        if not plan.steps:
            raise nothing_to_convert(plan)
        converted = [step.node.path for step in plan.steps]
        made = {"command": "apply", "options": recipe.options()}
        rows = layer_reports(model, plan, Measured(), recipe, "converted")
        with _made(model, out, made, progress) as after:
            facts = loading_facts(after)
            recorded = _check(model, after, converted, progress)
            if check is not None:
                check(opened, out, worker, within(progress, "checking"))
            size = after.source.size
        sha256 = opened.sha256()
    usual = [recorded[step.node.path] for step in plan.steps if step.settings == recipe.settings]
    bounds = [entry["bound"] for entry in usual if "bound" in entry]
    return report_of(
        "apply",
        recipe.target,
        [replace(recipe.settings, bound=bounds[0]) if bounds else recipe.settings],
        [with_recorded(row, recorded) for row in rows],
        started,
        source=source,
        output=out,
        bytes=size,
        warnings=model.warnings,
        graph=graph_of(model.root) if recipe.page else None,
        source_sha256=sha256,
        up_to_date=True,
        **facts,
    )


def upgraded_earlier(
    source: str,
    output: Destination,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: OnProgress = None,
) -> Report:
    """Returns the report of an upgrade whose result is there.

    Args:
        source: The model's file or folder.
        output: Where the result goes, and something is.
        config: As for `upgrade_file`.
        progress: Called with how far the comparison is.

    Raises:
        OutputError: As for `applied_earlier`.
        SnconvertError: There would be no upgrade, either.
    """
    started = time.perf_counter()
    judged = output._replace(force=True)
    with open_source("upgrade", source, judged, config, progress=progress) as (opened, worker):
        refuse_today(opened)
        model = open_weights(describe(opened), RULES, worker)
        made = {"command": "upgrade", "format": opened.format}
        with _made(model, output.path, made, progress) as after:
            _check(model, after, (), progress)
            size = after.source.size
        return replace(upgrade_report(model, started, output.path, size), up_to_date=True)


class _OtherError(Exception):
    """What is at the output is not the result of an earlier run; the message is a clause."""


@contextmanager
def _made(
    model: Opened, out: str, made: Mapping[str, Any], progress: OnProgress
) -> Iterator[Opened]:
    """Opens what is at the output of a model, if it records that an earlier run has made it.

    Args:
        model: The input.
        out: The output.
        made: What the record has to say.
        progress: Called with how far the work is.

    Yields:
        What is there, to be judged in the block; what is wrong with it is told as `OutputError`.

    Raises:
        SourceError: The input cannot be read.
    """
    source, ours = model.source, False
    try:
        with located(file=out), open_model(out, model.worker, progress=progress) as written:
            described = describe(written)
            refuse_newer(described.root)
            ours = _is_recorded(described, made)
            _compare_sources(described, source, progress)
            yield open_weights(described, RULES, model.worker)
            begin_stage(progress, "checking")
            written.check_weights()
            written.check_unchanged()
            with located(file=source.path):
                source.check_unchanged()
    except _OtherError as other:
        raise exists(out, str(other)) from None
    except SnconvertError as error:
        if error.file == source.path:
            raise
        raise exists(out, f"but {error.what}" if ours else "") from error


def _record_of(model: Described) -> dict[str, Any]:
    metadata = model.metadata
    record = metadata.get("snconvert") if isinstance(metadata, dict) else None
    return record if isinstance(record, dict) else {}


def _is_recorded(model: Described, made: Mapping[str, Any]) -> bool:
    """Returns that the record of a result says how it was made.

    Raises:
        _OtherError: It was made in another way, or there is no record.
    """
    record = _record_of(model)
    wanted = strict_json.loads(strict_json.dumps(made), "the options")
    if record.get("command") != made["command"]:
        raise _OtherError
    if any(record.get(name) != value for name, value in wanted.items()):
        raise _OtherError("made with other options")
    return True


def _compare_sources(model: Described, source: Source, progress: OnProgress) -> None:
    """Raises `_OtherError` unless the record of a result names the bytes of a source."""

    def tell(done: int) -> None:
        if progress is not None:
            progress(Progress("hashing", "", done, source.size))

    tell(0)
    with located(file=source.path):
        sha256 = source.sha256(tell)
    if _record_of(model).get("source_sha256") != sha256:
        raise _OtherError("made of a file with other bytes")


def _check(
    before: Opened, after: Opened, converted: Collection[str], progress: OnProgress
) -> dict[str, dict[str, Any]]:
    """Checks that a result is what a conversion writes; its layers become plain.

    Args:
        before: The input.
        after: The result.
        converted: The paths of the layers that are converted.
        progress: Called with how far the comparison is.

    Returns:
        What is recorded of each converted layer, by path.

    Raises:
        _OtherError: It is something else.
    """
    findings = Findings()
    recorded = recorded_layers(after, findings)
    _compare_metadata(before, after, findings)
    if not set(converted) <= recorded.keys():
        findings.differ("metadata.json", "the record is of other layers")

    def why_left(node: Node) -> str | None:
        normalised = node.path in converted and target_of(node) is not None
        return None if normalised else "as it was"

    side = Side(after, normalised_layers(after, why_left))
    factors = _check_layers(before, side, converted, findings)
    if not findings.differences:
        arrays = Renamed(before, Edits()), Renamed(after, unwrap(side.normalised))
        compare_configs(before.root, after.root, findings)
        compare_arrays(*arrays, factors, findings, progress)
        compare_assets(*arrays, findings)
    if findings.differences:
        raise _OtherError(f"but it is not what is made now: {findings.differences[0]}")
    return recorded


def _check_layers(
    before: Opened, side: Side, converted: Collection[str], findings: Findings
) -> dict[str, dict[Way, float]]:
    """Adds to the findings which layers are not as a conversion makes them.

    Returns:
        What kernels were multiplied by, by their dataset before.
    """
    layers, plain = side.normalised.layers, {node.path: node for node in layers_of(before.root)}
    for path in set(converted) ^ {node.path for node in layers}:
        findings.differ(path, "it is not converted")
    factors: dict[str, dict[Way, float]] = {}
    for node, layer in layers.items():
        old = plain[node.path]
        stored = before.inventory.get(old.first or old)
        for what in flaws(old, node, stored):
            findings.differ(node.path, what)
        for kernel in stored.kernels if stored is not None and layer.target.IN_PLACE else ():
            factor = layer.factors.get(kernel.kernel.path)
            if factor is not None:
                factors[kernel.path] = {"apply": factor}
    compare_copies(side, findings, before.worker)
    return factors


def _compare_metadata(before: Opened, after: Opened, findings: Findings) -> None:
    """Adds to the findings what of `metadata.json`, beside records, is not as it was."""
    both = before.metadata, after.metadata
    old, new = (each if isinstance(each, dict) else {} for each in both)
    for name in sorted(old.keys() | new.keys()):
        if name != "snconvert" and (name not in old or name not in new or old[name] != new[name]):
            findings.differ("metadata.json", f"{printable(name)} is another")
