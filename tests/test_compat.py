"""What is private to Keras stands in `snconvert.compat`, and nowhere else."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import snconvert

PACKAGE = Path(snconvert.__file__).parent
COMPAT = PACKAGE / "compat"
SPELLING = PACKAGE / "config" / "keras_modules.py"
"""How files spell Keras' private modules, which is a matter of their format."""

ELSEWHERE = [path for path in sorted(PACKAGE.rglob("*.py")) if COMPAT not in path.parents]
WITH_KERAS = [
    path for path in ELSEWHERE if path.relative_to(PACKAGE).parts[0] in {"layers", "live"}
]
"""The modules that import Keras, beside those of compat."""

OURS = "_snconvert_"
"""How attributes begin that the package adds to Keras' objects."""

NAMED_TUPLES = {"_asdict", "_fields", "_replace"}


def private_modules(tree: ast.AST) -> Iterator[int]:
    """Yields the lines that name Keras' private package, in docstrings too."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                texts = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names):
                texts = [f"{module}.{alias.name}" for alias in names]
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                texts = [f"{name}.{attribute}"]
            case ast.Constant(value=str(text)):
                texts = [text]
            case _:
                continue
        if any("keras.src" in text for text in texts):
            yield node.lineno


@functools.cache
def own_names() -> set[str]:
    """Returns the private names that the layers and the memory carrier themselves define."""
    names = set(NAMED_TUPLES)
    for path in WITH_KERAS:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    names.add(name)
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    names.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    names.add(name)
    return names


def private_attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields lines and names of attributes that are private, and not this package's own."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                private = re.fullmatch(r"_[a-z]\w*", name) and not name.startswith(OURS)
                if private and name not in own_names():
                    yield node.lineno, name


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_modules(path: Path) -> None:
    """Only compat names a private module of Keras, and one module of config what files spell."""
    assert path == SPELLING or list(private_modules(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("path", WITH_KERAS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_attributes(path: Path) -> None:
    """The layers and the memory carrier name no private attribute but those of their own."""
    assert list(private_attributes(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import keras.src.ops",
        "from keras.src import ops",
        "from keras import src as private",
        "keras.src.ops",
        "'keras.src.ops'",
        'def f():\n    """As `keras.src.ops` does."""',
    ],
)
def test_private_modules_are_noticed(code: str) -> None:
    """Every way to name a private module counts."""
    assert list(private_modules(ast.parse(f"import keras\n{code}")))


@pytest.mark.parametrize("code", ["layer._tracker", "layer._value = 1", "getattr(layer, '_value')"])
def test_private_attributes_are_noticed(code: str) -> None:
    """Attributes that Keras' objects have and the package does not define count."""
    assert list(private_attributes(ast.parse(code)))
