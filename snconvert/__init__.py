"""Turns saved Keras models into spectrally normalised ones, weights and all.

`import snconvert` is light: neither keras nor numpy is loaded before it is needed. What it does at
once is to see to it that Keras knows the layers of this package, whichever is imported first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from snconvert.core.version import __version__
from snconvert.registration import install as _install
from snconvert.registration import load_layers as _load_layers

if TYPE_CHECKING:
    from snconvert.api import apply_file, bake_file, inspect, remove_file, verify
    from snconvert.core.matrix_view import MatrixView
    from snconvert.core.report import LayerReport, Progress, Report
    from snconvert.core.settings import Settings
    from snconvert.core.verdict import Change, Difference, Verdict
    from snconvert.errors import SnconvertError, SnconvertWarning
    from snconvert.kinds.kernel_rule import Kernel, KernelRule
    from snconvert.kinds.table import RULES
    from snconvert.layers import (
        SpectralConv1D,
        SpectralConv1DTranspose,
        SpectralConv2D,
        SpectralConv2DTranspose,
        SpectralConv3D,
        SpectralConv3DTranspose,
        SpectralConvLSTM1D,
        SpectralConvLSTM2D,
        SpectralConvLSTM3D,
        SpectralDense,
        SpectralDepthwiseConv1D,
        SpectralDepthwiseConv2D,
        SpectralEinsumDense,
        SpectralEmbedding,
        SpectralGroupQueryAttention,
        SpectralGRU,
        SpectralGRUCell,
        SpectralLSTM,
        SpectralLSTMCell,
        SpectralMultiHeadAttention,
        SpectralReversibleEmbedding,
        SpectralSeparableConv1D,
        SpectralSeparableConv2D,
        SpectralSimpleRNN,
        SpectralSimpleRNNCell,
    )
    from snconvert.linalg.spectral_norm import spectral_norm
    from snconvert.live import (
        SpectralProjection,
        apply,
        bake,
        converge,
        load_plain_weights,
        plan,
        project,
        remove,
    )
    from snconvert.planning.recipe import Recipe

__all__ = [
    "RULES",
    "Change",
    "Difference",
    "Kernel",
    "KernelRule",
    "LayerReport",
    "MatrixView",
    "Progress",
    "Recipe",
    "Report",
    "Settings",
    "SnconvertError",
    "SnconvertWarning",
    "SpectralConv1D",
    "SpectralConv1DTranspose",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralConv3D",
    "SpectralConv3DTranspose",
    "SpectralConvLSTM1D",
    "SpectralConvLSTM2D",
    "SpectralConvLSTM3D",
    "SpectralDense",
    "SpectralDepthwiseConv1D",
    "SpectralDepthwiseConv2D",
    "SpectralEinsumDense",
    "SpectralEmbedding",
    "SpectralGRU",
    "SpectralGRUCell",
    "SpectralGroupQueryAttention",
    "SpectralLSTM",
    "SpectralLSTMCell",
    "SpectralMultiHeadAttention",
    "SpectralProjection",
    "SpectralReversibleEmbedding",
    "SpectralSeparableConv1D",
    "SpectralSeparableConv2D",
    "SpectralSimpleRNN",
    "SpectralSimpleRNNCell",
    "Verdict",
    "__version__",
    "apply",
    "apply_file",
    "bake",
    "bake_file",
    "converge",
    "inspect",
    "load_plain_weights",
    "plan",
    "project",
    "remove",
    "remove_file",
    "spectral_norm",
    "verify",
]

_MODULES = {
    "api": ("apply_file", "bake_file", "inspect", "remove_file", "verify"),
    "errors": ("SnconvertError", "SnconvertWarning"),
    "linalg.spectral_norm": ("spectral_norm",),
    "live": (
        "SpectralProjection",
        "apply",
        "bake",
        "converge",
        "load_plain_weights",
        "plan",
        "project",
        "remove",
    ),
    "core.matrix_view": ("MatrixView",),
    "recipe": ("Recipe",),
    "core.report": ("LayerReport", "Progress", "Report"),
    "rules": ("RULES", "Kernel", "KernelRule"),
    "core.settings": ("Settings",),
    "core.verdict": ("Change", "Difference", "Verdict"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in {"constraints", "layers", "recipe", "render", "rules"}:
        return import_module(f"snconvert.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'snconvert' has no attribute {name!r}")
    if name not in _MODULE_OF:
        return getattr(_load_layers(), name)
    return getattr(import_module(f"snconvert.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_install()
