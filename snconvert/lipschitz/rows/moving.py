"""The operations of `keras.ops` along axes: they move numbers, leave some out, or join them.

Axes count that of the batch; what mixes samples has no constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from snconvert.errors import SourceError, printable
from snconvert.lipschitz.network import Constant, Sizes, Unbounded
from snconvert.lipschitz.reading.shapes import axis_from_end, product, reshaped, root
from snconvert.lipschitz.rows import merging
from snconvert.lipschitz.rows.merging import BATCH
from snconvert.lipschitz.rows.reshaping import MOVED
from snconvert.lipschitz.rows.row import REPAIR, Answer, Call

Key = tuple[int | None, int | None, int | None]
_WHOLE: Key = (None, None, None)
_LONG = 1 << 40  # an axis of unknown size, which may be that long


def _axes(call: Call, axis: Any) -> tuple[int, ...] | None:
    """Returns axes from the end; `None` where that of the batch is one of them, as by default."""
    if axis is None:
        return None
    several = axis if isinstance(axis, list | tuple) else [axis]
    found = [axis_from_end(one, len(call.sizes)) for one in several]
    axes = tuple(one for one in found if one is not None)
    return axes if len(axes) == len(found) else None


def _without(sizes: Sizes, axes: tuple[int, ...], *, keep: bool = False) -> Sizes:
    at = {axis % len(sizes) for axis in axes}
    if keep:
        return tuple(1 if axis in at else size for axis, size in enumerate(sizes))
    return tuple(size for axis, size in enumerate(sizes) if axis not in at)


def reduced(factor: Callable[[int | None], float | None]) -> Callable[[Call], Answer]:
    """Returns how operations are read that make one number of all along some axes.

    Args:
        factor: The constant, given how many numbers; `None` where it is not known.
    """

    def read(call: Call) -> Answer:
        axes = _axes(call, call.config.get("axis"))
        if axes is None:
            return BATCH
        value = factor(product([call.sizes[axis] for axis in axes]))
        if value is None:
            return Unbounded("how many numbers it joins is not known")
        sizes = _without(call.sizes, axes, keep=call.flag("keepdims"))
        return call.add(Constant(value), sizes)

    return read


def reshape(call: Call) -> Answer:
    """Adds `reshape(x, (-1, ...))` where it leaves the samples of a batch apart."""
    target = call.config.get("newshape", call.config.get("shape"))
    if not isinstance(target, list | tuple) or not target or target[0] not in (-1, None):
        return BATCH
    sizes = reshaped(call.sizes, list(target[1:]))
    count = product(sizes)
    if count is None or count != product(call.sizes):
        return Unbounded("whether it mixes the samples of a batch is not known")
    return call.add(MOVED, sizes)


def transpose(call: Call) -> Answer:
    """Adds `transpose(x, axes)`."""
    axes, rank = call.config.get("axes"), len(call.sizes)
    if not isinstance(axes, list | tuple) or len(axes) != rank + 1:
        return BATCH
    first, *places = (axis_from_end(axis, rank) for axis in axes)
    known = [place for place in places if place is not None]
    if first is not None or len(set(known)) < rank:
        return BATCH
    return call.add(MOVED, tuple(call.sizes[place] for place in known))


def swapped(call: Call) -> Answer:
    """Adds `swapaxes(x, axis1, axis2)`."""
    axes = _axes(call, [call.config.get("axis1"), call.config.get("axis2")])
    if axes is None:
        return BATCH
    sizes = list(call.sizes)
    one, two = axes
    sizes[one], sizes[two] = sizes[two], sizes[one]
    return call.add(MOVED, tuple(sizes))


def expanded(call: Call) -> Answer:
    """Adds `expand_dims(x, axis)`."""
    axis = call.config.get("axis")
    axes = axis if isinstance(axis, list | tuple) else [axis]
    rank = len(call.sizes) + len(axes)
    found = [axis_from_end(one, rank) for one in axes]
    new = {one % rank for one in found if one is not None}
    if len(new) < len(axes):
        return BATCH
    rest = iter(call.sizes)
    return call.add(MOVED, tuple(1 if at in new else next(rest) for at in range(rank)))


def squeezed(call: Call) -> Answer:
    """Adds `squeeze(x, axis)`."""
    axis = call.config.get("axis")
    if axis is None:
        return Unbounded("it may leave the axis of the batch out")
    axes = _axes(call, axis)
    return BATCH if axes is None else call.add(MOVED, _without(call.sizes, axes))


def taken(call: Call) -> Answer:
    """Adds `x[key]` with whole numbers, slices, `...` and new axes."""
    key = call.args[1] if len(call.args) > 1 else call.kwargs.get("key")
    keys = list(key) if isinstance(key, list | tuple) else [key]
    named = sum(one is not None and not _is(one, "__ellipsis__") for one in keys)
    at = next((place for place, one in enumerate(keys) if _is(one, "__ellipsis__")), len(keys))
    whole = {"class_name": "__slice__", "config": {}}
    keys[at : at + 1] = [whole] * (len(call.sizes) + 1 - named)
    first, *rest = keys or [None]
    if _bounds(first) != _WHOLE:
        return BATCH
    sizes: list[int | None] = []
    axes = iter(call.sizes)
    for one in rest:
        if one is None:
            sizes.append(1)
            continue
        size, bounds = next(axes, None), _bounds(one)
        if bounds is not None:
            # Of an axis of unknown size, what is one number of a long one is never more.
            count = len(range(*slice(*bounds).indices(_LONG if size is None else size)))
            sizes.append(count if size is not None or count == 1 else None)
        elif type(one) is not int:
            return Unbounded("it takes numbers by an index that is not understood")
    return call.add(MOVED, tuple(sizes))


def _is(key: Any, class_name: str) -> bool:
    return isinstance(key, dict) and key.get("class_name") == class_name


def _bounds(key: Any) -> Key | None:
    """Returns start, stop and step of a slice, or `None` for what is none."""
    config = key.get("config") if _is(key, "__slice__") else None
    if not isinstance(config, dict):
        return None
    start, stop, step = (config.get(name) for name in ("start", "stop", "step"))
    known = all(one is None or type(one) is int for one in (start, stop, step))
    return (start, stop, step) if known and step != 0 else None


def split(call: Call) -> Answer:
    """Adds `split(x, ...)`: each part leaves numbers out."""
    axes = _axes(call, call.config.get("axis", 0))
    if axes is None:
        return BATCH
    (at,) = axes
    size, sections = call.sizes[at], call.config.get("indices_or_sections")
    if size is None:
        return Unbounded("the size of the axis that it splits is not known")
    if type(sections) is int and 0 < sections <= size:
        ends: Iterable[int] = (size * part // sections for part in range(sections + 1))
    elif isinstance(sections, list) and all(type(one) is int for one in sections):
        ends = [0, *sections, size]
    else:
        raise SourceError(f"it splits {size} numbers at {printable(sections)}", REPAIR)
    before, behind = call.sizes[:at], call.sizes[at:][1:]
    return tuple(
        call.add(MOVED, (*before, len(range(size)[start:stop]), *behind))
        for start, stop in pairwise(ends)
    )


def unstack(call: Call) -> Answer:
    """Adds `unstack(x, axis)`: each part leaves numbers out."""
    axes = _axes(call, call.config.get("axis", 0))
    if axes is None:
        return BATCH
    size = call.sizes[axes[0]]
    if size is None:
        return Unbounded("the size of the axis that it splits is not known")
    return tuple(call.add(MOVED, _without(call.sizes, axes)) for _ in range(size))


def stack(call: Call) -> Answer:
    """Adds `stack(xs, axis)`: a `concatenate` of what has one axis more."""
    rank = len(call.sizes) + 1
    at = axis_from_end(call.config.get("axis", 0), rank)
    if at is None:
        return BATCH
    place = rank + at
    longer = tuple(
        call.add(MOVED, (*value.sizes[:place], 1, *value.sizes[place:]), (value,))
        for value in call.inputs
    )
    return merging.joined(replace(call, inputs=longer), at)


def concatenate(call: Call) -> Answer:
    """Adds `concatenate(xs, axis)`."""
    return merging.joined(call, call.config.get("axis", 0))


def repeat(call: Call) -> Answer:
    """Adds `repeat(x, times, axis)`."""
    times, axes = call.config.get("repeats"), _axes(call, call.config.get("axis"))
    if axes is None:
        return BATCH
    if type(times) is not int or not 0 < times < 2**40:
        return Unbounded(f"it repeats numbers {printable(times)} times")
    sizes = list(call.sizes)
    size = sizes[axes[0]]
    sizes[axes[0]] = None if size is None else size * times
    return call.add(MOVED._replace(value=root(times)), tuple(sizes))


def norm(call: Call) -> Answer:
    """Adds `norm(x, axis=...)`, the 2-norm along one axis."""
    axis, order = call.config.get("axis"), call.config.get("ord")
    if type(axis) is not int or order not in (None, 2, "fro", "euclidean"):
        return Unbounded("no constant of that norm is known")
    return reduced(lambda _: 1.0)(call)


def total(count: int | None) -> float | None:
    """Returns the constant of a sum of so many numbers."""
    return None if count is None else root(count)
