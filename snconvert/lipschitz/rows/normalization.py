"""The layers that scale: by statistics that are stored, or by those of their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snconvert.errors import printable
from snconvert.lipschitz.network import Constant, Diagonal, GroupNorm, StoredArray, Unbounded
from snconvert.lipschitz.reading.shapes import axis_from_end, finite
from snconvert.lipschitz.rows.row import NOT_STORED, Answer, Call, Row

_FUZZ = 1e-7
"""What Keras' `Normalization` takes roots to be at least (`keras.config.epsilon`)."""

_LARGEST_INVERSE = 1e12
"""What `UnitNormalization` takes one over a length to be at most."""

_RENORM = 3  # arrays more


def _batch(call: Call) -> Answer:
    if call.training and call.flag("trainable", default=True):
        return Unbounded("it is called as in training, so that it uses the batch")
    scale, center = call.flag("scale", default=True), call.flag("center", default=True)
    before = scale + center
    count = before + 2 + (_RENORM if call.flag("renorm") else 0)
    variance = call.array(before + 1, count)
    axis = call.config.get("axis", -1)
    at = axis_from_end(
        axis[0] if isinstance(axis, list) and len(axis) == 1 else axis, len(call.sizes)
    )
    epsilon = call.number("epsilon", 1e-3)
    if variance is None:
        return NOT_STORED
    if at is None:
        return Unbounded("it scales the samples of a batch")
    gamma = call.array(0, count) if scale else None
    return call.same(Diagonal(at, gamma or (1.0,), variance, epsilon))


def _group(call: Call) -> Answer:
    if call.flag("rms_scaling"):
        return Unbounded("with `rms_scaling` its slope has no limit")
    axis = call.config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    if None in [axis_from_end(one, len(call.sizes)) for one in axes]:
        return Unbounded("it mixes the samples of a batch")
    scale, center = call.flag("scale", default=True), call.flag("center", default=True)
    gamma = call.array(0, scale + center) if scale else None
    if scale and gamma is None:
        return NOT_STORED
    return _by_group(call, gamma, 1e-3)


def _root_mean_square(call: Call) -> Answer:
    gamma = call.array(0, 1)
    return NOT_STORED if gamma is None else _by_group(call, gamma, 1e-6)


def _by_group(call: Call, gamma: StoredArray | None, default: float) -> Answer:
    epsilon = call.number("epsilon", default)
    if epsilon <= 0.0:
        return Unbounded(f"its `epsilon` is {epsilon:g}")
    return call.same(GroupNorm(gamma, epsilon))


def _unit(call: Call) -> Answer:
    return call.same(Constant(_LARGEST_INVERSE))


def _normalization(call: Call) -> Answer:
    given = call.config.get("variance")
    variance: StoredArray | tuple[float, ...] | None = numbers(given)
    if given is None:
        variance = call.array(1, 3)
    if variance is None:
        return NOT_STORED if given is None else Unbounded("its `variance` is no list of numbers")
    axis = call.config.get("axis", -1)
    axes = axis if isinstance(axis, list) else [] if axis is None else [axis]
    at = [axis_from_end(one, len(call.sizes)) for one in axes]
    inverted = call.flag("invert")
    only = at[0] if len(at) == 1 else None
    if isinstance(variance, tuple) and len(variance) == 1:
        only = None
    return call.same(Diagonal(only, (1.0,), variance, least=_FUZZ, inverted=inverted))


def _rescaling(call: Call) -> Answer:
    scale = numbers(call.config.get("scale"))
    if scale is None:
        return Unbounded(f"its `scale` is {printable(call.config.get('scale'))}")
    for key in ("scale", "offset"):
        count = len(numbers(call.config.get(key, 0.0)) or ())
        if count not in {1, call.sizes[-1]}:  # it may repeat its input by broadcasting
            return Unbounded(f"its `{key}` does not fit its input")
    # Which axis several numbers belong to depends on a setting of the process that loads it.
    return call.same(Diagonal(None, scale))


def numbers(value: Any) -> tuple[float, ...] | None:
    """Returns a number, or a flat list of some, as a tuple; `None` for anything else.

    Example:
        >>> numbers(2), numbers([[1, 2.5]]), numbers("x")
        ((2.0,), (1.0, 2.5), None)
    """
    while isinstance(value, Sequence) and len(value) == 1 and not isinstance(value, str):
        value = value[0]
    if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        inner = value.get("config")
        return numbers(inner.get("value")) if isinstance(inner, dict) else None
    many = value if isinstance(value, list | tuple) else [value]
    floats = tuple(number for number in map(finite, many) if number is not None)
    return floats if floats and len(floats) == len(many) else None


_BY_GROUP = "largest `gamma` over the root of `epsilon`"
ROWS = (
    Row(("BatchNormalization",), "largest `gamma / sqrt(variance + epsilon)`", _batch),
    Row(("LayerNormalization", "GroupNormalization"), _BY_GROUP, _group),
    Row(("RMSNormalization",), "largest `scale` over the root of `epsilon`", _root_mean_square),
    Row(("UnitNormalization",), "10^12: it divides by lengths down to 10^-12", _unit),
    Row(("Normalization",), "largest 1 / sqrt(variance)", _normalization),
    Row(("Rescaling",), "largest `scale`", _rescaling),
)
