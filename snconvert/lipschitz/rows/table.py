"""All rows: what is known of each layer class of Keras."""

from __future__ import annotations

from collections.abc import Mapping

from snconvert.lipschitz.rows import (
    activation,
    applications,
    convolution,
    dense,
    merging,
    normalization,
    pooling,
    preprocessing,
    recurrent,
    regularization,
    reshaping,
)
from snconvert.lipschitz.rows.row import Row, none

_CODE = "it runs code of its own"

_OTHERS = (
    none("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", because=_CODE),
    none(
        "Attention",
        "AdditiveAttention",
        "MultiHeadAttention",
        "GroupQueryAttention",
        because="attention multiplies two tensors",
    ),
    none("STFTSpectrogram", "MelSpectrogram", because="no bound of a spectrogram is known"),
    none("Pipeline", because="the layers in it are not opened"),
    none("Layer", "Wrapper", because="the class itself computes nothing"),
)

ROWS: tuple[Row, ...] = (
    *dense.ROWS,
    *convolution.ROWS,
    *activation.ROWS,
    *normalization.ROWS,
    *merging.ROWS,
    *pooling.ROWS,
    *reshaping.ROWS,
    *regularization.ROWS,
    *recurrent.ROWS,
    *preprocessing.ROWS,
    *applications.ROWS,
    *_OTHERS,
)
"""The rows of the table in the documentation, in its order."""

TABLE: Mapping[str, Row] = {name: row for row in ROWS for name in row.classes}
"""Class of a Keras layer -> its row."""

OPENED = {
    "InputLayer": "an input of the network",
    "Sequential, Functional": "their layers, as often as they are called",
    "TimeDistributed": "that of the layer in it",
    "Bidirectional": "root of the sum of the squares of those of its layers; none for `mul`",
    "RNN": "those of its cells",
    "SpectralNormalization": "that of the layer in it, as it is stored",
}
"""Classes that are no rows, as there are layers in them."""
