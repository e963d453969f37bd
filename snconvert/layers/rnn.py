"""The spectrally normalised recurrent layers."""

from __future__ import annotations

from typing import Any

import keras

from snconvert.layers.cells import SpectralGRUCell, SpectralLSTMCell, SpectralSimpleRNNCell
from snconvert.layers.composite import Composite
from snconvert.layers.spectral import register
from snconvert.rules import RULES


class SpectralRecurrent(Composite):
    """What the recurrent layers share: the cell is spectral, all else is Keras' own."""

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds the cell, which creates its `gamma` and `u`."""
        # A frozen ConvLSTM makes a cell that is not.
        if not self.trainable:
            self.cell.trainable = False
        self._build_parts(sequences_shape, initial_state_shape)


@register
class SpectralSimpleRNN(SpectralRecurrent, keras.layers.SimpleRNN):  # type: ignore[misc] # keras has no types
    """A `keras.layers.SimpleRNN` whose two kernels are spectrally normalised.

    Its cell is a `snconvert.layers.SpectralSimpleRNNCell`, which says how; the kernels are
    `cell/kernel` and `cell/recurrent_kernel`. A training call does the power iteration once,
    whatever the number of time steps.

    Args:
        *args: Those of `keras.layers.SimpleRNN`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.SimpleRNN`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralSimpleRNN(4, return_sequences=True)
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 9, 4)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["SimpleRNN"]
    part_class = SpectralSimpleRNNCell


@register
class SpectralLSTM(SpectralRecurrent, keras.layers.LSTM):  # type: ignore[misc] # keras has no types
    """A `keras.layers.LSTM` whose two kernels are spectrally normalised.

    Its cell is a `snconvert.layers.SpectralLSTMCell`, which says how; the kernels are `cell/kernel`
    and `cell/recurrent_kernel`. A training call does the power iteration once, whatever the number
    of time steps, and cuDNN is used where Keras uses it.

    Args:
        *args: Those of `keras.layers.LSTM`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.LSTM`.

    Example:
        >>> import numpy as np
        >>> layer = SpectralLSTM(4, mode="cap", bound=2.0)
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 4)
        >>> sorted(layer.spectral_norms())
        ['cell/kernel', 'cell/recurrent_kernel']

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["LSTM"]
    part_class = SpectralLSTMCell


@register
class SpectralGRU(SpectralRecurrent, keras.layers.GRU):  # type: ignore[misc] # keras has no types
    """A `keras.layers.GRU` whose two kernels are spectrally normalised.

    Its cell is a `snconvert.layers.SpectralGRUCell`, which says how; the kernels are `cell/kernel`
    and `cell/recurrent_kernel`. A training call does the power iteration once, whatever the number
    of time steps, and cuDNN is used where Keras uses it.

    Args:
        *args: Those of `keras.layers.GRU`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.GRU`.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.Bidirectional(SpectralGRU(4))
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 8)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["GRU"]
    part_class = SpectralGRUCell
