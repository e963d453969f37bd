"""Target `keras` in memory: what Keras' own wrapper around a layer keeps."""

from __future__ import annotations

import keras
import numpy as np

from snconvert.config.constraint_entry import unusual
from snconvert.core.matrix_view import MatrixView
from snconvert.kinds.kernel_rule import Kernel
from snconvert.linalg.stored_u import Normalisation
from snconvert.live.internals.walk import Layer


def normalisation(
    _owner: Layer, _kernel: Kernel, view: MatrixView, around: Layer = None
) -> Normalisation | None:
    """Returns the vector of a wrapper, which belongs to the matrix that it takes itself."""
    if around is None or unusual(view) is not None:
        return None
    vector = np.asarray(keras.ops.convert_to_numpy(around.vector_u))
    return Normalisation(vector.astype(np.float64))
