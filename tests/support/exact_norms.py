"""The norm of a convolution by the response of the Keras layer itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from snconvert.linalg.convolution_norm import operator_triplet


def exact_sigma(layer: Any, kernel: Any = None, name: str = "kernel") -> float:
    """Sigma of a kernel (the layer's own unless given) by `snconvert.linalg`, in float64."""
    kernel = np.asarray(getattr(layer, name) if kernel is None else kernel, "float64")
    view, conv = getattr(layer, f"_{name}_view"), getattr(layer, f"_{name}_map")
    if conv is None:
        return np.linalg.norm(view.matrix(kernel), 2, axis=(1, 2)).max()
    return operator_triplet(kernel, view, conv).sigma
