"""Sigma and `u` of live kernels, by the same computation as in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import keras
import numpy as np

from snconvert.errors import KernelError, located
from snconvert.linalg.certificate import prove
from snconvert.linalg.scan import Array
from snconvert.linalg.triplet import Triplet, bounds_of, leading_triplet
from snconvert.live.adoption import kernels_by_owner
from snconvert.live.survey import layer_of
from snconvert.live.walk import Layer
from snconvert.matrix import MatrixView
from snconvert.plans import Plan, Skip, Step
from snconvert.report import NO_KERNEL, LayerReport
from snconvert.rules import KernelRule

_MATRIX = 2  # the least rank of a kernel

Triplets = dict[int, list[Triplet]]
"""Position in the plan -> the triplet of each kernel; none for layers that are not built."""


def triplets_of(layer: Layer, rule: KernelRule) -> list[Triplet]:
    """Returns the leading singular triplet of each kernel of a built layer.

    Raises:
        KernelError: A kernel is not finite, or has no numbers.
    """
    return [
        leading_triplet(value, view, bfloat16=half) for value, view, half in kernels_of(layer, rule)
    ]


def _proved(layer: Layer, rule: KernelRule, triplets: Sequence[Triplet]) -> list[Triplet]:
    return [
        replace(triplet, bounds=prove(value, view, triplet, bfloat16=half))
        for (value, view, half), triplet in zip(kernels_of(layer, rule), triplets, strict=True)
    ]


def kernels_of(layer: Layer, rule: KernelRule) -> Iterator[tuple[Array, MatrixView, bool]]:
    """Yields the numbers of each kernel, its view, and whether the bits are those of bfloat16."""
    config = layer.get_config()
    for owner, kernels in kernels_by_owner(layer, rule):
        for kernel in kernels:
            variable = getattr(owner, kernel.name)
            value = np.asarray(keras.ops.convert_to_numpy(variable))
            half = keras.backend.standardize_dtype(variable.dtype) == "bfloat16"
            view = kernel.view(tuple(value.shape), config)
            yield value.view(np.uint16) if half else value, view, half


def measure(plan: Plan, *, everything: bool, certify: bool = False) -> Triplets:
    """Returns the triplets of the layers of a plan.

    Args:
        plan: The plan of a live model.
        everything: Those of layers that stay as they are too.
        certify: Prove each sigma.

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
                measured[position] = triplets_of(layer, rule)
            except KernelError:
                if isinstance(outcome, Step):
                    raise
                continue
            if certify:
                measured[position] = _proved(layer, rule, measured[position])
    return measured


def layer_reports(plan: Plan, measured: Triplets, status: str) -> tuple[LayerReport, ...]:
    """Returns what is to be said of each layer of a plan.

    Args:
        plan: The plan.
        measured: From `measure`.
        status: Of the layers to convert: `converted` or `convertible`.
    """
    return tuple(
        _layer_report(outcome, measured.get(position, []), status)
        for position, outcome in enumerate(plan.outcomes)
    )


def _layer_report(outcome: Step | Skip, triplets: Sequence[Triplet], status: str) -> LayerReport:
    node, layer = outcome.node, layer_of(outcome.node)
    sigma = max((triplet.sigma for triplet in triplets), default=None)
    residual = max((triplet.residual for triplet in triplets), default=None)
    kernel = None
    if outcome.rule is not None and layer.built:
        ((owner, (first, *_)), *_) = kernels_by_owner(layer, outcome.rule)
        kernel = tuple(getattr(owner, first.name).shape)
    if isinstance(outcome, Step):
        reason = None if layer.built else "not built yet: u is found when it is"
        if triplets and all(triplet.zero for triplet in triplets):
            reason = "a kernel of zeros: it stays zero"
        after = None if sigma is None else outcome.settings.sigma_after(sigma)
        new = outcome.rule.spectral_class
        found = (sigma, after, residual, bounds_of(triplets))
        return LayerReport(node.path, node.class_name, kernel, status, reason, new, *found)
    after = sigma
    if sigma is not None and node.spectral:
        after = _sigma_after(layer, sigma)
    kind = "spectral" if outcome.spectral else "skipped"
    reason = outcome.reason
    bare = outcome.rule is None and not outcome.spectral and node.first is None
    if bare and not any(len(variable.shape) >= _MATRIX for variable in layer.variables):
        reason = NO_KERNEL
    title = node.class_name if outcome.rule is not None else node.title
    found = (sigma, after, residual, bounds_of(triplets))
    return LayerReport(node.path, title, kernel, kind, reason, None, *found)


def _sigma_after(layer: Layer, sigma: float) -> float | None:
    """A trained gamma is anything; the report of the conversion itself says where it started."""
    if layer.mode == "gain" or sigma == 0.0:
        return None if sigma else 0.0
    return float(layer.bound) if layer.mode == "hard" else min(sigma, float(layer.bound))
