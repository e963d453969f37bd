"""The layers that move numbers, repeat them or leave some out."""

from __future__ import annotations

import math
from typing import Any

from snconvert.errors import SourceError, printable
from snconvert.kinds.kernel_rule import positive_integers
from snconvert.lipschitz.network import AxisMatrices, Constant, Sizes
from snconvert.lipschitz.reading.shapes import product, reshaped, root
from snconvert.lipschitz.rows.convolution import spatial, with_channels
from snconvert.lipschitz.rows.row import REPAIR, Answer, Call, Row, ranks

MOVED = Constant(1.0)
"""What moves numbers, and does not keep channels apart."""


def _flatten(call: Call) -> Answer:
    if len(call.sizes) == 1:
        return call.inputs[0]
    return call.add(MOVED, (product(call.sizes),))


def _reshape(call: Call) -> Answer:
    return call.add(MOVED, reshaped(call.sizes, call.config.get("target_shape")))


def _permute(call: Call) -> Answer:
    dims = call.config.get("dims")
    rank = len(call.sizes)
    if not isinstance(dims, list | tuple) or sorted(map(str, dims)) != sorted(
        map(str, range(1, rank + 1))
    ):
        raise SourceError(f"`dims` is {printable(dims)}, but {rank} axes are expected", REPAIR)
    return call.add(MOVED, tuple(call.sizes[axis - 1] for axis in dims))


def _repeat(call: Call) -> Answer:
    (times,) = positive_integers(call.config, "n", length=1)
    return call.add(Constant(root(times), -1), (times, *call.sizes))


def _pairs(value: Any, rank: int) -> list[tuple[int, int]]:
    """Returns what a padding or cropping adds or takes at both ends of each axis.

    Raises:
        SourceError: It is no such thing.
    """
    values = value if isinstance(value, list | tuple) else [value] * rank
    if rank == 1 and len(values) == 2:  # noqa: PLR2004 -- the ends of the only axis
        values = [values]
    pairs = [tuple(one) if isinstance(one, list | tuple) else (one, one) for one in values]
    if len(pairs) != rank or not all(
        len(pair) == 2 and all(type(end) is int and 0 <= end < 2**40 for end in pair)  # noqa: PLR2004
        for pair in pairs
    ):
        raise SourceError(f"{printable(value)} is no number of each end of {rank} axes", REPAIR)
    return [(before, behind) for before, behind in pairs]


def _lengthened(call: Call, key: str, sign: int) -> Answer:
    sizes: list[int | None] = []
    for size, ends in zip(
        spatial(call), _pairs(call.config.get(key), len(call.sizes) - 1), strict=True
    ):
        sizes.append(None if size is None else size + sign * sum(ends))
        if (sizes[-1] or 1) < 1:
            raise SourceError(f"`{key}` leaves nothing of an axis of {size}", REPAIR)
    channels = call.sizes[call.channels_axis]
    does = Constant(1.0, call.channels_axis)
    return call.add(does, with_channels(call, tuple(sizes), channels))


def _upsampling(call: Call) -> Answer:
    before = spatial(call)
    times = positive_integers(call.config, "size", length=len(before))
    sizes: Sizes = tuple(
        None if size is None else size * by for size, by in zip(before, times, strict=True)
    )
    sizes = with_channels(call, sizes, call.sizes[call.channels_axis])
    name = call.config.get("interpolation", "nearest")
    if name == "nearest":
        return call.add(Constant(root(math.prod(times)), call.channels_axis), sizes)
    axes = tuple(
        ("upsample", (size, by, str(name))) for size, by in zip(before, times, strict=True)
    )
    return call.add(AxisMatrices(axes, call.channels_axis), sizes)


ROWS = (
    Row(("Flatten",), "1", _flatten),
    Row(("Reshape",), "1", _reshape),
    Row(("Permute",), "1", _permute),
    Row(("RepeatVector",), "sqrt(n)", _repeat),
    Row(ranks("ZeroPadding{}D"), "1", lambda call: _lengthened(call, "padding", 1)),
    Row(ranks("Cropping{}D"), "1", lambda call: _lengthened(call, "cropping", -1)),
    Row(ranks("UpSampling{}D"), "root of the size; of `bilinear` the norm", _upsampling),
)
