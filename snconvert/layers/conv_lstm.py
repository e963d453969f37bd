"""The spectrally normalised convolutional LSTM layers."""

from __future__ import annotations

import keras

from snconvert.kinds.table import RULES
from snconvert.layers.base import register
from snconvert.layers.recurrent import SpectralConvLSTMCell, SpectralRecurrent


class SpectralConvLSTM(SpectralRecurrent):
    """What the ConvLSTM layers of all ranks share; listed before the Keras class.

    The kernels `cell/kernel`, `(*k, in, 4 * filters)` for all gates, and `cell/recurrent_kernel`,
    `(*k, filters, 4 * filters)`, are read as the matrices `(k * in, 4 * filters)` and `(k *
    filters, 4 * filters)`, `k` being the product of the kernel sizes, and normalised each by its
    own sigma. A training call does the power iteration once, whatever the number of time steps.
    """

    part_class = SpectralConvLSTMCell


@register
class SpectralConvLSTM1D(SpectralConvLSTM, keras.layers.ConvLSTM1D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.ConvLSTM1D` whose two kernels are spectrally normalised.

    Each by its own sigma, `u` (`kernel_u`, `recurrent_kernel_u` of the cell) and `s`, by `mode`:
    `hard` is `bound / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a
    trainable scalar `gamma` that starts at sigma. See `SpectralConvLSTM` for the matrices, and
    `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.ConvLSTM1D`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.ConvLSTM1D`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConvLSTM1D(4, 2)
        >>> tuple(layer(np.ones((2, 3, 6, 3), "float32")).shape)
        (2, 5, 4)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["ConvLSTM1D"]


@register
class SpectralConvLSTM2D(SpectralConvLSTM, keras.layers.ConvLSTM2D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.ConvLSTM2D` whose two kernels are spectrally normalised.

    Each by its own sigma, `u` (`kernel_u`, `recurrent_kernel_u` of the cell) and `s`, by `mode`:
    `hard` is `bound / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a
    trainable scalar `gamma` that starts at sigma. See `SpectralConvLSTM` for the matrices, and
    `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.ConvLSTM2D`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.ConvLSTM2D`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConvLSTM2D(4, 2)
        >>> tuple(layer(np.ones((2, 3, 6, 6, 3), "float32")).shape)
        (2, 5, 5, 4)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["ConvLSTM2D"]


@register
class SpectralConvLSTM3D(SpectralConvLSTM, keras.layers.ConvLSTM3D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.ConvLSTM3D` whose two kernels are spectrally normalised.

    Each by its own sigma, `u` (`kernel_u`, `recurrent_kernel_u` of the cell) and `s`, by `mode`:
    `hard` is `bound / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a
    trainable scalar `gamma` that starts at sigma. See `SpectralConvLSTM` for the matrices, and
    `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.ConvLSTM3D`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix`, or `operator` for the norm of the convolution as a map.
        **kwargs: Those of `keras.layers.ConvLSTM3D`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConvLSTM3D(4, 2)
        >>> tuple(layer(np.ones((2, 3, 6, 6, 6, 3), "float32")).shape)
        (2, 5, 5, 5, 4)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["ConvLSTM3D"]
