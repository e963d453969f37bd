"""The norms of the kernels of a model, by layer, and what they change in a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from snconvert.config.tree import Node
from snconvert.core.triplet import Triplet
from snconvert.planning.plan import Plan, Skip, Step

NOT_FINITE = "its kernel cannot be normalised: NaN, infinity, or a norm that float32 cannot hold"
"""Why a layer stays as it is where one only looks; a conversion refuses it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a search for sigma and `u`.

    Attributes:
        triplets: The triplet of each kernel of a layer; `None` for one that cannot have it.
        seconds: How long the search took.
    """

    triplets: Mapping[Node, list[Triplet | None]] = field(default_factory=dict)
    seconds: float = 0.0

    def known(self, node: Node) -> list[Triplet]:
        """Returns the triplets of a layer's kernels; none unless each kernel has one."""
        triplets = self.triplets.get(node, [])
        known = [triplet for triplet in triplets if triplet is not None]
        return known if len(known) == len(triplets) else []

    def fails(self, node: Node) -> bool:
        """Whether a kernel of a layer cannot have a triplet."""
        return None in self.triplets.get(node, ())


def without_failed(plan: Plan, measured: Measured) -> Plan:
    """Returns a plan by which layers stay as they are whose kernels cannot have a sigma."""

    def as_measured(outcome: Step | Skip) -> Step | Skip:
        if isinstance(outcome, Step) and measured.fails(outcome.node):
            return Skip(outcome.node, NOT_FINITE, outcome.rule)
        return outcome

    return Plan(tuple(map(as_measured, plan.outcomes)))
