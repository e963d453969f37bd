"""The spectrally normalised cells of recurrent layers.

The spectrally normalised recurrent layers.
"""

from __future__ import annotations

from typing import Any

import keras

from snconvert.compat.layers import ConvLSTMCell
from snconvert.kinds.recurrent import CONV_CELL
from snconvert.kinds.table import RULES
from snconvert.layers.base import register
from snconvert.layers.composite import Composite
from snconvert.layers.swapped_kernel import Holding, call_training


class SpectralCell(Holding):
    """What the cells share; listed before the Keras class.

    `kernel` and `recurrent_kernel` are normalised each by its own sigma, `kernel_u` and
    `recurrent_kernel_u`. In a recurrent layer that is once per call of that layer, whatever the
    number of time steps: before the first step, `keras.layers.RNN` asks every cell for its dropout
    masks, and after the last one it has them dropped. A cell that is called by itself is normalised
    in that call.
    """

    def get_recurrent_dropout_mask(self, step_input: Any) -> Any:
        """Returns Keras' mask; where an RNN asks, before its first step, normalises the kernels."""
        if self.held is None or not self.held.stepping:
            self.begin_holding(call_training())
        return super().get_recurrent_dropout_mask(step_input)

    def reset_recurrent_dropout_mask(self) -> None:
        """Drops the mask, as an RNN asks after its last step, and the normalised kernels."""
        self.end_holding()
        super().reset_recurrent_dropout_mask()

    def step(self, inputs: Any, states: Any, training: bool | None) -> Any:
        """Does one time step, with the kernels that are held, or else with its own."""
        held = self.held
        if held is None:
            with self.holding(training):
                return self.step(inputs, states, training)
        held.stepping = True
        try:
            return super().call(inputs, states, training=training)
        finally:
            held.stepping = False


@register
class SpectralSimpleRNNCell(SpectralCell, keras.layers.SimpleRNNCell):  # type: ignore[misc] # keras has no types
    """A `keras.layers.SimpleRNNCell` whose two kernels are spectrally normalised.

    `kernel`, the matrix `(in, units)`, and `recurrent_kernel`, `(units, units)`, each by its own
    sigma, `u` (`kernel_u`, `recurrent_kernel_u`) and `s`, by `mode`: `hard` is `bound / sigma`,
    `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a trainable scalar `gamma` that
    starts at sigma. In a recurrent layer the power iteration runs once per call of that layer. See
    `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.SimpleRNNCell`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.SimpleRNNCell`.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.RNN(SpectralSimpleRNNCell(4))
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 4)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["SimpleRNNCell"]

    def call(self, sequence: Any, states: Any, training: bool | None = False) -> Any:
        """Does one time step from inputs `(batch, in)` and the state `(batch, units)`."""
        return self.step(sequence, states, training)


@register
class SpectralLSTMCell(SpectralCell, keras.layers.LSTMCell):  # type: ignore[misc] # keras has no types
    """A `keras.layers.LSTMCell` whose two kernels are spectrally normalised.

    `kernel`, the matrix `(in, 4 * units)` of all gates, and `recurrent_kernel`, `(units, 4 *
    units)`, each by its own sigma, `u` (`kernel_u`, `recurrent_kernel_u`) and `s`, by `mode`:
    `hard` is `bound / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a
    trainable scalar `gamma` that starts at sigma. In a recurrent layer the power iteration runs
    once per call of that layer. See `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.LSTMCell`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.LSTMCell`.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.RNN([SpectralLSTMCell(4), SpectralLSTMCell(3)])
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 3)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
    """

    rule = RULES["LSTMCell"]

    def call(self, inputs: Any, states: Any, training: bool | None = False) -> Any:
        """Does one time step from inputs `(batch, in)` and two states `(batch, units)`."""
        return self.step(inputs, states, training)


@register
class SpectralGRUCell(SpectralCell, keras.layers.GRUCell):  # type: ignore[misc] # keras has no types
    """A `keras.layers.GRUCell` whose two kernels are spectrally normalised.

    `kernel`, the matrix `(in, 3 * units)` of all gates, and `recurrent_kernel`, `(units, 3 *
    units)`, each by its own sigma, `u` (`kernel_u`, `recurrent_kernel_u`) and `s`, by `mode`:
    `hard` is `bound / sigma`, `cap` is `min(1, bound / sigma)`, `gain` is `gamma / sigma` with a
    trainable scalar `gamma` that starts at sigma. In a recurrent layer the power iteration runs
    once per call of that layer. See `snconvert.layers.Spectral` for what training and inference do.

    Args:
        *args: Those of `keras.layers.GRUCell`, in its order.
        mode: `hard`, `cap` or `gain`.
        bound: The bound of `hard` and `cap`, for each kernel.
        power_iterations: Rounds of power iteration in each training call.
        norm: `matrix` or `operator`, which is the same here.
        **kwargs: Those of `keras.layers.GRUCell`.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.RNN(SpectralGRUCell(4, mode="gain"))
        >>> tuple(layer(np.ones((2, 9, 5), "float32")).shape)
        (2, 4)

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, eq. 8 and 12.
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
