"""The graph of a whole model, as its configuration says it, with the models inside it opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from snconvert.config.connections import Call, Connections, Tensor, connections_of, leaves
from snconvert.config.tree import MODELS, Node
from snconvert.core.graph import Graph
from snconvert.errors import SourceError

_MOST_NODES = 20_000  # models that hold one another several times would be without end
_MOST_NESTED = 50

_Sources = tuple[int, ...]
"""The nodes that a tensor comes from: one, or several where they are not told apart."""


def graph_of(model: Node) -> Graph | None:
    """Returns the layers of a model and which feeds which.

    A layer that is called several times is a node each time, and so are the layers of a model.

    Args:
        model: The model.

    Returns:
        The graph; `None` of a model whose graph only its own code knows, or whose configuration
        Keras would not load.
    """
    if model.builtin not in MODELS:
        return None
    builder = _Builder()
    try:
        builder.add(model, None, 0)
    except SourceError:  # no page fails for it; whoever computes by the graph says what is wrong
        return None
    return Graph(tuple(builder.nodes), tuple(dict.fromkeys(builder.edges)))


class _Builder:
    """Collects the nodes and edges."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, str, str]] = []
        self.edges: list[tuple[int, int]] = []
        self._connections: dict[Node, Connections] = {}

    def add(self, model: Node, inputs: Sequence[_Sources] | None, depth: int) -> list[_Sources]:
        """Adds the layers of one call of a model, and returns where its outputs come from.

        Args:
            model: A model with a graph.
            inputs: Where its inputs come from; `None`: nowhere, they are nodes by themselves.
            depth: In how many models it lies.
        """
        if model not in self._connections:
            self._connections[model] = connections_of(model)
        graph = self._connections[model]
        children = {child.name: child for child in model.children}
        made: dict[tuple[str, int], list[_Sources]] = {}
        if inputs is not None:
            ends = [tensor.layer for _, tensor in leaves(graph.inputs)]
            if len(ends) != len(inputs):
                inputs = [_joined(inputs)] * len(ends)
            made = {(name, 0): [sources] for name, sources in zip(ends, inputs, strict=True)}
        for call in graph.calls:
            if (call.layer, call.number) in made:
                continue
            read = [_output(made, tensor) for _, tensor in call.tensors]
            child = children.get(call.layer)
            if child is not None and child.builtin in MODELS and self._opens(depth):
                made[call.layer, call.number] = self.add(child, read, depth + 1)
            else:
                node = self._node(model, graph, call, child)
                self.edges += [(source, node) for source in _joined(read)]
                made[call.layer, call.number] = [(node,)]
        return [_output(made, tensor) for _, tensor in leaves(graph.outputs)]

    def _opens(self, depth: int) -> bool:
        return depth < _MOST_NESTED and len(self.nodes) < _MOST_NODES

    def _node(self, model: Node, graph: Connections, call: Call, child: Node | None) -> int:
        class_name = str(graph.entries[call.layer]["class_name"])
        kind = "layer" if child is not None else "operation"
        if class_name == "InputLayer" and not call.tensors:
            kind = "input"
        path = f"{model.path}/{call.layer}".lstrip("/") if child is None else child.path
        self.nodes.append((path, class_name, kind))
        return len(self.nodes) - 1


def _joined(sources: Iterable[_Sources]) -> _Sources:
    return tuple(dict.fromkeys(chain.from_iterable(sources)))


def _output(made: Mapping[tuple[str, int], Sequence[_Sources]], tensor: Tensor) -> _Sources:
    """Returns where a tensor comes from; of a layer all outputs come from the one node."""
    outputs = made[tensor.layer, tensor.call]
    return outputs[min(tensor.output, len(outputs) - 1)]
