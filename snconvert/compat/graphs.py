"""The graphs of Functional and Sequential models: operations, nodes and tensors."""

from __future__ import annotations

from typing import Any

from keras.src.models import functional
from keras.src.ops import function, node
from keras.src.saving import keras_saveable
from keras.src.utils import tracking

Functional = functional.Functional
"""The class of the models that are made from tensors."""

Node = node.Node
"""One call of an operation in a graph."""

KerasHistory = node.KerasHistory
"""Where a symbolic tensor is from: an operation, the index of its node, and that of the output."""

KerasSaveable = keras_saveable.KerasSaveable
"""The base of layers, metrics, losses and optimizers."""

Tracker = tracking.Tracker
"""What sorts the attributes of a layer or optimizer into its lists."""


SEQUENTIAL_GRAPH = "_functional"
"""The attribute of a Sequential model that has the Functional one that it computes by."""


def sequential_graph(model: Any) -> Any:
    """Returns the Functional model that a Sequential one computes by, or `None`."""
    return getattr(model, SEQUENTIAL_GRAPH, None)


def nodes_of(operation: Any) -> list[Any]:
    """Returns the nodes of the calls of an operation, those in other models' graphs too."""
    nodes: list[Any] = operation._inbound_nodes
    return nodes


def graph_nodes(graph: Any) -> list[Any]:
    """Returns the nodes of a Functional model."""
    return [node for level in graph._nodes_by_depth.values() for node in level]


def renew_node_keys(graph: Any) -> None:
    """Renews the keys by which a Functional model knows its nodes, as they hold Python's `id`s."""
    # A Sequential also keeps the graphs that it had before its last layer was added.
    keys = {_key(node) for node in graph_nodes(graph) if node in nodes_of(node.operation)}
    object.__setattr__(graph, "_nodes", keys)


def _key(node: Any) -> str:
    key: str = function.make_node_key(node.operation, nodes_of(node.operation).index(node))
    return key


def renew_tracker(tracker: Any) -> None:
    """Renews the `id`s by which a tracker knows what it has sorted."""
    tracker.stored_ids = {
        name: {id(item) for item in store} for name, (_, store) in tracker.config.items()
    }
