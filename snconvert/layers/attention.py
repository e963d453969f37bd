"""The spectrally normalised attention layers."""

from __future__ import annotations

from typing import Any

import keras

from snconvert.kinds.table import RULES
from snconvert.layers.composite import Composite
from snconvert.layers.dense import SpectralEinsumDense
from snconvert.layers.register import register


class SpectralAttention(Composite):
    """The base of the attention layers; listed before the Keras class.

    The projections of query, key, value and output (and the gate, if there is one) are
    `snconvert.layers.SpectralEinsumDense`: each kernel, read as the matrix `(in, heads * dim)` or
    `(heads * dim, out)`, has its own sigma, `u` and `s`. The product of attention itself is not
    normalised, and is not Lipschitz.
    """

    part_class = SpectralEinsumDense

    def build(  # type: ignore[override] # as Keras' own
        self, query_shape: Any, value_shape: Any, key_shape: Any = None
    ) -> None:
        """Builds the projections, which create their `gamma` and `u`."""
        self._build_parts(query_shape, value_shape, key_shape)


@register
class SpectralMultiHeadAttention(SpectralAttention, keras.layers.MultiHeadAttention):  # type: ignore[misc] # keras has no types
    """A `keras.layers.MultiHeadAttention` whose projections are spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer, x = SpectralMultiHeadAttention(2, 3, mode="gain"), np.ones((2, 9, 5), "float32")
        >>> tuple(layer(x, x).shape)
        (2, 9, 5)
        >>> list(layer.spectral_norms())[:2]
        ['query_dense/kernel', 'key_dense/kernel']
    """

    rule = RULES["MultiHeadAttention"]


@register
class SpectralGroupQueryAttention(SpectralAttention, keras.layers.GroupQueryAttention):  # type: ignore[misc] # keras has no types
    """A `keras.layers.GroupQueryAttention` whose projections are spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer, x = SpectralGroupQueryAttention(3, 4, 2), np.ones((2, 9, 5), "float32")
        >>> tuple(layer(x, x).shape)
        (2, 9, 5)
    """

    rule = RULES["GroupQueryAttention"]
