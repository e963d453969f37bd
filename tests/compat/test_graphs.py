"""The graphs of models made from tensors."""

from __future__ import annotations

import keras

from snconvert.compat import graphs


def test_nodes() -> None:
    """A Functional model has the nodes of its own calls, an operation those of all graphs."""
    dense = keras.layers.Dense(3)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, dense(dense(inputs)))
    dense(keras.Input((3,)))
    assert isinstance(model, graphs.Functional)
    nodes = graphs.graph_nodes(model)
    assert len(nodes) == 3
    assert all(isinstance(node, graphs.Node) for node in nodes)
    assert len(graphs.nodes_of(dense)) == 3
    assert [node in nodes for node in graphs.nodes_of(dense)] == [True, True, False]


def test_keys() -> None:
    """Keys that are renewed are those that Keras has given."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    keys, stored = set(model._nodes), dict(model._tracker.stored_ids)
    graphs.renew_node_keys(model)
    graphs.renew_tracker(model._tracker)
    assert model._nodes == keys
    assert model._tracker.stored_ids == stored
    assert isinstance(model._tracker, graphs.Tracker)


def test_sequential() -> None:
    """A Sequential model computes by a Functional one, as soon as it is built."""
    model = keras.Sequential([keras.layers.Dense(3)])
    assert graphs.sequential_graph(model) is None
    model.build((None, 3))
    assert isinstance(graphs.sequential_graph(model), graphs.Functional)
    assert graphs.sequential_graph(keras.layers.Dense(3)) is None


def test_history() -> None:
    """A symbolic tensor knows where it is from."""
    dense = keras.layers.Dense(3)
    history = dense(keras.Input((3,)))._keras_history
    assert isinstance(history, graphs.KerasHistory)
    assert tuple(history) == (dense, 0, 0)
    assert isinstance(dense, graphs.KerasSaveable)
