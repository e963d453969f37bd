"""Sigma and `u` of live kernels, by the same computation as in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from snconvert.convolution import Convolution, joint_range
from snconvert.errors import KernelError, located
from snconvert.linalg.certificate import prove
from snconvert.linalg.kernel import kernel_triplet
from snconvert.linalg.scan import Array
from snconvert.linalg.singular import Triplet, bounds_of
from snconvert.live.adoption import built_for, kernels_by_owner
from snconvert.live.survey import layer_of
from snconvert.live.walk import Layer
from snconvert.matrix import MatrixView
from snconvert.plans import Plan, Skip, Step
from snconvert.recipe import Recipe
from snconvert.report import BOUNDED, NO_KERNEL, UNPROVED, LayerReport
from snconvert.rules import KernelRule
from snconvert.settings import Settings

_MATRIX = 2  # the least rank of a kernel

Triplets = dict[int, list[Triplet]]
"""Position in the plan -> the triplet of each kernel; none for layers that are not built."""


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
    settings = Settings(layer.mode, layer.bound, layer.power_iterations, layer.norm)
    owners = [(o, kernel.name) for o, own in kernels_by_owner(layer, layer.rule) for kernel in own]
    kernels = kernels_of(layer, layer.rule, layer.norm)
    for (owner, name), numbers in zip(owners, kernels, strict=True):
        prefix = owner._prefix(name)  # noqa: SLF001 -- as everything in `live`
        u = numbers_of(getattr(owner, f"{prefix}u"))
        gamma = numbers_of(getattr(owner, f"{prefix}gamma")) if layer.mode == "gain" else None
        yield State(owner, name, *numbers, settings, u, gamma)


def numbers_of(variable: Any) -> Array:
    """Returns what a variable holds; of bfloat16 the bits."""
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    half = keras.backend.standardize_dtype(variable.dtype) == "bfloat16"
    return array.view(np.uint16) if half else array


def _convolutions(layer: Layer, rule: KernelRule) -> list[Convolution | None]:
    """Returns the convolution that each kernel of a built layer makes, if it makes one."""
    config = layer.get_config()
    return [
        kernel.convolution_of(tuple(getattr(owner, kernel.name).shape), config, built_for(layer))
        for owner, kernels in kernels_by_owner(layer, rule)
        for kernel in kernels
    ]


def measure(
    plan: Plan, norm: str, *, everything: bool, certify: bool = False, lenient: bool = False
) -> Triplets:
    """Returns the triplets of the layers of a plan.

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
    measured: Triplets = {}
    for position, outcome in enumerate(plan.outcomes):
        node, rule = outcome.node, outcome.rule
        layer = layer_of(node)
        if rule is None or not layer.built or not (everything or isinstance(outcome, Step)):
            continue
        if isinstance(outcome, Skip) and (outcome.obstacle or node.first is not None):
            continue
        with located(path=node.path, class_name=node.class_name):
            try:
                measured[position] = triplets_of(layer, rule, _norm_of(outcome, norm))
            except KernelError:
                if isinstance(outcome, Step) and not lenient:
                    raise
                continue
            if certify:
                measured[position] = _proved(layer, rule, measured[position])
    return measured


def layer_reports(
    plan: Plan, measured: Triplets, status: str, made: Recipe
) -> tuple[LayerReport, ...]:
    """Returns what is to be said of each layer of a plan.

    Args:
        plan: The plan.
        measured: From `measure`.
        status: Of the layers to convert: `converted` or `convertible`.
        made: What was asked for.
    """
    return tuple(
        _layer_report(outcome, measured.get(position, []), status, made)
        for position, outcome in enumerate(plan.outcomes)
    )


def _norm_of(outcome: Step | Skip, usual: str) -> str:
    """Returns which norm is taken of a layer: that by which it is or will be normalised."""
    if isinstance(outcome, Step):
        return outcome.settings.norm
    return str(layer_of(outcome.node).norm) if outcome.node.spectral else usual


def _layer_report(
    outcome: Step | Skip, triplets: Sequence[Triplet], status: str, made: Recipe
) -> LayerReport:
    node, layer = outcome.node, layer_of(outcome.node)
    norm = _norm_of(outcome, made.settings.norm)
    sigma = max((triplet.sigma for triplet in triplets), default=None)
    residual = max((triplet.residual for triplet in triplets), default=None)
    kernel = limits = None
    maps: list[Convolution | None] = []
    if outcome.rule is not None and triplets:
        maps = _convolutions(layer, outcome.rule)
        pairs = zip(maps, triplets, strict=True)
        limits = joint_range((conv, triplet.spectral_norm) for conv, triplet in pairs)
    if outcome.rule is not None and layer.built:
        ((owner, (first, *_)), *_) = kernels_by_owner(layer, outcome.rule)
        kernel = tuple(getattr(owner, first.name).shape)
    if isinstance(outcome, Step):
        reason = None if layer.built else "not built yet: u is found when it is"
        bounded = any(conv is not None and conv.wrapped and not conv.as_matrix for conv in maps)
        if bounded and norm == "operator":
            reason = BOUNDED
        if triplets and all(triplet.zero for triplet in triplets):
            reason = "a kernel of zeros: it stays zero"
        after = None if sigma is None else outcome.settings.sigma_after(sigma)
        new = outcome.rule.spectral_class
        found = (sigma, after, residual, bounds_of(triplets), limits, norm)
        return LayerReport(node.path, node.class_name, kernel, status, reason, new, *found)
    after = sigma
    if sigma is not None and node.spectral:
        after = _sigma_after(layer, sigma)
    kind = "spectral" if outcome.spectral else "skipped"
    reason = outcome.reason
    if made.certify and triplets and norm == "operator":
        reason = f"{reason}; {UNPROVED}"
    bare = outcome.rule is None and not (outcome.spectral or outcome.again)
    if bare and not any(len(variable.shape) >= _MATRIX for variable in layer.variables):
        reason = NO_KERNEL
    title = node.class_name if outcome.rule is not None else node.title
    found = (sigma, after, residual, bounds_of(triplets), limits, norm)
    return LayerReport(outcome.path, title, kernel, kind, reason, None, *found)


def _sigma_after(layer: Layer, sigma: float) -> float | None:
    """A trained gamma is anything; the report of the conversion itself says where it started."""
    if layer.mode == "gain" or sigma == 0.0:
        return None if sigma else 0.0
    return float(layer.bound) if layer.mode == "hard" else min(sigma, float(layer.bound))
