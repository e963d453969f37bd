"""The graph of a network, over which the bounds of its tensors are propagated."""

from __future__ import annotations

from collections.abc import Sequence

from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import OutputBound
from snconvert.lipschitz.arithmetic import ONE
from snconvert.lipschitz.network import Input, Network
from snconvert.lipschitz.propagation import Rule, Value, evaluated, input_value

_MOST_ENTRIES = 300_000  # inputs times operations up to which inputs are told apart
_LAST = {"softmax", "sigmoid", "hard_sigmoid"}


class Graph:
    """The graph of a network, over which bounds are propagated.

    Args:
        network: The network.

    Attributes:
        outputs: The places of the outputs.
        together: Whether all inputs are taken as one.
    """

    def __init__(self, network: Network) -> None:
        self._operations = network.operations
        self.outputs = tuple(place for _, place in network.outputs)
        places = [p for p, op in enumerate(network.operations) if isinstance(op.does, Input)]
        self.together = len(places) * len(network.operations) > _MOST_ENTRIES
        self._inputs = {place: index for index, place in enumerate(places)}
        self._count = 1 if self.together else len(places)

    def values(self, rules: Sequence[Sequence[Rule | None]]) -> list[Value | None]:
        """Returns the bounds of all tensors by the rules of each."""
        values: list[Value | None] = []
        for place, choices in enumerate(rules):
            values.append(self.value(place, choices, values))
        return values

    def value(
        self, place: int, rules: Sequence[Rule | None], values: Sequence[Value | None]
    ) -> Value | None:
        """Returns the bounds of one tensor by its rules and those before it."""
        index = self._inputs.get(place)
        if index is not None:
            return input_value(index, self._count)
        return evaluated([rule for rule in rules if rule is not None], values)

    def joint(self, values: Sequence[Value | None]) -> Magnitude | None:
        """Returns the bound of all outputs together."""
        rule = Rule(ONE, tuple((place, ONE) for place in self.outputs))
        value = evaluated([rule], values)
        return None if value is None else value.joint

    def output(self, name: str, place: int, shown: Sequence[Value | None]) -> OutputBound:
        """Returns the bound of one output."""
        value, operation = shown[place], self._operations[place]
        if value is None:
            return OutputBound(name, None)
        names = [self._operations[p].does for p in self._inputs]
        by_input = tuple(
            (does.name, entry)
            for does, entry in zip(names, value.alone, strict=False)
            if isinstance(does, Input)
        )
        before = shown[operation.inputs[0]] if operation.class_name.lower() in _LAST else None
        return OutputBound(
            name,
            value.joint,
            by_input if len(value.alone) > 1 else (),
            None if before is None else before.joint,
        )
