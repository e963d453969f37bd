"""The poolings."""

from __future__ import annotations

import math

from snconvert.errors import SourceError, printable
from snconvert.kinds.kernel_rule import positive_integers
from snconvert.lipschitz.network import AxisMatrices, Constant, Sizes, Unbounded
from snconvert.lipschitz.reading.shapes import inverse_root, product, root, windows
from snconvert.lipschitz.rows.convolution import spatial, with_channels
from snconvert.lipschitz.rows.row import REPAIR, Answer, Call, Row, ranks

_SIZE_UNKNOWN = Unbounded("the size of its input is not known")


def _windows(call: Call) -> tuple[list[tuple[int | None, int, int]], str, Sizes]:
    """Returns size, window and stride of each axis, the padding, and the sizes of the output."""
    sizes = spatial(call)
    rank = len(sizes)
    pool = positive_integers(call.config, "pool_size", length=rank)
    strides = call.config.get("strides")
    given = {"strides": pool if strides is None else strides}
    step = positive_integers(given, "strides", length=rank)
    padding = call.config.get("padding", "valid")
    if padding not in ("valid", "same"):
        raise SourceError(
            f"`padding` is {printable(padding)}, but valid or same is expected", REPAIR
        )
    axes = list(zip(sizes, pool, step, strict=True))
    channels = call.sizes[call.channels_axis]
    return axes, padding, with_channels(call, tuple(windows(*it, padding) for it in axes), channels)


def largest(call: Call) -> Answer:
    """Adds a pooling by maxima: its norm is the root of how many windows may share a number."""
    axes, _, sizes = _windows(call)
    behind = sizes[1:] if call.channels_first else sizes[:-1]
    counts = [
        min(-(-window // stride), window if count is None else count)
        for (_, window, stride), count in zip(axes, behind, strict=True)
    ]
    return call.add(Constant(root(math.prod(counts)), call.channels_axis), sizes)


def average(call: Call) -> Answer:
    """Adds a pooling by averages."""
    axes, padding, sizes = _windows(call)
    matrices = tuple(("average", (*axis, padding)) for axis in axes)
    return call.add(AxisMatrices(matrices, call.channels_axis), sizes)


def _adaptive(call: Call) -> tuple[list[tuple[int | None, int]], Sizes]:
    before = spatial(call)
    outputs = positive_integers(call.config, "output_size", length=len(before))
    sizes = with_channels(call, outputs, call.sizes[call.channels_axis])
    return list(zip(before, outputs, strict=True)), sizes


def _adaptive_max(call: Call) -> Answer:
    """Counts the windows from `i n / o`, rounded down, to `(i + 1) n / o`, rounded up, that meet.

    A number j is in those with `j o / n - 1 < i < (j + 1) o / n`: that many integers fit between.
    """
    axes, sizes = _adaptive(call)
    counts = []
    for size, outputs in axes:
        if size is None:
            return _SIZE_UNKNOWN
        whole = outputs % size == 0 or size % outputs == 0
        counts.append(max(1, outputs // size) if whole else outputs // size + 2)
    return call.add(Constant(root(math.prod(counts)), call.channels_axis), sizes)


def _adaptive_average(call: Call) -> Answer:
    axes, sizes = _adaptive(call)
    matrices = tuple(("adaptive_average", axis) for axis in axes)
    return call.add(AxisMatrices(matrices, call.channels_axis), sizes)


def _behind_global(call: Call) -> Sizes:
    channels = call.sizes[call.channels_axis]
    if call.flag("keepdims"):
        return with_channels(call, (1,) * len(spatial(call)), channels)
    return (channels,)


def _global_max(call: Call) -> Answer:
    return call.add(Constant(1.0, _channels_behind(call)), _behind_global(call))


def _global_average(call: Call) -> Answer:
    # Of masked positions at least one counts, or the result is no number.
    positions = None if call.inputs[0].mask else product(spatial(call))
    value = inverse_root(positions)
    return call.add(Constant(value, _channels_behind(call)), _behind_global(call))


def _channels_behind(call: Call) -> int | None:
    """The axis of the channels, where it is the same before and behind."""
    return None if call.channels_first and not call.flag("keepdims") else call.channels_axis


_MATRICES = "product of the norms of the small matrices along its axes"
ROWS = (
    Row(ranks("MaxPooling{}D"), "root of how many windows may share a number", largest),
    Row(ranks("AveragePooling{}D"), _MATRICES, average),
    Row(ranks("AdaptiveMaxPooling{}D"), "as `MaxPooling2D`", _adaptive_max),
    Row(ranks("AdaptiveAveragePooling{}D"), _MATRICES, _adaptive_average),
    Row(ranks("GlobalMaxPooling{}D"), "1", _global_max),
    Row(ranks("GlobalAveragePooling{}D", 1), "1 / sqrt(positions)", _global_average, masks=True),
    Row(ranks("GlobalAveragePooling{}D", 2, 3), "1 / sqrt(positions)", _global_average),
)
