"""A Keras that is too old for the layers is told in one line."""

from __future__ import annotations

import runpy
import sys

import keras
import pytest

from snconvert import SnconvertError, compat


def test_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Keras lacks what came with 3.6, the import fails, and says what is needed."""
    monkeypatch.setitem(sys.modules, "keras.src.backend.common.masking", None)
    with pytest.raises(ImportError) as caught:
        runpy.run_path(compat.__file__)
    assert isinstance(caught.value, SnconvertError)
    assert str(caught.value) == (
        f"the layers and live models need Keras 3.6 or newer, and Keras {keras.__version__} is"
        " installed. Install it with `pip install --upgrade keras`; files are converted with any"
        " Keras or none."
    )


def test_not_too_old() -> None:
    """The Keras that is there is taken."""
    assert "KerasVersionError" in runpy.run_path(compat.__file__)
