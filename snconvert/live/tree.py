"""A live model as the same tree of nodes that the file carrier plans over.

Below graphs and the containers of Keras, a layer is called by its name, as in a file; below a
custom class by the attribute that holds it, with its index in lists (`encoder/blocks/0/dense`), for
names that nobody gave are numbered anew in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from snconvert.compat.saving import exported_name
from snconvert.config.tree import CONTAINERS, Node, in_two_owners
from snconvert.files.targets import already
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import RULES
from snconvert.layers.base import Spectral
from snconvert.layers.composite import Composite
from snconvert.live.internals.saved_owners import holds_its_layers, original_class
from snconvert.live.internals.walk import Layer, Route, children, descendants, has_graph
from snconvert.planning.plan import Plan, Skip, Step, make_plan
from snconvert.planning.recipe import Recipe

_ATTENTION = "attention>"


@dataclass(eq=False, slots=True)
class LiveNode(Node):
    """A node that knows its layer."""

    layer: Layer = None


def survey(model: Layer, rules: Mapping[str, KernelRule]) -> LiveNode:
    """Returns the tree of a model.

    A layer that two graphs share stands in both, the second time with `first` set. Layers of
    Keras' own that hold nothing with a rule are leaves.

    Args:
        model: A model or layer.
        rules: The rows, by class name.
    """
    root = _node(model, None, "", rules)
    _grow(root, rules, {id(model): root})
    return root


def plan_for(
    root: LiveNode,
    recipe: Recipe,
    rules: Mapping[str, KernelRule],
    *,
    lenient: bool = False,
) -> Plan:
    """Returns the plan for a live model; see `snconvert.planning.plan.make_plan`.

    The projections of an attention layer are of kind `attention`.
    """
    attention = {_ATTENTION + name: replace(rule, kind="attention") for name, rule in rules.items()}
    plan = make_plan(root, recipe, {**rules, **attention}, already, lenient=lenient)
    return Plan(tuple(_named(outcome) for outcome in plan.outcomes if _is_listed(outcome)))


def layer_of(node: Node) -> Layer:
    """Returns the layer of a node of a survey."""
    return node.layer  # type: ignore[attr-defined]


def maker_of(node: Node) -> Layer | None:
    """Returns the closest owner whose own code makes a layer, so that the layer is in no file."""
    owner = node.parent
    while owner is not None and holds_its_layers(layer_of(owner)):
        owner = owner.parent
    return None if owner is None else layer_of(owner)


def _is_listed(outcome: Step | Skip) -> bool:
    """Whether a report lists an outcome: containers that were looked into are left out."""
    if isinstance(outcome, Skip) and outcome.spectral:
        return True
    return outcome.rule is not None or not outcome.node.children


def _named(outcome: Step | Skip) -> Step | Skip:
    if isinstance(outcome, Skip) and outcome.rule is None and outcome.node.opaque:
        return outcome._replace(reason=f"no rule for {outcome.node.title}")
    return outcome


def _grow(node: LiveNode, rules: Mapping[str, KernelRule], seen: dict[int, LiveNode]) -> None:
    if _is_whole(node, rules):
        seen.update({id(part): node for _, part in descendants(node.layer)})
        return
    named = holds_its_layers(node.layer) or node.builtin is not None
    paths: set[str] = set()
    # As a file lists them: `forward_layer` comes before `backward_layer`.
    slots = [slot.attribute for slot in CONTAINERS.get(node.builtin or "", ())]
    routes = sorted(
        children(node.layer),
        key=lambda pair: slots.index(str(pair[0][0])) if pair[0][0] in slots else len(slots),
    )
    for route, child in routes:
        in_graph = has_graph(node.layer) and route[0] == "layers"
        first = seen.get(id(child))
        if first is not None and not in_graph:
            continue
        path = _path(node, route, child, paths, named=named or in_graph)
        below = _node(child, node, path, rules)
        node.children.append(below)
        if first is not None:
            _grow_again(below, first)
            continue
        seen[id(child)] = below
        _grow(below, rules, seen)
    known = node.builtin or node.spectral
    if known and not holds_its_layers(node.layer) and not _has_rule(node, rules):
        node.children.clear()


def _grow_again(node: Node, first: Node) -> None:
    """Makes a node a second place of a layer, with all that lies in it."""
    node.first = first
    for child in first.children:
        path = f"{node.path}{child.path.removeprefix(first.path)}"
        below = replace(child, path=path, parent=node, children=[])
        node.children.append(below)
        _grow_again(below, child.first or child)


def _is_whole(node: LiveNode, rules: Mapping[str, KernelRule]) -> bool:
    """Whether the layer is converted, or was, with the parts that own its kernels."""
    if isinstance(node.layer, Composite):
        return True
    rule = rules.get(node.builtin or str(node.entry["registered_name"]))
    return rule is not None and any(kernel.group for kernel in rule.kernels)


def _path(parent: LiveNode, route: Route, child: Layer, used: set[str], *, named: bool) -> str:
    way = "/".join(map(str, route))
    tail = child.name if named and child.name not in used else way
    used.add(tail)
    return f"{parent.path}/{tail}" if parent.path else tail


def _node(
    layer: Layer, parent: LiveNode | None, path: str, rules: Mapping[str, KernelRule]
) -> LiveNode:
    cls = original_class(layer)
    registered = keras.saving.get_registered_name(cls)
    builtin = exported_name(cls) if cls.__module__.partition(".")[0] == "keras" else None
    key = builtin or registered
    projection = parent is not None and isinstance(
        parent.layer, keras.layers.MultiHeadAttention | keras.layers.GroupQueryAttention
    )
    name = builtin or cls.__name__
    if projection and builtin:
        builtin, registered = None, _ATTENTION + cls.__name__
    config: dict[str, Any] = {"name": layer.name}
    if key in rules or isinstance(layer, Spectral | keras.layers.SpectralNormalization):
        config = layer.get_config()
    return LiveNode(
        entry={"class_name": name, "registered_name": registered, "config": config},
        name=layer.name,
        path=path,
        builtin=builtin,
        spectral=cls.__name__ if isinstance(layer, Spectral) else None,
        parent=parent,
        slot=None,
        trainable=layer.trainable,
        layer=layer,
    )


def _has_rule(node: LiveNode, rules: Mapping[str, KernelRule]) -> bool:
    for below in node.walk():
        name = str(below.entry["registered_name"]).removeprefix(_ATTENTION)
        if below is not node and (below.spectral or (below.builtin or name) in rules):
            return True
    return False


def shared_between(model: Layer) -> tuple[str, ...]:
    """Returns a warning if Keras would make two layers of one when it loads the model's file.

    As for files (`snconvert.files.model.unshared`): a layer with weights that stands in two models
    or wrappers, for the first time below another layer.
    """
    places = [
        (node.path, node.first.path)
        for node in survey(model, RULES).walk()
        if node.first is not None
        and node.parent is not None
        and node.parent.first is None
        and node.first.parent is not None
        and node.first.parent.parent is not None
        and holds_its_layers(layer_of(node.parent))
        and holds_its_layers(layer_of(node.first.parent))
        and layer_of(node).weights
    ]
    if not places:
        return ()
    return (in_two_owners(*places[0], len({first for _, first in places}) - 1),)
