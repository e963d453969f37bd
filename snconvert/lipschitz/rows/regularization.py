"""The layers that change nothing outside training, and Masking."""

from __future__ import annotations

import math

from snconvert.lipschitz.network import Constant, Unbounded
from snconvert.lipschitz.rows.row import Answer, Call, Row, ranks


def identity(call: Call) -> Answer:
    """Returns the input of what changes nothing."""
    return call.inputs[0]


def dropped(call: Call, key: str = "rate") -> Answer:
    """Adds what scales up what it keeps, in training only; `key` names the rate."""
    rate = call.number(key, 0.0)
    if not call.training or rate <= 0.0:
        return call.inputs[0]
    if rate >= 1.0:
        return Unbounded(f"its `rate` is {rate:g}")
    scale = math.nextafter(1.0 / math.nextafter(1.0 - rate, 0.0), math.inf)
    return call.same(Constant(scale, -1))


def _noise(call: Call) -> Answer:
    if call.training:
        return Unbounded("it is called as in training, so that it multiplies by noise")
    return call.inputs[0]


def _masking(call: Call) -> Answer:
    value = call.config.get("mask_value", 0.0)
    if value not in (0, None) and value == value:  # noqa: PLR0124 -- NaN is unequal to itself
        return Unbounded("it jumps at its `mask_value`, which is not 0")
    return call.inputs[0]._replace(mask=call.inputs[0].mask | {call.inputs[0].place})


ROWS = (
    Row(("Identity", "ActivityRegularization", "GaussianNoise"), "1", identity),
    Row(("Dropout", *ranks("SpatialDropout{}D")), "1", dropped),
    Row(("GaussianDropout", "AlphaDropout"), "1", _noise),
    Row(
        ("Masking",),
        "1 if `mask_value` is 0; layers behind it that use the mask have none",
        _masking,
    ),
)
