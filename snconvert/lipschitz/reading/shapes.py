"""The sizes of tensors behind layers and operations, as Keras computes them.

Sizes are those of one sample, without the axis of the batch; `None` is not known. Axes of samples
are counted from the end (-1 is the last), so that wrappers may put axes before them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from snconvert.errors import SourceError, printable

Sizes = tuple[int | None, ...]

_REPAIR = "Repair the layer's configuration and save the model again"
LARGEST = 2**60
"""How many numbers a tensor may have."""


def finite(value: Any) -> float | None:
    """Returns a number of a configuration as a float, `None` for what is none or not finite.

    Example:
        >>> finite(2), finite(True), finite(10**400)
        (2.0, None, None)
    """
    if type(value) not in {int, float}:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def product(sizes: Sequence[int | None]) -> int | None:
    """Returns how many numbers a tensor has, `None` if a size is not known.

    Raises:
        SourceError: No tensor is that large.
    """
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    count = math.prod(known)
    if count > LARGEST:
        raise SourceError(f"a tensor of {printable(tuple(known))} is larger than can be", _REPAIR)
    return count


def root(number: int) -> float:
    """Returns the square root of a natural number, rounded up; exactly where it can be.

    Example:
        >>> root(9), root(2) > 2**0.5
        (3.0, True)
    """
    whole = math.isqrt(number)
    return float(whole) if whole * whole == number else math.nextafter(math.sqrt(number), math.inf)


def inverse_root(number: int | None) -> float:
    """Returns 1 over the square root of a number of positions, rounded up; 1 if it is not known.

    Example:
        >>> inverse_root(16), inverse_root(3) > 3**-0.5, inverse_root(None)
        (0.25, True, 1.0)
    """
    if not number:
        return 1.0
    whole = math.isqrt(number)
    if whole * whole == number and whole & (whole - 1) == 0:
        return 1.0 / whole
    return math.nextafter(1.0 / math.nextafter(math.sqrt(number), 0.0), 1.0)


def axis_from_end(axis: Any, rank: int) -> int | None:
    """Returns the axis of a sample for an axis as Keras counts it, with that of the batch.

    Args:
        axis: The axis; any value of a configuration.
        rank: How many axes the sample has.

    Returns:
        A negative number; `None` for the axis of the batch.

    Raises:
        SourceError: There is no such axis.

    Example:
        >>> axis_from_end(1, 3), axis_from_end(-1, 3), axis_from_end(0, 3)
        (-3, -1, None)
    """
    if type(axis) is not int or not -rank - 1 <= axis <= rank:
        raise SourceError(f"a tensor of {rank + 1} axes has no axis {printable(axis)}", _REPAIR)
    axis = axis - rank - 1 if axis >= 0 else axis
    return None if axis == -rank - 1 else axis


def windows(size: int | None, window: int, stride: int, padding: str) -> int | None:
    """Returns how many windows of a pooling or a convolution an axis has.

    Args:
        size: The axis' size.
        window: How far a window reaches.
        stride: From one window to the next.
        padding: `valid`, `same` or `causal`.

    Raises:
        SourceError: The window is larger than the axis.
    """
    if size is None:
        return None
    count = -(-size // stride) if padding != "valid" else (size - window) // stride + 1
    if count < 1:
        raise SourceError(f"a window of {window} does not fit on an axis of {size}", _REPAIR)
    return count


def broadcast(shapes: Sequence[Sizes]) -> Sizes:
    """Returns the sizes of what is computed number by number from several tensors.

    Raises:
        SourceError: The sizes do not fit each other.
    """
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(sizes)) + sizes for sizes in shapes]
    return tuple(_common(sizes) for sizes in zip(*padded, strict=True))


def _common(sizes: Sequence[int | None]) -> int | None:
    known = {size for size in sizes if size is not None and size != 1}
    if len(known) > 1:
        raise SourceError(f"sizes {sorted(known)} of one axis do not fit each other", _REPAIR)
    if known:
        return known.pop()
    return None if None in sizes else 1


def repeats(sizes: Sizes, whole: Sizes) -> float | None:
    """Returns the root of how often broadcasting repeats a tensor, rounded up.

    Args:
        sizes: Of the tensor.
        whole: Of what it is broadcast to.

    Returns:
        `None` where that is not known.

    Example:
        >>> repeats((1, 1, 8), (3, 3, 8)), repeats((None, 8), (None, 8)), repeats((1, 8), (None, 8))
        (3.0, 1.0, None)
    """
    padded = (1,) * (len(whole) - len(sizes)) + sizes
    times = product([to for of, to in zip(padded, whole, strict=True) if of == 1])
    unsure = any(of is None and to is not None for of, to in zip(padded, whole, strict=True))
    return None if times is None or unsure else root(times)


def concatenated(shapes: Sequence[Sizes], axis: int) -> Sizes:
    """Returns the sizes of several tensors one behind the other along an axis from the end.

    Raises:
        SourceError: The sizes do not fit each other.
    """
    rank = len(shapes[0])
    if any(len(sizes) != rank for sizes in shapes):
        raise SourceError("it joins tensors of different numbers of axes", _REPAIR)
    along = [sizes[axis] for sizes in shapes]
    others = [sizes[:axis] + sizes[axis:][1:] for sizes in shapes]
    rest = tuple(_equal(sizes) for sizes in zip(*others, strict=True))
    at = rank + axis
    total = None if None in along else sum(size for size in along if size is not None)
    return (*rest[:at], total, *rest[at:])


def _equal(sizes: Sequence[int | None]) -> int | None:
    known = {size for size in sizes if size is not None}
    if len(known) > 1:
        raise SourceError(f"sizes {sorted(known)} of one axis do not fit each other", _REPAIR)
    return known.pop() if known else None


def reshaped(sizes: Sizes, target: Any) -> Sizes:
    """Returns the sizes behind a reshape of the sample.

    Args:
        sizes: Of the input.
        target: The new ones, of which one may be -1; any value of a configuration.

    Raises:
        SourceError: They are none of that many numbers.
    """
    if not isinstance(target, list | tuple) or not all(
        size is None or (type(size) is int and size >= -1) for size in target
    ):
        raise SourceError(f"{printable(target)} is no shape", _REPAIR)
    count = product(sizes)
    known = [size for size in target if size is not None and size >= 0]
    unknown = len(target) - len(known)
    if count is None or unknown > 1:
        return tuple(None if size == -1 else size for size in target)
    wanted = product(known) or 0
    if not (wanted == count if not unknown else wanted and count % wanted == 0):
        raise SourceError(f"{printable(sizes)} cannot be reshaped to {printable(target)}", _REPAIR)
    return tuple(count // wanted if size is None or size == -1 else size for size in target)
