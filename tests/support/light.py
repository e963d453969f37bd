"""Which tests do without keras: those of what never imports it, the loop of a person at work."""

from __future__ import annotations

import ast
import importlib.abc
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from places import SUPPORT, TESTS

SYSTEM = TESTS / "system"
KERAS = ("keras", "keras_hub", "tensorflow", "jax", "torch")
OF_KERAS = ("compat", "constraints", "layers", "live")
"""What of snconvert imports it."""


@cache
def is_light(path: Path) -> bool:
    """Whether neither a module nor what it has from `tests/support` imports keras, and it is none
    of the tests that take long, as they start processes by the hundred."""
    if SYSTEM in path.parents:
        return False
    return not any(map(_is_heavy, _imports(path)))


def _is_heavy(name: str) -> bool:
    top, *inner = name.split(".")
    if top == "snconvert":
        return bool(inner) and inner[0] in OF_KERAS
    support = SUPPORT / f"{top}.py"
    return top in KERAS or (support.exists() and not is_light(support))


def _imports(path: Path) -> Iterator[str]:
    """Yields the names of modules, and of what may be one, that a module imports first of all."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


class NoKeras(importlib.abc.MetaPathFinder):
    """Refuses to import keras or a backend."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name in KERAS:
            raise ImportError(
                f"a test of `--fast` imports {name}: import it at the top of the test's module, "
                "or mark the test with `keras`; it runs without `--fast` only, then"
            )
