"""The certified Lipschitz bound of a network; runs inside the guarded process."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, Stage
from snconvert.core.network_bound import Unbounded as UnboundedLayer
from snconvert.linalg.one_thread import one_thread
from snconvert.lipschitz.arithmetic import ONE, largest, least, length
from snconvert.lipschitz.arrays import Arrays
from snconvert.lipschitz.channel_norms import norms_to_fold
from snconvert.lipschitz.constants import Scale, constant_of, scale_of
from snconvert.lipschitz.folding import Folding
from snconvert.lipschitz.graph import Graph
from snconvert.lipschitz.network import (
    Concatenate,
    Diagonal,
    Extremum,
    Input,
    Linear,
    Network,
    Operation,
    Recurrent,
    Sum,
)
from snconvert.lipschitz.norms import Norms, kernel_norm
from snconvert.lipschitz.parts import Concatenations, rules_of_parts
from snconvert.lipschitz.propagation import Rule, Value, evaluated, plain_rule, smallest
from snconvert.lipschitz.recurrent import recurrent_constant
from snconvert.lipschitz.segments import Segments
from snconvert.lipschitz.shares import Shares
from snconvert.lipschitz.steps import Step
from snconvert.weights.extent import Extent

_EXACT = (
    "It holds for the function in exact arithmetic of the stored weights, at inference; what"
    " rounding does when the network is executed is not covered."
)
_TOGETHER = "The inputs are so many that they are taken as one."

Report = Callable[[tuple[str, int]], None] | None


@one_thread()
def network_bound(
    extent: Extent, network: Network, seconds: float = 30.0, *, report: Report = None
) -> NetworkBound:
    """Returns the certified bound of a network.

    Args:
        extent: Where the weights file lies.
        network: The network.
        seconds: About how long to look for multipliers, which make the bound smaller.
        report: Called with a layer's path and its place when its constant is known.
    """
    started = time.perf_counter()
    own = OwnConstants(extent, network, report)
    result = bound_by(own, Folded(own), seconds)
    return result._replace(seconds=time.perf_counter() - started)


def bound_by(own: OwnConstants, folded: Folded, seconds: float) -> NetworkBound:
    """Returns the certified bound of a network of which all but multipliers is known.

    It is never above those of `own.rules` and of `folded.rules`.

    Args:
        own: The constants of its operations.
        folded: Its steps after folding.
        seconds: As for `network_bound`.
    """
    network = own.network
    plain = own.graph.values([[rule] for rule in own.rules])
    values = own.graph.values(folded.with_multipliers(own, seconds))
    shown = _shown(own, folded.steps, values, plain)
    by_rules = own.graph.joint(plain)
    joint = _least(own.graph.joint(values), own.graph.joint(folded.values))
    stages = [
        Stage(
            operation.path,
            operation.class_name,
            operation.inputs,
            _stage_constant(operation, constant),
            norm,
            None if value is None else value.joint,
        )
        for operation, constant, norm, value in zip(
            network.operations, folded.constants, own.norms, shown, strict=True
        )
    ]
    if joint is not None:
        found = Shares(folded.rules, folded.values, own.graph.outputs)
        stages = [
            stage._replace(share=share, dominates=place in found.path)
            for place, (stage, share) in enumerate(zip(stages, found.shares, strict=True))
        ]
    outputs = tuple(own.graph.output(name, place, shown) for name, place in network.outputs)
    exact = [_EXACT] if any(output.bound is not None for output in outputs) else []
    return NetworkBound(
        _least(joint, by_rules),
        outputs,
        by_rules,
        tuple(stages),
        own.unbounded(),
        network.starts,
        folded.method(values),
        notes=(*network.notes, *exact, *([_TOGETHER] if own.graph.together else [])),
    )


class OwnConstants:
    """The constants of a network's operations, without what is folded into them.

    Args:
        extent: Where the weights file lies.
        network: The network.
        report: As for `network_bound`.

    Attributes:
        graph: The graph.
        constants: Of each operation; `None` where it has none.
        norms: The norms of kernels; `None` elsewhere.
        rules: The rule of each operation.
        scales: The scales of diagonal operations, by their places.
    """

    def __init__(self, extent: Extent, network: Network, report: Report = None) -> None:
        self.network, self.graph = network, Graph(network)
        self.arrays = Arrays(extent)
        self.kernel_norms = Norms(self.arrays)
        self.constants: list[Magnitude | None] = []
        self.norms: list[Magnitude | None] = []
        self.scales: dict[int, Scale] = {}
        self._reasons: dict[int, str] = {}
        for place, operation in enumerate(network.operations):
            constant = self._constant(place, operation)
            if isinstance(constant, str):
                self._reasons[place] = constant
            known = constant if isinstance(constant, Magnitude) else None
            self.constants.append(known)
            self.norms.append(known if isinstance(operation.does, Linear) else None)
            if report is not None:
                report((operation.path, place))
        self.rules = [
            None if isinstance(operation.does, Input) else plain_rule(operation, place, constant)
            for place, (operation, constant) in enumerate(
                zip(network.operations, self.constants, strict=True)
            )
        ]

    def unbounded(self) -> tuple[UnboundedLayer, ...]:
        """Returns the operations without a constant, and why they have none."""
        operations = self.network.operations
        return tuple(
            UnboundedLayer(operations[place].path, operations[place].class_name, reason)
            for place, reason in self._reasons.items()
        )

    def _constant(self, place: int, operation: Operation) -> Magnitude | str:
        does = operation.does
        if isinstance(does, Linear):
            return self.kernel_norms.stored(does)
        if isinstance(does, Diagonal):
            scale = scale_of(does, self.arrays)
            if isinstance(scale, str):
                return scale
            self.scales[place] = scale
            return scale.largest
        if isinstance(does, Recurrent):
            return self.recurrent(does)
        return constant_of(does, self.arrays)

    def recurrent(self, does: Recurrent) -> Magnitude | str:
        """Returns the constant of a recurrent layer, or why it has none."""
        kernel, recurrent = self.arrays.kernel(does.kernel), self.arrays.kernel(does.recurrent)
        bias = None if does.bias is None else self.arrays.numbers(does.bias, "bias")
        if isinstance(kernel, str) or isinstance(recurrent, str) or isinstance(bias, str):
            return next(part for part in (kernel, recurrent, bias) if isinstance(part, str))
        constant = recurrent_constant(does, kernel, recurrent, bias)
        return "its recurrent kernel is too large" if constant is None else constant


class Folded:
    """The steps of a network after folding, with their constants, rules and bounds.

    Args:
        own: The constants without folding.

    Attributes:
        steps: The steps.
        constants: Their constants.
        rules: The rules of each.
        values: The bounds of the tensors by these.
    """

    def __init__(self, own: OwnConstants) -> None:
        folding = Folding(own.network, own.scales)
        folding.merge(own.kernel_norms.kernel)
        folding.fold_channels(functools.partial(norms_to_fold, own.kernel_norms))
        self.steps = folding.steps
        self.constants = [
            self._constant(step, constant, own.kernel_norms)
            for step, constant in zip(self.steps, own.constants, strict=True)
        ]
        self.rules: list[list[Rule]] = []
        self.values: list[Value | None] = []
        concatenations = Concatenations(self.steps, self.constants)
        for place, (operation, constant) in enumerate(
            zip(own.network.operations, self.constants, strict=True)
        ):
            rules: list[Rule] = []
            if not isinstance(operation.does, Input):
                rule = plain_rule(operation, place, constant)
                rules += [] if rule is None else [rule]
            if rules and self.steps[place].linear:
                rules += self._parts(concatenations, place, own.kernel_norms)
            self.rules.append(rules)
            self.values.append(own.graph.value(place, rules, self.values))

    def method(self, values: Sequence[Value | None]) -> str:
        """Returns what has made the bounds of tensors, as `graph + folding`."""
        names = ["graph"]
        if any(step.gone or step.rest is not None for step in self.steps):
            names.append("folding")
        if any(value is not None and any(value.rules) for value in self.values):
            names.append("parts")
        if any(
            value is not None and max(value.rules) >= len(rules) > 0
            for value, rules in zip(values, self.rules, strict=True)
        ):
            names.append("multipliers")
        return " + ".join(names)

    def with_multipliers(self, own: OwnConstants, seconds: float) -> list[list[Rule]]:
        """Returns the rules, and those of the segments that multipliers bound."""
        segments = Segments(self.steps, own.graph.outputs, own.arrays)
        rules = [list(choices) for choices in self.rules]
        for segment in segments.found:
            share = seconds / len(segments.found)
            rule = segments.rule(segment, own.kernel_norms, self.constants, share)
            if rule is not None:
                rules[segment.end].append(rule)
        return rules

    @staticmethod
    def _constant(step: Step, constant: Magnitude | None, norms: Norms) -> Magnitude | None:
        if step.gone or step.rest is not None:
            return ONE if step.rest is None else step.rest
        return constant if step.as_it_is or constant is None else norms.folded(step)

    def _parts(self, concatenations: Concatenations, place: int, norms: Norms) -> list[Rule]:
        step = self.steps[place]
        found = concatenations.before(place)
        kernel = None if found is None else norms.kernel(step)
        if found is None or kernel is None:
            return []
        norm = functools.partial(kernel_norm, conv=step.convolution)
        return rules_of_parts(found, kernel, step, self.values, norm)


def _shown(
    own: OwnConstants,
    steps: Sequence[Step],
    values: Sequence[Value | None],
    plain: Sequence[Value | None],
) -> list[Value | None]:
    """Returns the bounds of the tensors themselves, of which some are known up to a scale only.

    Args:
        own: The network without folding.
        steps: Its steps with folding.
        values: The bounds of the steps.
        plain: Those by the network's own constants.
    """
    shown: list[Value | None] = []
    for step, rule, value, other in zip(steps, own.rules, values, plain, strict=True):
        itself = value
        if step.scaled:
            itself = None if rule is None else evaluated([rule], shown)
        shown.append(other if itself is None or other is None else smallest([itself, other]))
    return shown


def _least(one: Magnitude | None, two: Magnitude | None) -> Magnitude | None:
    return one if two is None or one is None else least([one, two])


def _stage_constant(operation: Operation, constant: Magnitude | None) -> Magnitude | None:
    """Returns the constant of an operation, of several inputs that of all together."""
    does = operation.does
    if isinstance(does, Sum):
        return length(map(Magnitude.of, does.weights))
    if isinstance(does, Concatenate | Extremum) and does.repeats:
        return largest(map(Magnitude.of, does.repeats))
    return constant
