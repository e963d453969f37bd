"""What a converted layer becomes: one module per target, alike in their functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from snconvert.config.tree import Node
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.files.edits import Edits
from snconvert.files.inventory import Stored
from snconvert.files.targets import constraint, keras_wrapper, layer
from snconvert.kinds.kernel_rule import KernelRule


class Target(Protocol):
    """What every target can do."""

    def obstacle(self, node: Node, rule: KernelRule, stored: Stored | None) -> str | None:
        """Returns why the layer cannot become what the target makes of others, or `None`."""

    def new_class(self, node: Node, rule: KernelRule) -> str:
        """Returns the class that the layer will have."""

    def wrap(
        self,
        node: Node,
        rule: KernelRule,
        settings: Settings,
        stored: Stored | None,
        triplets: Sequence[Triplet],
    ) -> None:
        """Edits the configuration of the node; no triplets for a layer that is not built."""

    def place(self, group: str) -> str:
        """Returns where the layer's own variables lie, if its new group is `group`."""

    def edits(
        self, group: str, stored: Stored, triplets: Sequence[Triplet], settings: Settings
    ) -> Edits:
        """Returns what else changes in the weights of a layer whose new group is `group`."""


TARGETS: Mapping[str, Target] = {
    "layer": layer,
    "keras": keras_wrapper,
    "constraint": constraint,
}
"""The targets by their names."""
