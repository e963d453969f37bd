"""What belongs to a model's state, and what can be reached from an object."""

from __future__ import annotations

import enum
import functools
import types
import weakref
from collections.abc import Iterator
from typing import Any

import keras

from snconvert.compat.backends import ATTRIBUTES_ONLY, attributes_of, is_table
from snconvert.compat.graphs import KerasSaveable, Node, Tracker
from snconvert.compat.variables import Variable
from snconvert.layers.constraint import SpectralNorm

OURS = (
    KerasSaveable,
    keras.KerasTensor,
    Node,
    Tracker,
    keras.random.SeedGenerator,
    SpectralNorm,
)
"""The classes of objects that are part of a model."""

ATOMS = (type, types.ModuleType, types.BuiltinFunctionType, enum.Enum, str, bytes, int, float)
"""The classes of objects that never change, and so can be shared."""

_BACKENDS = {"tensorflow", "jax", "jaxlib", "torch"}
_OF_FUNCTIONS = ("python_function", "concrete_functions", "variables")  # of a tf.function


def state(old: Any) -> Iterator[tuple[str, Any]]:
    """Yields the attributes of an object, those in slots too."""
    yield from list(attributes_of(old).items())
    for cls in type(old).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in {"__dict__", "__weakref__"} and hasattr(old, name):
                yield name, getattr(old, name)


def is_backend_variable(old: Any) -> bool:
    """Whether an object is the backend's own and has values, and so may be a user's layer's state.

    That is variables and lookup tables of TensorFlow, and tensors of PyTorch.
    """
    return is_of_backend(old) and (
        hasattr(old, "assign") or is_table(old) or getattr(old, "is_leaf", False) is True
    )


def is_of_backend(old: Any) -> bool:
    """Whether the backend defines the class of an object."""
    return type(old).__module__.partition(".")[0] in _BACKENDS


def is_foreign(old: Any) -> bool:
    """Whether the backend defines the class of an object, and alone knows what is in it."""
    return is_of_backend(old) and not any(
        f"{cls.__module__}.{cls.__name__}" in ATTRIBUTES_ONLY for cls in type(old).__mro__
    )


def reaches_state(start: Any) -> bool:
    """Whether anything of a model can be reached from an object."""
    seen: set[int] = set()
    stack = [start]
    while stack:
        old = stack.pop()
        if old is None or isinstance(old, ATOMS) or id(old) in seen:
            continue
        seen.add(id(old))
        if isinstance(old, (*OURS, Variable)) or is_backend_variable(old):
            return True
        stack.extend(_parts(old))
    return False


def _parts(old: Any) -> list[Any]:
    if isinstance(old, dict):
        return [*old.keys(), *old.values(), *getattr(old, "__dict__", {}).values()]
    if isinstance(old, list | tuple | set | frozenset):
        return [*old, *getattr(old, "__dict__", {}).values()]
    if isinstance(old, types.MethodType):
        return [old.__self__]
    if isinstance(old, types.FunctionType):
        cells = [cell.cell_contents for cell in old.__closure__ or () if _is_filled(cell)]
        return [*cells, old.__defaults__, old.__kwdefaults__, old.__dict__]
    if isinstance(old, functools.partial):
        return [old.func, old.args, old.keywords]
    if isinstance(old, weakref.ref):
        return [old()]
    if is_foreign(old):
        return [getattr(old, name, None) for name in _OF_FUNCTIONS]
    return [value for _, value in state(old)]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
