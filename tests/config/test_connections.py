"""Which tensors the calls of a model's layers read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from graphs import call, functional, layer, operation, source, tensor

from snconvert.config.connections import Call, Connections, Tensor, connections_of, leaves
from snconvert.config.parsing import parse
from snconvert.errors import SourceError


def graph(*layers: Any, inputs: Any = ("x", 0, 0), outputs: Any) -> Connections:
    ends = {"inputs": list(inputs), "outputs": outputs}
    return connections_of(parse(functional(*layers, **ends)))


def test_arguments_keep_their_order_and_names() -> None:
    """Tensors come in the order in which Keras flattens the arguments: keys of dicts sorted."""
    found = graph(
        source(),
        source("y"),
        layer("Odd", "odd", call({"b": tensor("x"), "a": [tensor("y"), 2]}, mask=tensor("x"))),
        outputs=["odd", 0, 0],
    )
    last = found.calls[-1]
    assert [(at, leaf.layer) for at, leaf in last.tensors] == [(0, "y"), (0, "x"), ("mask", "x")]
    assert last.args[0]["a"][1] == 2


def test_a_layer_of_a_chain_needs_no_name() -> None:
    """A custom class may leave its name out of its configuration."""
    own = {"module": "mine", "class_name": "Own", "config": {}, "registered_name": "mine>Own"}
    config = {"name": "s", "layers": [source(), own]}
    entry = {"module": "keras", "class_name": "Sequential", "config": config}
    found = connections_of(parse(entry))
    assert [found.entries[called.layer]["class_name"] for called in found.calls[1:]] == ["Own"]


def test_each_call_of_a_layer_is_one() -> None:
    """A layer that is called on its own output has two calls, in order."""
    shared = layer("Dense", "d", call(tensor("x")), call(tensor("d"), training=True))
    found = graph(source(), shared, outputs=["d", 1, 0])
    assert [(c.layer, c.number) for c in found.calls] == [("x", 0), ("d", 0), ("d", 1)]
    assert found.calls[2].kwargs == {"training": True}
    assert found.outputs == Tensor("d", 1, 0)


def test_calls_come_after_what_they_read() -> None:
    """The order is that of the computation, whatever that of the file."""
    found = graph(
        operation("Add", "add", call(tensor("a"), tensor("b"))),
        layer("Dense", "a", call(tensor("b"))),
        layer("Dense", "b", call(tensor("x"))),
        source(),
        outputs=["add", 0, 0],
    )
    assert [c.layer for c in found.calls] == ["x", "b", "a", "add"]


def test_calls_of_nested_models_count_from_one_in_outputs() -> None:
    """Keras counts a Functional model's calls from 1 in the ends of another, else from 0."""
    inner = functional(source(), inputs=["x", 0, 0], outputs=["x", 0, 0], name="inner")
    inner["inbound_nodes"] = [call(tensor("x")), call(tensor("inner", 0, 0))]
    found = graph(source(), inner, outputs={"o": ["inner", 2, 0], "p": [["inner", 1, 0]]})
    assert found.outputs == {"o": Tensor("inner", 1, 0), "p": [Tensor("inner", 0, 0)]}
    assert [path for path, _ in leaves(found.outputs)] == ["o", "p/0"]


@pytest.mark.parametrize("with_input", [True, False])
def test_a_sequential_model_is_a_chain(*, with_input: bool) -> None:
    """Its input is that of its InputLayer, or has no name and the shape it was built for."""
    layers = [layer("Dense", "a"), layer("Dense", "b")]
    config: dict[str, Any] = {"name": "m", "layers": layers, "build_input_shape": [None, 3]}
    if with_input:
        layers.insert(0, source())
    entry = {"module": "keras", "class_name": "Sequential", "config": config}
    found = connections_of(parse(entry))
    first = Tensor("x", 0, 0, (None, 4)) if with_input else Tensor("", 0, 0, (None, 3))
    assert found.calls == (
        Call(first.layer, 0),
        Call("a", 0, (first,)),
        Call("b", 0, (Tensor("a", 0, 0),)),
    )
    assert (found.inputs, found.outputs) == (first, Tensor("b", 0, 0))


def dense(**changes: Any) -> dict[str, Any]:
    return layer("Dense", "d", call(tensor("x"))) | changes


def nested(depth: int) -> Any:
    value: Any = tensor("x")
    for _ in range(depth):
        value = [value]
    return value


WRONG: dict[str, tuple[Any, str]] = {
    "a circle": (dense(inbound_nodes=[call(tensor("d"))]), "in a circle; d is in it"),
    "an unknown layer": (dense(inbound_nodes=[call(tensor("y"))]), "reads call 0 of y, which"),
    "an unknown call": (dense(inbound_nodes=[call(tensor("x", 1))]), "reads call 1 of x, which"),
    "a negative call": (
        dense(inbound_nodes=[call(tensor("x", -1))]),
        r"a tensor that is \['x', -1",
    ),
    "no history": (dense(inbound_nodes=[call({"class_name": "__keras_tensor__"})]), "that is None"),
    "no shape": (dense(inbound_nodes=[call(tensor("x", shape=[None, 1.5]))]), "of no tensor"),
    "no calls": (dense(inbound_nodes=None), "it has no list `inbound_nodes`"),
    "no arguments": (dense(inbound_nodes=[{"args": []}]), "has no `args` or `kwargs`"),
    "an older call": (dense(inbound_nodes=[[["x", 0, 0]]]), "has no `args` or `kwargs`"),
    "deep nesting": (dense(inbound_nodes=[call(nested(100))]), "nests more than 64 levels"),
    "an operation without config": ({"module": "keras.src.ops.numpy"}, "no `class_name`"),
    "a name twice": (operation("Add", "x", call(tensor("x"))), "x is used twice"),
    "no name": (operation("Add", "d", call(tensor("x"))) | {"name": 3}, "is no text"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_graph_is_refused(case: str) -> None:
    """A graph that Keras would not load is an error that says where."""
    entry, message = copy.deepcopy(WRONG[case])
    with pytest.raises(SourceError, match=message):
        graph(source(), entry, outputs=["d", 0, 0])


@pytest.mark.parametrize("ends", [None, [], ["y", 0, 0], ["d", 1, 0], ["d", 0], nested(100), 3])
def test_ends_have_to_be_tensors(ends: Any) -> None:
    """Inputs and outputs are structures of tensors that layers make."""
    with pytest.raises(SourceError, match=r"inputs? or outputs?|nest more than|nothing"):
        graph(source(), dense(), outputs=ends)


def _nested_calls(keras: Any) -> Any:
    inner_input = keras.Input((4,))
    dense_ = keras.layers.Dense
    inner = keras.Model(inner_input, {"z": dense_(3)(inner_input), "y": dense_(2)(inner_input)})
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    one, two = inner(a), inner(b)
    joined = keras.ops.concatenate([one["z"], two["y"] * 2.0], axis=-1)
    return keras.Model({"a": a, "b": b}, {"o": joined, "p": two["z"], "q": [one["y"], a]})


def _several(keras: Any) -> Any:
    a, b = keras.Input((5, 4), name="a"), keras.Input((3, 4), name="b")
    x = keras.layers.MultiHeadAttention(2, 2)(a, key=b, value=b)
    y, _, state = keras.layers.LSTM(3, return_state=True, return_sequences=True)(x)
    shared = keras.layers.Dense(3)
    return keras.Model([a, b], [shared(shared(y)), shared(state), x[:, 0]])


@pytest.mark.keras
@pytest.mark.parametrize("make", [_nested_calls, _several])
def test_they_are_those_of_keras(make: Callable[[Any], Any]) -> None:
    """Calls, tensors and shapes are those of the nodes of a live model."""
    import keras

    model = make(keras)
    found = connections_of(parse(json.loads(model.to_json())))
    own = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    live = {
        (operation.name, index): node.input_tensors
        for operation in model.operations
        for index, node in enumerate(n for n in operation._inbound_nodes if id(n) in own)
    }
    assert len(found.calls) == len(live)
    for each in found.calls:
        ours = [leaf for _, leaf in each.tensors]
        theirs = live[each.layer, each.number]
        assert [leaf.shape for leaf in ours] == [tuple(t.shape) for t in theirs]
        assert _places(ours) == _made_at(theirs)
    assert _places(leaf for _, leaf in leaves(found.inputs)) == _made_at(model.inputs)
    assert _places(leaf for _, leaf in leaves(found.outputs)) == _made_at(model.outputs)


def _places(tensors: Iterable[Tensor]) -> list[tuple[str, int]]:
    return [(leaf.layer, leaf.output) for leaf in tensors]


def _made_at(tensors: Iterable[Any]) -> list[tuple[str, int]]:
    histories = [t._keras_history for t in tensors]
    return [(history.operation.name, history.tensor_index) for history in histories]
