"""The layers of an opened model that are normalised, by whatever target, and how they become plain.

What `bake`, `remove` and `verify` share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from snconvert.config.tree import Node
from snconvert.config.weight_groups import group_paths
from snconvert.core.settings import Settings
from snconvert.errors import SourceError, located
from snconvert.files.edits import Edits, with_shared
from snconvert.files.model import Opened
from snconvert.files.optimizer_state import Gammas, optimizer_edits
from snconvert.files.targets import TARGETS, normaliser_of, owner_of, target_of, whole_of
from snconvert.files.targets.target import Target
from snconvert.jobs.requests import Scaling
from snconvert.kinds.table import SPECTRAL
from snconvert.planning.record import recorded_factors, recorded_spellings
from snconvert.planning.selection import is_leaf
from snconvert.weights.contents import Product, State


class NormalisedLayer(NamedTuple):
    """A normalised layer.

    Attributes:
        node: The node that stands for it.
        target: The target that has normalised it.
        factors: What the conversion has multiplied its kernels by, by the kernel's path; `None`
            where one is not known.
    """

    node: Node
    target: Target
    factors: Mapping[str, float | None]

    @property
    def settings(self) -> Settings:
        """How the layer is normalised; only until `unwrap` has changed the layer's configuration.

        Raises:
            SourceError: The layer's configuration says nothing that can be.
        """
        return self.target.settings_of(self.node)

    @property
    def norm(self) -> str:
        """Which norm of the kernels sigma is."""
        return "matrix" if self.target.IN_PLACE else self.settings.norm

    @property
    def has_gammas(self) -> bool:
        """Whether each kernel has a trainable `gamma`."""
        return not self.target.IN_PLACE and self.settings.mode == "gain"


@dataclass(frozen=True, slots=True)
class Normalised:
    """The normalised layers of a model.

    Attributes:
        model: The model.
        layers: The layers, by the nodes that stand for them.
        left: The other layers, and why they stay as they are.
    """

    model: Opened
    layers: dict[Node, NormalisedLayer] = field(default_factory=dict)
    left: dict[Node, str] = field(default_factory=dict)


def layers_of(root: Node) -> Iterator[Node]:
    """Yields the nodes that stand for layers: leaves, and wrappers for what is inside."""
    for node in root.walk():
        if node.path and whole_of(node) is node and (owner_of(node) is not node or is_leaf(node)):
            yield node


def refuse_newer(root: Node) -> None:
    """Raises `SourceError` for a spectral class that this version does not know."""
    for node in root.walk():
        if node.spectral is not None and node.spectral not in SPECTRAL:
            raise SourceError(
                f"this version of snconvert knows no {node.spectral}",
                "Use the version that the file was made with, or a newer one",
                path=node.path,
                class_name=node.class_name,
            )


def normalised_layers(model: Opened, why_left: Callable[[Node], str | None]) -> Normalised:
    """Returns the normalised layers of a model.

    Args:
        model: The model.
        why_left: Returns why a normalised layer is none of those that are wanted, or `None`; a
            layer that is not normalised has a reason.
    """
    layers: dict[Node, NormalisedLayer] = {}
    left: dict[Node, str] = {}
    record = recorded_factors(model.metadata)
    for node in layers_of(model.root):
        reason, target = why_left(node), target_of(node)
        if reason is None and node.first is not None:
            reason = f"the same layer as {node.first.path}"
        if reason is not None or target is None:
            left[node] = reason or ""
            continue
        stored = model.inventory.get(target.owner_of(node))
        factors = target.recorded_factors(node, stored, record.get(node.path, {}))
        layers[node] = NormalisedLayer(node, target, factors)
    return Normalised(model, layers, left)


def first_target(layers: Iterable[NormalisedLayer]) -> str:
    """Returns the target of normalised layers; of several, the first in the table."""
    present = {layer.target.NAME for layer in layers}
    return next(name for name in TARGETS if name in present)


def scalings(normalised: Normalised) -> list[Scaling]:
    """Returns the tasks for `snconvert.jobs.effective` that tell by what inference multiplies."""
    tasks: list[Scaling] = []
    for node, layer in normalised.layers.items():
        if layer.target.IN_PLACE:
            continue
        for kernel, u, settings, gamma, _ in layer.target.states(normalised.model, node):
            place = (kernel.path, kernel.dataset, kernel.view)
            with located(path=node.path, class_name=node.class_name):
                conv = kernel.map_of(settings.norm)
            where = (node.path, node.class_name)
            tasks.append(Scaling(where, *place, str(u), gamma, settings, conv))
    return tasks


def states_in_use(model: Opened) -> dict[str, State]:
    """Returns how the kernels of a model are normalised already, by the kernel's dataset.

    Raises:
        SourceError: A layer is configured in a way that cannot be.
    """
    states: dict[str, State] = {}
    for node, stored in model.inventory.items():
        normaliser = normaliser_of(node) if stored.kernels else None
        if normaliser is not None:
            target, whole = normaliser
            states |= target.states_in_use(model, whole)
    return states


def layer_moves(model: Opened, places: Mapping[Node, str]) -> list[tuple[str, str]]:
    """Returns the moves that take each layer's group to its new place.

    Containers have no variables of their own, but for a wrapper that a target has put around a
    layer: where that stays, it moves as a whole.
    """
    whole = {
        node
        for node in model.paths
        if (target := target_of(node)) is not None
        and places[target.owner_of(node)] == target.place(places[node])
    }
    return [
        (old, places[node])
        for node, old in model.paths.items()
        if old != places[node]
        and (node in whole or (is_leaf(node) and node.parent not in whole))
        and old in model.contents.groups
    ]


def unwrap(normalised: Normalised, products: Iterable[Product] = ()) -> Edits:
    """Edits the configuration of normalised layers to that of plain ones.

    Args:
        normalised: The layers.
        products: The kernels that are multiplied.

    Returns:
        What changes in the weights.
    """
    model, layers, edits = normalised.model, normalised.layers, Edits(products=list(products))
    gone = {node: Gammas(gone=True) for node, layer in layers.items() if layer.has_gammas}
    edits.add_slots(optimizer_edits(model, gone))
    spellings = recorded_spellings(model.metadata)
    owners = {node: owner_of(node) for node in layers}
    for target in TARGETS.values():
        mine = {node: layer for node, layer in layers.items() if layer.target is target}
        edits.removals += [path for node in mine for path in target.removals(model, node)]
        for node, _ in with_shared(model.paths, mine):
            target.unwrap(node, spellings.get((node.first or node).path))
    paths = group_paths(model.root)
    places = {node: paths.get(node, old) for node, old in model.paths.items()}
    places |= {owner: paths[node] for node, owner in owners.items()}
    edits.moves += layer_moves(model, places)
    return edits
