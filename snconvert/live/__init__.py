"""The memory carrier: converts live Keras models, whatever their topology; imports keras.

Loading a converted file needs `snconvert.live.internals.saved_owners` alone, so the rest is
imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "SpectralProjection": "projection",
    "apply": "convert",
    "bake": "undo",
    "converge": "convergence",
    "inspect": "convert",
    "load_plain_weights": "plain_weights",
    "plan": "convert",
    "project": "projection",
    "remove": "undo",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'snconvert.live' has no attribute {name!r}")
    return getattr(import_module(f"snconvert.live.{_HOME[name]}"), name)
