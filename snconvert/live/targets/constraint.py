"""Target `constraint` in memory: constraints on the variables of built layers, and off again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from snconvert.config.constraint_entry import argument_of, encoded, unusual
from snconvert.config.tree import Node
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings, scale
from snconvert.core.triplet import Triplet
from snconvert.core.verbs import VERBS
from snconvert.files.targets.constraint import refuse_averages, why_not
from snconvert.kinds.kernel_rule import Kernel, KernelRule
from snconvert.layers.constraint import SpectralNorm
from snconvert.linalg.stored_u import Normalisation
from snconvert.live.internals.class_swap import kernels_by_owner
from snconvert.live.internals.fitting import all_layers, renew_compiled
from snconvert.live.internals.optimizer_state import averages
from snconvert.live.internals.saved_owners import original_class
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import multiply
from snconvert.live.targets.target import LiveStep, LiveTarget
from snconvert.live.tree import layer_of, maker_of


class LiveConstraintTarget(LiveTarget):
    """Target `constraint`."""

    def check_model(self, model: Layer) -> None:
        """Refuses a model whose optimizer averages weights.

        Raises:
            UnsupportedError: It does.
        """
        refuse_averages(averages(all_layers(model)))

    def obstacle(self, node: Node, rule: KernelRule) -> str | None:
        """Returns why the kernels of a layer cannot be constrained, or `None`."""
        reason, owner = why_not(node, rule, built=layer_of(node).built), maker_of(node)
        if reason is None and owner is not None:
            reason = (
                f"the code of {original_class(owner).__name__} makes it, and would make it without"
                " the constraint when the model is loaded"
            )
        return reason

    def convert(self, model: Layer, steps: Sequence[LiveStep]) -> None:
        """Constrains layers of a model."""
        for step in steps:
            _constrain(*step)
        renew_compiled(model)

    def normalisation(
        self, owner: Layer, kernel: Kernel, view: MatrixView, _: Layer = None
    ) -> Normalisation | None:
        """Returns the `u` of the constraint on a kernel that reads the kernel as its view does."""
        argument = argument_of(kernel, owner.get_config())
        constraint = getattr(owner, argument, None) if argument is not None else None
        if not isinstance(constraint, SpectralNorm) or constraint.view != unusual(view):
            return None
        return None if constraint.u is None else Normalisation(constraint.u)

    def recorded_factors(self, layer: Layer, rule: KernelRule) -> dict[str, float | None]:
        """Returns what the conversion has multiplied the kernels of a layer by, by their paths."""
        return {
            kernel.path: constraint.factor
            for _, kernel, _, constraint in _constraints_of(layer, rule)
        }

    def parts_of(self, layer: Layer, rule: KernelRule) -> Iterator[tuple[Any, str, Any]]:
        """Yields the kernels of a constrained layer that is built, with the constraints."""
        if layer.built:
            for owner, kernel, _, constraint in _constraints_of(layer, rule):
                yield getattr(owner, kernel.name), "constraint", constraint

    def make_plain(self, verb: str, _: Layer, layers: Sequence[tuple[Layer, KernelRule]]) -> None:
        """Takes the constraints off layers; `remove` divides the kernels by the factors."""
        for layer, rule in layers:
            for owner, kernel, argument, constraint in list(_constraints_of(layer, rule)):
                setattr(owner, argument, None)
                if layer.built:
                    variable = getattr(owner, kernel.name)
                    variable.constraint = None
                    if VERBS[verb].divides and constraint.factor is not None:
                        multiply(variable, 1.0 / constraint.factor)


def _constrain(
    layer: Layer, rule: KernelRule, settings: Settings, triplets: Sequence[Triplet] | None
) -> None:
    """Normalises the kernels of a layer, and keeps them so from then on.

    Args:
        layer: Built or not.
        rule: Its row.
        settings: How it is normalised.
        triplets: The leading singular triplet of each kernel of a built layer.
    """
    config = layer.get_config()
    options = (settings.mode, settings.bound, settings.power_iterations)
    each = iter(triplets or ())
    for owner, kernels in kernels_by_owner(layer, rule):
        for kernel in kernels:
            argument = str(argument_of(kernel, config))
            if not layer.built:
                setattr(owner, argument, SpectralNorm(*options))
                continue
            variable, triplet = getattr(owner, kernel.name), next(each)
            view = unusual(kernel.view(tuple(variable.shape), config))
            factor = scale(triplet.sigma, settings)
            u = encoded(triplet.u)
            constraint = SpectralNorm(*options, view=view, factor=factor, u=u)
            setattr(owner, argument, constraint)
            # Of a built layer, the optimizer heeds this one only.
            variable.constraint = constraint
            multiply(variable, factor)


def _constraints_of(layer: Layer, rule: KernelRule) -> Iterator[tuple[Layer, Any, str, Any]]:
    """Yields owner, kernel, argument and constraint for each kernel of a layer that has ours."""
    config = layer.get_config()
    for owner, kernels in kernels_by_owner(layer, rule):
        for kernel in kernels:
            argument = argument_of(kernel, config)
            constraint = getattr(owner, argument, None) if argument is not None else None
            if isinstance(constraint, SpectralNorm):
                yield owner, kernel, str(argument), constraint
