"""The layers that are activations."""

from __future__ import annotations

from snconvert.lipschitz.network import Slopes, Unbounded
from snconvert.lipschitz.reading import activations
from snconvert.lipschitz.rows.row import NOT_STORED, Answer, Call, Row


def _activation(call: Call) -> Answer:
    does = activations.of_layer(call.class_name, call.config, call.sizes)
    if isinstance(does, Unbounded):
        return does
    if does == Slopes(1.0, 1.0):
        return call.inputs[0]
    own = call.class_name == "Activation"
    name = activations.name_of(call.config.get("activation")) if own else call.class_name
    return call.same(does, name=name)


def _prelu(call: Call) -> Answer:
    alpha = call.array(0, 1)
    return NOT_STORED if alpha is None else call.same(Slopes(0.0, 1.0, alpha))


ROWS = (
    Row(("Activation",), "steepest slope of the activation", _activation),
    Row(
        ("ReLU",), "1, or `negative_slope` where that is more; none with a `threshold`", _activation
    ),
    Row(("LeakyReLU",), "1, or `negative_slope` where that is more", _activation),
    Row(("ELU",), "1, or `alpha` where that is more", _activation),
    Row(("PReLU",), "1, or the largest stored `alpha` where that is more", _prelu),
    Row(("Softmax",), "1/2", _activation, masks=True),
)
