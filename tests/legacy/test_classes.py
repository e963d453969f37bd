"""The table of what the layers of Keras 3 take, against the installed Keras."""

from __future__ import annotations

import ast
import inspect
import textwrap

import keras
import pytest

from snconvert.legacy import classes

NEWEST = (3, 15)
"""The newest version that the table was made from."""


def taken(cls: type) -> set[str]:
    """Returns what the constructor of a class takes: its own, and what it hands to its bases."""
    result: set[str] = set()
    filled: set[str] = set()  # what a subclass gives its base itself, so that nobody else can
    first = 0
    for base in cls.__mro__:
        if "__init__" not in vars(base) or not base.__module__.startswith("keras."):
            continue
        init = inspect.unwrap(vars(base)["__init__"])
        parameters = [it for it in inspect.signature(init).parameters.values() if it.name != "self"]
        named = [it.name for it in parameters if it.kind is not it.VAR_KEYWORD]
        calls = [
            node
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(init))))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        ]
        result |= {*named[first:]} - filled
        result |= {ast.literal_eval(it.args[0]) for it in calls if _takes_out(it)} - filled
        if len(named) == len(parameters):
            return result
        filled |= {*named[:first]}
        first = 0
        for call in calls:
            if call.func.attr == "__init__":  # type: ignore[attr-defined]
                filled |= {it.arg for it in call.keywords if it.arg}
                first = len(call.args)
    return result


def _takes_out(call: ast.Call) -> bool:
    """Whether a call is `kwargs.pop("key")`, or `get`."""
    return ast.unparse(call.func) in {"kwargs.pop", "kwargs.get"}


@pytest.mark.keras
@pytest.mark.parametrize("name", classes.KEYS)
def test_each_layer_takes_the_keys_of_the_table(name: str) -> None:
    """The table has all keys of the installed version, and of the newest no other."""
    version = tuple(int(it) for it in keras.__version__.split(".")[:2])
    if not hasattr(keras.layers, name):
        assert version != NEWEST, f"no layer {name}: take it out of `KEYS` in legacy/classes.py"
        return
    table = classes.KEYS[name] | classes.OF_ALL
    theirs = taken(getattr(keras.layers, name)) | taken(keras.layers.Layer)
    assert theirs <= table, f"add to the line of {name} in legacy/classes.py: {theirs - table}"
    if version == NEWEST:
        assert theirs == table, f"take out of the line of {name} there: {table - theirs}"
