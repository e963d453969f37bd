"""The ways back in memory: `bake` keeps the effective kernels, `remove` the raw ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar, Unpack

from snconvert.config.tree import Node
from snconvert.core.report import LayerReport, Report
from snconvert.core.triplet import Triplet
from snconvert.core.verbs import VERBS
from snconvert.errors import KernelError, NothingLeftError, SelectionError, located, printable
from snconvert.files.normalised import NormalisedLayer, first_target
from snconvert.files.targets import target_of
from snconvert.kinds.table import RULES
from snconvert.live.by_file import undo_by_file
from snconvert.live.internals.copying import Copies
from snconvert.live.internals.fitting import renew_compiled, renew_parameters, take_up
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import named_kernels, shape_of
from snconvert.live.measure import triplets_in_use
from snconvert.live.model import check_model, size_of
from snconvert.live.targets import IN_MEMORY, wrapping_target
from snconvert.live.tree import LiveNode, layer_of, survey
from snconvert.planning.layer_rows import (
    RESTORED,
    LayerFacts,
    left_row,
    norm_after_undoing,
    plain_row,
    report_of,
)
from snconvert.planning.options import LayerOptions, check_names, with_options
from snconvert.planning.recipe import Recipe, recipe
from snconvert.planning.selection import Selection

Model = TypeVar("Model")


@with_options(LayerOptions)
def bake(model: Model, *, in_place: bool = False, **options: Unpack[LayerOptions]) -> Model:
    """Turns the spectral layers of a live model into plain ones that compute the same.

    Every kernel becomes `s(sigma) * W` as inference uses it, so no output changes; nothing of this
    package is left in the model, and the optimizer keeps its state. For deployment.

    Args:
        model: A converted `keras.Model`, or one built with the layers of `snconvert.layers`.
        in_place: Change `model` itself; otherwise it is left untouched.
        **options: `snconvert.planning.options.LayerOptions`.

    Returns:
        The plain model.

    Raises:
        SnconvertError: It cannot be done; nothing was changed.
    """
    check_names(bake, options)
    plain: Model = undo("bake", model, recipe(**options), in_place=in_place)[0]
    return plain


@with_options(LayerOptions)
def remove(model: Model, *, in_place: bool = False, **options: Unpack[LayerOptions]) -> Model:
    """Turns the spectral layers of a live model into plain ones with the raw kernels.

    It undoes `apply`: the result has the weights that the model had before, bit for bit, or what
    training has made of them since.

    Args:
        model: As for `bake`.
        in_place: As for `bake`.
        **options: `snconvert.planning.options.LayerOptions`.

    Returns:
        The plain model.

    Raises:
        SnconvertError: It cannot be done; nothing was changed.
    """
    check_names(remove, options)
    plain: Model = undo("remove", model, recipe(**options), in_place=in_place)[0]
    return plain


def undo(
    verb: str,
    model: Layer,
    recipe: Recipe,
    *,
    in_place: bool = False,
    dry_run: bool = False,
    metadata: Any = None,
    measured: bool = False,
) -> tuple[Layer, Report]:
    """Turns spectral layers into plain ones, and says what was done.

    Args:
        verb: `bake` or `remove`.
        model: A live model.
        recipe: Its `only`, `exclude` and `select` say which layers.
        in_place: Change `model` itself.
        dry_run: Report only.
        metadata: The `metadata.json` of the file that the model is from.
        measured: Report the norms of the kernels, too, which takes a search for each.
    """
    started = time.perf_counter()
    check_model(model, verb)
    take_up(model)
    wrapping = wrapping_target(model)
    if wrapping is not None:
        way = {"dry_run": dry_run, "in_place": in_place, "metadata": metadata}
        return undo_by_file(verb, wrapping, model, recipe, **way)
    root = survey(model, RULES)
    chosen, left = chosen_layers(root, recipe, verb)
    for node, layer in chosen.items():
        IN_MEMORY[layer.target.NAME].check_undo(node)
    status = "convertible" if dry_run else "converted"
    reports = _reports(verb, root, chosen, left, status, measured=measured)
    # Before the layers are plain again.
    settings = [layer.settings for layer in chosen.values()]
    result, layers = model, {node: layer_of(node) for node in chosen}
    if not dry_run:
        if not in_place:
            copies = Copies(model)
            result = copies.model
            layers = {node: copies.of(layer) for node, layer in layers.items()}
        for name, live in IN_MEMORY.items():
            own = [node for node, layer in chosen.items() if name == layer.target.NAME]
            rules: list[Any] = [live.rule_of(node) for node in own]
            live.make_plain(verb, result, [(layers[x], y) for x, y in zip(own, rules, strict=True)])
        renew_compiled(result)
        renew_parameters(result)
    divided = VERBS[verb].divides and any(layer.target.IN_PLACE for layer in chosen.values())
    return result, report_of(
        verb,
        first_target(chosen.values()),
        settings,
        reports,
        started,
        source=model.name,
        output=None,
        bytes=size_of(result),
        warnings=(RESTORED,) if divided else (),
    )


def _normalised_layer(node: Node) -> NormalisedLayer | None:
    """Returns what is known of a normalised layer that can become plain, if it is one."""
    target = target_of(node)
    live = None if target is None else IN_MEMORY.get(target.NAME)
    rule = None if live is None else live.rule_of(node)
    if target is None or live is None or rule is None:
        return None
    return NormalisedLayer(node, target, live.recorded_factors(layer_of(node), rule))


def chosen_layers(
    root: LiveNode, recipe: Recipe, verb: str
) -> tuple[dict[Node, NormalisedLayer], dict[Node, str]]:
    """Returns the layers that become plain, and why the others do not.

    Raises:
        SelectionError: There is none.
    """
    nodes = [node for node in root.walk() if node.path or not node.parent]
    selection = Selection(recipe, [node for node in nodes if node.path])
    chosen: dict[Node, NormalisedLayer] = {}
    left: dict[Node, str] = {}
    for node in nodes:
        excluded = selection.why_excluded(node) if node.path else None
        layer = _normalised_layer(node)
        if layer is None:
            left[node] = "not spectral"
        elif excluded is not None:
            left[node] = excluded
        elif node.first is not None:
            left[node] = f"the same layer as {printable(node.first.path)}"
        elif VERBS[verb].divides and layer.target.IN_PLACE and not _is_recorded(layer.factors):
            left[node] = "by how much the kernel was scaled is not recorded; bake keeps it as it is"
        else:
            chosen[node] = layer
    if not chosen:
        left_out = any(node.spectral for node in nodes)
        kind = SelectionError if left_out else NothingLeftError
        raise kind(
            "nothing to undo: no spectral layer is selected"
            if left_out
            else f"nothing to {verb}: no layer here is spectral",
            "See `snconvert inspect` for every layer, and --only and --exclude",
        )
    return chosen, left


def _is_recorded(factors: Mapping[str, float | None]) -> bool:
    return bool(factors) and None not in factors.values()


def _reports(
    verb: str,
    root: LiveNode,
    chosen: Mapping[Node, NormalisedLayer],
    left: Mapping[Node, str],
    status: str,
    *,
    measured: bool,
) -> list[LayerReport]:
    reports: list[LayerReport] = []
    for node in root.walk():
        layer = layer_of(node)
        if node in left:
            if node.children or not node.path:
                continue
            bare = not any(len(variable.shape) > 1 for variable in layer.weights)
            reports.append(left_row(node, LayerFacts(node.title, bare=bare), left[node]))
        elif node in chosen:
            with located(path=node.path, class_name=node.class_name):
                reports.append(_report(verb, node, chosen[node], status, measured=measured))
    return reports


def _report(
    verb: str, node: Node, chosen: NormalisedLayer, status: str, *, measured: bool
) -> LayerReport:
    layer, live, norm = layer_of(node), IN_MEMORY[chosen.target.NAME], chosen.norm
    rule: Any = live.rule_of(node)  # it has one, or it were not chosen
    triplets: list[Triplet] = []
    if measured and layer.built:
        with suppress(KernelError):  # `remove` keeps what is not finite, too
            triplets = triplets_in_use(layer, rule, norm)
    divisors = {path: factor for path, factor in chosen.factors.items() if factor is not None}
    facts = LayerFacts(
        node.class_name,
        live.plain_class(node),
        norm,
        shape_of(layer, rule) if layer.built else None,
        named_kernels(layer, rule),
    )
    return plain_row(node, facts, triplets, status, norm_after_undoing(verb, divisors))
