"""The rules of a network's bound as functions of the bounds of its layers.

A converted kernel counts as `f W` with `f = c / sigma_u` in mode `hard`, and `min(1, c / sigma_u)`
in mode `cap`. Norms are homogeneous, so that the factor of a rule is proportional to `f` of each
kernel that makes it, with what is folded into that: no norm is proved again for another `c`. The
weights of the parts of a concatenation were chosen for one `c`, but hold for all. Only the constant
of a recurrent layer is another function of its kernels' norms, and is computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from snconvert.core.magnitude import Magnitude
from snconvert.core.settings import Settings
from snconvert.errors import KernelError
from snconvert.linalg.blocks import Array
from snconvert.lipschitz.arithmetic import ONE, ZERO, least, order, product, quotient
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.bound import Folded, OwnConstants, Report
from snconvert.lipschitz.budget.request import ConvertedKernel, Floor
from snconvert.lipschitz.network import (
    Concatenate,
    Does,
    Extremum,
    Input,
    Linear,
    Network,
    Recurrent,
    StoredKernel,
    Sum,
)
from snconvert.lipschitz.propagation import Rule
from snconvert.lipschitz.recurrent import recurrent_constant
from snconvert.lipschitz.shares import Shares
from snconvert.lipschitz.steps import Step
from snconvert.weights.contents import State
from snconvert.weights.extent import Extent

Factors = Mapping[str, Magnitude]
"""By what the kernels are multiplied, by their datasets."""


class _RecurrentParts(NamedTuple):
    does: Recurrent
    kernel: Kernel
    recurrent: Kernel
    bias: Array | None


class ScaledRules:
    """The rules of a network, for any bounds of its converted layers.

    Args:
        extent: Where the weights file lies.
        network: The network without the conversion.
        kernels: The kernels that are converted.
        scale: By what their bounds are multiplied where the weights of parts are chosen.
        report: As for `network_bound`.

    Attributes:
        own: The constants of the operations at that scale.
        folded: The steps after folding.
    """

    def __init__(
        self,
        extent: Extent,
        network: Network,
        kernels: Sequence[ConvertedKernel],
        scale: float,
        report: Report,
    ) -> None:
        by_path = {kernel.path: kernel for kernel in kernels}
        self.own = OwnConstants(extent, _written(network, by_path, scale), report)
        self.folded = Folded(self.own)
        self._kernels: dict[str, ConvertedKernel] = {}
        self._units: dict[str, Magnitude] = {}
        for operation in network.operations:
            for stored in _stored(operation.does):
                path = stored.array.path
                if path in by_path and path not in self._units:
                    self._kernels[path] = by_path[path]
                    self._units[path] = self._unit(stored, by_path[path], operation.path)
        self._now = self.factors(scale)
        self._recurrent = self._recurrent_parts(network)
        does = [operation.does for operation in network.operations]
        self._own_paths = [self._paths(each) for each in does]
        steps = self.folded.steps
        self._folded_paths = [() if step.gone else self._chain(step) for step in steps]

    @property
    def caps(self) -> list[str]:
        """The kernels that are only made smaller."""
        return [path for path, kernel in self._kernels.items() if kernel.settings.mode == "cap"]

    def factors(self, scale: float) -> dict[str, Magnitude]:
        """Returns by what kernels are multiplied where bounds are multiplied by `scale`."""
        factors = {}
        for path, kernel in self._kernels.items():
            settings = kernel.settings.scaled(scale)
            factor = product(Magnitude.of(settings.bound), self._units[path])
            factors[path] = least([factor, ONE]) if settings.mode == "cap" else factor
        return factors

    def bound(self, factors: Factors | None = None) -> Magnitude | None:
        """Returns the network's bound by these rules, without multipliers.

        Args:
            factors: By what kernels are multiplied; by default by what they were for the rules.
        """
        graph, rules = self.own.graph, [[rule] for rule in self.own.rules]
        own = graph.joint(graph.values(self._scaled(rules, self._own_paths, factors)))
        folded = graph.joint(
            graph.values(self._scaled(self.folded.rules, self._folded_paths, factors))
        )
        return None if own is None or folded is None else least([own, folded])

    def floor(self, smallest: float, most: Magnitude) -> Floor:
        """Returns what the bound does not fall below, and what makes it.

        Args:
            smallest: The smallest scale there is.
            most: What is wanted.
        """
        low = self.factors(smallest)
        bound = self.bound(dict.fromkeys(low, ZERO))
        if bound is None or order(bound) < order(most):
            bound = self.bound(low)
        graph = self.own.graph
        rules = self._scaled(self.folded.rules, self._folded_paths, low)
        found = Shares(rules, graph.values(rules), graph.outputs)
        layers: dict[str, tuple[str, str, Magnitude]] = {}
        merges = (Sum, Concatenate, Extremum)
        for place in sorted(found.path):
            operation, constant = self.own.network.operations[place], self.folded.constants[place]
            if constant is None or self._folded_paths[place] or isinstance(operation.does, Input):
                continue
            known = layers.get(operation.path)
            shown = ONE if isinstance(operation.does, merges) else constant
            if known is None or order(known[2]) < order(shown):
                layers[operation.path] = operation.path, operation.class_name, shown
        by_size = sorted(layers.values(), key=lambda layer: order(layer[2]), reverse=True)
        large = [layer for layer in by_size if order(layer[2]) > order(ONE)]
        return Floor(bound or ZERO, tuple(large or by_size))

    def _unit(self, stored: StoredKernel, kernel: ConvertedKernel, layer: str) -> Magnitude:
        """Returns by what mode `hard` multiplies a kernel for the bound 1."""
        state = State(kernel.u, None, Settings(norm=kernel.settings.norm))
        found = self.own.arrays.kernel(stored._replace(state=state, sigma_map=kernel.sigma_map))
        if isinstance(found, str):
            raise KernelError(found, "Leave the layer out with --exclude", path=layer)
        return found.factor

    def _paths(self, does: Does) -> tuple[str, ...]:
        paths = (stored.array.path for stored in _stored(does))
        return tuple(path for path in paths if path in self._units)

    def _chain(self, step: Step) -> tuple[str, ...]:
        """Returns the converted kernels of which a step's kernel is a multiple."""
        first = () if step.merged is None else self._chain(step.merged)
        return (*self._paths(step.operation.does), *first)

    def _recurrent_parts(self, network: Network) -> dict[int, _RecurrentParts]:
        """Returns what the constants of recurrent layers are made of, by place."""
        parts = {}
        for place, operation in enumerate(network.operations):
            does = operation.does
            if not isinstance(does, Recurrent) or not self._paths(does):
                continue
            kernels = [self.own.arrays.kernel(stored) for stored in _stored(does)]
            bias = None if does.bias is None else self.own.arrays.numbers(does.bias, "bias")
            kernel, recurrent = kernels
            if isinstance(kernel, Kernel) and isinstance(recurrent, Kernel):
                known = None if isinstance(bias, str) else bias
                parts[place] = _RecurrentParts(does, kernel, recurrent, known)
        return parts

    def _scaled(
        self,
        rules: Sequence[Sequence[Rule | None]],
        paths: Sequence[tuple[str, ...]],
        factors: Factors | None,
    ) -> list[list[Rule]]:
        """Returns rules for other factors of the kernels.

        Args:
            rules: The rules of each operation.
            paths: The kernels of which each operation's constant is a multiple.
            factors: The factors.
        """
        known = [[rule for rule in choices if rule is not None] for choices in rules]
        if factors is None:
            return known
        ratios = {path: quotient(factors[path], now) for path, now in self._now.items()}
        own = {
            place: product(ONE, *(ratios[path] for path in some))
            for place, some in enumerate(paths)
            if some and place not in self._recurrent
        }
        scaled = [[_times(rule, own) for rule in choices] for choices in known]
        for place, parts in self._recurrent.items():
            constant = self._recurrent_constant(parts, factors)
            scaled[place] = [
                rule._replace(factor=constant) for rule in known[place] if constant is not None
            ]
        return scaled

    def _recurrent_constant(self, parts: _RecurrentParts, factors: Factors) -> Magnitude | None:
        kernels = [
            kernel._replace(factor=factors.get(stored.array.path, kernel.factor))
            for kernel, stored in zip(
                (parts.kernel, parts.recurrent), _stored(parts.does), strict=True
            )
        ]
        return recurrent_constant(parts.does, kernels[0], kernels[1], parts.bias)


def _times(rule: Rule, ratios: Mapping[int, Magnitude]) -> Rule:
    some = [ratios[step] for step in rule.steps if step in ratios]
    return rule._replace(factor=product(rule.factor, *some)) if some else rule


def _stored(does: Does) -> tuple[StoredKernel, ...]:
    if isinstance(does, Recurrent):
        return does.kernel, does.recurrent
    return (does.kernel,) if isinstance(does, Linear) else ()


def _written(network: Network, kernels: Mapping[str, ConvertedKernel], scale: float) -> Network:
    """Returns a network as it is after the conversion.

    Args:
        network: The network before.
        kernels: What is converted, by dataset.
        scale: By what bounds are multiplied.
    """

    def stored_after(stored: StoredKernel) -> StoredKernel:
        kernel = kernels.get(stored.array.path)
        if kernel is None:
            return stored
        state = State(kernel.u, None, kernel.settings.scaled(scale))
        return stored._replace(state=state, sigma_map=kernel.sigma_map)

    def after(does: Does) -> Does:
        if isinstance(does, Linear):
            return does._replace(kernel=stored_after(does.kernel))
        if isinstance(does, Recurrent):
            return does._replace(
                kernel=stored_after(does.kernel), recurrent=stored_after(does.recurrent)
            )
        return does

    operations = tuple(each._replace(does=after(each.does)) for each in network.operations)
    return network._replace(operations=operations)
