"""The spectrally normalised attention layers."""

from __future__ import annotations

from typing import Any

import keras

from snconvert.kinds.table import RULES
from snconvert.layers.base import register
from snconvert.layers.composite import Composite
from snconvert.layers.dense import SpectralEinsumDense


class SpectralAttention(Composite):
    """What the attention layers share: the projections are spectral, all else is Keras' own."""

    part_class = SpectralEinsumDense

    def build(  # type: ignore[override] # as Keras' own
        self, query_shape: Any, value_shape: Any, key_shape: Any = None
    ) -> None:
        """Builds the projections, which create their `gamma` and `u`."""
        self._build_parts(query_shape, value_shape, key_shape)


@register
class SpectralMultiHeadAttention(SpectralAttention, keras.layers.MultiHeadAttention):  # type: ignore[misc] # keras has no types
    """A `keras.layers.MultiHeadAttention` whose projections are spectrally normalised.

    The projections of query, key, value and output (and the gate, if there is one) are
    `snconvert.layers.SpectralEinsumDense`: each kernel, read as the matrix `(in, heads * dim)` or
    `(heads * dim, out)`, has its own sigma, `u` and `s`, by `mode`: `hard` is `bound / sigma`,
    `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar `gamma` that
    starts at sigma. The product of attention itself is not normalised, and is not Lipschitz. See
    `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.MultiHeadAttention`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.MultiHeadAttention`.

    Example:
        >>> import numpy as np
        >>> layer, x = SpectralMultiHeadAttention(2, 3, mode="gain"), np.ones((2, 9, 5), "float32")
        >>> tuple(layer(x, x).shape)
        (2, 9, 5)
        >>> list(layer.spectral_norms())[:2]
        ['query_dense/kernel', 'key_dense/kernel']

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12; Zhai et al. 2023, arXiv:2303.06296.
    """

    rule = RULES["MultiHeadAttention"]


@register
class SpectralGroupQueryAttention(SpectralAttention, keras.layers.GroupQueryAttention):  # type: ignore[misc] # keras has no types
    """A `keras.layers.GroupQueryAttention` whose projections are spectrally normalised.

    The projections of query, key, value and output (and the gate, if there is one) are
    `snconvert.layers.SpectralEinsumDense`: each kernel, read as the matrix `(in, heads * dim)` or
    `(heads * dim, out)`, has its own sigma, `u` and `s`, by `mode`: `hard` is `bound / sigma`,
    `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar `gamma` that
    starts at sigma. The product of attention itself is not normalised, and is not Lipschitz. See
    `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.GroupQueryAttention`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.GroupQueryAttention`.

    Example:
        >>> import numpy as np
        >>> layer, x = SpectralGroupQueryAttention(3, 4, 2), np.ones((2, 9, 5), "float32")
        >>> tuple(layer(x, x).shape)
        (2, 9, 5)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12; Zhai et al. 2023, arXiv:2303.06296.
    """

    rule = RULES["GroupQueryAttention"]
