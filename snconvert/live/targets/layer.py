"""Target `layer` in memory: a layer takes the class of its spectral subclass, and its own again."""

# ruff: noqa: SLF001 -- what the layers of this package share with it

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from snconvert.compat.layers import own_variables
from snconvert.config.tree import Node
from snconvert.core.matrix_view import MatrixView
from snconvert.core.verbs import VERBS
from snconvert.errors import UnsupportedError, located
from snconvert.jobs import effective
from snconvert.jobs.requests import StoredState
from snconvert.kinds.kernel_rule import Kernel, KernelRule
from snconvert.layers.base import Spectral
from snconvert.layers.composite import Composite
from snconvert.linalg.blocks import Array
from snconvert.linalg.stored_u import Normalisation
from snconvert.live.internals import class_swap
from snconvert.live.internals.class_swap import (
    check_fit,
    is_swapped,
    kernels_by_owner,
    spectral_class,
    state_of,
    swap_back,
    swap_class,
)
from snconvert.live.internals.fitting import all_layers, renew_compiled, renew_parameters
from snconvert.live.internals.optimizer_state import (
    add_slots,
    check_slots,
    optimizers_of,
    remove_slots,
)
from snconvert.live.internals.saved_owners import (
    holds_its_layers,
    mark_owners,
    original_class,
    unmark_owners,
)
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import SpectralKernel, multiply, settings_of, spectral_kernels_of
from snconvert.live.targets.target import LiveStep, LiveTarget
from snconvert.live.tree import layer_of


class LiveLayerTarget(LiveTarget):
    """Target `layer`."""

    def convert(self, model: Layer, steps: Sequence[LiveStep]) -> None:
        """Turns layers of a model into spectral ones, and tells all who keep lists of variables.

        Raises:
            UnsupportedError: A class does not fit, or an optimizer cannot do; nothing was changed.
        """
        classes = [spectral_class(step.rule.spectral_class) for step in steps]
        for step, cls in zip(steps, classes, strict=True):
            check_fit(step.layer, cls)
        optimizers = optimizers_of(all_layers(model))
        if any(step.settings.mode == "gain" for step in steps):
            for optimizer in optimizers:
                check_slots(optimizer)
        additions: list[tuple[list[Any], list[Any]]] = []
        for (layer, rule, settings, triplets), cls in zip(steps, classes, strict=True):
            owners = [owner for owner, _ in kernels_by_owner(layer, rule)]
            # Without the variables of layers inside, which come behind.
            before = [own_variables(owner) for owner in owners]
            swap_class(layer, cls, settings, triplets)
            for owner, own in zip(owners, before, strict=True):
                additions.append((own, state_of(owner, ("gamma",))))
        for optimizer in optimizers:
            add_slots(optimizer, additions)
        renew_compiled(model)
        mark_owners(model)
        renew_parameters(model)

    def normalisation(
        self, owner: Layer, kernel: Kernel, _view: MatrixView, _around: Layer = None
    ) -> Normalisation | None:
        """Returns the `u` and the `gamma` of a spectral layer's kernel."""
        if not isinstance(owner, Spectral):
            return None
        prefix = owner._prefix(kernel.name)
        gamma = getattr(owner, f"{prefix}gamma") if owner.mode == "gain" else None
        number = None if gamma is None else float(_array(gamma))
        return Normalisation(_array(getattr(owner, f"{prefix}u")), number, settings_of(owner))

    def rule_of(self, node: Node) -> KernelRule | None:
        """Returns the row of a spectral layer."""
        rule: KernelRule = layer_of(node).rule
        return rule

    def plain_class(self, node: Node) -> str:
        """Returns the class that a spectral layer had, or would have, without normalisation."""
        return class_swap.plain_class(layer_of(node)).__name__

    def check_undo(self, node: Node) -> None:
        """Refuses a layer that the user's own code makes spectral again whenever it is loaded."""
        layer, parent = layer_of(node), node.parent
        if parent is None or is_swapped(layer) or holds_its_layers(layer_of(parent)):
            return
        raise UnsupportedError(
            f"the code of {original_class(layer_of(parent)).__name__} makes it spectral, and would"
            " again when the model is loaded",
            "Change that code to make a plain layer, and load these weights into it",
            path=node.path,
            class_name=node.class_name,
        )

    def make_plain(
        self, verb: str, model: Layer, layers: Sequence[tuple[Layer, KernelRule]]
    ) -> None:
        """Turns spectral layers of a model into plain ones; `bake` multiplies the kernels.

        Raises:
            SnconvertError: It cannot be done; nothing was changed.
        """
        owners = [owner for layer, _ in layers for owner in _owners(layer)]
        baked = (
            [_effective(kernel) for layer, _ in layers for kernel in spectral_kernels_of(layer)]
            if VERBS[verb].scales
            else []
        )
        gone = {id(variable) for owner in owners for variable in state_of(owner)}
        # Of these an optimizer knows each `gamma`, also of a layer that was frozen since. One that
        # cannot do without stops here, where nothing is changed yet.
        remove_slots(optimizers_of(all_layers(model)), gone)
        for variable, factor in baked:
            multiply(variable, factor)
        for layer, _ in layers:
            for part in dict.fromkeys((*_owners(layer), layer)):
                swap_back(part)
        unmark_owners(model)


def _array(variable: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype(np.float64)


def _owners(layer: Layer) -> list[Layer]:
    """Returns the objects that own the kernels of a spectral layer: itself, or its parts."""
    return list(layer.parts().values()) if isinstance(layer, Composite) else [layer]


def _effective(kernel: SpectralKernel) -> tuple[Any, float]:
    """Returns the variable of a kernel and by what inference multiplies it, as the file carrier."""
    owner, stored = kernel.owner, StoredState(kernel.u, kernel.gamma)
    with located(path=owner.name, class_name=type(owner).__name__):
        numbers = (kernel.kernel, kernel.view, kernel.settings, stored)
        factor = effective.inference_factor(*numbers, conv=kernel.conv, bfloat16=kernel.bfloat16)
    return owner._variable(kernel.name), factor
