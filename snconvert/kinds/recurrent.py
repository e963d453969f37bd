"""The recurrent layers and their cells, dense and convolutional."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from snconvert.core.convolution_map import Convolution, at_size
from snconvert.kinds.conv import padding_of, spatial, steps
from snconvert.kinds.kernel_rule import (
    Config,
    Kernel,
    KernelRule,
    argument_shape,
    channels_axis,
    dimension,
    positive_integers,
    usual_view,
    with_bias,
)
from snconvert.kinds.kernel_rule import Shape as KernelShape

CELL = "cell"
"""The group of the cell, which owns the kernels of a recurrent layer."""

_GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
Variables = Callable[[Config, Any], Mapping[str, Any]]


Map = Callable[[KernelShape, Config, Any], Convolution]


def _kernels(group: str, inward: Map | None = None, along: Map | None = None) -> tuple[Kernel, ...]:
    return (
        Kernel("kernel", 0, usual_view, group, convolution=inward),
        Kernel("recurrent_kernel", 1, usual_view, group, convolution=along),
    )


def _convolutions(first: int) -> tuple[Map, Map]:
    """Returns the maps of a ConvLSTM's kernels: on the inputs, and on the states.

    Args:
        first: The first axis of the sizes in the shape that the layer, or its cell, is built for.
    """

    def inputs(shape: KernelShape, config: Config, built: Any, stack: KernelShape) -> Convolution:
        rank = len(shape) - 2
        name = "sequences_shape" if first > 1 else "inputs_shape"
        return at_size(
            spatial(config, argument_shape(built, name), rank, first),
            shape[:-2],
            steps(config, "strides", rank),
            steps(config, "dilation_rate", rank),
            padding_of(config),
            stack,
        )

    def inward(shape: KernelShape, config: Config, built: Any) -> Convolution:
        return inputs(shape, config, built, usual_view(shape, config).shape)

    def along(shape: KernelShape, config: Config, built: Any) -> Convolution:
        conv = inputs(shape, config, built, (1, math.prod(shape[:-2]), 1))
        sizes = (None,) * len(conv.outputs) if conv.on_torus else conv.outputs
        ones = (1,) * len(sizes)
        return at_size(sizes, shape[:-2], ones, ones, "same", usual_view(shape, config).shape)

    return inward, along


def _cell(name: str, config: Config, features: int | None) -> tuple[Any, ...]:
    (units,) = positive_integers(config, "units", length=1)
    width = _GATES[name] * units
    two = name == "GRU" and config.get("reset_after", True)
    return with_bias(config, (2, width) if two else (width,), (features, width), (units, width))


def _cell_variables(name: str) -> Variables:
    def variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
        shape = argument_shape(input_shape, "input_shape")
        return {"": _cell(name, config, dimension(shape, -1))}

    return variables


def _layer_variables(name: str) -> Variables:
    def variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
        shape = argument_shape(input_shape, "sequences_shape")
        return {"": (), CELL: _cell(name, config, dimension(shape, -1))}

    return variables


def _conv_variables(rank: int) -> Variables:
    def variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
        (filters,) = positive_integers(config, "filters", length=1)
        size = positive_integers(config, "kernel_size", length=rank)
        shape = argument_shape(input_shape, "sequences_shape")
        channels = dimension(shape, channels_axis(config, first=2))
        width = 4 * filters
        kernels = (*size, channels, width), (*size, filters, width)
        return {"": (), CELL: with_bias(config, (width,), *kernels)}

    return variables


_TITLE = "(1, in, gates*units) and (1, units, gates*units)"
_CONV_TITLE = "(1, k*in, gates*filters) and (1, k*filters, gates*filters)"


def _row(name: str, group: str, variables: Variables) -> KernelRule:
    return KernelRule(name, "recurrent", f"Spectral{name}", _kernels(group), variables, _TITLE)


def _conv_row(rank: int) -> KernelRule:
    name, kernels = f"ConvLSTM{rank}D", _kernels(CELL, *_convolutions(2))
    variables = _conv_variables(rank)
    return KernelRule(name, "recurrent", f"Spectral{name}", kernels, variables, _CONV_TITLE)


ROWS = (
    *(_row(name, CELL, _layer_variables(name)) for name in _GATES),
    *(_row(f"{name}Cell", "", _cell_variables(name)) for name in _GATES),
    *map(_conv_row, (1, 2, 3)),
)
CONV_CELL = KernelRule(
    "ConvLSTMCell",
    "recurrent",
    "SpectralConvLSTMCell",
    _kernels("", *_convolutions(1)),
    _cell_variables("LSTM"),
    _CONV_TITLE,
)
"""The cell of a ConvLSTM, which Keras does not export: only the kernels of its row are used."""
