"""Which operations make a network's bound: shares, and the path that dominates.

The share of an operation is `d log L / d log c`, with `L` the bound and `c` the operation's
constant. One sweep backward finds all of them: a tensor hands what it has on to the terms of its
rule, in proportion to them, or of the root of a sum of squares to their squares.
"""

from __future__ import annotations

from collections.abc import Sequence

from snconvert.core.magnitude import Magnitude
from snconvert.lipschitz.arithmetic import ONE, largest, length, order, product, ratio
from snconvert.lipschitz.propagation import Rule, Value, evaluated


class Shares:
    """The shares of a network's operations in the bound of all outputs together.

    Args:
        rules: The rules of each operation, none of inputs.
        values: The bounds of the tensors, none of them `None` where an output depends on it.
        outputs: The places of the outputs.

    Attributes:
        shares: Of each operation.
        path: The places on the path that makes most of the bound.
    """

    def __init__(
        self,
        rules: Sequence[Sequence[Rule]],
        values: Sequence[Value | None],
        outputs: Sequence[int],
    ) -> None:
        self._values = values
        last = Rule(ONE, tuple((place, ONE) for place in outputs))
        value = evaluated([last], values)
        if value is None:
            raise ValueError("an output has no bound")
        self._by_row = value.by_row
        entries = self._entries(value)
        if self._by_row:
            flow = [ratio(entry, length(entries)) ** 2 for entry in entries]
        else:
            flow = [float(entry == largest(entries)) for entry in entries]
            flow = [part / sum(flow) for part in flow]
        self._flows: list[list[float] | None] = [None] * len(rules)
        self.shares = [0.0] * len(rules)
        self.path: set[int] = set()
        heads = {self._hand_on(last, flow)}
        for place in reversed(range(len(rules))):
            own, current = self._flows[place], values[place]
            if own is None or current is None:
                continue
            share = sum(own)
            self.shares[place] += share
            if place in heads:
                self.path.add(place)
            if rules[place]:
                rule = rules[place][current.rules[0 if self._by_row else 1]]
                for step in rule.steps:
                    self.shares[step] += share if step != place else 0.0
                head = self._hand_on(rule, own)
                if place in heads:
                    self.path.update(rule.steps)
                    heads.add(head)

    def _entries(self, value: Value) -> tuple[Magnitude, ...]:
        return value.row if self._by_row else value.square

    def _hand_on(self, rule: Rule, flow: list[float]) -> int:
        """Hands a flow on to a rule's terms; returns the place of the largest of them."""
        terms: list[tuple[int, tuple[Magnitude, ...]]] = []
        for source, weight in rule.terms:
            value = self._values[source]
            if value is not None:
                terms.append((source, tuple(product(weight, e) for e in self._entries(value))))
        for index, part in enumerate(flow):
            column = [entries[index] for _, entries in terms]
            top = largest(column)
            sizes = [ratio(entry, top) for entry in column]
            if rule.kind == "root":
                sizes = [size * size for size in sizes]
            elif not self._by_row:  # as the sum weighs its squares
                tops = [ratio(largest(entries), top) for _, entries in terms]
                sizes = [s * s / t if t else 0.0 for s, t in zip(sizes, tops, strict=True)]
            whole = sum(sizes)
            for (source, _), size in zip(terms, sizes, strict=True):
                own = self._flows[source] = self._flows[source] or [0.0] * len(flow)
                own[index] += part * size / whole if whole else 0.0
        return max(terms, key=lambda term: order(largest(term[1])))[0]
