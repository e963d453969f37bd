"""The convolutions: plain, transposed, depthwise and separable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from snconvert.core.convolution_map import Convolution, at_size, transposed_at_size
from snconvert.core.matrix_view import MatrixView
from snconvert.errors import SourceError, WeightsError
from snconvert.kinds.kernel_rule import (
    Config,
    Kernel,
    KernelRule,
    Shape,
    channels_axis,
    dimension,
    positive_integers,
    usual_view,
    with_bias,
)

Variables = Callable[[Config, Any], Mapping[str, Any]]


def _conv_view(shape: Shape, config: Config) -> MatrixView:
    """Reads `(*k, in/groups, out)` as `(groups, k*in/groups, out/groups)`."""
    (groups,) = positive_integers({"groups": config.get("groups", 1)}, "groups", length=1)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    if columns % groups:
        raise WeightsError(
            f"{columns} filters cannot be divided into {groups} groups",
            "Repair the layer's configuration and save the model again",
        )
    if groups == 1:
        return MatrixView.of(shape)
    stack = (groups, rows, columns // groups)
    return MatrixView((rows, groups, columns // groups), (1, 0, 2), stack)


def _depthwise_view(shape: Shape, _: Config) -> MatrixView:
    """Reads `(*k, in, multiplier)` as `(in, k, multiplier)`: each channel is a block of its own."""
    size, (channels, multiplier) = math.prod(shape[:-2]), shape[-2:]
    return MatrixView((size, channels, multiplier), (1, 0, 2), (channels, size, multiplier))


def spatial(config: Config, input_shape: Any, rank: int, first: int = 1) -> tuple[int | None, ...]:
    """Returns the spatial sizes of an input; they start at axis `first` with channels last."""
    first += config.get("data_format") == "channels_first"
    return tuple(dimension(input_shape, first + axis) for axis in range(rank))


def steps(config: Config, key: str, rank: int) -> Shape:
    """Returns the strides or the dilation of a layer, an entry an axis."""
    return positive_integers({key: config.get(key, 1)}, key, length=rank)


def padding_of(config: Config) -> str:
    """Returns the padding of a layer: `valid`, `same` or `causal`."""
    padding = config.get("padding", "valid")
    if padding not in ("valid", "same", "causal"):
        raise SourceError(
            f"`padding` is {padding!r}, but valid, same or causal is expected",
            "Repair the layer's configuration and save the model again",
        )
    return str(padding)


def _convolution(
    view: Callable[[Shape, Config], MatrixView],
) -> Callable[[Shape, Config, Any], Convolution]:
    def convolution(shape: Shape, config: Config, input_shape: Any) -> Convolution:
        rank = len(shape) - 2
        return at_size(
            spatial(config, input_shape, rank),
            shape[:-2],
            steps(config, "strides", rank),
            steps(config, "dilation_rate", rank),
            padding_of(config),
            view(shape, config).shape,
        )

    return convolution


def _transposed(shape: Shape, config: Config, input_shape: Any) -> Convolution:
    rank = len(shape) - 2
    padding = config.get("output_padding")
    extra: tuple[int | None, ...] = (None,) * rank
    if padding is not None:
        # A padding may be 0, which is no size.
        values = padding if isinstance(padding, list | tuple) else [padding] * rank
        raised = [value + 1 if type(value) is int else value for value in values]
        shifted = positive_integers({"output_padding": raised}, "output_padding", length=rank)
        extra = tuple(value - 1 for value in shifted)
    return transposed_at_size(
        spatial(config, input_shape, rank),
        shape[:-2],
        steps(config, "strides", rank),
        steps(config, "dilation_rate", rank),
        padding_of(config),
        usual_view(shape, config).shape,
        extra,
    )


def _conv_variables(rank: int) -> Variables:
    def variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
        (filters,) = positive_integers(config, "filters", length=1)
        kernel_size = positive_integers(config, "kernel_size", length=rank)
        (groups,) = positive_integers({"groups": config.get("groups", 1)}, "groups", length=1)
        channels = dimension(input_shape, channels_axis(config))
        if channels is not None and channels % groups:
            raise SourceError(
                f"{channels} input channels cannot be divided into {groups} groups",
                "Repair the layer's configuration and save the model again",
            )
        kernel = (*kernel_size, None if channels is None else channels // groups, filters)
        return {"": with_bias(config, (filters,), kernel)}

    return variables


def _transposed_variables(rank: int) -> Variables:
    def variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
        (filters,) = positive_integers(config, "filters", length=1)
        kernel_size = positive_integers(config, "kernel_size", length=rank)
        channels = dimension(input_shape, channels_axis(config))
        return {"": with_bias(config, (filters,), (*kernel_size, filters, channels))}

    return variables


def _depthwise(config: Config, input_shape: Any, rank: int) -> tuple[Any, int | None]:
    """Returns the shape of a depthwise kernel, and the number of its output channels."""
    kernel_size = positive_integers(config, "kernel_size", length=rank)
    key = "depth_multiplier"
    (multiplier,) = positive_integers({key: config.get(key, 1)}, key, length=1)
    channels = dimension(input_shape, channels_axis(config))
    out = None if channels is None else channels * multiplier
    return (*kernel_size, channels, multiplier), out


def _depthwise_variables(rank: int) -> Variables:
    def variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
        kernel, out = _depthwise(config, input_shape, rank)
        return {"": with_bias(config, (out,), kernel)}

    return variables


def _separable_variables(rank: int) -> Variables:
    def variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
        (filters,) = positive_integers(config, "filters", length=1)
        depthwise, between = _depthwise(config, input_shape, rank)
        pointwise = (*(1 for _ in range(rank)), between, filters)
        return {"": with_bias(config, (filters,), depthwise, pointwise)}

    return variables


def _row(
    class_name: str, kernels: tuple[Kernel, ...], variables: Variables, title: str
) -> KernelRule:
    return KernelRule(class_name, "conv", f"Spectral{class_name}", kernels, variables, title)


_DEPTHWISE, _POINTWISE = "(in, k, multiplier)", "(1, in*multiplier, out)"
_CONV = (Kernel("kernel", 0, _conv_view, convolution=_convolution(_conv_view)),)
_TRANSPOSED = (Kernel("kernel", 0, usual_view, convolution=_transposed),)
_CHANNELWISE = (
    Kernel(
        "kernel",
        0,
        _depthwise_view,
        convolution=_convolution(_depthwise_view),
        constraint="depthwise_constraint",  # it has `kernel_constraint`, too, and means its own
    ),
)
_SEPARABLE = (
    Kernel("depthwise_kernel", 0, _depthwise_view, convolution=_convolution(_depthwise_view)),
    Kernel("pointwise_kernel", 1, usual_view),
)

ROWS = (
    *(
        _row(f"Conv{n}D", _CONV, _conv_variables(n), "(groups, k*in/groups, out/groups)")
        for n in (1, 2, 3)
    ),
    *(
        _row(f"Conv{n}DTranspose", _TRANSPOSED, _transposed_variables(n), "(1, k*out, in)")
        for n in (1, 2, 3)
    ),
    *(
        _row(f"DepthwiseConv{n}D", _CHANNELWISE, _depthwise_variables(n), _DEPTHWISE)
        for n in (1, 2)
    ),
    *(
        _row(
            f"SeparableConv{n}D",
            _SEPARABLE,
            _separable_variables(n),
            f"{_DEPTHWISE} and {_POINTWISE}",
        )
        for n in (1, 2)
    ),
)
