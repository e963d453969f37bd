"""Norms and directions on TensorFlow, in float64 and so in few operations.

An operation on a short vector costs the same, whatever its type. Squares of float32 numbers fit
float64, so that no row has to be divided by its largest entry first, as in
`snconvert.linalg.power_iteration`, which has the formulas, for backends without float64. What is
constant in them is the same.

Op by op, a raw operation takes half the time of the function or operator that finds it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    _TF = import_module("tensorflow")
    _RAW = _TF.raw_ops

TINY = 2.0**-120
"""What counts as 0: its reciprocal, also times a little, is still a float32 number."""

_HUGE = 1e200  # above every quotient of float32 numbers; float64 holds it times such a quotient
_ZERO, _ONE = np.float64(0.0), np.float64(1.0)


class Float64Norm(NamedTuple):
    """A norm.

    Attributes:
        length: A float64 scalar, linear in the rows that it is the length of.
        positive: Whether it counts as more than 0.
    """

    length: Any
    positive: Any

    @property
    def sigma(self) -> Any:
        """The norm as a float32 scalar."""
        return _cast(self.length, "float32")


def unit_rows(rows: Any, otherwise: float | None) -> Any:
    """Returns rows of length 1, float32, a constant.

    Args:
        rows: float32 `(b, m)`.
        otherwise: What stands in rows of zeros or NaN; `None` leaves them.
    """
    rows = _cast(_TF.stop_gradient(rows), "float64")
    lengths = _RAW.Sqrt(x=_products(rows, rows))
    units = _cast(_RAW.DivNoNan(x=rows, y=lengths), "float32")
    if otherwise is None:
        return units
    return _RAW.SelectV2(condition=_RAW.Greater(x=lengths, y=_ZERO), t=units, e=otherwise)


def norm_and_directions(rows: Any, otherwise: Any) -> tuple[Float64Norm, Any]:
    """Returns the largest length of rows, and their directions, float32 constants.

    Args:
        rows: float32 `(b, n)`.
        otherwise: The directions of rows of zeros, NaN or infinity, float32 `(b, n)`.
    """
    rows = _cast(rows, "float64")
    fixed = _TF.stop_gradient(rows)
    units = _RAW.DivNoNan(x=fixed, y=_RAW.Sqrt(x=_products(fixed, fixed)))
    lengths = _products(rows, units)
    if rows.shape[0] == 1:
        length = _RAW.Reshape(tensor=lengths, shape=())
        positive = moved = _RAW.Greater(x=length, y=TINY)
    else:
        length = _RAW.Max(input=lengths, axis=(0, 1))
        positive, moved = (_RAW.Greater(x=each, y=TINY) for each in (length, lengths))
    units = _RAW.SelectV2(condition=moved, t=_cast(units, "float32"), e=otherwise)
    return Float64Norm(length, positive), units


def scale(norm: Float64Norm, mode: str, bound: float, gamma: Any) -> Any:
    """Returns `s(sigma)` as `snconvert.layers.power_iteration.scale` does."""
    # In the place of 0 what gives the quotient 1; NaN, which is not positive, stays NaN.
    if mode == "gain":
        zero = _RAW.LessEqual(x=norm.length, y=TINY)
        above = _RAW.SelectV2(condition=zero, t=_ONE, e=_cast(gamma, "float64"))
        filler = _RAW.SelectV2(condition=zero, t=_ONE, e=_ZERO)
    else:
        above = np.float64(min(bound, _HUGE))
        filler = _RAW.SelectV2(condition=norm.positive, t=_ZERO, e=above)
    factor = _RAW.RealDiv(x=above, y=_RAW.AddV2(x=norm.length, y=filler))
    if mode == "cap":
        factor = _RAW.Minimum(x=factor, y=_ONE)
    return _cast(factor, "float32")


def _products(rows: Any, others: Any) -> Any:
    """Returns the products of each row with the other of the same place, `(b, 1)`."""
    if rows.shape[0] == 1:
        return _RAW.MatMul(a=rows, b=others, transpose_b=True)
    return _RAW.Sum(input=_RAW.Mul(x=rows, y=others), axis=-1, keep_dims=True)


def _cast(tensor: Any, dtype: str) -> Any:
    return _RAW.Cast(x=tensor, DstT=dtype)
