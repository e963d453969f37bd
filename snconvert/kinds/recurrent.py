"""The recurrent layers and their cells, dense and convolutional."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from snconvert.rule import (
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

CELL = "cell"
"""The group of the cell, which owns the kernels of a recurrent layer."""

_GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
Variables = Callable[[Config, Any], Mapping[str, Any]]


def _kernels(group: str) -> tuple[Kernel, ...]:
    return (
        Kernel("kernel", 0, usual_view, group),
        Kernel("recurrent_kernel", 1, usual_view, group),
    )


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


def _row(name: str, group: str, variables: Variables, title: str = _TITLE) -> KernelRule:
    return KernelRule(name, "recurrent", f"Spectral{name}", _kernels(group), variables, title)


ROWS = (
    *(_row(name, CELL, _layer_variables(name)) for name in _GATES),
    *(_row(f"{name}Cell", "", _cell_variables(name)) for name in _GATES),
    *(_row(f"ConvLSTM{n}D", CELL, _conv_variables(n), _CONV_TITLE) for n in (1, 2, 3)),
)
