"""The docstrings of the layers: what each says by itself, and what all of them share."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import keras
import pytest

from snconvert import layers
from snconvert.kinds.table import SPECTRAL
from snconvert.layers.register import register


@pytest.mark.parametrize("name", SPECTRAL)
def test_help(name: str) -> None:
    """`help` of a layer shows the Keras class, shapes, modes, all options and the references, and
    nothing of the text that the layers share is left open."""
    cls: Any = getattr(layers, name)
    text = pydoc.plain(pydoc.render_doc(cls))
    assert f"A `keras.layers.{cls.rule.class_name}` whose" in text
    head, _, tail = inspect.getdoc(cls).partition("\nArgs:\n")
    assert ", " in head.partition("`(")[2].partition(")`")[0], "no shape"
    assert all(f"(`{mode}`)" in head for mode in ("hard", "cap", "gain"))
    names = [*inspect.signature(layers.Spectral.__init__).parameters][1:]
    assert [line.strip().partition(":")[0].strip("*") for line in tail.splitlines()[:6]] == [
        "args",
        *(name for name in names if name not in {"args", "kwargs"}),
        "kwargs",
    ]
    assert f"Those of `keras.layers.{cls.rule.class_name}`" in tail
    assert ">>> layer" in tail.partition("\nExample:\n")[2]
    assert "{" not in cls.__doc__
    references = tail.partition("\nReference:\n")[2]
    assert all(number in references for number in ("1802.05957", "1804.04368", "2303.06296"))


def test_without_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes without docstrings, as `python -OO` leaves them, are registered as they are."""
    monkeypatch.setattr(keras.saving, "register_keras_serializable", lambda _: lambda cls: cls)
    cls = type("SpectralPlain", (layers.SpectralDense,), {"__doc__": None})
    assert register(cls).__doc__ is None
    assert cls.__module__ == "snconvert.layers"
