"""The convolutions."""

from __future__ import annotations

from dataclasses import replace

from snconvert.core.convolution_map import Sizes as Numbers
from snconvert.core.convolution_map import at_size
from snconvert.kinds.conv import padding_of, steps
from snconvert.lipschitz.network import Sizes, Unbounded
from snconvert.lipschitz.reading.builder import Value
from snconvert.lipschitz.reading.shapes import windows
from snconvert.lipschitz.rows.dense import activated
from snconvert.lipschitz.rows.row import NOT_STORED, Answer, Call, OwnKernel, Row, linear, ranks


def spatial(call: Call) -> Sizes:
    """Returns the sizes of the axes between batch and channels."""
    return call.sizes[1:] if call.channels_first else call.sizes[:-1]


def with_channels(call: Call, sizes: Sizes, channels: int | None) -> Sizes:
    """Returns the sizes of a tensor, given those of its spatial axes, and its channels."""
    return (channels, *sizes) if call.channels_first else (*sizes, channels)


def convolved(call: Call, kernel: Numbers) -> Sizes:
    """Returns the spatial sizes behind a convolution."""
    rank = len(kernel)
    strides, dilation = (
        steps(call.config, "strides", rank),
        steps(call.config, "dilation_rate", rank),
    )
    axes = zip(spatial(call), kernel, strides, dilation, strict=True)
    padding = padding_of(call.config)
    return tuple(windows(size, (k - 1) * d + 1, s, padding) for size, k, s, d in axes)


def _convolution(call: Call, name: str, kernel: OwnKernel, channels: int) -> Value | Unbounded:
    """Adds the convolution by a kernel, as the layer's configuration has it."""
    shape = kernel.stored.array.dataset.shape
    conv = kernel.rule.convolution_of(shape, call.config, (None, *call.sizes))
    sizes = with_channels(call, convolved(call, shape[:-2]), channels)
    return linear(call, name, sizes, convolution=conv, channels_axis=call.channels_axis)


def _plain(call: Call) -> Answer:
    own = call.kernels.get("kernel")
    if own is None:
        return NOT_STORED
    filters = own.stored.array.dataset.shape[-1]
    return activated(call, _convolution(call, "kernel", own, filters))


def _depthwise(call: Call) -> Answer:
    own = call.kernels.get("kernel")
    if own is None:
        return NOT_STORED
    *_, channels, multiplier = own.stored.array.dataset.shape
    return activated(call, _convolution(call, "kernel", own, channels * multiplier))


def _separable(call: Call) -> Answer:
    own, pointwise = (call.kernels.get(f"{name}_kernel") for name in ("depthwise", "pointwise"))
    if own is None or pointwise is None:
        return NOT_STORED
    *_, channels, multiplier = own.stored.array.dataset.shape
    between = _convolution(call, "depthwise_kernel", own, channels * multiplier)
    if isinstance(between, Unbounded):
        return between
    positions = replace(call, inputs=(between,))
    ones = (1,) * len(spatial(call))
    conv = at_size(spatial(positions), ones, ones, ones, "valid", pointwise.stored.view.shape)
    filters = pointwise.stored.array.dataset.shape[-1]
    value = linear(
        positions,
        "pointwise_kernel",
        with_channels(call, spatial(positions), filters),
        convolution=conv,
        channels_axis=call.channels_axis,
    )
    return activated(call, value)


def _transposed(call: Call) -> Answer:
    own = call.kernels.get("kernel")
    if own is None:
        return NOT_STORED
    shape = own.stored.array.dataset.shape
    conv = own.rule.convolution_of(shape, call.config, (None, *call.sizes))
    value = linear(
        call,
        "kernel",
        with_channels(call, _behind_transposed(call, own), shape[-2]),
        convolution=conv,
        transposed=True,
        channels_axis=call.channels_axis,
    )
    return activated(call, value)


def _behind_transposed(call: Call, kernel: OwnKernel) -> Sizes:
    """Returns the spatial sizes behind a transposed convolution: the inputs of its adjoint.

    These are read off a map of one channel, which can be taken at larger sizes than that of all.
    """
    sizes = tuple(1 if size is None else size for size in spatial(call))
    one = (*kernel.stored.array.dataset.shape[:-2], 1, 1)
    conv = kernel.rule.convolution_of(one, call.config, (None, *with_channels(call, sizes, 1)))
    if conv is None or conv.on_torus:
        return (None,) * len(sizes)
    return tuple(
        None if size is None else long
        for size, long in zip(spatial(call), conv.inputs, strict=True)
    )


ROWS = (
    Row(ranks("Conv{}D"), "norm of the map at its input size, or over all sizes", _plain),
    Row(ranks("Conv{}DTranspose"), "norm of the map, which is that of its adjoint", _transposed),
    Row(ranks("DepthwiseConv{}D", 1, 2), "largest norm of the maps of the channels", _depthwise),
    Row(ranks("SeparableConv{}D", 1, 2), "depthwise map, then pointwise kernel", _separable),
)
