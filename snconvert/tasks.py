"""What is asked of the process that measures kernels."""

from __future__ import annotations

from dataclasses import dataclass

from snconvert.archive.contents import Dataset
from snconvert.convolution import Convolution
from snconvert.matrix import MatrixView
from snconvert.settings import Settings

_MEASURING = ("snconvert.archive.h5", "snconvert.sigmas")
_SCALING = ("snconvert.archive.h5", "snconvert.effective")
IN_CHILD = {
    "apply": _MEASURING,
    "inspect": _MEASURING,
    "bake": _SCALING,
    "remove": ("snconvert.archive.h5",),
}
"""The modules that only the guarded process needs, by verb: h5py and the linear algebra."""


@dataclass(frozen=True, slots=True)
class Task:
    """One kernel to measure.

    Attributes:
        layer: The layer's path and class name, for messages.
        path: The kernel's dataset.
        dataset: Where it lies.
        view: Its matrix view.
        required: Whether the layer is to be converted, so that a bad kernel is an error.
        convolution: The map whose norm is sigma; `None` where that is the view's.
    """

    layer: tuple[str, str]
    path: str
    dataset: Dataset
    view: MatrixView
    required: bool
    convolution: Convolution | None = None


@dataclass(frozen=True, slots=True)
class Scaling:
    """One kernel of a spectral layer, whose effective kernel is wanted.

    Attributes:
        layer: The layer's path and class name, for messages.
        path: The kernel's dataset.
        dataset: Where it lies.
        view: Its matrix view.
        u: The dataset of its `u`.
        gamma: The dataset of its `gamma`, in mode `gain`.
        settings: How it is normalised.
        convolution: The map whose norm is sigma; `None` where that is the view's.
    """

    layer: tuple[str, str]
    path: str
    dataset: Dataset
    view: MatrixView
    u: str
    gamma: str | None
    settings: Settings
    convolution: Convolution | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """What inference multiplies a kernel by.

    Attributes:
        sigma: The norm of the kernel by the stored `u`.
        factor: `s(sigma)`.
    """

    sigma: float
    factor: float
