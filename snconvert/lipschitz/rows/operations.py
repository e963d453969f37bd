"""The operations of `keras.ops` that stand in graphs (`x + y`, `x[:, 0]`, `ops.mean(x)`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from snconvert.config.dtype_policies import FLOATS
from snconvert.errors import printable
from snconvert.lipschitz.network import Diagonal, Does, Slopes, Unbounded
from snconvert.lipschitz.reading import activations
from snconvert.lipschitz.reading.shapes import inverse_root
from snconvert.lipschitz.rows import arithmetic, moving, pooling
from snconvert.lipschitz.rows.regularization import identity
from snconvert.lipschitz.rows.row import Answer, Call

_PAIRED = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Matmul")
_LISTS = ("Concatenate", "Stack")


def operation(call: Call) -> Answer:
    """Adds an operation, or says why it has no constant."""
    read = OPERATIONS.get(call.class_name)
    if read is None:
        return Unbounded(f"no constant of the operation {printable(call.class_name)} is known")
    several = call.class_name in {*_PAIRED, *_LISTS}
    arguments = [one for one in (*call.args, *call.kwargs.values()) if one is not None]
    if not several and len(arguments) > 1 + (call.class_name == "GetItem"):
        return Unbounded("it has arguments that are not understood")
    return read(call)


def _by(does: Callable[[Call], Does], name: str = "") -> Callable[[Call], Answer]:
    def read(call: Call) -> Answer:
        known = does(call)
        return known if isinstance(known, Unbounded) else call.same(known, name=name)

    return read


def _slopes(low: float, high: float) -> Callable[[Call], Answer]:
    return _by(lambda _: Slopes(low, high))


def _named(name: str) -> Callable[[Call], Answer]:
    return _by(
        lambda call: activations.by_name(name, call.sizes, call.config.get("axis", -1)), name
    )


def _above_zero(key: str, default: float) -> Callable[[Call], Answer]:
    """Of operations with slopes from 0 to 1 where an argument is above 0."""

    def does(call: Call) -> Does:
        if call.number(key, default) > 0.0:
            return Slopes(0.0, 1.0)
        return Unbounded(f"its `{key}` is {call.number(key, default):g}")

    return _by(does)


def _clip(call: Call) -> Answer:
    if any(isinstance(call.config.get(key), dict | list) for key in ("x_min", "x_max")):
        return Unbounded("an array of limits may repeat its input")
    return call.same(Slopes(0.0, 1.0))


def _cast(call: Call) -> Answer:
    dtype = call.config.get("dtype")
    return identity(call) if dtype in FLOATS else Unbounded(f"it rounds to {printable(dtype)}")


_BY_NAME = {
    "Selu": "selu",
    "Gelu": "gelu",
    "Silu": "silu",
    "Tanh": "tanh",
    "HardTanh": "hard_tanh",
    "TanhShrink": "tanh_shrink",
    "Relu": "relu",
    "Relu6": "relu6",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "SparsePlus": "sparse_plus",
    "LogSigmoid": "log_sigmoid",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "SparseSigmoid": "sparse_sigmoid",
    "HardSilu": "hard_silu",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Glu": "glu",
    "HardShrink": "hard_shrink",
    "Sparsemax": "sparsemax",
    "Threshold": "threshold",
    "Exp": "exponential",
}
"""Operations that are activations, by the names of these."""

OPERATIONS: Mapping[str, Callable[[Call], Answer]] = {
    **{name: _named(activation) for name, activation in _BY_NAME.items()},
    "ReLU": _by(lambda call: activations.relu(call.config)),
    "LeakyRelu": _by(lambda call: activations.one_sided(call.config.get("negative_slope", 0.2))),
    "Elu": _by(lambda call: activations.elu(call.config.get("alpha", 1.0))),
    "Celu": _above_zero("alpha", 1.0),
    "SoftShrink": _above_zero("threshold", 0.5),
    "Squareplus": _above_zero("b", 4.0),
    "Clip": _clip,
    "Negative": _by(lambda _: Diagonal(None, (-1.0,))),
    **dict.fromkeys(("Absolute", "Abs", "Fabs", "Sin", "Cos"), _slopes(-1.0, 1.0)),
    **dict.fromkeys(("Arctan", "Arcsinh"), _slopes(0.0, 1.0)),
    "Cast": _cast,
    **dict.fromkeys(("Copy", "StopGradient"), identity),
    **dict.fromkeys(("Add", "Subtract"), arithmetic.shift),
    "Multiply": arithmetic.scale,
    **dict.fromkeys(("Divide", "TrueDivide"), arithmetic.quotient),
    **dict.fromkeys(("Maximum", "Minimum"), arithmetic.extremum),
    "Matmul": arithmetic.matrix,
    **dict.fromkeys(("Mean", "Average"), moving.reduced(inverse_root)),
    "Sum": moving.reduced(moving.total),
    **dict.fromkeys(("Max", "Min", "Amax", "Amin", "Logsumexp"), moving.reduced(lambda _: 1.0)),
    "Norm": moving.norm,
    "Reshape": moving.reshape,
    "Transpose": moving.transpose,
    "Swapaxes": moving.swapped,
    "ExpandDims": moving.expanded,
    "Squeeze": moving.squeezed,
    "GetItem": moving.taken,
    "Split": moving.split,
    "Unstack": moving.unstack,
    "Concatenate": moving.concatenate,
    "Stack": moving.stack,
    "Repeat": moving.repeat,
    "MaxPool": pooling.largest,
    "AveragePool": pooling.average,
}
"""Operations -> how each is read."""
