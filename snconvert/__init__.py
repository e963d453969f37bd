"""Turns saved Keras models into spectrally normalised ones, weights and all.

`import snconvert` is light: neither keras nor numpy is loaded before it is needed. What it does at once
is to see to it that Keras knows the layers of this package, whichever of the two is imported first.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from snconvert.registration import install as _install
from snconvert.registration import load_layers as _load_layers

__version__ = "0.1.0"

_HOME = {
    "apply_file": "api",
    "inspect": "api",
    "recipe": "recipe",
    "Recipe": "recipe",
    "Report": "report",
    "LayerReport": "report",
    "Progress": "convert",
    "KernelRule": "rules",
    "Kernel": "rules",
    "RULES": "rules",
    "MatrixView": "matrix",
    "Settings": "settings",
    "SnconvertError": "errors",
    "SpectralDense": "layers",
    "SpectralEinsumDense": "layers",
    "SpectralConv1D": "layers",
    "SpectralConv2D": "layers",
    "SpectralConv3D": "layers",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'snconvert' has no attribute {name!r}")
    if _HOME[name] == "layers":
        return getattr(_load_layers(), name)
    return getattr(import_module(f"snconvert.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


_install()
