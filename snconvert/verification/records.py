"""Whether the record in `metadata.json` of how a model was made agrees with what the model holds.

A missing record is no difference: Keras drops it when it saves a model again. Of a layer whose own
class only Python code knows, nothing can be told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from snconvert.config.tree import Node
from snconvert.core.report import OnProgress
from snconvert.core.settings import FIELDS
from snconvert.errors import (
    OptionError,
    SelectionError,
    SourceError,
    UnsupportedError,
    printable,
)
from snconvert.files.model import Opened
from snconvert.files.normalised import layers_of
from snconvert.files.targets import target_of
from snconvert.jobs.requests import Proved
from snconvert.kinds.table import RULES, SPECTRAL, SPELLINGS
from snconvert.planning.recipe import Override, Recipe
from snconvert.planning.recipe import recipe as read_options
from snconvert.planning.record import records
from snconvert.planning.selection import Selection
from snconvert.verification.findings import Findings, largest_norms
from snconvert.verification.forms import form_of

_OPTIONS = ("target", "kinds", "only", "exclude")
_SHA256, _VERSION = re.compile("[0-9a-f]{64}"), re.compile(r"\d+\.\d+.*")
_SAME, _NEAR = 1e-6, 1e-2
"""How far a recorded norm may be from what is found, and where kernels are rounded to halves."""
_WIDE = 0.9
"""How far bounds of a convolution may be from sigma: a factor of ten, above all that is proved."""


class Converted(NamedTuple):
    """What is found out about a layer that was converted.

    Attributes:
        proved: The proofs of the layer's kernels.
        half: Whether the kernels are stored in half precision.
        mapped: Whether sigma is the norm of a convolution as a map, which is not proved to a part
            in a million.
        factors: What the kernels were multiplied by, by their paths in the layer, as far as the
            layer itself says; empty if by nothing.
    """

    proved: Sequence[Proved]
    half: bool
    mapped: bool
    factors: Mapping[str, float | None]


def check_records(
    before: Opened, after: Opened, converted: Mapping[str, Converted], findings: Findings
) -> None:
    """Adds to the findings what `metadata.json` records of a model, but is not so.

    Args:
        before: The model before.
        after: The model.
        converted: The layers of `after` that were not normalised before, by path.
        findings: Takes what is wrong.
    """
    then, now = (recorded_layers(model, findings) for model in (before, after))
    for path, layer in now.items():
        if path in converted:
            for what in _wrong_numbers(layer, converted[path]):
                findings.differ(path, f"its record {what}")
        elif path in then and then[path] != layer:
            findings.differ(path, "its record is not the one from before")
    if any(True for _ in records(after.metadata)):
        for path in converted:
            if path not in now:
                findings.differ(path, "it is converted, but the record does not name it")


def check_bound(
    model: Opened, converted: Collection[str], findings: Findings, progress: OnProgress
) -> None:
    """Adds to the findings that a network's Lipschitz bound is above the one on record.

    Args:
        model: The model after.
        converted: The layers that were not normalised before; without any the record is of an
            earlier conversion.
        findings: Takes what is wrong.
        progress: Called with how far the proof is.
    """
    options = next((record.get("options") for record in records(model.metadata)), None)
    most = options.get("lipschitz") if isinstance(options, dict) else None
    if most is None or not converted or findings.differences:
        return
    from snconvert.files.lipschitz import bound_of  # noqa: PLC0415 - few records ask for it

    try:
        bound = bound_of(model, progress).bound
    except (SourceError, UnsupportedError) as error:
        findings.differ("metadata.json", f"lipschitz is recorded, but {error.what}")
        return
    if bound is not None and bound.value is not None and bound.value <= most:
        findings.lipschitz = bound, most
        return
    what = f"the Lipschitz bound is recorded to be at most {most:g}, but it is {bound or 'none'}"
    findings.differ("metadata.json", what)


def recorded_layers(model: Opened, findings: Findings) -> dict[str, dict[str, Any]]:
    """Returns the record of each layer by path, and adds to the findings what cannot be so."""
    layers: dict[str, dict[str, Any]] = {}
    nodes = {node.path: node for node in layers_of(model.root)}
    opaque = [node.path for node in model.root.walk() if node.opaque]
    for record in records(model.metadata):
        try:
            recipe, own = _parsed(record)
            selection = Selection(recipe, [node for node in model.root.walk() if node.path])
        except (OptionError, SelectionError) as error:
            findings.differ("metadata.json", f"the record is invalid: {error.what}")
            continue
        for path, layer in own.items():
            if any(not inside or f"{path}/".startswith(f"{inside}/") for inside in opaque):
                continue
            layers.setdefault(path, layer)
            node = nodes.get(path)
            wrong = (
                ["is of no layer"] if node is None else _wrong_form(node, layer, recipe, selection)
            )
            for what in wrong:
                findings.differ(path, f"its record {what}")
    return layers


def _parsed(record: Mapping[str, Any]) -> tuple[Recipe, dict[str, dict[str, Any]]]:
    """Returns the options and the layers of a record.

    Raises:
        OptionError: They are not what a conversion writes.
    """
    source, version, layers = (record.get(name) for name in ("source_sha256", "version", "layers"))
    if source is not None and not (isinstance(source, str) and _SHA256.fullmatch(source)):
        raise OptionError(f"source_sha256 is {printable(source)}")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise OptionError(f"version is {printable(version)}")
    if record.get("command") != "apply":
        raise OptionError(f"command is {printable(record.get('command'))}")
    if not isinstance(layers, dict) or not all(isinstance(x, dict) for x in layers.values()):
        raise OptionError("layers is no table of layers")
    options = record.get("options")
    if not isinstance(options, dict):
        raise OptionError("there are no options")
    known = {name: options[name] for name in (*_OPTIONS, *FIELDS) if name in options}
    tables = options.get("layer", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise OptionError("layer is no list of tables")
    overrides = tuple(
        Override(str(table.get("match")), {name: table[name] for name in FIELDS if name in table})
        for table in tables
    )
    most = options.get("lipschitz")
    return replace(read_options(**known), overrides=overrides, lipschitz=most), layers


def _wrong_form(
    node: Node, record: Mapping[str, Any], recipe: Recipe, selection: Selection
) -> Iterator[str]:
    """Yields in which fields of its record a layer is not what the record says."""
    target = target_of(node)
    if target is None or recipe.target != target.NAME:
        yield f"is of target {recipe.target}, but it is {form_of(node)}"
        return
    inner = target.owner_of(node)
    rule = SPECTRAL.get(inner.spectral) if inner.spectral else RULES.get(inner.builtin or "")
    if rule is None:
        return  # that is told elsewhere
    for name, class_name in (("class", rule.class_name), ("new_class", node.class_name)):
        recorded = record.get(name)
        if SPELLINGS.get(str(recorded), recorded) != class_name:
            yield f"has the {name} {printable(recorded)}, where {class_name} belongs"
    if rule.kind not in recipe.kinds:
        yield f"is of options that leave out the kind {rule.kind}"
    excluded = selection.why_excluded(node)
    if excluded is not None:
        yield f"is of options by which it is {excluded}"
    try:
        actual = target.settings_of(node)
    except SourceError:
        return  # as above
    recorded = selection.settings(node)
    if recipe.lipschitz is not None or "bound" in record:
        chosen = record.get("bound")
        if type(chosen) is not float or not 0 < chosen < math.inf:
            yield f"has the bound {printable(chosen)}"
            return
        recorded = replace(recorded, bound=chosen)
    for name in FIELDS:
        if getattr(actual, name) != getattr(recorded, name):
            values = (getattr(settings, name) for settings in (recorded, actual))
            yield "is of options with {} {}, where it has {}".format(name, *values)


def _wrong_numbers(record: Mapping[str, Any], layer: Converted) -> Iterator[str]:
    """Yields which recorded numbers are not those of a layer that was converted."""
    sigma, after = largest_norms(layer.proved)
    residual = max((p.residual for p in layer.proved), default=None)
    near = _NEAR if layer.half else _SAME
    for name, value, off in (("sigma", sigma, _SAME), ("sigma_after", after, near)):
        known = value is not None or not layer.proved  # why it is not known is told elsewhere
        if known and not _is_near(record.get(name), value, rel=off):
            yield f"has the {name} {printable(record.get(name))}, where it is {value}"
    if not _is_near(record.get("residual"), residual, absolute=near):
        yield f"has the residual {printable(record.get('residual'))}, where it is {residual}"
    bounds = record.get("certified")
    if bounds is not None and not _holds(bounds, sigma, mapped=layer.mapped):
        yield f"has proved sigma to be within {printable(bounds)}, where it is {sigma}"
    factors = record.get("factors", {})
    if not isinstance(factors, dict) or factors.keys() != layer.factors.keys():
        yield f"has factors of {printable(sorted(factors))}, where {sorted(layer.factors)} belong"
        return
    for name, value in layer.factors.items():
        if value is not None and factors[name] != value:
            yield f"has the factor {printable(factors[name])}, where it is {value}"


def _is_near(
    recorded: Any, value: float | None, *, rel: float = 0.0, absolute: float = 0.0
) -> bool:
    if value is None or type(recorded) not in {int, float}:
        return recorded is None and value is None
    return math.isclose(recorded, value, rel_tol=rel, abs_tol=absolute)


def _holds(bounds: Any, sigma: float | None, *, mapped: bool) -> bool:
    """Whether proved bounds are around sigma, and as near as they are proved."""
    if not isinstance(bounds, list) or len(bounds) != 2 or sigma is None:  # noqa: PLR2004 -- low and high
        return False
    off = _WIDE if mapped else 10 * _SAME
    near = all(_is_near(bound, sigma, rel=off) for bound in bounds)
    return near and bounds[0] <= sigma * (1 + _SAME) and bounds[1] >= sigma * (1 - _SAME)
