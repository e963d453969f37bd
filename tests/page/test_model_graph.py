"""The graph of a page has the layers and edges of the model, with the models inside it opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from saved_models import config

from snconvert.config.parsing import parse
from snconvert.page.model_graph import graph_of


def tensor(name: str, call: int = 0, output: int = 0) -> dict[str, Any]:
    history = [name, call, output]
    return {"class_name": "__keras_tensor__", "config": {"keras_history": history}}


def layer(name: str, *reads: Any, class_name: str = "Dense", calls: int = 1) -> dict[str, Any]:
    """A layer that is called on the given tensors; with `calls` on one of them each time."""
    arguments = [[read] for read in reads] if calls > 1 else [list(reads)] if reads else []
    nodes = [{"args": args, "kwargs": {}} for args in arguments]
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"name": name},
        "registered_name": None,
        "name": name,
        "inbound_nodes": nodes,
    }


def model(name: str, layers: list[Any], inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": config,
        "registered_name": "Functional",
        "name": name,
    }


def edges(entry: Any) -> list[tuple[str, str]]:
    graph = graph_of(parse(entry))
    assert graph is not None
    assert all(start < end for start, end in graph.edges)
    return [(graph.nodes[start][0], graph.nodes[end][0]) for start, end in graph.edges]


def test_a_branch_and_an_operation() -> None:
    """Each node stands there once, with its kind, after what it reads; operations too."""
    add = layer("add_op", tensor("a"), tensor("x"), class_name="Add")
    add |= {"module": "keras.src.ops.numpy", "registered_name": "Add"}
    entry = model(
        "net",
        [layer("x", class_name="InputLayer"), add, layer("a", tensor("x"))],
        [["x", 0, 0]],
        [["add_op", 0, 0]],
    )
    graph = graph_of(parse(entry))
    assert graph is not None
    assert sorted(graph.nodes) == [
        ("a", "Dense", "layer"),
        ("add_op", "Add", "operation"),
        ("x", "InputLayer", "input"),
    ]
    assert sorted(edges(entry)) == [("a", "add_op"), ("x", "a"), ("x", "add_op")]


def test_a_shared_model_is_opened_each_time() -> None:
    """Of a model that is called twice, each call has its layers; what it returns is told apart."""
    inner = model(
        "tower",
        [
            layer("in", class_name="InputLayer"),
            layer("one", tensor("in")),
            layer("two", tensor("in")),
        ],
        [["in", 0, 0]],
        [["one", 0, 0], ["two", 0, 0]],
    )
    calls = [{"args": [tensor(name)], "kwargs": {}} for name in ("left", "right")]
    inner["inbound_nodes"] = calls
    entry = model(
        "net",
        [
            layer("left", class_name="InputLayer"),
            layer("right", class_name="InputLayer"),
            inner,
            layer("end", tensor("tower", 0, 1), tensor("tower", 1, 0), class_name="Concatenate"),
        ],
        [["left", 0, 0], ["right", 0, 0]],
        [["end", 0, 0]],
    )
    assert sorted(edges(entry)) == [
        ("left", "tower/one"),
        ("left", "tower/two"),
        ("right", "tower/one"),
        ("right", "tower/two"),
        ("tower/one", "end"),
        ("tower/two", "end"),
    ]


def test_a_sequential_model(models: Path) -> None:
    """A Sequential model is a chain from its input."""
    entry = config(models / "a02_seq_adam.keras")
    graph = graph_of(parse(entry))
    assert graph is not None
    assert graph.edges == tuple((place, place + 1) for place in range(len(graph.nodes) - 1))
    assert graph.nodes[0][2] == "input"


def test_no_graph() -> None:
    """A subclassed model has none, nor has one whose configuration Keras would not load."""
    custom = {"module": "mine", "class_name": "Net", "config": {}, "registered_name": "Net"}
    assert graph_of(parse(custom)) is None
    circle = [layer("a", tensor("b")), layer("b", tensor("a"))]
    assert graph_of(parse(model("net", circle, [["a", 0, 0]], [["b", 0, 0]]))) is None


@pytest.mark.parametrize("depth", [30, 60])
def test_work_is_bounded(depth: int) -> None:
    """Models that hold one another twice each have no end, and are closed at some depth."""
    entry = layer("leaf", tensor("in"), tensor("in"), calls=2)
    for number in range(depth):
        name = entry["name"]
        two = layer("two", tensor(name), tensor(name, 1), class_name="Add")
        layers = [layer("in", class_name="InputLayer"), entry, two]
        entry = model(f"m{number}", layers, [["in", 0, 0]], [["two", 0, 0]])
        entry["inbound_nodes"] = [{"args": [tensor("in")], "kwargs": {}}] * 2
    graph = graph_of(parse(json.loads(json.dumps(entry))))
    assert graph is not None
    assert 1000 < len(graph.nodes) < 100_000
