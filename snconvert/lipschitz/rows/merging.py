"""The layers that join several tensors."""

from __future__ import annotations

import math

from snconvert.errors import SourceError
from snconvert.lipschitz.network import Concatenate, Extremum, Sum, Unbounded
from snconvert.lipschitz.reading.builder import Value
from snconvert.lipschitz.reading.shapes import axis_from_end, broadcast, concatenated, repeats
from snconvert.lipschitz.rows.row import REPAIR, Answer, Call, Row, none

UNSURE = Unbounded("how often it repeats an input by broadcasting is not known")
BATCH = Unbounded("it mixes the samples of a batch")


def summed(call: Call, weight: float = 1.0, *, subtracts: bool = False) -> Answer:
    """Adds the sum of several tensors, each times a weight, or the difference of two."""
    times = _times(call.inputs)
    if times is None:
        return UNSURE
    sizes = broadcast([value.sizes for value in call.inputs])
    weights = tuple(
        one if weight == 1.0 else math.nextafter(weight * one, math.inf) for one in times
    )
    return call.add(Sum(weights, subtracts), sizes)


def extremum(call: Call) -> Answer:
    """Adds the largest or the smallest of several tensors, number by number."""
    times = _times(call.inputs)
    sizes = broadcast([value.sizes for value in call.inputs])
    return UNSURE if times is None else call.add(Extremum(times), sizes)


def joined(call: Call, axis: object, inputs: tuple[Value, ...] = ()) -> Answer:
    """Adds several tensors one behind the other, along an axis as Keras counts."""
    read = inputs or call.inputs
    at = axis_from_end(axis, len(read[0].sizes))
    if at is None:
        return BATCH
    sizes = concatenated([value.sizes for value in read], at)
    return call.add(Concatenate(at, (1.0,) * len(read)), sizes, read)


def _times(values: tuple[Value, ...]) -> tuple[float, ...] | None:
    whole = broadcast([value.sizes for value in values])
    times = tuple(repeats(value.sizes, whole) for value in values)
    return None if None in times else tuple(one for one in times if one is not None)


def _subtract(call: Call) -> Answer:
    if len(call.inputs) != 2:  # noqa: PLR2004 -- as Keras has it
        raise SourceError(f"it subtracts {len(call.inputs)} inputs, but has to have two", REPAIR)
    return summed(call, subtracts=True)


def _average(call: Call) -> Answer:
    return summed(call, math.nextafter(1 / len(call.inputs), 1.0))


ROWS = (
    Row(("Add",), "sum of those of its inputs", summed, joins=True),
    Row(("Subtract",), "sum of those of its inputs", _subtract, joins=True),
    Row(("Average",), "mean of those of its inputs", _average, joins=True),
    Row(
        ("Concatenate",),
        "root of the sum of the squares of those of its inputs",
        lambda call: joined(call, call.config.get("axis", -1)),
        joins=True,
    ),
    Row(("Maximum", "Minimum"), "as `Concatenate`", extremum, joins=True),
    none("Multiply", because="it multiplies two tensors"),
    none("Dot", because="it multiplies two tensors"),
)
