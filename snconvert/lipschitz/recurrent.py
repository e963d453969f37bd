"""The constant of a recurrent layer over a fixed number of steps, from a zero state.

`dx` are differences of two inputs, in the 2-norm of all steps together; `z_g = x K_g + h U_g + b_g`
are the arguments of the gates, so `|dz_g| <= |K_g| |dx_t| + |U_g| |dh_t-1|`. What follows bounds
`|dh_t|` by a row `H_t`: `|dh_t| <= sum over s of H_ts |dx_s|`.

`SimpleRNN` with slope `b`: `|dh_t| <= b |dz|`, so that `H_ts = b |K| (b |U|)^(t-s)`.

`LSTM`, with sigmoid gates (values from 0 to 1, slope 1/4) and tanh: from `c_0 = 0` follows
`|c_t| <= t` for each unit. With `f c - f' c' = f (c - c') + c' (f - f')`, and the same of the other
products,

    |dc_t| <= |dc_t-1| + (t-1)/4 |dz_f| + 1/4 |dz_i| + |dz_c|,    |dh_t| <= 1/4 |dz_o| + |dc_t|.

`GRU`: `h_t` is a mean of `h_t-1` and `g = tanh(..)`, so that each unit of both is at most 1, and
`|dh_t| <= |dh_t-1| + |dg| + 2/4 |dz_z|`. Its reset gate multiplies `m = h U_h + b_h`, of which each
unit is at most the largest column sum `M` of `|U_h|` and `|b_h|` (`reset_after`), or it multiplies
`h`:

    |dg| <= |K_h| |dx_t| + |U_h| |dh_t-1| + M/4 |dz_r|,
    |dg| <= |K_h| |dx_t| + |U_h| (|dh_t-1| + 1/4 |dz_r|).

The last step is at most `|H_T|` times `|dx|`; all steps are the norm of the matrix `H`, which is at
most its Frobenius norm. Every number is positive, so a relative and an absolute allowance for each
step covers all rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.linalg.blocks import Array
from snconvert.linalg.proved_norm import proved_matrix_norm
from snconvert.lipschitz.arithmetic import ZERO, largest, product, quotient, root, total
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.network import Recurrent

_MOST = 4096  # steps up to which each keeps a row; beyond, one number bounds the row's sum
_UP = 1.0 + 64 * 2.0**-53  # more than the roundings of one step
_LEAST = 2.0**-900  # more than what underflow loses in one step, where the kernels' norms are 1
_HIGH = 2.0**400  # entries above it are scaled down
_LARGEST = 100  # powers of two: norms of recurrent kernels
_GATES = {"simple": 1, "lstm": 4, "gru": 3}


class _Gates(NamedTuple):
    """The norms of the gates' parts, in the order of Keras.

    Attributes:
        own: Of the kernel, divided by the largest.
        back: Of the recurrent kernel.
        columns: The largest sum of a column of the last gate's recurrent kernel and its bias.
    """

    own: list[float]
    back: list[float]
    columns: float


def recurrent_constant(
    layer: Recurrent, kernel: Kernel, recurrent: Kernel, bias: Array | None
) -> Magnitude | None:
    """Returns a bound of the Lipschitz constant of a recurrent layer.

    Args:
        layer: The layer.
        kernel: `(1, channels, gates * units)`.
        recurrent: `(1, units, gates * units)`.
        bias: As stored: `(gates * units,)`, of a GRU with `reset_after` `(2, gates * units)`.

    Returns:
        The bound; `None` if the norms of the recurrent kernel are beyond `2**100`.
    """
    own, back = _norms(kernel, _GATES[layer.cell]), _norms(recurrent, _GATES[layer.cell])
    scale = largest(own)
    if not scale.mantissa or not layer.steps:
        return ZERO
    sums = np.abs(np.split(recurrent.stack[0], _GATES[layer.cell], axis=1)[-1]).sum(axis=0)
    columns = product(
        recurrent.factor,
        total(
            [
                Magnitude.of(float(sums.max()) * _above(len(sums)), recurrent.exponent),
                product(recurrent.missed, root(Magnitude.of(float(len(sums))))),
            ]
        ),
    )
    columns = total([columns, Magnitude.of(0.0 if bias is None else float(np.abs(bias).max()))])
    if largest([*back, columns]).exponent > _LARGEST:
        return None
    values = [norm.value or 0.0 for norm in back]
    gates = _Gates(
        [quotient(norm, scale).value or 0.0 for norm in own], values, columns.value or 0.0
    )
    squares = []
    for row, exponent in _rows(layer, gates):
        # The square of a number that bounds the sum of a row is above the sum of its squares.
        square = float(np.square(row).sum()) * _above(len(row))
        squares.append(Magnitude.of(square, 2 * exponent))
    return product(scale, root(total(squares if layer.sequences else squares[-1:])))


def _norms(kernel: Kernel, gates: int) -> list[Magnitude]:
    """Returns bounds of the norms of a kernel's parts."""
    norms = [proved_matrix_norm(part) for part in np.split(kernel.stack[0], gates, axis=1)]
    scaled = [Magnitude.of(norm.mantissa, norm.exponent + kernel.exponent) for norm in norms]
    return [product(kernel.factor, total([norm, kernel.missed])) for norm in scaled]


def _above(count: int) -> float:
    """Returns a factor that covers the roundings of a sum of so many positive numbers."""
    return 1.0 + (count + 8) * 2.0**-52


def _rows(layer: Recurrent, gates: _Gates) -> Iterator[tuple[Array, int]]:
    """Yields `H_t` of each step, its numbers and their power of two, for kernels of norm 1."""
    wide = layer.steps <= _MOST
    hidden = cell = np.zeros(layer.steps if wide else 1)
    exponent = 0
    for step in range(layer.steps):
        rows = []
        for own, back in zip(gates.own, gates.back, strict=True):
            row = back * hidden
            row[step if wide else 0] += own * 2.0 ** -min(exponent, 1000)
            rows.append(row)
        if layer.cell == "simple":
            hidden = layer.slope * rows[0]
        elif layer.cell == "lstm":
            cell = cell + 0.25 * rows[0] + 0.25 * step * rows[1] + rows[2]
            hidden = 0.25 * rows[3] + cell
        else:
            reset = gates.columns if layer.reset_after else gates.back[2]
            hidden = hidden + 0.5 * rows[0] + 0.25 * reset * rows[1] + rows[2]
        hidden, cell = hidden * _UP + _LEAST, cell * _UP + _LEAST
        if max(hidden.max(), cell.max()) > _HIGH:
            hidden, cell, exponent = hidden / _HIGH + _LEAST, cell / _HIGH + _LEAST, exponent + 400
        yield hidden, exponent
