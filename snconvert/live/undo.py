"""The ways back in memory: `bake` keeps the effective kernels, `remove` the raw ones."""

# ruff: noqa: SLF001 -- Keras has no public way to change a layer that is built

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

from snconvert.compat.backends import forget
from snconvert.compat.layers import untrack
from snconvert.config.constraint_entry import factor_of, found_in
from snconvert.config.constraint_entry import settings_of as constraint_settings
from snconvert.config.tree import Node
from snconvert.core.report import LayerReport, Report
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError, SelectionError, UnsupportedError, located, printable
from snconvert.files.undo import Verb, choosing
from snconvert.jobs import effective
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import RULES
from snconvert.layers.base import OPTIONS, Spectral
from snconvert.layers.composite import Composite
from snconvert.live.convert import renew_parameters, size_of
from snconvert.live.internals.class_swap import (
    forget_adoption,
    give_class,
    is_adopted,
    plain_class,
    state_of,
)
from snconvert.live.internals.copying import Copies
from snconvert.live.internals.fitting import all_layers, renew_compiled, take_up
from snconvert.live.internals.optimizer_state import optimizers_of, remove_slots
from snconvert.live.internals.saved_owners import holds_its_layers, original_class, unmark_owners
from snconvert.live.internals.walk import Layer
from snconvert.live.measure import (
    State,
    named_kernels,
    settings_of,
    shape_of,
    states_of,
    triplets_in_use,
)
from snconvert.live.model import check_model
from snconvert.live.target_constraint import constraints_of, multiply, release
from snconvert.live.target_keras import has_wrappers, unwrap
from snconvert.live.tree import LiveNode, layer_of, survey
from snconvert.planning.layer_rows import (
    RESTORED,
    LayerFacts,
    left_row,
    norm_after_undoing,
    plain_row,
    report_of,
)
from snconvert.planning.plan import Selection
from snconvert.planning.recipe import Recipe


def bake(model: Layer, *, in_place: bool = False, **options: Any) -> Layer:
    """Turns the spectral layers of a live model into plain ones that compute the same.

    Every kernel becomes `s(sigma) * W` as inference uses it, so no output changes; nothing of this
    package is left in the model, and the optimizer keeps its state. For deployment.

    Args:
        model: A converted `keras.Model`, or one built with the layers of `snconvert.layers`.
        in_place: Change `model` itself; otherwise it is left untouched.
        **options: `only`, `exclude`, `select`, as for `apply`.

    Returns:
        The plain model.

    Raises:
        SnconvertError: It cannot be done; nothing was changed.
    """
    return undo("bake", model, choosing("bake", **options), in_place=in_place)[0]


def remove(model: Layer, *, in_place: bool = False, **options: Any) -> Layer:
    """Turns the spectral layers of a live model into plain ones with the raw kernels.

    It undoes `apply`: the result has the weights that the model had before, bit for bit, or what
    training has made of them since.

    Args:
        model: As for `bake`.
        in_place: As for `bake`.
        **options: As for `bake`.

    Returns:
        The plain model.

    Raises:
        SnconvertError: It cannot be done; nothing was changed.
    """
    return undo("remove", model, choosing("remove", **options), in_place=in_place)[0]


def undo(
    verb: Verb,
    model: Layer,
    made: Recipe,
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
        made: Its `only`, `exclude` and `select` say which layers.
        in_place: Change `model` itself.
        dry_run: Report only.
        metadata: The `metadata.json` of the file that the model is from.
        measured: Report the norms of the kernels, too, which takes a search for each.
    """
    started = time.perf_counter()
    check_model(model, verb)
    take_up(model)
    if has_wrappers(model):
        return unwrap(verb, model, made, dry_run=dry_run, in_place=in_place, metadata=metadata)
    root = survey(model, RULES)
    chosen, left = _find(root, made, verb)
    for node in chosen:
        _check(node)
    status = "convertible" if dry_run else "converted"
    reports = _reports(verb, root, chosen, left, status, measured=measured)
    result, layers = model, [layer_of(node) for node in chosen]
    settings = [_settings(node) for node in chosen]  # before the layers are plain again
    constrained = any(not node.spectral for node in chosen)
    if not dry_run:
        if not in_place:
            copies = Copies(model)
            result = copies.model
            layers = [copies.of(layer) for layer in layers]
        _strip(verb, result, [layer for layer in layers if isinstance(layer, Spectral)])
        for node, layer in zip(chosen, layers, strict=True):
            if not node.spectral:
                release(layer, _rule(node), divide=verb == "remove")
    return result, report_of(
        verb,
        "layer" if any(node.spectral for node in chosen) else "constraint",
        settings,
        reports,
        started,
        source=model.name,
        output=None,
        bytes=size_of(result),
        warnings=(RESTORED,) if verb == "remove" and constrained else (),
    )


def _rule(node: Node) -> KernelRule:
    return RULES[node.builtin or ""]


def _settings(node: Node) -> Settings:
    if node.spectral:
        return settings_of(layer_of(node))
    return constraint_settings(next(found_in(node.config))[1])


def _find(root: LiveNode, made: Recipe, verb: Verb) -> tuple[list[Node], dict[Node, str]]:
    nodes = [node for node in root.walk() if node.path or not node.parent]
    selection = Selection(made, [node for node in nodes if node.path])
    chosen: list[Node] = []
    left: dict[Node, str] = {}
    for node in nodes:
        excluded = selection.why_excluded(node) if node.path else None
        constraints = [options for _, options in found_in(node.config)]
        if not node.spectral and (not constraints or node.builtin not in RULES):
            left[node] = "not spectral"
        elif excluded is not None:
            left[node] = excluded
        elif node.first is not None:
            left[node] = f"the same layer as {printable(node.first.path)}"
        elif verb == "remove" and None in map(factor_of, constraints):
            left[node] = "by how much the kernel was scaled is not recorded; bake keeps it as it is"
        else:
            chosen.append(node)
    if not chosen:
        raise SelectionError(
            "nothing to undo: no spectral layer is selected"
            if any(node.spectral for node in nodes)
            else "nothing to undo: no layer here is spectral",
            "See snconvert.inspect for every layer, and only and exclude",
        )
    return chosen, left


def _check(node: Node) -> None:
    """Refuses a layer that the user's own code makes spectral again whenever it is loaded."""
    layer, parent = layer_of(node), node.parent
    if not node.spectral:
        return  # in code that makes a constraint, it goes on being there
    if parent is None or is_adopted(layer) or holds_its_layers(layer_of(parent)):
        return
    raise UnsupportedError(
        f"the code of {original_class(layer_of(parent)).__name__} makes it spectral, and would"
        " again when the model is loaded",
        "Change that code to make a plain layer, and load these weights into it",
        path=node.path,
        class_name=node.class_name,
    )


def _strip(verb: Verb, model: Layer, layers: Sequence[Layer]) -> None:
    owners = [owner for layer in layers for owner in _owners(layer)]
    baked = (
        [_effective(state) for layer in layers for state in states_of(layer)]
        if verb == "bake"
        else []
    )
    gone = {id(variable) for owner in owners for variable in state_of(owner)}
    # Of these an optimizer knows each `gamma`, also of a layer that was frozen since. One that
    # cannot do without stops here, where nothing is changed yet.
    remove_slots(optimizers_of(all_layers(model)), gone)
    for variable, factor in baked:
        multiply(variable, factor)
    for layer in layers:
        for part in dict.fromkeys((*_owners(layer), layer)):
            _make_plain(part)
    unmark_owners(model)
    renew_compiled(model)
    renew_parameters(model)


def _owners(layer: Layer) -> list[Layer]:
    """Returns the objects that own the kernels of a spectral layer: itself, or its parts."""
    return list(layer.parts().values()) if isinstance(layer, Composite) else [layer]


def _effective(state: State) -> tuple[Any, float]:
    """Returns the variable of a kernel and by what inference multiplies it, as the file carrier."""
    owner, gamma = state.owner, None if state.gamma is None else float(state.gamma)
    with located(path=owner.name, class_name=type(owner).__name__):
        numbers = (state.kernel, state.view, state.settings, state.u, gamma)
        factor = effective.factor_of(*numbers, conv=state.conv, bfloat16=state.bfloat16).factor
    return owner._variable(state.name), factor


def _make_plain(layer: Layer) -> None:
    own = state_of(layer)
    attributes = [name for name, value in vars(layer).items() if any(value is v for v in own)]
    for kernel, name in product(layer._own_kernels(), ("u", "gamma")):
        forget(layer._variable(kernel), name)
    for variable in own:
        untrack(layer, variable)
    views = [f"_{kernel.name}_view" for kernel in layer.rule.kernels]
    plain = plain_class(layer)
    for name in (*attributes, *views, *OPTIONS):
        layer.__dict__.pop(name, None)
        forget(layer, name)
    forget_adoption(layer)
    give_class(layer, plain)


def _reports(
    verb: Verb,
    root: LiveNode,
    chosen: Sequence[Node],
    left: dict[Node, str],
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
                reports.append(_report(verb, node, layer, status, measured=measured))
    return reports


def _report(verb: Verb, node: Node, layer: Layer, status: str, *, measured: bool) -> LayerReport:
    rule = layer.rule if node.spectral else _rule(node)
    norm = layer.norm if node.spectral else "matrix"
    triplets: list[Triplet] = []
    if measured and layer.built:
        with suppress(KernelError):  # `remove` keeps what is not finite, too
            triplets = triplets_in_use(layer, rule, norm)
    divisors = {} if node.spectral else dict(_divisors(layer, rule))
    facts = LayerFacts(
        node.class_name,
        plain_class(layer).__name__ if node.spectral else node.class_name,
        norm,
        shape_of(layer, rule) if layer.built else None,
        named_kernels(layer, rule),
    )
    return plain_row(node, facts, triplets, status, norm_after_undoing(verb, divisors))


def _divisors(layer: Layer, rule: KernelRule) -> Iterator[tuple[str, float]]:
    """Yields the kernels of a layer under constraint that the conversion has multiplied."""
    for _, kernel, _, constraint in constraints_of(layer, rule):
        if constraint.factor is not None:
            yield kernel.path, constraint.factor
