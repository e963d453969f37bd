"""The layers of an opened model that are normalised, by whatever target, and how they become plain.

What `bake`, `remove` and `verify` share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from snconvert.config.constraint_entry import (
    argument_of,
    decoded,
    factor_of,
    found_in,
    unusual,
    view_entry,
)
from snconvert.config.tree import Node
from snconvert.config.weight_groups import group_paths
from snconvert.core.settings import Settings
from snconvert.errors import OptionError, SourceError, located
from snconvert.files.edits import Edits, layer_moves, with_twins
from snconvert.files.inventory import Stored
from snconvert.files.model import Opened
from snconvert.files.optimizer_state import Gammas, optimizer_edits
from snconvert.files.targets import constraint, layer
from snconvert.files.targets import keras_wrapper as wrapper
from snconvert.jobs.requests import Scaling, State
from snconvert.kinds.table import RULES, SPECTRAL
from snconvert.planning.plan import is_leaf, is_wrapper
from snconvert.planning.record import recorded_factors, recorded_spellings
from snconvert.weights.contents import Product


@dataclass(frozen=True, slots=True)
class Normalised:
    """The normalised layers of a model.

    Attributes:
        model: The model.
        layers: The spectral layers, and how they are normalised.
        wrapped: The layers in Keras' own wrapper, and what their kernels were multiplied by at
            conversion, as far as it was recorded.
        constrained: The layers with our constraint, and what each of its kernels, by the kernel's
            path, was multiplied by at conversion, as far as it was recorded.
        left: The other layers, and why they stay as they are.
    """

    model: Opened
    layers: dict[Node, Settings] = field(default_factory=dict)
    wrapped: dict[Node, float | None] = field(default_factory=dict)
    constrained: dict[Node, dict[str, float | None]] = field(default_factory=dict)
    left: dict[Node, str] = field(default_factory=dict)


def layers_of(root: Node) -> Iterator[Node]:
    """Yields the layers that stand for themselves: leaves, and wrappers for what is inside."""
    for node in root.walk():
        parent = node.parent
        inside = parent is not None and parent.builtin == wrapper.CLASS
        if node.path and not inside and (is_wrapper(node) or is_leaf(node)):
            yield node


def owner_of(node: Node) -> Node:
    """Returns the layer whose kernels are meant: the one in the wrapper, or the layer itself."""
    return node.children[0] if is_wrapper(node) else node


def is_constrained(node: Node) -> bool:
    """Whether a layer has our constraint."""
    return any(found_in(node.config))


def _constraint_factors(node: Node) -> dict[str, float | None]:
    rule, recorded = RULES.get(node.builtin or ""), dict(found_in(node.config))
    kernels = rule.kernels_of(node.config) if rule is not None else ()
    arguments = {kernel.path: argument_of(kernel, node.config) for kernel in kernels}
    return {
        path: factor_of(recorded[argument])
        for path, argument in arguments.items()
        if argument in recorded
    }


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


def find(model: Opened, why_left: Callable[[Node], str | None]) -> Normalised:
    """Returns the normalised layers.

    Args:
        model: The model.
        why_left: Tells why a layer is none of them, or `None`.
    """
    found = Normalised(model)
    recorded = recorded_factors(model.metadata)
    for node in layers_of(model.root):
        reason = why_left(node)
        if reason is not None:
            found.left[node] = reason
        elif node.first is not None:
            found.left[node] = f"the same layer as {node.first.path}"
        elif is_wrapper(node):
            found.wrapped[node] = recorded.get(node.path, {}).get("kernel")
        elif is_constrained(node):
            found.constrained[node] = _constraint_factors(node)
        else:
            found.layers[node] = layer.settings_of(node)
    return found


def scalings(found: Normalised) -> list[Scaling]:
    """Returns what to ask `effective.factors` for the kernels of the spectral layers."""
    tasks: list[Scaling] = []
    for node, settings in found.layers.items():
        stored = found.model.inventory.get(node)
        if stored is None or not stored.kernels:
            continue
        for kernel, gamma, u in layer.states(found.model.paths[node], stored, settings):
            place = (kernel.path, kernel.dataset, kernel.view)
            with located(path=node.path, class_name=node.class_name):
                conv = kernel.map_of(settings.norm)
            tasks.append(Scaling((node.path, node.class_name), *place, u, gamma, settings, conv))
    return tasks


def states(model: Opened) -> dict[str, State]:
    """Returns how the kernels of a model are normalised already, by the kernel's dataset.

    Raises:
        SourceError: A layer is configured in a way that cannot be.
    """
    found: dict[str, State] = {}
    for node in model.root.walk():
        outer = node.parent if node.parent is not None and is_wrapper(node.parent) else None
        stored = model.inventory.get(node)
        if stored is None or not stored.kernels:
            continue
        if node.spectral:
            settings = layer.settings_of(node)
            for kernel, gamma, u in layer.states(model.paths[node], stored, settings):
                place = None if gamma is None else (gamma, model.contents.datasets[gamma])
                found[kernel.path] = State((u, model.contents.datasets[u]), place, settings)
        elif outer is not None:
            kernel, u = stored.kernels[0], f"{model.paths[outer]}/vars/1"
            # The wrapper's vector belongs to the matrix that it takes itself.
            dataset = model.contents.datasets.get(u)
            usable = unusual(kernel.view) is None
            if usable and dataset is not None and "float" in dataset.dtype:
                found[kernel.path] = State((u, dataset))
        else:
            found |= _held(node, stored)
    return found


def _held(node: Node, stored: Stored) -> dict[str, State]:
    """Returns what the constraints of a layer hold, of kernels which they read as we do."""
    held, found = dict(found_in(node.config)), {}
    for kernel in stored.kernels:
        options = held.get(argument_of(kernel.kernel, node.config) or "")
        if options is None or options.get("u") is None:
            continue
        if options.get("view") == view_entry(unusual(kernel.view)):
            try:
                found[kernel.path] = State(decoded(options["u"], kernel.view.shape[0]))
            except OptionError:
                found[kernel.path] = State(None)
    return found


def kernel_of(model: Opened, node: Node) -> str:
    """Returns the dataset of the kernel in a wrapper, the one that inference uses."""
    return f"{model.paths[node.children[0]]}/vars/0"


def unwrap(found: Normalised, products: Iterable[Product] = ()) -> Edits:
    """Edits the configuration of the layers to that of plain ones.

    Args:
        found: The layers.
        products: The kernels that are multiplied.

    Returns:
        What changes in the weights.
    """
    model, edits = found.model, Edits(products=list(products))
    gone = {n: Gammas(gone=True) for n, settings in found.layers.items() if settings.mode == "gain"}
    edits.add_slots(optimizer_edits(model, gone))
    for node, settings in found.layers.items():
        stored = model.inventory.get(node)
        if stored is not None and stored.kernels:
            for _, gamma, u in layer.states(model.paths[node], stored, settings):
                edits.removals += [path for path in (gamma, u) if path is not None]
    spellings = recorded_spellings(model.metadata)
    for node, _ in with_twins(model.paths, found.layers):
        spelling = spellings.get((node.first or node).path)
        layer.unwrap(node, SPECTRAL[str(node.spectral)], spelling)
    inner = {node: node.children[0] for node in found.wrapped}
    for node, _ in with_twins(model.paths, found.constrained):
        constraint.unwrap(node, [name for name, _ in found_in(node.config)])
    edits.removals += [model.paths[node] for node in found.wrapped]
    for node, _ in with_twins(model.paths, inner):
        wrapper.unwrap(node)
    paths = group_paths(model.root)
    places = {node: paths.get(node, old) for node, old in model.paths.items()}
    places |= {inner[node]: paths[node] for node in found.wrapped}
    edits.moves += layer_moves(model, places)
    return edits
