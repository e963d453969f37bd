"""Weights of an older file made those of Keras 3; runs inside the guarded process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from snconvert.legacy.relocation import Relocation
from snconvert.weights.attributes import ROOT_ATTRIBUTES
from snconvert.weights.editing import edit
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay
from snconvert.weights.reading import read_dataset

Array = np.ndarray[Any, Any]


def relocate(extent: Extent, relocation: Relocation) -> Overlay:
    """Returns the changed blocks that make an older file the `model.weights.h5` of Keras 3.

    The attributes of the root that hold a configuration go; there are no fills, so that
    `extent._replace(changes=Changes(*overlay[:3]))` is the result.

    Args:
        extent: The bytes of the older file, which `scan` has accepted.
        relocation: What goes where.

    Raises:
        SourceError: The file is damaged.
    """
    additions: list[tuple[str, Array]] = [
        (path, np.full(shape, value, dtype)) for path, dtype, value, shape in relocation.constants
    ]
    for path, formula, sources in relocation.computed:
        arrays = [read_dataset(extent, source) for source in sources]
        additions.append((path, _FORMULAS[formula](*arrays)))
    removals = relocation.removals
    return edit(extent, relocation.moves, additions, removals, attributes=ROOT_ATTRIBUTES)


def _by_gate(kernel: Array, units: int, change: Callable[[Array], Array]) -> Array:
    gates = np.split(kernel, kernel.shape[1] // units, axis=1)
    return np.concatenate([change(gate) for gate in gates], axis=1)


def _cudnn_kernel(kernel: Array, recurrent: Array) -> Array:
    """Returns a kernel in the order of LSTM or GRU, from that of cuDNN.

    As tf_keras/src/saving/legacy/hdf5_format.py, `_convert_rnn_weights`.
    """
    units = recurrent.shape[0]
    return _by_gate(kernel, units, lambda gate: gate.T.reshape(gate.shape, order="F"))


_FORMULAS: Mapping[str, Callable[..., Array]] = {
    "copy": lambda array: array,
    "int64": lambda number: np.array(number, np.int64),
    "cudnn_kernel": _cudnn_kernel,
    "cudnn_recurrent_kernel": lambda kernel: _by_gate(kernel, kernel.shape[0], np.transpose),
    "cudnn_lstm_bias": lambda bias: np.sum(np.split(bias, 2), axis=0),
    "cudnn_gru_bias": lambda bias: bias.reshape(2, -1),
    "flipped": lambda kernel: np.flip(kernel, tuple(range(kernel.ndim - 2))),
}
"""How new arrays are computed from old ones; see `legacy.relocation.Computed`."""
