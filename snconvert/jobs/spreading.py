"""Independent work on many arrays, spread over processes; runs inside the guarded process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from snconvert.core.system import processes
from snconvert.errors import SnconvertError
from snconvert.sandbox.forks import side_by_side

WORTH_FORKS = 1 << 22
"""Bytes of arrays: fewer are done before processes are made."""

T = TypeVar("T")
R = TypeVar("R")


def spread(
    work: Callable[[T], R],
    items: Sequence[T],
    tag: Callable[[T], tuple[str, int]],
    report: Callable[[tuple[str, int]], None] | None = None,
    *,
    alone: bool = False,
) -> list[R]:
    """Returns `work` of each item, in their order; the largest are begun first.

    Args:
        work: What is done; its results can be pickled.
        items: What it is done with.
        tag: Returns the path that an item stands for and its size in bytes.
        report: Called with the path and the size when an item is done.
        alone: Whether it is done in this process, one after the other.

    Raises:
        SnconvertError: The first in the order of the items that `work` raised.
    """
    sizes = [tag(item)[1] for item in items]
    order = sorted(range(len(items)), key=lambda index: -sizes[index])
    count = 1 if alone or sum(sizes) < WORTH_FORKS else processes()

    def attempt(index: int) -> R | SnconvertError:
        try:
            return work(items[index])
        except SnconvertError as error:
            return error

    results: dict[int, R | SnconvertError] = {}
    for place, result in side_by_side(attempt, order, count):
        results[order[place]] = result
        if report is not None:
            report(tag(items[order[place]]))
    done: list[R] = []
    for index in range(len(items)):
        result = results[index]
        if isinstance(result, SnconvertError):
            raise result
        done.append(result)
    return done
