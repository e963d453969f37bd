"""The layers that Keras' own applications have beside those of `keras.layers`."""

from __future__ import annotations

from snconvert.errors import SourceError
from snconvert.lipschitz.network import Diagonal, Sum, Unbounded
from snconvert.lipschitz.rows.regularization import dropped
from snconvert.lipschitz.rows.row import NOT_STORED, REPAIR, Answer, Call, Row


def _layer_scale(call: Call) -> Answer:
    gamma = call.array(0, 1)
    if gamma is None:
        return NOT_STORED
    if gamma.dataset.shape != call.sizes[-1:]:
        return Unbounded("its scale does not fit its input")
    return call.same(Diagonal(-1, gamma))


def _custom_scale(call: Call) -> Answer:
    """Adds `x + scale y`."""
    if len({value.sizes for value in call.inputs}) != 1 or len(call.inputs) != 2:  # noqa: PLR2004
        raise SourceError("it adds two tensors of one shape, but has others", REPAIR)
    one, two = call.inputs
    scaled = call.same(Diagonal(None, (call.number("scale", 1.0),)), (two,))
    return call.same(Sum((1.0, 1.0)), (one, scaled))


ROWS = (
    Row(("LayerScale",), "largest scale", _layer_scale),
    Row(("CustomScaleLayer",), "sum of those of its inputs, scaled", _custom_scale, joins=True),
    Row(("StochasticDepth",), "1", lambda call: dropped(call, "drop_path_rate")),
)
