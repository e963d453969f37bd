"""The spectrally normalised recurrent layers and their cells, dense and convolutional."""

from __future__ import annotations

from typing import Any

import keras

from snconvert.compat.layers import ConvLSTMCell
from snconvert.kinds.recurrent import CONV_CELL
from snconvert.kinds.table import RULES
from snconvert.layers.composite import Composite
from snconvert.layers.register import register
from snconvert.layers.swapped_kernel import SwappedKernels, call_training


class SpectralCell(SwappedKernels):
    """The base of the cells; listed before the Keras class.

    `kernel` and `recurrent_kernel` are normalised each by its own sigma and `s`, by `kernel_u` and
    `recurrent_kernel_u`: in a recurrent layer once per call of that layer, whatever the number of
    time steps; in a cell that is called by itself once per call of the cell.
    """

    # Before the first step, `keras.layers.RNN` asks every cell for its dropout masks, and after the
    # last one it has them dropped: that is where a call of it begins and ends for the cell.

    def get_recurrent_dropout_mask(self, step_input: Any) -> Any:
        """Returns Keras' mask; before an RNN's first step, normalises the kernels."""
        if self.swap is None or not self.swap.stepping:
            self.begin_swap(call_training())
        return super().get_recurrent_dropout_mask(step_input)

    def reset_recurrent_dropout_mask(self) -> None:
        """Drops the mask, as an RNN asks after its last step, and the normalised kernels."""
        self.end_swap()
        super().reset_recurrent_dropout_mask()

    def step(self, inputs: Any, states: Any, training: bool | None) -> Any:
        """Does one time step, with the kernels of the RNN's call or of one of its own."""
        swap = self.swap
        if swap is None:
            with self.swapped(training):
                return self.step(inputs, states, training)
        swap.stepping = True
        try:
            return super().call(inputs, states, training=training)
        finally:
            swap.stepping = False


@register
class SpectralSimpleRNNCell(SpectralCell, keras.layers.SimpleRNNCell):  # type: ignore[misc] # keras has no types
    """A `keras.layers.SimpleRNNCell` whose two kernels are spectrally normalised.

    The kernels are the matrices `(in, units)` and `(units, units)`.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.RNN(SpectralSimpleRNNCell(4))
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 4)
    """

    rule = RULES["SimpleRNNCell"]

    def call(self, sequence: Any, states: Any, training: bool | None = False) -> Any:
        """Does one time step from inputs `(batch, in)` and the state `(batch, units)`."""
        return self.step(sequence, states, training)


@register
class SpectralLSTMCell(SpectralCell, keras.layers.LSTMCell):  # type: ignore[misc] # keras has no types
    """A `keras.layers.LSTMCell` whose two kernels are spectrally normalised.

    The kernels of all gates are the matrices `(in, 4 * units)` and `(units, 4 * units)`.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.RNN([SpectralLSTMCell(4), SpectralLSTMCell(3)])
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 3)
    """

    rule = RULES["LSTMCell"]

    def call(self, inputs: Any, states: Any, training: bool | None = False) -> Any:
        """Does one time step from inputs `(batch, in)` and two states `(batch, units)`."""
        return self.step(inputs, states, training)


@register
class SpectralGRUCell(SpectralCell, keras.layers.GRUCell):  # type: ignore[misc] # keras has no types
    """A `keras.layers.GRUCell` whose two kernels are spectrally normalised.

    The kernels of all gates are the matrices `(in, 3 * units)` and `(units, 3 * units)`.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.RNN(SpectralGRUCell(4, mode="gain"))
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 4)
    """

    rule = RULES["GRUCell"]

    def call(self, inputs: Any, states: Any, training: bool | None = False) -> Any:
        """Does one time step from inputs `(batch, in)` and the state `(batch, units)`."""
        return self.step(inputs, states, training)


class SpectralConvLSTMCell(SpectralCell, ConvLSTMCell):  # type: ignore[misc] # keras has no types
    """The cell of the spectral ConvLSTM layers; like Keras' own it is no public layer.

    Its kernels `(*k, in, 4 * filters)` and `(*k, filters, 4 * filters)` are read as the matrices
    `(k * in, 4 * filters)` and `(k * filters, 4 * filters)`.
    """

    rule = CONV_CELL

    def build(self, inputs_shape: Any, states_shape: Any = None) -> None:
        """Creates the variables of Keras' cell, then `gamma` and `u`."""
        ConvLSTMCell.build(self, inputs_shape, states_shape)
        self._add_states(inputs_shape)

    def call(self, inputs: Any, states: Any, training: bool | None = False) -> Any:
        """Does one time step from inputs `(batch, *spatial, in)` and two states."""
        return self.step(inputs, states, training)


class SpectralRecurrent(Composite):
    """The base of the recurrent layers; listed before the Keras class.

    The cell is the spectral one of the same name, as `snconvert.layers.SpectralLSTMCell`, which
    says how its kernels are normalised: `cell/kernel`, the matrix `(in, gates * units)`, and
    `cell/recurrent_kernel`, `(units, gates * units)`. All else is Keras' own, and cuDNN is used
    where Keras uses it. A training call does the power iteration once, whatever the number of time
    steps.
    """

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds the cell, which creates its `gamma` and `u`."""
        # A frozen ConvLSTM makes a cell that is not.
        if not self.trainable:
            self.cell.trainable = False
        self._build_parts(sequences_shape, initial_state_shape)


@register
class SpectralSimpleRNN(SpectralRecurrent, keras.layers.SimpleRNN):  # type: ignore[misc] # keras has no types
    """A `keras.layers.SimpleRNN` whose two kernels are spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralSimpleRNN(4, return_sequences=True)
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 9, 4)
    """

    rule = RULES["SimpleRNN"]
    part_class = SpectralSimpleRNNCell


@register
class SpectralLSTM(SpectralRecurrent, keras.layers.LSTM):  # type: ignore[misc] # keras has no types
    """A `keras.layers.LSTM` whose two kernels are spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralLSTM(4, mode="cap", bound=2.0)
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 4)
        >>> sorted(layer.spectral_norms())
        ['cell/kernel', 'cell/recurrent_kernel']
    """

    rule = RULES["LSTM"]
    part_class = SpectralLSTMCell


@register
class SpectralGRU(SpectralRecurrent, keras.layers.GRU):  # type: ignore[misc] # keras has no types
    """A `keras.layers.GRU` whose two kernels are spectrally normalised.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.Bidirectional(SpectralGRU(4))
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 8)
    """

    rule = RULES["GRU"]
    part_class = SpectralGRUCell


class SpectralConvLSTM(SpectralRecurrent):
    """The base of the ConvLSTM layers of all ranks; listed before the Keras class.

    The kernels `cell/kernel`, `(*k, in, 4 * filters)` for all gates, and `cell/recurrent_kernel`,
    `(*k, filters, 4 * filters)`, are read as the matrices `(k * in, 4 * filters)` and `(k *
    filters, 4 * filters)`, `k` being the product of the kernel sizes, and normalised each by its
    own sigma, `u` and `s`. A training call does the power iteration once, whatever the number of
    time steps.
    """

    part_class = SpectralConvLSTMCell


@register
class SpectralConvLSTM1D(SpectralConvLSTM, keras.layers.ConvLSTM1D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.ConvLSTM1D` whose two kernels are spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConvLSTM1D(4, 2)
        >>> tuple(layer(np.ones((2, 3, 6, 3), "float32")).shape)
        (2, 5, 4)
    """

    rule = RULES["ConvLSTM1D"]


@register
class SpectralConvLSTM2D(SpectralConvLSTM, keras.layers.ConvLSTM2D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.ConvLSTM2D` whose two kernels are spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConvLSTM2D(4, 2)
        >>> tuple(layer(np.ones((2, 3, 6, 6, 3), "float32")).shape)
        (2, 5, 5, 4)
    """

    rule = RULES["ConvLSTM2D"]


@register
class SpectralConvLSTM3D(SpectralConvLSTM, keras.layers.ConvLSTM3D):  # type: ignore[misc] # keras has no types
    """A `keras.layers.ConvLSTM3D` whose two kernels are spectrally normalised.

    Example:
        >>> import numpy as np
        >>> layer = SpectralConvLSTM3D(4, 2)
        >>> tuple(layer(np.ones((2, 3, 6, 6, 6, 3), "float32")).shape)
        (2, 5, 5, 5, 4)
    """

    rule = RULES["ConvLSTM3D"]
