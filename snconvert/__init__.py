"""Turns saved Keras models into spectrally normalised ones, weights and all.

`import snconvert` is light: neither keras nor numpy is loaded before it is needed. What it does at
once is to see to it that Keras knows the layers of this package, whichever is imported first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from snconvert.core.public_names import HOME as _HOME
from snconvert.registration import install as _install
from snconvert.registration import load_layers as _load_layers

if TYPE_CHECKING:  # the table below, for type checkers and editors
    from snconvert.api import apply_file as apply_file
    from snconvert.api import bake_file as bake_file
    from snconvert.api import inspect as inspect
    from snconvert.api import remove_file as remove_file
    from snconvert.api import upgrade_file as upgrade_file
    from snconvert.api import verify as verify
    from snconvert.core.matrix_view import MatrixView as MatrixView
    from snconvert.core.report import LayerReport as LayerReport
    from snconvert.core.report import Progress as Progress
    from snconvert.core.report import Report as Report
    from snconvert.core.settings import Settings as Settings
    from snconvert.core.verdict import Change as Change
    from snconvert.core.verdict import Difference as Difference
    from snconvert.core.verdict import Verdict as Verdict
    from snconvert.core.version import __version__ as __version__
    from snconvert.errors import SnconvertError as SnconvertError
    from snconvert.errors import SnconvertWarning as SnconvertWarning
    from snconvert.kinds.kernel_rule import Kernel as Kernel
    from snconvert.kinds.kernel_rule import KernelRule as KernelRule
    from snconvert.kinds.table import RULES as RULES
    from snconvert.layers import SpectralConv1D as SpectralConv1D
    from snconvert.layers import SpectralConv1DTranspose as SpectralConv1DTranspose
    from snconvert.layers import SpectralConv2D as SpectralConv2D
    from snconvert.layers import SpectralConv2DTranspose as SpectralConv2DTranspose
    from snconvert.layers import SpectralConv3D as SpectralConv3D
    from snconvert.layers import SpectralConv3DTranspose as SpectralConv3DTranspose
    from snconvert.layers import SpectralConvLSTM1D as SpectralConvLSTM1D
    from snconvert.layers import SpectralConvLSTM2D as SpectralConvLSTM2D
    from snconvert.layers import SpectralConvLSTM3D as SpectralConvLSTM3D
    from snconvert.layers import SpectralDense as SpectralDense
    from snconvert.layers import SpectralDepthwiseConv1D as SpectralDepthwiseConv1D
    from snconvert.layers import SpectralDepthwiseConv2D as SpectralDepthwiseConv2D
    from snconvert.layers import SpectralEinsumDense as SpectralEinsumDense
    from snconvert.layers import SpectralEmbedding as SpectralEmbedding
    from snconvert.layers import SpectralGroupQueryAttention as SpectralGroupQueryAttention
    from snconvert.layers import SpectralGRU as SpectralGRU
    from snconvert.layers import SpectralGRUCell as SpectralGRUCell
    from snconvert.layers import SpectralLSTM as SpectralLSTM
    from snconvert.layers import SpectralLSTMCell as SpectralLSTMCell
    from snconvert.layers import SpectralMultiHeadAttention as SpectralMultiHeadAttention
    from snconvert.layers import SpectralReversibleEmbedding as SpectralReversibleEmbedding
    from snconvert.layers import SpectralSeparableConv1D as SpectralSeparableConv1D
    from snconvert.layers import SpectralSeparableConv2D as SpectralSeparableConv2D
    from snconvert.layers import SpectralSimpleRNN as SpectralSimpleRNN
    from snconvert.layers import SpectralSimpleRNNCell as SpectralSimpleRNNCell
    from snconvert.linalg.spectral_norm import spectral_norm as spectral_norm
    from snconvert.live.convert import apply as apply
    from snconvert.live.convert import plan as plan
    from snconvert.live.plain_weights import load_plain_weights as load_plain_weights
    from snconvert.live.training.convergence import converge as converge
    from snconvert.live.training.monitor import SigmaMonitor as SigmaMonitor
    from snconvert.live.training.projection import SpectralProjection as SpectralProjection
    from snconvert.live.training.projection import project as project
    from snconvert.live.undo import bake as bake
    from snconvert.live.undo import remove as remove
    from snconvert.planning.recipe import Recipe as Recipe

_SHOWN = ("activations", "constraints", "layers")
_FACES = (*_SHOWN, "recipe", "render", "rules")


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return _all()
    if name in _FACES:
        return import_module(f"snconvert.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'snconvert' has no attribute {name!r}")
    home = _HOME[name]
    module = _load_layers() if home == "layers" else import_module(f"snconvert.{home}")
    return getattr(module, name)


def _all() -> list[str]:
    """Returns what `import *` takes: not the layers that the installed Keras lacks."""
    try:
        layers = _load_layers()
    except ImportError:  # it says which Keras is needed when a layer is asked for
        return list(_HOME)
    return [name for name, home in _HOME.items() if home != "layers" or hasattr(layers, name)]


def __dir__() -> list[str]:
    return sorted([*_HOME, *_SHOWN])


_install()
