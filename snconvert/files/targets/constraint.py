"""Target `constraint`: the plain layer, with `snconvert.constraints.SpectralNorm` on its kernels.

The kernel is normalised at conversion, as after every step of training from then on; nothing is
added to the weights. The converged `u`, and the factor by which `remove` divides, are in the
constraint's configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snconvert.config.constraint_entry import argument_of, entry, unusual
from snconvert.config.tree import Node
from snconvert.core.settings import Settings, scale
from snconvert.core.triplet import Triplet
from snconvert.errors import UnsupportedError
from snconvert.files.edits import Edits
from snconvert.files.inventory import Stored
from snconvert.kinds.kernel_rule import KernelRule, usual_view
from snconvert.weights.contents import Product


def obstacle(node: Node, rule: KernelRule, stored: Stored | None) -> str | None:
    """Returns why the layer's kernels cannot be constrained, or `None`."""
    return why_not(node, rule, built=bool(stored is not None and stored.kernels))


def why_not(node: Node, rule: KernelRule, *, built: bool) -> str | None:
    """Does what `obstacle` does, for a layer that is built or not."""
    kernels = rule.kernels_of(node.config)
    arguments = [argument_of(kernel, node.config) for kernel in kernels]
    for kernel, argument in zip(kernels, arguments, strict=True):
        if argument is None:
            return f"the layer has no argument for a constraint on its {kernel.name}"
        if node.config[argument] is not None:
            return f"it has a {argument} already"
    if len(set(arguments)) < len(arguments):
        return f"its one {arguments[0]} is for several kernels, each of another matrix"
    if not built and any(kernel.view is not usual_view for kernel in kernels):
        return "not built yet: a constraint needs the shape of the kernel"
    return None


def check_averages(averages: bool) -> None:
    """Refuses a model whose optimizer averages weights.

    Keras' optimizers average what a step gives before they call the constraint, and `fit` ends with
    the averages in the model.

    Raises:
        UnsupportedError: It does.
    """
    if averages:
        raise UnsupportedError(
            "its optimizer averages weights (use_ema), and does so before it calls a constraint, so"
            " that the averages, with which fit ends, are above the bound",
            "Choose target layer, or keep the model and train it with the callback"
            " snconvert.SpectralProjection; or compile it without use_ema",
        )


def averages_in(entry: Mapping[str, Any]) -> bool:
    """Whether the optimizer in a model's configuration, or one inside it, averages weights."""
    compiled = entry.get("compile_config")
    optimizer = compiled.get("optimizer") if isinstance(compiled, Mapping) else None
    return any(part.get("use_ema") is True for part in _mappings(optimizer))


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _mappings(inner)


def new_class(node: Node, _: KernelRule) -> str:
    """Returns the layer's own class."""
    return node.class_name


def place(group: str) -> str:
    """Returns the layer's group itself."""
    return group


def wrap(
    node: Node,
    rule: KernelRule,
    settings: Settings,
    stored: Stored | None,
    triplets: Sequence[Triplet],
) -> None:
    """Gives the layer's configuration its constraints."""
    views = [kernel.view for kernel in stored.kernels] if stored is not None else []
    for index, kernel in enumerate(rule.kernels_of(node.config)):
        argument = str(argument_of(kernel, node.config))
        if not triplets:
            node.config[argument] = entry(settings, None, None, None)
            continue
        triplet = triplets[index]
        factor = factor_for(triplet, settings)
        node.config[argument] = entry(settings, unusual(views[index]), factor, triplet.u)


def edits(_group: str, stored: Stored, triplets: Sequence[Triplet], settings: Settings) -> Edits:
    """Returns the products that normalise the kernels."""
    pairs = zip(stored.kernels, triplets, strict=True)
    return Edits(products=[Product(k.path, factor_for(t, settings)) for k, t in pairs])


def factor_for(triplet: Triplet, settings: Settings) -> float:
    """Returns what a kernel is multiplied by at conversion."""
    return 1.0 if triplet.zero else scale(triplet.sigma, settings)


def unwrap(node: Node, arguments: Sequence[str]) -> None:
    """Takes the constraints out of the layer's configuration."""
    node.config.update(dict.fromkeys(arguments))
