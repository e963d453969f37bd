"""Target `constraint` in memory: constraints on the variables of built layers, and off again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from snconvert.config.constraint_entry import argument_of, encoded, unusual
from snconvert.config.tree import Node
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.files.targets.constraint import factor_for, why_not
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.layers.constraint import SpectralNorm
from snconvert.live.internals.class_swap import kernels_by_owner
from snconvert.live.internals.saved_owners import holds_its_layers, original_class
from snconvert.live.internals.walk import Layer
from snconvert.live.tree import layer_of
from snconvert.planning.plan import Plan, Skip, Step, with_obstacles
from snconvert.weights.contents import Dataset
from snconvert.weights.scaling import scale


def only_constrainable(plan: Plan) -> Plan:
    """Returns the plan with the reasons for layers that cannot be constrained."""
    return with_obstacles(plan, _why_not)


def _why_not(outcome: Step | Skip, rule: KernelRule) -> str | None:
    node, built = outcome.node, layer_of(outcome.node).built
    reason = why_not(node, rule, built=built)
    owner = maker(node)
    if reason is None and owner is not None:
        reason = (
            f"the code of {original_class(owner).__name__} makes it, and would make it without"
            " the constraint when the model is loaded"
        )
    return reason


def maker(node: Node) -> Layer | None:
    """Returns the closest owner whose own code makes the layer, so that it is in no file."""
    at = node.parent
    while at is not None:
        if not holds_its_layers(layer_of(at)):
            return layer_of(at)
        at = at.parent
    return None


def constrain(
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
    found = iter(triplets or ())
    for owner, kernels in kernels_by_owner(layer, rule):
        for kernel in kernels:
            argument = str(argument_of(kernel, config))
            if not layer.built:
                setattr(owner, argument, SpectralNorm(*options))
                continue
            variable, triplet = getattr(owner, kernel.name), next(found)
            view = unusual(kernel.view(tuple(variable.shape), config))
            factor = factor_for(triplet, settings)
            made = SpectralNorm(*options, view=view, factor=factor, u=encoded(triplet.u))
            setattr(owner, argument, made)
            # Of a built layer, the optimizer heeds this one only.
            variable.constraint = made
            multiply(variable, factor)


def constraints_of(layer: Layer, rule: KernelRule) -> Iterator[tuple[Layer, Any, str, Any]]:
    """Yields owner, kernel, argument and constraint for each kernel of a layer that has ours."""
    config = layer.get_config()
    for owner, kernels in kernels_by_owner(layer, rule):
        for kernel in kernels:
            argument = argument_of(kernel, config)
            made = getattr(owner, argument, None) if argument is not None else None
            if isinstance(made, SpectralNorm):
                yield owner, kernel, str(argument), made


def release(layer: Layer, rule: KernelRule, *, divide: bool) -> None:
    """Takes our constraints off a layer.

    Args:
        layer: Built or not.
        rule: Its row.
        divide: Divide the kernels by what the conversion has multiplied them by.
    """
    for owner, kernel, argument, made in list(constraints_of(layer, rule)):
        setattr(owner, argument, None)
        if layer.built:
            variable = getattr(owner, kernel.name)
            variable.constraint = None
            if divide and made.factor is not None:
                multiply(variable, 1.0 / made.factor)


def multiply(variable: Any, factor: float) -> None:
    """Multiplies a kernel as the file carrier does, bit for bit.

    Args:
        variable: Its variable.
        factor: By what.
    """
    value = np.array(keras.ops.convert_to_numpy(variable), order="C")
    dtype = keras.backend.standardize_dtype(variable.dtype)
    dataset = Dataset(value.shape, dtype, "little", None, value.nbytes)
    scale(value.reshape(-1).view(np.uint8).data, dataset, factor)
    variable.assign(value)
