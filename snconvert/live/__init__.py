"""The memory carrier: converts live Keras models, whatever their topology; imports keras."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from snconvert.core.public_names import HOME

_HOME = {name: home for name, home in HOME.items() if home.startswith("live.")}
_HOME["inspect"] = "live.convert"  # which is for models only, as all is here


def __getattr__(name: str) -> Any:
    """Returns a public function on models: `from snconvert.live import apply` works as well."""
    if name not in _HOME:
        raise AttributeError(f"module 'snconvert.live' has no attribute {name!r}")
    return getattr(import_module(f"snconvert.{_HOME[name]}"), name)
