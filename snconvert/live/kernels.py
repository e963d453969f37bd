"""The kernels of live layers: what they hold, and how they are read.

The same of a file's kernels is in `snconvert.files.inventory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import FIELDS, Settings
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.linalg.blocks import Array
from snconvert.live.internals.class_swap import built_for, kernels_by_owner
from snconvert.live.internals.walk import Layer
from snconvert.planning.layer_rows import NamedKernel
from snconvert.weights.contents import Dataset
from snconvert.weights.scaling import scale


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


class SpectralKernel(NamedTuple):
    """One kernel of a built spectral layer, with its `u` and its `gamma`.

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


def spectral_kernels_of(layer: Layer) -> Iterator[SpectralKernel]:
    """Yields the kernels of a spectral layer, none if it is not built."""
    if not layer.built:
        return
    owners = [(o, kernel.name) for o, own in kernels_by_owner(layer, layer.rule) for kernel in own]
    kernels = kernels_of(layer, layer.rule, layer.norm)
    for (owner, name), kernel in zip(owners, kernels, strict=True):
        prefix = owner._prefix(name)  # noqa: SLF001 -- as everything in `live`
        u = numbers_of(getattr(owner, f"{prefix}u"))
        gamma = numbers_of(getattr(owner, f"{prefix}gamma")) if layer.mode == "gain" else None
        yield SpectralKernel(owner, name, *kernel, settings_of(layer), u, gamma)


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


def settings_of(layer: Layer) -> Settings:
    """Returns how a spectral layer normalises its kernels."""
    return Settings(**{name: getattr(layer, name) for name in FIELDS})


def shape_of(layer: Layer, rule: KernelRule) -> tuple[int, ...]:
    """Returns the shape of the first kernel of a built layer."""
    ((owner, (first, *_)), *_) = kernels_by_owner(layer, rule)
    return tuple(getattr(owner, first.name).shape)


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
