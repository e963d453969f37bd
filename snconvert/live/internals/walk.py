"""The layers that a live layer owns, the way to each of them, and the scope of their variables.

A *route* leads from a layer to one below it: attribute names, then indices or keys where the
attribute holds lists, tuples or dicts. It does not depend on layer names, which Keras numbers anew
in every process, nor on classes, so that it is the same before and after a conversion and after
loading.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras

from snconvert.compat.backends import BOOKS, torch_modules
from snconvert.compat.graphs import SEQUENTIAL_GRAPH, Functional
from snconvert.compat.layers import LAYERS, tracked_layers

Layer = Any
"""A `keras.layers.Layer`; keras has no types."""

Route = tuple[str | int, ...]

COMPILED = ("train_function", "test_function", "predict_function", "generate_function")
"""The attributes of models with functions that were traced with the layers of that time; the last
is keras-hub's."""

_GRAPH = "layers"


def has_graph(layer: Layer) -> bool:
    """Whether a layer lists its layers itself, as Sequential and Functional models do."""
    return isinstance(layer, Functional | keras.Sequential)


def children(layer: Layer) -> Iterator[tuple[Route, Layer]]:
    """Yields the layers that a layer owns, with their routes; some perhaps more than once.

    The layers of a graph come first, in its order; then public attributes by name, then private
    ones, as Keras' own saving walks; then what Keras tracks but no attribute shows, such as sets.
    """
    if has_graph(layer):
        # Without the input layer of a Sequential, which comes with its first build.
        for index, child in enumerate(layer.layers):
            yield (_GRAPH, index), child
    for name, value in _attributes(layer):
        for route, child in _inside(value, (name,), set()):
            yield route, child
    for index, child in enumerate(tracked_layers(layer)):
        if not has_graph(layer) or not isinstance(child, keras.layers.InputLayer):
            yield (LAYERS, index), child


def descendants(root: Layer) -> Iterator[tuple[Route, Layer]]:
    """Yields every layer below `root` once, parents first, with its route from `root`."""
    seen = {id(root)}
    stack = [children(root)]
    routes: list[Route] = [()]
    while stack:
        for route, child in stack[-1]:
            if id(child) not in seen:
                seen.add(id(child))
                yield (*routes[-1], *route), child
                routes.append((*routes[-1], *route))
                stack.append(children(child))
                break
        else:
            stack.pop()
            routes.pop()


def follow(root: Layer, route: Route) -> tuple[Layer, Route]:
    """Returns the last layer that exists along a route, and the rest of the route from there."""
    layer, rest, value = root, route, root
    for index, step in enumerate(route):
        value = _step(value, step)
        if value is None:
            break
        if isinstance(value, keras.layers.Layer):
            layer, rest = value, route[index + 1 :]
    return layer, rest


def _step(value: Any, step: str | int) -> Any:
    if isinstance(value, keras.layers.Layer):
        if step == _GRAPH and has_graph(value):
            return value.layers
        return tracked_layers(value) if step == LAYERS else dict(_attributes(value)).get(str(step))
    if isinstance(value, dict):
        return value.get(step) if isinstance(step, str) else _item(list(value.values()), step)
    return _item(value, step) if isinstance(value, list | tuple) else None


def _item(values: Any, index: str | int) -> Any:
    return values[index] if isinstance(index, int) and 0 <= index < len(values) else None


def _attributes(layer: Layer) -> list[tuple[str, Any]]:
    """Returns the attributes of a layer itself; properties would run the user's code."""
    values = {**vars(layer), **torch_modules(layer)}
    names = [
        name
        for name in values
        if name not in _base() and name != SEQUENTIAL_GRAPH and not name.startswith(BOOKS)
    ]
    return [(name, values[name]) for name in sorted(names, key=lambda name: (name[0] == "_", name))]


@functools.cache
def _base() -> frozenset[str]:
    """Returns the attributes that every layer has; a name keeps Keras' numbering as it is."""
    return frozenset(vars(keras.layers.Layer(name="snconvert")))


def _inside(value: Any, route: Route, seen: set[int]) -> Iterator[tuple[Route, Layer]]:
    if isinstance(value, keras.layers.Layer):
        yield route, value
    elif isinstance(value, list | tuple | dict) and id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, dict):
            items = [
                (key if isinstance(key, str) else index, item)
                for index, (key, item) in enumerate(value.items())
            ]
        else:
            items = list(enumerate(value))
        for step, item in items:
            yield from _inside(item, (*route, step), seen)


def scope_of(model: Layer) -> AbstractContextManager[Any]:
    """Returns the scope of the `tf.distribute` strategy that a model was made in.

    Variables that a conversion adds have to be in every replica, as the model's own are: one `u`
    for all would be moved by each of them in turn.

    Args:
        model: A live model; a layer, or a model without a strategy, has a scope that does nothing.
    """
    strategy = getattr(model, "distribute_strategy", None)
    scope: AbstractContextManager[Any] = strategy.scope() if strategy else nullcontext()
    return scope
