"""The network of a model, from its configuration alone."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
from graphs import Entry, call, functional, layer, operation, source, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.config.parsing import model_root, parse
from snconvert.config.tree import Node
from snconvert.config.weight_groups import group_paths
from snconvert.errors import SnconvertError, SourceError, UnsupportedError
from snconvert.kinds.table import RULES
from snconvert.lipschitz.network import (
    Constant,
    Network,
    Slopes,
    StoredArray,
    StoredKernel,
    Sum,
    Unbounded,
)
from snconvert.lipschitz.reading import builder
from snconvert.lipschitz.reading.layers import Weights
from snconvert.lipschitz.reading.models import network_of
from snconvert.lipschitz.rows.row import OwnKernel
from snconvert.weights.contents import Dataset


def dataset(*shape: int) -> Dataset:
    return Dataset(shape, "float32", "little", 0, 4 * math.prod(shape))


def weights(root: Node, sizes: dict[str, tuple[int, ...]]) -> Weights:
    """Returns weights in which each layer of a path has a kernel of that shape."""
    paths = group_paths(root)
    kernels: dict[Node, dict[str, OwnKernel]] = {}
    for node in root.walk():
        shape = sizes.get(node.path)
        if shape is not None and node.first is None:
            (rule,) = RULES[str(node.builtin)].kernels
            array = StoredArray(f"{paths[node]}/vars/0", dataset(*shape))
            view = rule.view(shape, node.config)
            kernels[node] = {rule.name: OwnKernel(rule, StoredKernel(array, view))}
    return Weights(kernels, paths, {})


def read(
    *layers: Entry,
    outputs: Any,
    inputs: Any = ("x", 0, 0),
    sizes: dict[str, tuple[int, ...]] | None = None,
) -> Network:
    root = parse(functional(*layers, inputs=_plain(inputs), outputs=outputs))
    return network_of(root, weights(root, sizes or {}))


def _plain(ends: Any) -> Any:
    return list(ends) if isinstance(ends, tuple) else ends


def kinds(network: Network) -> list[str]:
    return [type(operation.does).__name__ for operation in network.operations]


def inner(*layers: Entry, outputs: Any = ("d", 0, 0), calls: list[Entry], name: str = "m") -> Entry:
    entry = functional(source("i"), *layers, inputs=["i", 0, 0], outputs=_plain(outputs), name=name)
    return entry | {"inbound_nodes": calls}


def dense(name: str, *calls: Entry, **config: Any) -> Entry:
    return layer("Dense", name, *calls, units=4, **config)


def test_a_nested_model_is_opened_at_each_call() -> None:
    """Two calls of one model are two copies with the same paths and arrays."""
    model = inner(dense("d", call(tensor("i"))), calls=[call(tensor("x")), call(tensor("m"))])
    network = read(source(), model, outputs=["m", 2, 0], sizes={"m/d": (4, 4)})
    assert [it.path for it in network.operations] == ["x", "m/d", "m/d"]
    assert [it.inputs for it in network.operations] == [(), (0,), (1,)]
    assert network.operations[1].does == network.operations[2].does


def test_outputs_of_a_nested_model_are_found_by_place() -> None:
    """The outputs of a dict are numbered by their sorted keys."""
    layers = [dense("p", call(tensor("i"))), layer("ReLU", "q", call(tensor("i")))]
    ends = {"b": ["p", 0, 0], "a": ["q", 0, 0]}
    model = inner(*layers, outputs=ends, calls=[call(tensor("x"))])
    network = read(
        source(), model, outputs={"one": ["m", 1, 0], "two": ["m", 1, 1]}, sizes={"m/p": (4, 3)}
    )
    found = {name: network.operations[place].path for name, place in network.outputs}
    assert found == {"one": "m/q", "two": "m/p"}


def test_an_activation_is_an_operation_of_its_layer() -> None:
    """A Dense with an activation is two operations of one path; `linear` is none."""
    network = read(
        source(),
        dense("a", call(tensor("x")), activation="gelu"),
        dense("b", call(tensor("a")), activation="linear"),
        outputs=["b", 0, 0],
        sizes={"a": (4, 4), "b": (4, 4)},
    )
    assert [(it.path, it.class_name) for it in network.operations[1:]] == [
        ("a", "Dense"),
        ("a", "gelu"),
        ("b", "Dense"),
    ]


def test_what_no_output_depends_on_is_left_out() -> None:
    """Inputs and layers without a way to an output do not stand in the network."""
    network = read(
        source(),
        source("y"),
        layer("ReLU", "used", call(tensor("x"))),
        layer("Lambda", "unused", call(tensor("y"))),
        inputs=[["x", 0, 0], ["y", 0, 0]],
        outputs=["used", 0, 0],
    )
    assert [it.path for it in network.operations] == ["x", "used"]


def test_outputs_of_one_layer_are_told_apart() -> None:
    """Two outputs of one layer get two names."""
    relu = layer("ReLU", "r", call(tensor("x")), call(tensor("r")))
    network = read(source(), relu, outputs=[["r", 0, 0], ["r", 1, 0]])
    assert [name for name, _ in network.outputs] == ["r", "r (2)"]


def test_repeats_are_counted_with_their_root() -> None:
    """What broadcasting repeats n times counts sqrt(n) times."""
    network = read(
        source("x", 3, 3, 8),
        source("y", 1, 1, 8),
        layer("Add", "add", call([tensor("x"), tensor("y")])),
        inputs=[["x", 0, 0], ["y", 0, 0]],
        outputs=["add", 0, 0],
    )
    assert network.operations[-1].does == Sum((1.0, 3.0))


def test_one_of_an_unknown_number_is_repeated() -> None:
    """`x - x[:, -1:]` repeats the last step as often as there are steps."""
    last = {"class_name": "__slice__", "config": {"start": -1}}
    key = [{"class_name": "__slice__", "config": {}}, last]
    network = read(
        source("x", None, 8),
        operation("GetItem", "last", call(tensor("x"), key)),
        operation("Subtract", "difference", call(tensor("x"), tensor("last"))),
        outputs=["difference", 0, 0],
    )
    assert network.operations[1].sizes == (1, 8)
    assert isinstance(network.operations[-1].does, Unbounded)


def test_unknown_sizes_are_told() -> None:
    """Whether broadcasting repeats one of two tensors of unknown sizes only their sizes tell."""
    network = read(
        source("x", None, 8),
        source("y", None, 8),
        layer("Add", "add", call([tensor("x"), tensor("y")])),
        inputs=[["x", 0, 0], ["y", 0, 0]],
        outputs=["add", 0, 0],
    )
    assert "if these sizes are equal" in network.notes[0]


def test_repeats_of_unknown_number_have_no_bound() -> None:
    """Where the size is not known, no number of repeats is."""
    network = read(
        source("x", None, 8),
        source("y", 1, 8),
        layer("Add", "add", call([tensor("x"), tensor("y")])),
        inputs=[["x", 0, 0], ["y", 0, 0]],
        outputs=["add", 0, 0],
    )
    assert isinstance(network.operations[-1].does, Unbounded)


def test_dropout_that_is_called_as_in_training_scales() -> None:
    """`training=True` stored in a call makes Dropout multiply what it keeps."""
    dropout = layer("Dropout", "drop", call(tensor("x"), training=True), rate=0.75)
    network = read(source(), dropout, outputs=["drop", 0, 0])
    does = network.operations[-1].does
    assert isinstance(does, Constant)
    assert 4.0 <= does.value < 4.0 + 1e-12


def test_training_of_a_model_is_that_of_its_layers() -> None:
    """What a nested model is called with wins over what its layers are called with."""
    for outer, kept, count in ((True, False, 2), (False, True, 1), (None, True, 2)):
        dropout = layer("Dropout", "d", call(tensor("i"), training=kept), rate=0.5)
        model = inner(dropout, calls=[call(tensor("x"), training=outer)])
        assert len(read(source(), model, outputs=["m", 1, 0]).operations) == count


def test_an_unknown_layer_is_named_and_its_stored_shape_goes_on() -> None:
    """A custom layer has no constant; what reads it goes by the stored shape."""
    custom = layer("Odd", "odd", call(tensor("x"))) | {
        "module": "mine",
        "registered_name": "mine>Odd",
    }
    network = read(
        source(),
        custom,
        layer("Flatten", "flat", call(tensor("odd", shape=[None, 2, 3]))),
        outputs=["flat", 0, 0],
    )
    assert network.operations[1].does == Unbounded("only its own code tells what it computes")
    assert network.operations[2].sizes == (6,)


def test_a_layer_without_weights_says_so() -> None:
    """A layer that is not built, or quantized, has no kernel to go by."""
    network = read(source(), dense("d", call(tensor("x"))), outputs=["d", 0, 0])
    assert network.operations[-1].does == Unbounded("the file holds no weights for it")
    quantized = dense("d", call(tensor("x")), dtype="int8_from_float32")
    network = read(source(), quantized, outputs=["d", 0, 0])
    does = network.operations[-1].does
    assert isinstance(does, Unbounded)
    assert "quantized" in does.reason


EMBEDDING: dict[str, Any] = {"input_dim": 9, "output_dim": 3}


def test_the_bound_begins_behind_discrete_layers() -> None:
    """An embedding is an input of its own, and its ids are none."""
    network = read(
        source("x", 5),
        layer("Embedding", "table", call(tensor("x")), **EMBEDDING),
        layer("Flatten", "flat", call(tensor("table"))),
        outputs=["flat", 0, 0],
        sizes={"table": (9, 3)},
    )
    assert network.starts == ("table",)
    assert [(it.path, it.sizes) for it in network.operations] == [
        ("table", (5, 3)),
        ("flat", (15,)),
    ]


def test_ids_that_are_numbers_too_have_no_bound() -> None:
    """Where a layer reads as numbers what an embedding looks up, or computes it, it jumps."""
    table = layer("Embedding", "table", call(tensor("x")), **EMBEDDING)
    network = read(
        source("x", 3),
        table,
        layer("Flatten", "flat", call(tensor("table"))),
        layer("Concatenate", "both", call([tensor("flat"), tensor("x")])),
        outputs=["both", 0, 0],
        sizes={"table": (9, 3)},
    )
    reasons = [it.does.reason for it in network.operations if isinstance(it.does, Unbounded)]
    assert reasons == ["it looks up an input that other layers read as numbers"]
    assert network.starts == ()
    network = read(
        source("x", 3),
        layer("ReLU", "relu", call(tensor("x"))),
        layer("Embedding", "table", call(tensor("relu")), **EMBEDDING),
        outputs=["table", 0, 0],
        sizes={"table": (9, 3)},
    )
    assert network.operations[-1].does == Unbounded("it looks up numbers that the network computes")


def test_a_mask_has_no_bound_where_it_is_used() -> None:
    """Masking by 0 moves nothing; a layer behind it that uses the mask jumps."""
    mask = layer("Masking", "mask", call(tensor("x")))
    flat = layer("Flatten", "flat", call(tensor("mask")))
    assert kinds(read(source("x", 5, 2), mask, flat, outputs=["flat", 0, 0])) == [
        "Input",
        "Constant",
    ]
    soft = layer("Softmax", "soft", call(tensor("mask")))
    network = read(source("x", 5, 2), mask, soft, outputs=["soft", 0, 0])
    assert kinds(network) == ["Input", "Unbounded"]


@pytest.mark.parametrize("numbers", [False, True])
def test_a_mask_of_ids_is_held(*, numbers: bool) -> None:
    """The mask of an embedding stays as it is with its ids, unless they are read as numbers."""
    table = layer("Embedding", "table", call(tensor("x")), mask_zero=True, **EMBEDDING)
    same = operation("NotEqual", "same", call(tensor("x"), 0))
    pool = layer("GlobalAveragePooling1D", "pool", call(tensor("table"), mask=tensor("same")))
    both = layer("Concatenate", "both", call([tensor("pool"), tensor("x" if numbers else "pool")]))
    network = read(
        source("x", 5), table, same, pool, both, outputs=["both", 0, 0], sizes={"table": (9, 3)}
    )
    does = next(it.does for it in network.operations if it.path == "pool")
    assert isinstance(does, Unbounded) if numbers else does == Constant(1.0, -1)
    assert "same" not in [it.path for it in network.operations]


def test_operations_are_read_with_their_constants() -> None:
    """`(x * 3 + 1)[:, 1:]` is a scale and a cut."""
    cut = [{"class_name": "__slice__", "config": {"start": one}} for one in (None, 1)]
    network = read(
        source(),
        operation("Multiply", "times", call(tensor("x"), 3.0)),
        operation("Add", "plus", call(tensor("times"), 1.0)),
        operation("GetItem", "cut", call(tensor("plus"), cut)),
        outputs=["cut", 0, 0],
    )
    assert kinds(network) == ["Input", "Diagonal", "Constant"]
    assert network.operations[-1].sizes == (3,)


def test_steps_are_put_before_what_is_distributed() -> None:
    """A layer in TimeDistributed acts on each step, and so does a whole model in it."""
    model = inner(
        dense("d", call(tensor("i"))),
        layer("ReLU", "r", call(tensor("d"))),
        outputs=("r", 0, 0),
        calls=[],
    )
    timed = layer("TimeDistributed", "timed", call(tensor("x")), layer=model)
    network = read(source("x", 7, 4), timed, outputs=["timed", 0, 0], sizes={"timed/m/d": (4, 5)})
    assert [it.sizes for it in network.operations] == [(7, 4), (7, 5), (7, 5)]
    assert [it.path for it in network.operations] == ["x", "timed/m/d", "timed/m/r"]


def test_inputs_of_another_rank_are_those_of_keras() -> None:
    """Keras adds or drops a last axis of size 1 of what a model is called with."""
    model = functional(source("i", 4, 1), inputs=["i", 0, 0], outputs=["i", 0, 0], name="m") | {
        "inbound_nodes": [call(tensor("x"))]
    }
    flat = layer("Flatten", "flat", call(tensor("m")))
    network = read(source("x", 4), model, flat, outputs=["flat", 0, 0])
    assert [it.sizes for it in network.operations] == [(4,), (4, 1), (4,)]
    assert kinds(network) == ["Input", "Constant", "Constant"]


def test_a_shape_that_fits_nothing_is_told_by_layer() -> None:
    """What Keras would refuse is an error that names the layer."""
    shape = layer("Reshape", "bad", call(tensor("x")), target_shape=[3])
    with pytest.raises(SourceError, match=r"^bad \(Reshape\): \(4,\) cannot be reshaped to \[3\]"):
        read(source(), shape, outputs=["bad", 0, 0])


def test_an_output_that_nothing_makes_is_refused() -> None:
    """A layer has one output, unless it is known to have more."""
    with pytest.raises(SourceError, match="r puts out 1 tensors, but number 3 is read"):
        read(source(), layer("ReLU", "r", call(tensor("x"))), outputs=["r", 0, 3])


@pytest.mark.parametrize(
    "load",
    [
        [layer("ReLU", f"dead{index}") for index in range(50)],
        [layer("Add", "sum", call([tensor("d")] * 50)), layer("ReLU", "r", call(tensor("sum")))],
        [operation("Add", "shift", call(tensor("d"), [[1.0] * 4] * 200))],
        [layer("Rescaling", "scale", call(tensor("d")), scale=[1.0] * 800, offset=0.0)],
    ],
    ids=["layers that nothing calls", "inputs", "a constant", "a configuration"],
)
def test_what_a_call_takes_counts(load: list[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is called often is read often, with all that is in it."""
    monkeypatch.setattr(builder, "MOST", 1000)
    calls = [call(tensor("m", index - 1) if index else tensor("x")) for index in range(20)]
    for extra in ([], load):
        model = inner(layer("ReLU", "d", call(tensor("i"))), *extra, calls=calls)
        if extra:
            with pytest.raises(UnsupportedError, match="more than 1000 calls"):
                read(source(), model, outputs=["m", 20, 0])
        else:
            assert len(read(source(), model, outputs=["m", 20, 0]).operations) == 21


def test_a_split_into_very_many_parts_is_refused() -> None:
    """It is before these are counted out."""
    split = operation("Split", "s", call(tensor("x")), axis=1, indices_or_sections=2**50)
    with pytest.raises(UnsupportedError, match="more than"):
        read(source("x", 2**50), split, outputs=["s", 0, 0])


@pytest.mark.parametrize("class_name", ["ReLU", "Dropout"])
def test_models_that_double_at_each_level_are_refused(
    class_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nesting multiplies the calls, also of what does nothing: there is a limit to their number."""
    monkeypatch.setattr(builder, "MOST", 500)
    model = inner(layer(class_name, "d", call(tensor("i"))), calls=[])
    for level in range(60):
        name = f"m{level}"
        model |= {"inbound_nodes": [call(tensor("i")), call(tensor(model["name"]))]}
        ends = {"inputs": ["i", 0, 0], "outputs": [model["name"], 2, 0]}
        model = functional(source("i"), model, **ends, name=name)
    root = parse(model)
    with pytest.raises(UnsupportedError, match="more than 500 calls"):
        network_of(root, weights(root, {}))


def test_models_may_nest_deeper_than_python_recurs() -> None:
    """A thousand models in each other are read."""
    model = inner(layer("ReLU", "d", call(tensor("i"))), calls=[])
    for _ in range(1500):
        model |= {"inbound_nodes": [call(tensor("i"))]}
        ends = {"inputs": ["i", 0, 0], "outputs": ["m", 1, 0]}
        model = functional(source("i"), model, **ends, name="m")
    root = parse(model)
    assert kinds(network_of(root, weights(root, {}))) == ["Input", "Slopes"]


def test_layers_of_16_bits_are_told() -> None:
    """A note says that rounding to 16 bits is not covered."""
    relu = layer("ReLU", "r", call(tensor("x")), dtype="mixed_float16")
    assert "16 bits" in read(source(), relu, outputs=["r", 0, 0]).notes[0]
    assert read(source(), layer("ReLU", "r", call(tensor("x"))), outputs=["r", 0, 0]).notes == ()


def test_what_rounds_has_no_constant() -> None:
    """A cast to whole numbers jumps; one to other floats does not."""
    for dtype, found in (("int32", "Unbounded"), ("bool", "Unbounded"), ("float16", "Slopes")):
        cast = operation("Cast", "cast", call(tensor("x")), dtype=dtype)
        relu = layer("ReLU", "r", call(tensor("cast")))
        assert found in kinds(read(source("x"), cast, relu, outputs=["r", 0, 0]))


def test_the_elu_of_a_graph_is_an_activation() -> None:
    """With the slopes [1, 1] it would be left out, and the kernels around it multiplied."""
    elu = operation("Elu", "elu", call(tensor("x")), alpha=1.0)
    assert read(source("x"), elu, outputs=["elu", 0, 0]).operations[1].does == Slopes(0.0, 1.0)


def test_a_rescaling_may_not_repeat_its_input() -> None:
    """Several numbers for one channel make several channels of it, which Keras does not say."""
    for config in ({"scale": 1.0, "offset": [1, 2, 3]}, {"scale": [1, 2, 3], "offset": 0.0}):
        for channels, found in ((1, "Unbounded"), (None, "Unbounded"), (3, "Diagonal")):
            scale = layer("Rescaling", "scale", call(tensor("x")), **config)
            read_as = read(source("x", 4, channels), scale, outputs=["scale", 0, 0])
            assert kinds(read_as) == ["Input", found]


STRANGE: list[Any] = [None, True, -1, 0, 2**70, 1.5, math.nan, "", "x", [], [0], {}, [None, -3]]
STRANGE += [{"class_name": "function"}, {"class_name": "LeakyReLU", "module": "keras.layers"}]
STRANGE += [[[1], [2, 3]], "same", "channels_first", {"class_name": 3}, 10**400, [10**9] * 5]


def rich() -> Entry:
    """Returns a model of many kinds of layers, with numbers that strange ones can take over."""
    conv = layer("AveragePooling2D", "pool", call(tensor("x")), pool_size=[2, 2], padding="same")
    add = operation("Add", "add", call(tensor("pool"), 1.0))
    cut = operation(
        "GetItem", "cut", call(tensor("add"), [{"class_name": "__slice__", "config": {}}, 0])
    )
    relu = layer("ReLU", "relu", call(tensor("cut")), negative_slope=0.1, max_value=6.0)
    act = layer("Activation", "act", call(tensor("relu")), activation="gelu")
    dims = layer("Permute", "permute", call(tensor("act")), dims=[2, 1])
    shape = layer("Reshape", "reshape", call(tensor("permute")), target_shape=[2, -1])
    scale = layer("Rescaling", "scale", call(tensor("reshape")), scale=[0.5], offset=0)
    drop = layer("Dropout", "drop", call(tensor("scale"), training=True), rate=0.5)
    inside = layer("ZeroPadding1D", "pad", padding=[1, 2])
    timed = layer("TimeDistributed", "timed", call(tensor("stack")), layer=inside)
    stack = operation("Stack", "stack", call([tensor("drop"), tensor("drop")]), axis=1)
    end = layer("Concatenate", "end", call([tensor("timed"), tensor("timed")]), axis=-1)
    layers = [source("x", 4, 4, 3), conv, add, cut, relu, act, dims, shape, scale, drop, stack]
    return functional(*layers, timed, end, inputs=["x", 0, 0], outputs=["end", 0, 0])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields where values stand in a JSON tree, as the keys that lead there."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner_value in items:
        yield (*path, key)
        if isinstance(inner_value, dict | list):
            yield from places(inner_value, (*path, key))


def test_the_rich_model_is_read() -> None:
    """What the next test damages is a model without a flaw."""
    root = parse(rich())
    network = network_of(root, weights(root, {}))
    assert not [it for it in network.operations if isinstance(it.does, Unbounded)]
    assert network.operations[-1].sizes == (2, 5, 6)


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_strange_configurations_are_errors_of_this_package(data: st.DataObject) -> None:
    """Whatever stands in a configuration: a network is read, or an error says what is wrong."""
    entry = rich()
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(list(places(entry))))
        holder = entry
        for key in path:
            holder = holder[key]
        holder[last] = copy.deepcopy(data.draw(st.sampled_from(STRANGE)))
    with contextlib.suppress(SnconvertError):
        root = model_root(parse(entry))
        network_of(root, weights(root, {}))


@pytest.mark.parametrize("equation", ["ab,abc->ac", "ab,bc->ca", "aab,bc->ac", "ab,cd->abd"])
def test_equations_that_are_no_matrix_product_have_no_bound(equation: str) -> None:
    """A kernel that tells samples apart, and labels summed by themselves, are no matrix."""
    einsum = layer("EinsumDense", "e", call(tensor("x")), equation=equation, output_shape=[4])
    sizes = (4,) * (equation.count("a") + 1)
    kernel = (4,) * len(equation.partition(",")[2].partition("->")[0])
    x = source("x", *sizes[: len(equation.partition(",")[0]) - 1])
    network = read(x, einsum, outputs=["e", 0, 0], sizes={"e": kernel})
    assert kinds(network) == ["Input", "Unbounded"]
