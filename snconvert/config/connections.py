"""Which tensors the calls of a model's layers read, as Keras 3 writes its graphs.

Each layer of a Functional model lists its calls (`inbound_nodes`). A call has positional arguments
(`args`) and named ones (`kwargs`): any structure of lists, objects, numbers and tensors; a tensor
says which call of which layer made it (`keras_history`). See `serialize_node` and
`functional_from_config` in keras/src/models/functional.py. A Sequential model is a chain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from snconvert.config.references import is_builtin_layer
from snconvert.config.tree import Node
from snconvert.errors import SourceError, located, printable

Shape = tuple[int | None, ...]

_REPAIR = "Repair config.json, or save the model again with Keras"
_TENSOR = "__keras_tensor__"
_MOST_NESTED = 64
_LEAF = 3  # numbers of a `keras_history`: layer, call, output


class Tensor(NamedTuple):
    """A tensor of a model's graph.

    Attributes:
        layer: The name of the layer that makes it.
        call: Which call of that layer, from 0.
        output: Which output of that call, from 0.
        shape: Its stored shape, with the axis of the batch; `None` where none is stored.
    """

    layer: str
    call: int
    output: int
    shape: Shape | None = None


class Call(NamedTuple):
    """One call of a layer.

    Attributes:
        layer: The layer's name.
        number: Which of the layer's calls it is, from 0.
        args: The positional arguments: structures of lists, dicts, values and `Tensor`s. What is
            neither (`{"class_name": "__numpy__", ...}`) is left as JSON.
        kwargs: The named arguments, likewise.
    """

    layer: str
    number: int
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}

    @property
    def tensors(self) -> list[tuple[int | str, Tensor]]:
        """The tensors that it reads in order, with the argument that holds each: place or name."""
        arguments: list[tuple[int | str, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        return [
            (name, leaf)
            for name, value in arguments
            for _, leaf in leaves(value)
            if isinstance(leaf, Tensor)
        ]


class Connections(NamedTuple):
    """The graph of one model.

    Attributes:
        entries: What `config.json` says of each layer and operation, by its name.
        calls: The calls, each after those that it reads. Inputs are calls without arguments.
        inputs: The structure of the model's inputs: lists and dicts of tensors, or one tensor.
        outputs: That of its outputs.
    """

    entries: Mapping[str, Mapping[str, Any]]
    calls: tuple[Call, ...]
    inputs: Any
    outputs: Any


def leaves(structure: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields what a structure holds, in the order in which Keras flattens it, with its place.

    Example:
        >>> list(leaves({"b": [1, 2], "a": 3}))
        [('a', 3), ('b/0', 1), ('b/1', 2)]
    """
    if isinstance(structure, dict) and "class_name" not in structure:
        items = [(key, structure[key]) for key in sorted(structure)]
    elif isinstance(structure, list):
        items = [(str(place), item) for place, item in enumerate(structure)]
    else:
        yield path, structure
        return
    for key, item in items:
        yield from leaves(item, f"{path}/{key}" if path else key)


def connections_of(model: Node) -> Connections:
    """Returns the graph of a Functional or Sequential model, without those of models inside it.

    Args:
        model: A node whose class is one of `MODELS`.

    Returns:
        Of a Sequential model without an InputLayer the input is the call of a layer without a name.

    Raises:
        SourceError: It is none that Keras would load: a tensor that nothing makes, or a cycle.
    """
    with located(path=model.path or None, class_name=model.class_name):
        if model.builtin == "Sequential":
            return _chain(model)
        entries = _entries(model)
        calls = [
            call for name, entry in entries.items() for call in _calls_of(name, entry, model.path)
        ]
        ordered = _in_order(calls)
        known = {(call.layer, call.number) for call in calls}
        ends = (_end(model.config.get(f"{key}_layers"), entries, known) for key in _ENDS)
        return Connections(entries, ordered, *ends)


_ENDS = ("input", "output")


def _entries(model: Node) -> dict[str, dict[str, Any]]:
    """Returns the entries of layers and operations by name; `parse` has not seen all of them."""
    entries: dict[str, dict[str, Any]] = {}
    for entry in model.config["layers"]:
        class_name, config = entry.get("class_name"), entry.get("config")
        if not (isinstance(class_name, str) and isinstance(config, dict)):
            raise SourceError("an operation has no `class_name` or `config`", _REPAIR)
        name = entry.get("name", config.get("name"))
        if name is None and model.builtin == "Sequential":
            name = f"{class_name} {len(entries)}"  # a custom class need not write its name
        if not isinstance(name, str):
            raise SourceError(f"the name of a {printable(class_name)} is no text", _REPAIR)
        if name in entries:
            raise SourceError(f"the name {printable(name)} is used twice in one model", _REPAIR)
        entries[name] = entry
    return entries


def _chain(model: Node) -> Connections:
    entries = _entries(model)
    shape = model.config.get("build_input_shape")
    first = next(iter(entries.values()), {})
    if is_builtin_layer(first) == "InputLayer":
        shape = first["config"].get("batch_shape", shape)
    else:
        own = {"class_name": "InputLayer", "config": {"batch_shape": shape}}
        entries = {"": own, **entries}
    tensors = [Tensor(name, 0, 0) for name in entries]
    tensors[0] = tensors[0]._replace(shape=_shape(shape))
    calls = [Call(tensors[0].layer, 0)]
    calls += [Call(to.layer, 0, (of,)) for of, to in pairwise(tensors)]
    return Connections(entries, tuple(calls), tensors[0], tensors[-1])


def _calls_of(name: str, entry: dict[str, Any], path: str) -> list[Call]:
    nodes = entry.get("inbound_nodes")
    with located(path=f"{path}/{name}".lstrip("/"), class_name=entry["class_name"]):
        if not isinstance(nodes, list):
            raise SourceError("it has no list `inbound_nodes`", _REPAIR)
        calls = []
        for index, node in enumerate(nodes):
            args, kwargs = (_argument(node, key) for key in ("args", "kwargs"))
            if not (isinstance(args, list) and isinstance(kwargs, dict)):
                raise SourceError(
                    "a call in its `inbound_nodes` has no `args` or `kwargs`", _REPAIR
                )
            calls.append(Call(name, index, tuple(args), kwargs))
        return calls or [Call(name, 0)]


def _argument(node: Any, key: str) -> Any:
    return _value(node.get(key), 0) if isinstance(node, dict) else None


def _value(value: Any, depth: int) -> Any:
    if depth > _MOST_NESTED:
        raise SourceError(f"an argument nests more than {_MOST_NESTED} levels deep", _REPAIR)
    if isinstance(value, list):
        return [_value(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if value.get("class_name") == _TENSOR:
            return _tensor(value.get("config"))
        if "class_name" not in value:
            return {key: _value(item, depth + 1) for key, item in value.items()}
    return value


def _tensor(config: Any) -> Tensor:
    history = config.get("keras_history") if isinstance(config, dict) else None
    tensor = _made_by(history)
    if tensor is None:
        raise SourceError(f"it reads a tensor that is {printable(history)}", _REPAIR)
    return tensor._replace(shape=_shape(config.get("shape")))


def _made_by(history: Any) -> Tensor | None:
    if not isinstance(history, list) or len(history) != _LEAF:
        return None
    layer, call, output = history
    if not isinstance(layer, str) or not all(type(n) is int and n >= 0 for n in (call, output)):
        return None
    return Tensor(layer, call, output)


def _shape(shape: Any) -> Shape | None:
    if not isinstance(shape, list):
        return None
    if not all(size is None or (type(size) is int and size >= 0) for size in shape):
        raise SourceError(f"{printable(shape)} is the shape of no tensor", _REPAIR)
    return tuple(shape)


def _end(
    value: Any, entries: Mapping[str, dict[str, Any]], known: set[tuple[str, int]], depth: int = 0
) -> Any:
    """Returns the structure of a model's inputs or outputs.

    There, and only there, Keras counts the calls of a Functional model from 1.
    """
    if depth > _MOST_NESTED:
        raise SourceError(f"its ends nest more than {_MOST_NESTED} levels deep", _REPAIR)
    tensor = _made_by(value)
    if tensor is not None:
        entry = entries.get(tensor.layer, {})
        if "input_layers" in entry.get("config", {}):
            tensor = tensor._replace(call=tensor.call - 1)
        if (tensor.layer, tensor.call) not in known:
            raise SourceError(f"no layer makes its input or output {printable(value)}", _REPAIR)
        if entry["class_name"] == "InputLayer":
            tensor = tensor._replace(shape=_shape(entry["config"].get("batch_shape")))
        return tensor
    if isinstance(value, list) and value:
        return [_end(item, entries, known, depth + 1) for item in value]
    if isinstance(value, dict) and value:
        return {key: _end(item, entries, known, depth + 1) for key, item in value.items()}
    raise SourceError(f"{printable(value)} stands for its inputs or outputs", _REPAIR)


def _in_order(calls: list[Call]) -> tuple[Call, ...]:
    """Sorts the calls so that each comes after those that it reads, else as they stood.

    Raises:
        SourceError: One reads what nothing makes, or itself in the end.
    """
    by_key = {(call.layer, call.number): call for call in calls}
    readers: dict[tuple[str, int], list[Call]] = {}
    waiting: dict[tuple[str, int], int] = {}
    for call in calls:
        reads = {(tensor.layer, tensor.call) for _, tensor in call.tensors}
        for key in reads:
            if key not in by_key:
                what = f"{printable(call.layer)} reads call {key[1]} of {printable(key[0])}"
                raise SourceError(f"{what}, which there is not", _REPAIR)
            readers.setdefault(key, []).append(call)
        waiting[call.layer, call.number] = len(reads)
    ready = deque(call for call in calls if not waiting[call.layer, call.number])
    ordered = []
    while ready:
        call = ready.popleft()
        ordered.append(call)
        for reader in readers.get((call.layer, call.number), ()):
            waiting[reader.layer, reader.number] -= 1
            if not waiting[reader.layer, reader.number]:
                ready.append(reader)
    if len(ordered) < len(calls):
        name = next(call.layer for call in calls if waiting[call.layer, call.number])
        raise SourceError(
            f"its layers read one another in a circle; {printable(name)} is in it or behind it",
            _REPAIR,
        )
    return tuple(ordered)
