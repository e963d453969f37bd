"""The graph of a Functional model: from the words of Keras 2 to those of Keras 3.

Keras 2 writes each call of a layer as a structure of leaves `[layer, node, tensor, kwargs]`,
Keras 3 as `args` and `kwargs` that hold tensors. Both count the nodes of a layer, but Keras 2
begins with 1 where it is a model with an input of its own, Keras 3 with 0; in `output_layers` with
1 where it is a Functional model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snconvert.config.tree import CONTAINERS
from snconvert.core.foreign import REBUILD
from snconvert.errors import SourceError, printable
from snconvert.legacy.objects import Entry, words

_CONSTANT = "_CONSTANT_VALUE"  # how Keras 2 marks a leaf that is no tensor of the graph
_STATEFUL = words("""
    Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D GRU LSTM RNN SimpleRNN
""")
_REPAIR = "Repair the configuration, or save the model again"


@dataclass(frozen=True)
class Called:
    """What a graph says of one of its layers.

    Attributes:
        name: Its name in Keras 3.
        base: The number of its first node in Keras 2.
        count: How many nodes it has.
        output_base: The number that Keras 3 gives its first node in `output_layers`.
        shape: The shape of its output, if it is an input.
        dtype: The dtype of its output, if it is an input.
    """

    name: str
    base: int
    count: int
    output_base: int
    shape: Sequence[int | None] | None
    dtype: str


def is_leaf(value: Any) -> bool:
    """Whether a value names a tensor of the graph, as Keras 2 tells it."""
    if not isinstance(value, list) or len(value) not in {3, 4}:
        return False
    return isinstance(value[0], str) and type(value[1]) is int


def leaves(value: Any) -> Iterator[list[Any]]:
    """Yields all leaves below a value, those of their keyword arguments too."""
    stack = [value]
    while stack:
        item = stack.pop()
        if is_leaf(item):
            yield item
            item = item[3] if len(item) > 3 else None  # noqa: PLR2004 -- a fourth part
        if isinstance(item, dict):
            item = list(item.values())
        if isinstance(item, list):
            stack.extend(reversed(item))


def called(
    layers: Sequence[Entry],
    written: Sequence[Entry],
    ends: Any,
    owns_input: Callable[[Entry], bool],
) -> Mapping[str, Called]:
    """Returns what the graph says of each layer, by its old name.

    Args:
        layers: The layers as Keras 2 writes them.
        written: The same as Keras 3 does.
        ends: The model's `output_layers`.
        owns_input: Whether a layer is a model with an input of its own.
    """
    used: dict[str, set[int]] = {}
    for name, node, *_ in leaves([[layer.get("inbound_nodes") for layer in layers], ends]):
        used.setdefault(name, set()).add(node)
    result = {}
    for layer, new in zip(layers, written, strict=True):
        old, count = layer["name"], len(layer["inbound_nodes"])
        nodes = used.get(old, set())
        base = int(0 not in nodes and (count in nodes or owns_input(layer)))
        is_input = new["class_name"] == "InputLayer"
        functional = new["class_name"] == "Functional" or (base and "Seq" not in new["class_name"])
        result[old] = Called(
            name=new["config"].get("name", old),
            base=base,
            count=1 if is_input else count,
            output_base=int(bool(functional)),
            shape=new["config"].get("batch_shape") if is_input else None,
            dtype=new["config"].get("dtype") if is_input else "float32",
        )
    return result


def nodes(layer: Entry, class_name: str, known: Mapping[str, Called]) -> list[Entry]:
    """Returns the calls of a layer as Keras 3 writes them.

    Args:
        layer: The layer as Keras 2 writes it.
        class_name: Its class in Keras 3.
        known: All layers of the model.
    """
    calls = layer["inbound_nodes"]
    if not isinstance(calls, list):
        raise SourceError("its `inbound_nodes` are no list", _REPAIR)
    return [_node(call, class_name, known) for call in calls]


def _node(call: Any, class_name: str, known: Mapping[str, Called]) -> Entry:
    last: list[Any] | None = None
    kwargs: Any = {}
    for last in _top_leaves(call):
        kwargs = last[3] if len(last) > 3 else {}  # noqa: PLR2004 -- Keras 2 takes the last ones
    if last is None or not isinstance(kwargs, dict):
        raise SourceError("a call of it has no input", _REPAIR)
    first = _tensors(call, known)
    if isinstance(first, list) and len(first) == 1:
        first = first[0]
    written = {key: _tensors(value, known) for key, value in kwargs.items() if value is not None}
    if class_name in CONTAINERS or class_name in _STATEFUL:
        if written.get("constants") is not None:
            raise SourceError("it is called with `constants`, which Keras 3 has not", REBUILD)
        if class_name in _STATEFUL and isinstance(first, list):
            first, written["initial_state"] = first[0], first[1:]
    return {"args": [first], "kwargs": written}


def _top_leaves(value: Any) -> Iterator[list[Any]]:
    if is_leaf(value):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _top_leaves(item)


def _tensors(value: Any, known: Mapping[str, Called]) -> Any:
    """Returns the value with Keras 3's tensors for the leaves."""
    if is_leaf(value):
        name, node, tensor, *_ = value
        if name == _CONSTANT:
            raise SourceError("it computes with a constant in the graph", REBUILD)
        if name in known:
            return _tensor(known[name], node, tensor)
        if len(value) > 3:  # noqa: PLR2004 -- no list of a user's own
            raise _unknown(name)
    if isinstance(value, dict):
        return {key: _tensors(item, known) for key, item in value.items()}
    return [_tensors(item, known) for item in value] if isinstance(value, list) else value


def _tensor(source: Called, node: Any, tensor: Any) -> Entry:
    return {
        "class_name": "__keras_tensor__",
        "config": {
            # Keras reads neither; it goes by the history.
            "shape": source.shape or [None],
            "dtype": source.dtype,
            "keras_history": [source.name, _index(source, node), tensor],
        },
    }


def _index(source: Called, node: Any) -> int:
    if type(node) is not int or not 0 <= node - source.base < source.count:
        raise SourceError(
            f"call {printable(node)} of {printable(source.name)} is used, but it has"
            f" {source.count}, counted from {source.base}",
            _REPAIR,
        )
    return node - source.base


def _unknown(name: str) -> SourceError:
    return SourceError(f"the graph names {printable(name)!r}, which is no layer of it", _REPAIR)


def ends(value: Any, known: Mapping[str, Called]) -> Any:
    """Returns `input_layers` or `output_layers` as Keras 3 writes them.

    Raises:
        SourceError: It names a layer that is not there.
    """
    if is_leaf(value):
        name, node, tensor, *_ = value
        if name not in known:
            raise _unknown(name)
        return [known[name].name, _index(known[name], node) + known[name].output_base, tensor]
    if isinstance(value, dict):
        return {key: ends(item, known) for key, item in value.items()}
    if not isinstance(value, list) or not value:
        raise SourceError("the model's inputs or outputs are missing", _REPAIR)
    if len(value) == 1 and is_leaf(value[0]):
        return ends(value[0], known)
    return [ends(item, known) for item in value]
