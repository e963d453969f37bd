"""Graphs of Functional models, in the words of Keras 2 and of Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from older_configs import Entry, called, functional, given, layer, leaf, sequential

from snconvert.errors import SourceError
from snconvert.legacy.configuration import translate


def dense(name: str, units: int = 4) -> Entry:
    return layer("Dense", name, units=units, kernel_initializer="ones", bias_initializer="ones")


def start(*shape: int | None, name: str = "i") -> Entry:
    return called(given(*shape, name=name))


def inner(kind: str) -> Entry:
    """A model in a model, of 4 numbers to 4."""
    if kind == "functional":
        calls = [start(4), called(dense("d"), [leaf("i")])]
        return functional(calls, [["d", 0, 0]], name="inner")
    first = dense("d")
    if kind == "sequential":
        first["config"]["batch_input_shape"] = [None, 4]
    model = sequential(first)
    model["config"]["name"] = "inner"
    return model


def keras_inner() -> Any:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])


Live = Callable[[], Any]


def shared() -> Any:
    i, d = keras.Input((4,)), keras.layers.Dense(4)
    return keras.Model(i, [d(d(i)), d(i)])


def nested() -> Any:
    i, model, d = keras.Input((4,)), keras_inner(), keras.layers.Dense(4)
    twice = model(model(i))
    return keras.Model(i, [twice, d(twice)])


def attended() -> Any:
    i, j = keras.Input((3, 4)), keras.Input((5, 4))
    attention = keras.layers.MultiHeadAttention(2, 3)
    return keras.Model([i, j], attention(i, value=j, use_causal_mask=True))


def with_state() -> Any:
    i, h, c = keras.Input((3, 4)), keras.Input((2,)), keras.Input((2,))
    return keras.Model([i, h, c], keras.layers.LSTM(2)(i, initial_state=[h, c]))


def named() -> Any:
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    both = keras.layers.Add()([inputs["a"], inputs["b"]])
    return keras.Model(inputs, {"u": keras.layers.Dense(4)(both), "v": both})


CALLS: dict[str, tuple[Entry, Live]] = {
    "shared": (
        functional(
            [start(4), called(dense("d"), [leaf("i")], [leaf("d")], [leaf("i")])],
            [["d", 1, 0], ["d", 2, 0]],
        ),
        shared,
    ),
    **{
        f"a {kind}": (
            functional(
                [
                    start(4),
                    called(inner(kind), [leaf("i")], [leaf("inner", base)]),
                    called(dense("e"), [leaf("inner", base + 1, training=None)]),
                ],
                [["inner", base + 1, 0], ["e", 0, 0]],
            ),
            nested,
        )
        for kind, base in {"functional": 1, "sequential": 1, "shapeless": 0}.items()
    },
    "attention": (
        functional(
            [
                start(3, 4),
                start(5, 4, name="j"),
                called(
                    layer("MultiHeadAttention", "a", num_heads=2, key_dim=3),
                    [leaf("i", value=["j", 0, 0], use_causal_mask=True)],
                ),
            ],
            [["a", 0, 0]],
            "i",
            "j",
        ),
        attended,
    ),
    "a state": (
        functional(
            [
                start(3, 4),
                start(2, name="h"),
                start(2, name="c"),
                called(layer("LSTM", "l", units=2), [leaf("i"), leaf("h"), leaf("c")]),
            ],
            [["l", 0, 0]],
            "i",
            "h",
            "c",
        ),
        with_state,
    ),
    "dictionaries": (
        {
            "class_name": "Functional",
            "config": {
                "name": "m",
                "layers": [
                    start(4, name="a"),
                    start(4, name="b"),
                    called(layer("Add", "s"), [leaf("a"), leaf("b")]),
                    called(dense("d"), [leaf("s")]),
                ],
                "input_layers": {"a": ["a", 0, 0], "b": ["b", 0, 0]},
                "output_layers": {"u": ["d", 0, 0], "v": ["s", 0, 0]},
            },
        },
        named,
    ),
}


def calls(model: Entry, name: str) -> Any:
    """What the graph says of a layer: its calls as names of tensors."""
    entry = next(it for it in model["config"]["layers"] if it["name"] == name)

    def short(value: Any) -> Any:
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return tuple(value["config"]["keras_history"])
        if isinstance(value, dict):
            return {key: short(item) for key, item in value.items()}
        return [short(item) for item in value] if isinstance(value, list) else value

    return short(entry["inbound_nodes"])


@pytest.mark.keras
@pytest.mark.parametrize("name", CALLS)
def test_keras_computes_the_same(name: str) -> None:
    """Keras 3 makes of the graph what the same calls make of layers in Keras 3."""
    old, live = CALLS[name]
    model, expected = keras.saving.deserialize_keras_object(translate(old).config), live()
    random = np.random.default_rng(0)
    expected.set_weights([random.normal(size=w.shape) for w in expected.get_weights()])
    model.set_weights(expected.get_weights())
    data = keras.tree.map_structure(
        lambda x: random.normal(size=(2, *x.shape[1:])).astype("float32"), expected.input
    )
    keras.tree.map_structure(np.testing.assert_array_equal, model(data), expected(data))


def test_the_calls() -> None:
    """Nodes of a model inside count from 0 for tensors, and from 1 for outputs if Functional."""
    for kind, output in {"functional": 2, "sequential": 1, "shapeless": 1}.items():
        model = translate(CALLS[f"a {kind}"][0]).config
        twice = [{"args": [(name, 0, 0)], "kwargs": {}} for name in ("i", "inner")]
        assert calls(model, "inner") == twice
        assert calls(model, "e") == [{"args": [("inner", 1, 0)], "kwargs": {}}]
        assert model["config"]["output_layers"] == [["inner", output, 0], ["e", 0, 0]]
        assert model["config"]["input_layers"] == ["i", 0, 0]
    attention = translate(CALLS["attention"][0]).config
    kwargs = {"value": ("j", 0, 0), "use_causal_mask": True}
    assert calls(attention, "a") == [{"args": [("i", 0, 0)], "kwargs": kwargs}]
    state = {"initial_state": [("h", 0, 0), ("c", 0, 0)]}
    assert calls(translate(CALLS["a state"][0]).config, "l") == [
        {"args": [("i", 0, 0)], "kwargs": state}
    ]


def test_tensors_know_the_inputs() -> None:
    """A tensor that is an input has its shape and dtype."""
    model = translate(CALLS["shared"][0]).config
    tensor = model["config"]["layers"][1]["inbound_nodes"][0]["args"][0]["config"]
    assert tensor == {"shape": [None, 4], "dtype": "float32", "keras_history": ["i", 0, 0]}


WRONG: list[tuple[list[Any], list[Any], str]] = [
    ([leaf("nobody")], [["d", 0, 0]], "names 'nobody', which is no layer of it"),
    ([leaf("i", 1)], [["d", 0, 0]], "call 1 of i is used, but it has 1"),
    ([leaf("i")], [["d", 3, 0]], "call 3 of d is used, but it has 1"),
    ([leaf("i")], [["e", 0, 0]], "names 'e', which is no layer of it"),
    ([leaf("i")], [], "inputs or outputs are missing"),
    ([["_CONSTANT_VALUE", -1, 2.0, {}]], [["d", 0, 0]], "a constant in the graph"),
    ([], [["d", 0, 0]], "a call of it has no input"),
]


@pytest.mark.parametrize(("call", "ends", "says"), WRONG)
def test_a_wrong_graph(call: list[Any], ends: list[Any], says: str) -> None:
    """A graph that names what is not there is refused, and so is what Keras 3 cannot say."""
    with pytest.raises(SourceError, match=says):
        translate(functional([start(4), called(dense("d"), call)], ends))


def test_constants() -> None:
    """Constants of a recurrent layer are refused, as Keras 3 has none."""
    call = [leaf("i", constants=[["i", 0, 0]])]
    model = functional([start(3, 4), called(layer("LSTM", "d", units=2), call)], [["d", 0, 0]])
    with pytest.raises(SourceError, match=r"d \(LSTM\): it is called with `constants`"):
        translate(model)
