"""The operations of `keras.ops` with two operands.

Where one of them is a constant, the operation is a scale, a shift or a matrix.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from snconvert.errors import SourceError
from snconvert.lipschitz.network import Constant, Diagonal, Does, Sizes, Slopes, Unbounded
from snconvert.lipschitz.reading.builder import Value
from snconvert.lipschitz.reading.shapes import broadcast, finite, repeats
from snconvert.lipschitz.rows import merging
from snconvert.lipschitz.rows.merging import BATCH
from snconvert.lipschitz.rows.reshaping import MOVED
from snconvert.lipschitz.rows.row import REPAIR, Answer, Call

_TWO = 2  # operands
_SMALLEST = 1e-300  # divisor


class ConstantTensor(NamedTuple):
    """A constant of a graph.

    Attributes:
        shape: Its shape.
        numbers: Its numbers, in order.
    """

    shape: tuple[int, ...]
    numbers: list[float]

    @property
    def largest(self) -> float:
        """The largest absolute number."""
        return max(map(abs, self.numbers), default=0.0)


def constant_tensor(value: Any) -> ConstantTensor | None:
    """Returns a constant as the graph holds it, `None` for what is not understood.

    Example:
        >>> constant_tensor([[1, 2], [3, 4]]).shape, constant_tensor("x")
        ((2, 2), None)
    """
    if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        inner = value.get("config")
        value = inner.get("value") if isinstance(inner, dict) else None
    shape: list[int] = []
    row = [value]
    while row and all(isinstance(one, list) for one in row):
        lengths = {len(one) for one in row}
        if len(lengths) > 1:
            return None
        shape += lengths
        row = [item for one in row for item in one]
    numbers = [float(one) if type(one) is bool else finite(one) for one in row]
    known = [number for number in numbers if number is not None]
    return ConstantTensor(tuple(shape), known) if len(known) == len(row) else None


def _operands(call: Call) -> tuple[Any, Any]:
    """Returns the two operands: values, constants, or `None` for what is not understood.

    Raises:
        SourceError: They are not two.
    """
    found = [*call.args, *(call.kwargs[key] for key in ("x1", "x2") if key in call.kwargs)]
    if len(found) != _TWO:
        raise SourceError(f"it has {len(found)} operands, but two are expected", REPAIR)
    one, two = (it if isinstance(it, Value) else constant_tensor(it) for it in found)
    return one, two


def _value_and_constant(call: Call) -> tuple[Value, ConstantTensor] | None:
    """Returns the operands if one is a constant, whichever comes first."""
    operands = _operands(call)
    for value, other in (operands, operands[::-1]):
        if isinstance(value, Value) and isinstance(other, ConstantTensor):
            return value, other
    return None


def _are_two(call: Call) -> bool:
    return all(isinstance(one, Value) for one in _operands(call))


def _not_understood(call: Call, both: Unbounded | None = None) -> Unbounded:
    """Returns why there is no constant where no constant is an operand."""
    if not _are_two(call):
        return Unbounded("a constant in it is not understood")
    # Shapes are aligned from the end, where that of the batch would meet another axis.
    return both or BATCH


def _same_rank(call: Call) -> bool:
    return _are_two(call) and len({len(value.sizes) for value in call.inputs}) == 1


def shift(call: Call) -> Answer:
    """Adds `x + y` and `x - y`."""
    found = _value_and_constant(call)
    if found is not None:
        return _repeated(call, found[0], found[1].shape)
    if not _same_rank(call):
        return _not_understood(call)
    return merging.summed(call, subtracts=call.class_name == "Subtract")


def scale(call: Call) -> Answer:
    """Adds `x * c`."""
    found = _value_and_constant(call)
    if found is None:
        return _not_understood(call, Unbounded("it multiplies two tensors"))
    value, constant = found
    if len(set(constant.numbers)) == 1:
        return _scaled(call, value, constant, Diagonal(None, (constant.numbers[0],)))
    return _scaled(call, value, constant, Constant(constant.largest))


def quotient(call: Call) -> Answer:
    """Adds `x / c`."""
    value, constant = _operands(call)
    if isinstance(constant, Value):
        return Unbounded("it divides by a tensor")
    if not isinstance(value, Value) or constant is None:
        return _not_understood(call)
    least = min(map(abs, constant.numbers), default=0.0)
    if least < _SMALLEST:
        return Unbounded("it divides by zero")
    if len(set(constant.numbers)) == 1:  # the sign stays, and the root is the divisor
        sign = math.copysign(1.0, constant.numbers[0])
        return _scaled(call, value, constant, Diagonal(None, (sign,), (0.0,), least=least))
    return _scaled(call, value, constant, Constant(math.nextafter(1.0 / least, math.inf)))


def extremum(call: Call) -> Answer:
    """Adds `maximum(x, y)` and `minimum(x, y)`."""
    found = _value_and_constant(call)
    if found is None:
        return merging.extremum(call) if _same_rank(call) else _not_understood(call)
    answer = _repeated(call, found[0], found[1].shape)
    return call.same(Slopes(0.0, 1.0), (answer,)) if isinstance(answer, Value) else answer


def matrix(call: Call) -> Answer:
    """Adds `x @ c`, with a bound of the norm of `c` by its numbers."""
    value, constant = _operands(call)
    if not isinstance(value, Value) or not isinstance(constant, ConstantTensor):
        return _not_understood(call, Unbounded("it multiplies two tensors"))
    if len(constant.shape) != _TWO or not value.sizes:
        return Unbounded("what it multiplies by is no matrix")
    columns = constant.shape[1]
    bound = matrix_bound([constant.numbers[at::columns] for at in range(columns)])
    return call.add(Constant(bound), (*value.sizes[:-1], columns), (value,))


def matrix_bound(columns: list[list[float]]) -> float:
    """Returns a bound of the 2-norm: Frobenius' norm, or that by rows and columns if it is less.

    `|A|^2 <= |A|_1 |A|_inf`.
    """
    up = 1.0 + 2.0**-48  # more than the few roundings below
    frobenius = math.hypot(*(number for column in columns for number in column)) * up
    by_columns = max((math.fsum(map(abs, column)) for column in columns), default=0.0)
    by_rows = max((math.fsum(map(abs, row)) for row in zip(*columns, strict=True)), default=0.0)
    return min(frobenius, math.sqrt(by_columns) * math.sqrt(by_rows) * up)


def _repeated(call: Call, value: Value, constant: tuple[int, ...]) -> Answer:
    """Adds how a constant repeats a tensor by broadcasting, if it does."""
    sample: Sizes = constant
    if len(constant) > len(value.sizes):  # it has an axis of the batch, too
        if len(constant) > len(value.sizes) + 1 or constant[0] != 1:
            return BATCH
        sample = constant[1:]
    sizes = broadcast([value.sizes, sample])
    times = repeats(value.sizes, sizes)
    if times is None:
        return merging.UNSURE
    if times == 1.0:
        return value
    return call.add(MOVED._replace(value=times), sizes, (value,))


def _scaled(call: Call, value: Value, constant: ConstantTensor, does: Does) -> Answer:
    answer = _repeated(call, value, constant.shape)
    return call.same(does, (answer,)) if isinstance(answer, Value) else answer
