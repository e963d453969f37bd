"""Sigma and `u` of live kernels, by the same computation as in a file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from snconvert.config.constraint_entry import argument_of, unusual
from snconvert.config.tree import Node
from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError, located
from snconvert.files.targets import whole_of
from snconvert.kinds.kernel_rule import Kernel, KernelRule
from snconvert.layers.base import Spectral
from snconvert.layers.constraint import SpectralNorm
from snconvert.linalg.blocks import Array
from snconvert.linalg.certificate import prove
from snconvert.linalg.kernel_norm import kernel_triplet
from snconvert.linalg.stored_u import Normalisation, kernel_in_use
from snconvert.live.internals.class_swap import built_for, kernels_by_owner
from snconvert.live.internals.walk import Layer
from snconvert.live.tree import layer_of
from snconvert.planning.layer_rows import LayerFacts, NamedKernel
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
    """Returns what `triplets_of` does, and what a `u` that is stored makes of the kernels.

    Args:
        layer: A built layer, normalised or not.
        rule: Its row.
        norm: `matrix` or `operator`.
        around: Keras' own wrapper around it, if there is one.

    Raises:
        KernelError: As for `triplets_of`.
    """
    triplets: list[Triplet] = []
    owners = [(owner, row) for owner, rows in kernels_by_owner(layer, rule) for row in rows]
    kernels = kernels_of(layer, rule, norm)
    for (owner, row), (value, view, half, conv) in zip(owners, kernels, strict=True):
        triplet = kernel_triplet(value, view, conv, bfloat16=half)
        stored = _normalisation(owner, row, view, around)
        if stored is not None:
            triplet = kernel_in_use(triplet, value, view, conv, stored, bfloat16=half)
        triplets.append(triplet)
    return triplets


def _normalisation(
    owner: Layer, row: Kernel, view: MatrixView, around: Layer
) -> Normalisation | None:
    """Returns how a kernel of a layer is normalised already, if it is."""
    if isinstance(owner, Spectral):
        prefix = owner._prefix(row.name)  # noqa: SLF001 -- this package's own
        gamma = getattr(owner, f"{prefix}gamma") if owner.mode == "gain" else None
        number = None if gamma is None else float(_array(gamma))
        return Normalisation(_array(getattr(owner, f"{prefix}u")), number, settings_of(owner))
    if around is not None:
        # The wrapper's vector belongs to the matrix that it takes itself.
        return Normalisation(_array(around.vector_u)) if unusual(view) is None else None
    argument = argument_of(row, owner.get_config())
    constraint = getattr(owner, argument, None) if argument is not None else None
    if not isinstance(constraint, SpectralNorm) or constraint.view != unusual(view):
        return None
    return None if constraint.u is None else Normalisation(constraint.u)


def _array(variable: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype(np.float64)


def settings_of(layer: Layer) -> Settings:
    """Returns how a spectral layer normalises its kernels."""
    return Settings(layer.mode, layer.bound, layer.power_iterations, layer.norm)


def _proved(layer: Layer, rule: KernelRule, triplets: Sequence[Triplet]) -> list[Triplet]:
    """Proves sigma where it is the norm of a matrix."""
    return [
        triplet
        if triplet.matrix_norm is not None
        else triplet._replace(bounds=prove(value, view, triplet, bfloat16=half))
        for (value, view, half, _), triplet in zip(kernels_of(layer, rule), triplets, strict=True)
    ]


def kernels_of(
    layer: Layer, rule: KernelRule, norm: str = "matrix"
) -> Iterator[tuple[Array, MatrixView, bool, Convolution | None]]:
    """Yields the numbers of each kernel, its view, whether the bits are bfloat16, and its map.

    Args:
        layer: A built layer.
        rule: Its row.
        norm: Which norm sigma is; the map is that of `operator`.
    """
    config = layer.get_config()
    for owner, kernels in kernels_by_owner(layer, rule):
        for kernel in kernels:
            variable = getattr(owner, kernel.name)
            value = numbers_of(variable)
            half = keras.backend.standardize_dtype(variable.dtype) == "bfloat16"
            view = kernel.view(tuple(value.shape), config)
            conv = kernel.map_of(norm, tuple(value.shape), config, built_for(layer))
            yield value, view, half, conv


class State(NamedTuple):
    """One kernel of a built spectral layer, and what normalises it.

    Attributes:
        owner: The object that has it: the layer, or a part of it.
        name: Its attribute.
        kernel: Its numbers; of bfloat16 the bits.
        view: How they are read as a stack of matrices.
        bfloat16: Whether they are bits.
        conv: The map whose norm is sigma, if it is not that of the view.
        settings: How it is normalised.
        u: The numbers of its `u`.
        gamma: That of its `gamma`, in mode `gain`.
    """

    owner: Layer
    name: str
    kernel: Array
    view: MatrixView
    bfloat16: bool
    conv: Convolution | None
    settings: Settings
    u: Array
    gamma: Array | None


def states_of(layer: Layer) -> Iterator[State]:
    """Yields the kernels of a spectral layer, none if it is not built."""
    if not layer.built:
        return
    owners = [(o, kernel.name) for o, own in kernels_by_owner(layer, layer.rule) for kernel in own]
    kernels = kernels_of(layer, layer.rule, layer.norm)
    for (owner, name), kernel in zip(owners, kernels, strict=True):
        prefix = owner._prefix(name)  # noqa: SLF001 -- as everything in `live`
        u = numbers_of(getattr(owner, f"{prefix}u"))
        gamma = numbers_of(getattr(owner, f"{prefix}gamma")) if layer.mode == "gain" else None
        yield State(owner, name, *kernel, settings_of(layer), u, gamma)


def numbers_of(variable: Any) -> Array:
    """Returns what a variable holds; of bfloat16 the bits."""
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    half = keras.backend.standardize_dtype(variable.dtype) == "bfloat16"
    return array.view(np.uint16) if half else array


def named_kernels(layer: Layer, rule: KernelRule) -> Iterator[NamedKernel]:
    """Yields path below the layer, shape and convolution of each kernel of a built layer."""
    config = layer.get_config()
    for owner, kernels in kernels_by_owner(layer, rule):
        for kernel in kernels:
            shape = tuple(getattr(owner, kernel.name).shape)
            yield kernel.path, shape, kernel.convolution_of(shape, config, built_for(layer))


def measure(
    plan: Plan, norm: str, *, everything: bool, certify: bool = False, lenient: bool = False
) -> Measured:
    """Returns the norms of the layers of a plan.

    Args:
        plan: The plan of a live model.
        norm: Which norm of layers that stay as they are.
        everything: Those of layers that stay as they are too.
        certify: Prove each sigma.
        lenient: Pass over kernels that are not finite.

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
                wanted = _norm_of(outcome, norm)
                own = triplets_in_use(layer, rule, wanted, _around(node))
            except KernelError:
                if isinstance(outcome, Step) and not lenient:
                    raise
                triplets[node] = [None]
                continue
            triplets[node] = [*(_proved(layer, rule, own) if certify else own)]
    return Measured(triplets, time.perf_counter() - started)


def _around(node: Node) -> Layer:
    """Returns Keras' own wrapper around a layer, if there is one."""
    whole = whole_of(node)
    return None if whole is node else layer_of(whole)


def _norm_of(outcome: Step | Skip, usual: str) -> str:
    """Returns which norm is taken of a layer: that by which it is or will be normalised."""
    if isinstance(outcome, Step):
        return outcome.settings.norm
    return str(layer_of(outcome.node).norm) if outcome.node.spectral else usual


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
        _norm_of(outcome, usual),
        None if rule is None else shape_of(layer, rule),
        () if rule is None else named_kernels(layer, rule),
        bare=not (node.spectral or any(len(x.shape) >= _MATRIX for x in layer.variables)),
    )


def shape_of(layer: Layer, rule: KernelRule) -> tuple[int, ...]:
    """Returns the shape of the first kernel of a built layer."""
    ((owner, (first, *_)), *_) = kernels_by_owner(layer, rule)
    return tuple(getattr(owner, first.name).shape)
