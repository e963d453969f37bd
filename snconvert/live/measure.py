"""Sigma and `u` of live kernels, by the same computation as in a file."""

from __future__ import annotations

import time
from collections.abc import Sequence

from snconvert.config.tree import Node
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError, located
from snconvert.files.targets import norm_of, whole_of
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.linalg.kernel_norm import kernel_bounds, kernel_triplet
from snconvert.linalg.spectrum import spectrum_of
from snconvert.linalg.stored_u import kernel_in_use
from snconvert.live.internals.class_swap import kernels_by_owner
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import kernels_of, named_kernels, shape_of
from snconvert.live.targets import normalisation_of
from snconvert.live.tree import layer_of
from snconvert.planning.layer_rows import LayerFacts
from snconvert.planning.measured import Measured
from snconvert.planning.plan import Plan, Skip, Step

_MATRIX = 2  # the least rank of a kernel


def triplets_of(layer: Layer, rule: KernelRule, norm: str) -> list[Triplet]:
    """Returns the leading singular triplet of each kernel of a built layer.

    Args:
        layer: The layer.
        rule: Its row.
        norm: `matrix` or `operator`.

    Raises:
        KernelError: A kernel is not finite, has no numbers, or a norm beyond those of float32.
    """
    return [
        kernel_triplet(value, view, conv, bfloat16=half)
        for value, view, half, conv in kernels_of(layer, rule, norm)
    ]


def triplets_in_use(
    layer: Layer, rule: KernelRule, norm: str, around: Layer = None
) -> list[Triplet]:
    """Returns the triplet of each kernel, with the norm in use where a `u` is stored for it.

    Args:
        layer: A built layer, normalised or not.
        rule: Its row.
        norm: `matrix` or `operator`.
        around: What a target has put around it, if it has.

    Raises:
        KernelError: As for `triplets_of`.
    """
    triplets: list[Triplet] = []
    owners = [(owner, row) for owner, rows in kernels_by_owner(layer, rule) for row in rows]
    kernels = kernels_of(layer, rule, norm)
    for (owner, row), (value, view, half, conv) in zip(owners, kernels, strict=True):
        triplet = kernel_triplet(value, view, conv, bfloat16=half)
        stored = normalisation_of(owner, row, view, around)
        if stored is not None:
            triplet = kernel_in_use(triplet, value, view, conv, stored, bfloat16=half)
        triplets.append(triplet)
    return triplets


def _proved(
    layer: Layer, rule: KernelRule, norm: str, triplets: Sequence[Triplet]
) -> list[Triplet]:
    return [
        triplet._replace(bounds=kernel_bounds(value, view, conv, triplet, bfloat16=half))
        for (value, view, half, conv), triplet in zip(
            kernels_of(layer, rule, norm), triplets, strict=True
        )
    ]


def _with_spectra(layer: Layer, rule: KernelRule, triplets: Sequence[Triplet]) -> list[Triplet]:
    return [
        triplet._replace(spectrum=spectrum_of(value, view, bfloat16=half))
        for (value, view, half, _), triplet in zip(kernels_of(layer, rule), triplets, strict=True)
    ]


def measure(
    plan: Plan,
    norm: str,
    *,
    everything: bool,
    certify: bool = False,
    lenient: bool = False,
    spectrum: bool = False,
) -> Measured:
    """Returns the norms of the layers of a plan.

    Args:
        plan: The plan of a live model.
        norm: Which norm of layers that stay as they are.
        everything: Those of layers that stay as they are too.
        certify: Prove each sigma.
        lenient: Pass over kernels that are not finite.
        spectrum: Find all singular values of each kernel.

    Raises:
        KernelError: A kernel that is to be converted is not finite, or a sigma is to be proved and
            cannot be.
    """
    started = time.perf_counter()
    triplets: dict[Node, list[Triplet | None]] = {}
    for outcome in plan.outcomes:
        node, rule = outcome.node, outcome.rule
        layer = layer_of(node)
        if rule is None or not layer.built or not (everything or isinstance(outcome, Step)):
            continue
        if isinstance(outcome, Skip) and (outcome.obstacle or node.first is not None):
            continue
        with located(path=node.path, class_name=node.class_name):
            try:
                wanted = norm_of(outcome, norm)
                own = triplets_in_use(layer, rule, wanted, _around(node))
            except KernelError:
                if isinstance(outcome, Step) and not lenient:
                    raise
                triplets[node] = [None]
                continue
            own = _proved(layer, rule, wanted, own) if certify else own
            triplets[node] = [*(_with_spectra(layer, rule, own) if spectrum else own)]
    return Measured(triplets, time.perf_counter() - started)


def _around(node: Node) -> Layer:
    """Returns what a target has put around a layer, if one has."""
    whole = whole_of(node)
    return None if whole is node else layer_of(whole)


def facts_of(outcome: Step | Skip, usual: str, new_class: str | None) -> LayerFacts:
    """Returns what the report needs to know of a layer of a plan.

    Args:
        outcome: What happens to the layer.
        usual: Which norm of layers that stay as they are.
        new_class: Its class after, if it changes.
    """
    node, layer = outcome.node, layer_of(outcome.node)
    rule = outcome.rule if layer.built else None
    return LayerFacts(
        node.title if outcome.rule is None else node.class_name,
        new_class,
        norm_of(outcome, usual),
        None if rule is None else shape_of(layer, rule),
        () if rule is None else named_kernels(layer, rule),
        bare=not (node.spectral or any(len(x.shape) >= _MATRIX for x in layer.variables)),
    )
