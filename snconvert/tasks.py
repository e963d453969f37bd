"""What is asked of the process that measures kernels."""

from __future__ import annotations

from dataclasses import dataclass

from snconvert.archive.contents import Dataset
from snconvert.matrix import MatrixView

IN_CHILD = ("snconvert.archive.h5", "snconvert.sigmas")
"""The modules that only the guarded process needs: h5py and the linear algebra behind them."""


@dataclass(frozen=True, slots=True)
class Task:
    """One kernel to measure.

    Attributes:
        layer: The layer's path and class name, for messages.
        path: The kernel's dataset.
        dataset: Where it lies.
        view: Its matrix view.
        required: Whether the layer is to be converted, so that a bad kernel is an error.
    """

    layer: tuple[str, str]
    path: str
    dataset: Dataset
    view: MatrixView
    required: bool
