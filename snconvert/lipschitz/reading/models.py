"""From the tree of a model to its network: each call of a layer becomes its operations.

Nested models are opened at each call, so that two calls of one model are two copies that share
their arrays. Models may lie in models and wrappers to any depth. So what would be recursion is a
stack of generators (`_run`): each yields those whose outputs it needs, and gets the outputs back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snconvert.config import keras_modules
from snconvert.config.connections import Call, Connections, Tensor, connections_of, leaves
from snconvert.config.dtype_policies import policy_names
from snconvert.config.tree import Node
from snconvert.errors import SourceError, located, printable
from snconvert.lipschitz.network import Extremum, Input, Network, Sum, Unbounded
from snconvert.lipschitz.reading.builder import Builder, Value
from snconvert.lipschitz.reading.layers import (
    NO_SHAPE,
    Arguments,
    LayerReader,
    Outputs,
    Reads,
    Weights,
)
from snconvert.lipschitz.rows.operations import operation
from snconvert.lipschitz.rows.reshaping import MOVED
from snconvert.lipschitz.rows.row import Call as RowCall

_REPAIR = "Repair config.json, or save the model again with Keras"
_OPERATIONS = (*keras_modules.OPERATIONS, keras_modules.ACTIVATIONS)
_CONSTANTS = ("__numpy__", "__tensor__")
_ITEMS = 16  # values that are read in about the time of a call
_EQUAL = "Where tensors of unknown sizes are joined, it holds if these sizes are equal."
_ROUNDED = "Some layers compute in 16 bits, which the bound does not cover."


def network_of(root: Node, weights: Weights) -> Network:
    """Returns the network of a model.

    Args:
        root: The model.
        weights: What the file holds for its layers.

    Raises:
        SourceError: Its configuration describes no model that can be computed.
        UnsupportedError: It has too many operations.
    """
    reader = _Reader(weights)
    connections = reader.connections(root)
    named = isinstance(connections.outputs, dict)
    inputs = [reader.input(leaf) for _, leaf in leaves(connections.inputs)]
    with located(path=None, class_name=root.class_name):
        outputs = _run(reader.model(root, Arguments((inputs,))))
    names = [path if named else leaf.layer for path, leaf in leaves(connections.outputs)]
    notes = [_ROUNDED] if any(map(_is_rounded, root.walk())) else []
    network = reader.builder.network(zip(names, outputs, strict=True), notes)
    if any(isinstance(it.does, Sum | Extremum) and None in it.sizes for it in network.operations):
        network = network._replace(notes=(*network.notes, _EQUAL))
    return network


def _is_rounded(node: Node) -> bool:
    return any(name and "16" in name for name in policy_names(node.config.get("dtype")))


def _run(first: Reads) -> Outputs:
    stack: list[Reads] = [first]
    answer: Outputs | None = None
    while stack:
        try:
            stack.append(stack[-1].send(answer))
            answer = None
        except StopIteration as stop:
            stack.pop()
            answer = stop.value
    return answer or ()


class _Reader(LayerReader):
    """Adds models to a network, call by call."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(Builder(), weights)
        self._connections: dict[Node, Connections] = {}
        self._work: dict[Node, int] = {}

    def connections(self, model: Node) -> Connections:
        """Returns the graph of a model, which is read once."""
        if model not in self._connections:
            found = self._connections[model] = connections_of(model)
            self._work[model] = sum(map(_work, found.calls)) + sum(
                _items(entry["config"]) // _ITEMS for entry in found.entries.values()
            )
        return self._connections[model]

    def input(self, tensor: Tensor) -> Value:
        """Adds an input of the network."""
        sizes = (tensor.shape or ())[1:]
        name = tensor.layer or "input"
        value = self.builder.add(tensor.layer, "InputLayer", Input(name), sizes, ())
        return value._replace(known=bool(tensor.shape))

    def model(self, node: Node, arguments: Arguments) -> Reads:
        """Adds a Functional or Sequential model."""
        connections = self.connections(node)
        self.builder.count(self._work[node])
        given = _matched(arguments.first, connections.inputs)
        if given is None:
            return self.unbounded(node, Unbounded("its inputs are not understood"), arguments)
        values: dict[tuple[str, int], Outputs] = {
            (leaf.layer, leaf.call): (self._adjusted(node, value, leaf),)
            for (_, leaf), value in zip(leaves(connections.inputs), given, strict=True)
        }
        nodes = {id(child.entry): child for child in node.children}
        for call in connections.calls:
            tensors = [tensor for _, tensor in call.tensors]
            key = (call.layer, call.number)
            if (
                key in values
                or not tensors
                or any((t.layer, t.call) not in values for t in tensors)
            ):
                continue  # as Keras does with what cannot be computed
            training = call.kwargs.get("training")
            # Keras stores the mask of an input as an argument, and computes it in the graph.
            mask = frozenset(
                _output(one, values).place for name, one in call.tensors if name == "mask"
            )
            read = Arguments(
                tuple(_with_values(one, values, mask=mask) for one in call.args),
                {
                    name: _with_values(one, values, mask=mask)
                    for name, one in call.kwargs.items()
                    if name != "mask"
                },
                arguments.training if arguments.training is not None else training,
            )
            entry = connections.entries[call.layer]
            if _is_operation(entry):
                path = f"{node.path}/{call.layer}".lstrip("/")
                values[key] = self.operation(path, entry, read)
            elif id(entry) in nodes:
                values[key] = yield self.layer(nodes[id(entry)], read)
        return tuple(_output(leaf, values) for _, leaf in leaves(connections.outputs))

    def operation(self, path: str, entry: Mapping[str, Any], read: Arguments) -> Outputs:
        """Adds an operation of the graph."""
        name = str(entry["class_name"])
        kwargs = {key: value for key, value in read.kwargs.items() if value is not None}
        inputs = tuple(read.values)
        call = RowCall(self.builder, path, name, entry["config"], inputs, read.args, kwargs)
        with located(path=path, class_name=name):
            answer = operation(call) if all(one.known for one in inputs) else NO_SHAPE
        return self.outputs(path, name, answer, inputs)

    def _adjusted(self, node: Node, value: Value, wanted: Tensor) -> Value:
        """Returns an input as a model takes it: Keras adds or drops a last axis of size 1."""
        if wanted.shape is None:
            return value
        own = wanted.shape[1:]
        if not value.known:
            return value._replace(sizes=own, known=True)
        if len(value.sizes) == len(own):
            sizes = tuple(b if a is None else a for a, b in zip(value.sizes, own, strict=True))
            return value._replace(sizes=sizes)
        sizes = value.sizes
        if len(sizes) == len(own) + 1 and sizes[-1] == 1:
            sizes = sizes[:-1]
        elif len(sizes) == len(own) - 1 and own[-1] == 1:
            sizes = (*sizes, 1)
        path = f"{node.path}/{wanted.layer}".lstrip("/")
        return self.builder.add(path, "InputLayer", MOVED, sizes, (value,))


def _work(call: Call) -> int:
    """Returns what a call counts for: its tensors, and some for a large constant."""
    return 1 + len(call.tensors) + _items([*call.args, *call.kwargs.values()]) // _ITEMS


def _items(value: Any) -> int:
    """Returns how many values a value of a configuration holds, without those of other layers."""
    count, stack = 0, [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict) and one.get("class_name", "__numpy__") in _CONSTANTS:
            one = list(one.values())
        if isinstance(one, list):
            count += len(one)
            stack += one
    return count


def _is_operation(entry: Mapping[str, Any]) -> bool:
    module = entry.get("module")
    return isinstance(module, str) and module.startswith(_OPERATIONS)


def _with_values(
    structure: Any, values: Mapping[tuple[str, int], Outputs], *, mask: frozenset[int]
) -> Any:
    """Returns the structure of an argument with values for tensors."""
    if isinstance(structure, Tensor):
        value = _output(structure, values)
        return value._replace(mask=value.mask | mask)
    if isinstance(structure, list):
        return [_with_values(one, values, mask=mask) for one in structure]
    if isinstance(structure, dict) and "class_name" not in structure:
        return {key: _with_values(one, values, mask=mask) for key, one in structure.items()}
    return structure


def _output(tensor: Tensor, values: Mapping[tuple[str, int], Outputs]) -> Value:
    """Returns the value of a tensor, with its stored sizes where they are not known.

    Raises:
        SourceError: Nothing makes it.
    """
    outputs = values.get((tensor.layer, tensor.call), ())
    if len(outputs) == 1 and not outputs[0].known:  # of what is not understood: any number
        value = outputs[0]
    elif tensor.output < len(outputs):
        value = outputs[tensor.output]
    else:
        what = f"{printable(tensor.layer)} puts out {len(outputs)} tensors, but number"
        raise SourceError(f"{what} {tensor.output} is read", _REPAIR)
    if not value.known and tensor.shape and tensor.shape[1:]:  # [None]: unknown, in older files
        value = value._replace(sizes=tensor.shape[1:], known=True)
    return value


def _matched(given: Any, wanted: Any) -> list[Value] | None:
    """Returns the values for the inputs of a model, in the order in which Keras flattens these."""
    found = [leaf for _, leaf in leaves(given)]
    names = [leaf.layer for _, leaf in leaves(wanted)]
    if isinstance(given, dict) and not isinstance(wanted, dict):
        found = [given.get(name) for name in names]
    if len(found) != len(names) or not all(isinstance(value, Value) for value in found):
        return None
    return found
