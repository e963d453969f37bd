"""The rules of the graph: how the bounds of tensors follow from each other.

With inputs `x_1 .. x_k`, three bounds of a tensor `t` are kept, each with one entry an input:

- `alone`: `|dt| <= alone_i |dx_i|` where no other input changes;
- `row`: `|dt| <= sum of row_i |dx_i|`;
- `square`: `|dt|^2 <= sum of (square_i |dx_i|)^2`.

So from all inputs together, `|dt|` is at most the smaller of `|row|` and `max square` times
`|dx|`. Two inputs side by side have `square = (1, 1)` and the bound 1, but `|row| = sqrt(2)`; of
the sum of an input and twice another one `|row| = sqrt(5)`, and `max square = sqrt(6)`. A sum has
`square_i^2 = sum over j of square_ji^2 / w_j`, for any weights `w_j` with the sum 1: those in
proportion to `max square_j`.

A step's rule is a sum, or the root of a sum of squares, of bounds of other tensors, times a factor.
Several rules may hold for one tensor. Nothing lists paths: the work is that of one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import (
    ONE,
    ZERO,
    largest,
    least,
    length,
    order,
    product,
    quotient,
    root,
    total,
)
from snconvert.lipschitz.network import Concatenate, Extremum, Operation, Sum

Entries = tuple[Magnitude, ...]


class Rule(NamedTuple):
    """A bound of a tensor by those of others: `factor` times the sum, or root of sum of squares.

    Attributes:
        factor: What all of it is multiplied by.
        terms: The tensors' places, each with a weight.
        kind: Which of both.
        steps: The places of the steps whose constants make the factor, but for the sum itself.
    """

    factor: Magnitude
    terms: tuple[tuple[int, Magnitude], ...]
    kind: Literal["sum", "root"] = "root"
    steps: tuple[int, ...] = ()


class Value(NamedTuple):
    """Bounds of a tensor, as the module says.

    Attributes:
        alone: From each input alone.
        row: From all inputs, as a linear form.
        square: From all inputs, as a sum of squares.
        rules: The rules that gave `row` and `square`, by their places among those of the step.
    """

    alone: Entries
    row: Entries
    square: Entries
    rules: tuple[int, int] = (0, 0)

    @property
    def joint(self) -> Magnitude:
        """The bound from all inputs together."""
        return least([length(self.row), largest(self.square)])

    @property
    def by_row(self) -> bool:
        """Whether `row` gives that bound."""
        return order(length(self.row)) < order(largest(self.square))


def plain_rule(operation: Operation, place: int, constant: Magnitude | None) -> Rule | None:
    """Returns the rule of an operation by itself, `None` if it has none.

    Args:
        operation: The operation; no input.
        place: Its place in the network.
        constant: Its constant; of sums, concatenations and extrema what they are multiplied by.
    """
    if constant is None:
        return None
    does, inputs = operation.does, operation.inputs
    weights: tuple[float, ...] = ()
    if isinstance(does, Sum):
        weights = does.weights
    elif isinstance(does, Concatenate | Extremum):
        weights = does.repeats
    terms = zip(inputs, map(Magnitude.of, weights or (1.0,) * len(inputs)), strict=True)
    kind: Literal["sum", "root"] = "sum" if isinstance(does, Sum) else "root"
    return Rule(constant, tuple(terms), kind, (place,))


def input_value(index: int, count: int) -> Value:
    """Returns the value of an input.

    Args:
        index: Which it is.
        count: How many there are; 1 to take all inputs as one.
    """
    entries = tuple(ONE if count == 1 or i == index else ZERO for i in range(count))
    return Value(entries, entries, entries)


def evaluated(rules: Sequence[Rule], values: Sequence[Value | None]) -> Value | None:
    """Returns the least bounds that rules give, `None` if none of them gives any.

    Args:
        rules: The rules of one tensor.
        values: Those of the tensors before it, by place.
    """
    found = {
        index: value for index, rule in enumerate(rules) if (value := _by(rule, values)) is not None
    }
    if not found:
        return None
    return smallest([value._replace(rules=(index, index)) for index, value in found.items()])


def smallest(values: Sequence[Value]) -> Value:
    """Returns the least of several bounds of one tensor."""
    if len(values) == 1:
        return values[0]
    row = min(values, key=lambda value: order(length(value.row)))
    square = min(values, key=lambda value: order(largest(value.square)))
    alone = _each(least, [value.alone for value in values])
    return Value(alone, row.row, square.square, (row.rules[0], square.rules[1]))


def _by(rule: Rule, values: Sequence[Value | None]) -> Value | None:
    alone: list[Entries] = []
    row: list[Entries] = []
    square: list[Entries] = []
    for source, weight in rule.terms:
        value = values[source]
        if value is None:
            return None
        scale = product(rule.factor, weight)
        alone.append(tuple(product(scale, entry) for entry in value.alone))
        row.append(tuple(product(scale, entry) for entry in value.row))
        square.append(tuple(product(scale, entry) for entry in value.square))
    if rule.kind == "root":
        return Value(_each(length, alone), _each(length, row), _each(length, square))
    return Value(_each(total, alone), _each(total, row), _squares_of_sum(square))


def _each(join: Callable[[Entries], Magnitude], terms: Sequence[Entries]) -> Entries:
    """Joins the entries of terms input by input."""
    return tuple(map(join, zip(*terms, strict=True)))


def _squares_of_sum(terms: Sequence[Entries]) -> Entries:
    some = [(entries, top) for entries in terms if (top := largest(entries)).mantissa]
    if len(some) < 2:  # noqa: PLR2004
        return some[0][0] if some else terms[0]
    whole = total(top for _, top in some)
    shares = [quotient(whole, top) for _, top in some]  # one over the weights
    return tuple(
        root(
            total(
                product(share, entries[index], entries[index])
                for share, (entries, _) in zip(shares, some, strict=True)
            )
        )
        for index in range(len(terms[0]))
    )
