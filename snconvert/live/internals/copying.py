"""A true copy of a live model: its whole object graph, with variables of its own.

Keras copies a model by its configuration, which custom code may leave out or get wrong, and which
forgets what was set by hand. Here the objects themselves are copied: layers, graphs, lists,
optimizer, metrics, the closures that Keras puts into every layer. Shared are functions, constants
and whatever reaches no state of the model.
"""

from __future__ import annotations

import copy
import functools
import types
import weakref
from collections import OrderedDict, defaultdict
from typing import Any

import keras
import numpy as np

from snconvert.compat.backends import (
    BOOKED_NAMES,
    BOOKED_REFERENCES,
    attributes_of,
    copy_table,
    is_table,
    is_wrapper,
)
from snconvert.compat.graphs import (
    Functional,
    KerasHistory,
    Node,
    Tracker,
    graph_nodes,
    nodes_of,
    renew_node_keys,
    renew_tracker,
    sequential_graph,
)
from snconvert.compat.optimizers import key_of
from snconvert.compat.variables import BACKEND_STATE, Variable, arguments_of, value_of
from snconvert.errors import UnsupportedError
from snconvert.live.internals.reachable import (
    ATOMS,
    OURS,
    is_backend_variable,
    is_foreign,
    is_of_backend,
    reaches_state,
    state,
)
from snconvert.live.internals.walk import COMPILED, Layer, descendants, scope_of


class Copies:
    """The copy of a model, and the copy of each object in it.

    Args:
        model: The model; it is not changed.

    Raises:
        UnsupportedError: The model holds something that cannot be copied.
    """

    def __init__(self, model: Layer) -> None:
        self._done: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no `id` is used twice
        self._todo: list[tuple[Any, Any, str]] = []
        self._nodes = _own_nodes(model)
        with scope_of(model):
            for variable in model.variables:
                # First, as layers may hold what is in them a second time, by itself.
                self._copy(variable, variable.path)
            self.model = self._copy(model, model.name)
            while self._todo:
                old, new, where = self._todo.pop()
                self._fill(old, new, where)
        self._renew_keys()
        _check(model, self)

    def of(self, layer: Layer) -> Layer:
        """Returns the copy of a layer of the original."""
        return self._done[id(layer)]

    def _copy(self, old: Any, where: str) -> Any:
        if old is None or isinstance(old, ATOMS):
            return old
        if id(old) not in self._done:
            self._remember(old, self._new(old, where))
        return self._done[id(old)]

    def _new(self, old: Any, where: str) -> Any:
        if is_wrapper(old):
            return self._later(old, where)
        if isinstance(old, Variable):
            return self._variable(old, where)
        if isinstance(old, KerasHistory):
            return self._history(old, where)
        if isinstance(old, tuple):
            return self._tuple(old, where)
        if isinstance(old, (list, dict, set, *OURS)):
            return self._later(old, where)
        if isinstance(old, np.ndarray):
            return old.copy()
        return self._other(old, where) if reaches_state(old) else old

    def _other(self, old: Any, where: str) -> Any:
        """Returns the copy of an object that is not Keras' own, but leads to state of the model."""
        if isinstance(old, types.MethodType):
            return types.MethodType(old.__func__, self._copy(old.__self__, where))
        if isinstance(old, types.FunctionType):
            return self._function(old, where)
        if isinstance(old, functools.partial):
            arguments = self._copy(old.args, where)
            keywords = self._copy(old.keywords, where)
            return functools.partial(self._copy(old.func, where), *arguments, **keywords)
        if isinstance(old, weakref.ref):
            return weakref.ref(self._copy(old(), where))
        if is_of_backend(old) and is_table(old):
            return copy_table(old)
        if is_backend_variable(old):
            return copy.deepcopy(old)
        if is_foreign(old):
            raise _cannot(where, old)
        return self._later(old, where)

    def _later(self, old: Any, where: str) -> Any:
        """Returns an empty copy, to be filled in its turn: graphs are too deep for recursion."""
        new = _shell(old, where)
        self._todo.append((old, new, where))
        return new

    def _remember(self, old: Any, new: Any) -> None:
        self._done[id(old)] = new
        self._kept.append(old)

    def _fill(self, old: Any, new: Any, where: str) -> None:
        if is_wrapper(old):
            if hasattr(old, "__wrapped__"):
                new.__wrapped__ = self._copy(old.__wrapped__, where)
        elif isinstance(old, list):
            kept = [item for item in old if not self._is_of_others(item)]
            list.extend(new, [self._copy(item, f"{where}[{i}]") for i, item in enumerate(kept)])
        elif isinstance(old, dict):
            put = _base(type(old)).__setitem__
            for key, value in old.items():
                put(new, self._copy(key, where), self._copy(value, f"{where}[{key!r}]"))
        elif isinstance(old, set):
            set.update(new, {self._copy(item, where) for item in old})
        for name, value in state(old):
            part: Any = None if name in COMPILED else value
            if name == BOOKED_NAMES:
                part = {key: item for key, item in value.items() if key not in COMPILED}
            elif name == BOOKED_REFERENCES:
                part = [item for item in value if item.name not in COMPILED]
            copied = self._copy(part, f"{where}.{name}")
            if is_wrapper(old):
                attributes_of(new)[name] = copied
            else:
                object.__setattr__(new, name, copied)

    def _is_of_others(self, item: Any) -> bool:
        """Whether an item is a node of the graph of another model, which is left behind."""
        return isinstance(item, Node) and id(item) not in self._nodes

    def _tuple(self, old: Any, where: str) -> Any:
        items = [self._copy(item, f"{where}[{index}]") for index, item in enumerate(old)]
        if all(mine is item for mine, item in zip(items, old, strict=True)):
            return old
        return type(old)(*items) if hasattr(old, "_fields") else type(old)(items)

    def _history(self, old: Any, where: str) -> Any:
        """Returns a copy of a tensor's history; without other models' nodes, indices change."""
        operation, index, tensor = old
        if operation is not None:
            nodes = nodes_of(operation)
            index = sum(id(node) in self._nodes for node in nodes[:index])
        return KerasHistory(self._copy(operation, where), index, tensor)

    def _variable(self, old: Any, where: str) -> Any:
        stored = value_of(old)
        if stored is None:
            raise _cannot(where, old)
        numbers = np.array(keras.ops.convert_to_numpy(old))
        new = Variable(numbers, **arguments_of(old))
        for name, value in state(old):
            if name not in BACKEND_STATE:
                object.__setattr__(new, name, self._copy(value, f"{where}.{name}"))
        self._remember(stored, value_of(new))
        return new

    def _function(self, old: Any, where: str) -> Any:
        cells = tuple(types.CellType() for _ in old.__closure__ or ())
        new = types.FunctionType(old.__code__, old.__globals__, old.__name__, None, cells or None)
        self._remember(old, new)
        for cell, before in zip(cells, old.__closure__ or (), strict=True):
            cell.cell_contents = self._copy(before.cell_contents, where)
        new.__defaults__ = self._copy(old.__defaults__, where)
        new.__kwdefaults__ = self._copy(old.__kwdefaults__, where)
        new.__qualname__, new.__module__ = old.__qualname__, old.__module__
        new.__dict__.update({k: self._copy(v, where) for k, v in old.__dict__.items()})
        return new

    def _renew_keys(self) -> None:
        """Renews what Keras keys by the `id` of an object."""
        copied = [(old, new) for old in self._kept if (new := self._done[id(old)]) is not old]
        keys: dict[Any, Any] = {}
        for old, new in copied:
            if isinstance(new, Tracker):
                renew_tracker(new)
            elif isinstance(new, Functional):
                renew_node_keys(new)
            elif isinstance(new, keras.optimizers.Optimizer):
                keys |= self._variable_keys(old)
        for _, new in copied:
            if issubclass(type(new), dict | set) and new and keys.keys() >= set(new):
                _renew(new, keys)

    def _variable_keys(self, old: Any) -> dict[Any, Any]:
        """Returns an optimizer's keys of its variables -> the keys of its copy for their copies."""
        new = self._done[id(old)]
        variables = [one for one in self._kept if isinstance(one, Variable)]
        return {key_of(old, one): key_of(new, self._done[id(one)]) for one in variables}


def _renew(new: Any, keys: dict[Any, Any]) -> None:
    """Renews the keys of a dict or a set."""
    base, items = _base(type(new)), list(new.items() if isinstance(new, dict) else new)
    base.clear(new)
    for item in items:
        if isinstance(new, dict):
            base.__setitem__(new, keys[item[0]], item[1])
        else:
            base.add(new, keys[item])


def _own_nodes(model: Layer) -> set[int]:
    """Returns the `id`s of the nodes of the graphs inside; a layer may be in other graphs too."""
    layers = [model, *(layer for _, layer in descendants(model))]
    layers += [graph for layer in layers if (graph := sequential_graph(layer))]
    graphs = [layer for layer in layers if isinstance(layer, Functional)]
    return {id(node) for graph in graphs for node in graph_nodes(graph)}


def _base(cls: type) -> Any:
    """Returns the built-in class from which a class is derived."""
    return next((base for base in (OrderedDict, dict, list, set) if issubclass(cls, base)), object)


def _shell(old: Any, where: str) -> Any:
    """Returns an object of the same class that is yet to be filled."""
    cls: Any = type(old)
    try:
        new = (cls if is_wrapper(old) else _base(cls)).__new__(cls)
    except TypeError as error:
        raise _cannot(where, old) from error
    if isinstance(old, defaultdict):
        new.default_factory = old.default_factory
    return new


def _cannot(where: str, old: Any) -> UnsupportedError:
    return UnsupportedError(
        f"{where} is a {type(old).__module__}.{type(old).__name__}, which cannot be copied",
        "Give in_place=True, and load the original once more where both are needed",
    )


def _check(model: Layer, copies: Copies) -> None:
    """Makes sure that a copy has the same variables, bit for bit, and none of the original's."""
    before, after = model.variables, copies.model.variables
    shared = {id(variable) for variable in before} & {id(variable) for variable in after}
    same = len(before) == len(after) and all(
        old.path == new.path and old.trainable == new.trainable and _same(old, new)
        for old, new in zip(before, after, strict=True)
    )
    if shared or not same:
        raise UnsupportedError(
            "the model cannot be copied faithfully: its variables came out"
            f" {'shared' if shared else 'different'}",
            "Give in_place=True, and load the original once more where both are needed",
        )


def _same(old: Any, new: Any) -> bool:
    one, two = (np.asarray(keras.ops.convert_to_numpy(variable)) for variable in (old, new))
    return one.dtype == two.dtype and one.tobytes() == two.tobytes()
