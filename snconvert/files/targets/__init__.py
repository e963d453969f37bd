"""What a converted layer becomes: a module for each target."""

from __future__ import annotations

from collections.abc import Mapping

from snconvert.config.tree import Node
from snconvert.files.targets.constraint import ConstraintTarget
from snconvert.files.targets.keras_wrapper import KerasTarget
from snconvert.files.targets.layer import LayerTarget
from snconvert.files.targets.target import Target
from snconvert.planning.plan import Already, Skip, Step

TARGETS: Mapping[str, Target] = {
    "layer": LayerTarget(),
    "keras": KerasTarget(),
    "constraint": ConstraintTarget(),
}
"""The targets by their names."""


def target_of(node: Node) -> Target | None:
    """Returns the target that has normalised the layer which a node stands for, if one has."""
    return next((target for target in TARGETS.values() if target.is_mine(node)), None)


def owner_of(node: Node) -> Node:
    """Returns the layer whose kernels are meant: the one in a wrapper, or the layer itself."""
    target = target_of(node)
    return node if target is None else target.owner_of(node)


def whole_of(node: Node) -> Node:
    """Returns the node that stands for a layer: the wrapper around it, or the layer itself."""
    parent = node.parent
    return parent if parent is not None and owner_of(parent) is node else node


def normaliser_of(node: Node) -> tuple[Target, Node] | None:
    """Returns the target that has normalised a layer, and the node that the target goes by.

    A layer may be normalised twice; the targets' order says which one its kernel in use is of.
    """
    nodes = {node: None, whole_of(node): None}
    pairs = ((target, each) for target in TARGETS.values() for each in nodes)
    return next(((target, each) for target, each in pairs if target.is_mine(each)), None)


def already(node: Node) -> Already | None:
    """Returns how a layer is normalised already, if it is."""
    normaliser = normaliser_of(node)
    if normaliser is None:
        return None
    target, normalised = normaliser
    return Already(whole_of(node), target.NAME, target.ALREADY, target.options_of(normalised))


def norm_of(outcome: Step | Skip, usual: str) -> str:
    """Returns which norm is taken of a layer: the one by which it is or will be normalised.

    Args:
        outcome: What happens to the layer.
        usual: The norm of layers whose kernels are in use as they are stored.
    """
    if isinstance(outcome, Step):
        return outcome.settings.norm
    target = target_of(outcome.node)
    return usual if target is None or target.IN_PLACE else target.settings_of(outcome.node).norm
