"""Work on many items, spread over processes."""

from __future__ import annotations

import os

import pytest

from snconvert.core.system import FORKS
from snconvert.errors import KernelError
from snconvert.jobs.spreading import WORTH_FORKS, spread

SIZES = [WORTH_FORKS // 8 * (3 + index % 3) for index in range(12)]


def test_results_keep_the_order_of_the_items() -> None:
    """Whichever is begun first; each is told once, with its size."""
    told: list[tuple[str, int]] = []
    done = spread(
        lambda index: (index, os.getpid()),
        range(12),
        lambda index: (f"item {index}", SIZES[index]),
        told.append,
    )
    assert [index for index, _ in done] == list(range(12))
    assert sorted(told) == sorted((f"item {index}", SIZES[index]) for index in range(12))
    assert (os.getpid() in {process for _, process in done}) == (not FORKS)


@pytest.mark.parametrize("alone", [False, True])
def test_the_first_error_is_raised(alone: bool) -> None:
    """In the order of the items, not in that in which they end."""

    def work(index: int) -> int:
        if index in (4, 9):
            raise KernelError(f"item {index} is wrong", "Repair it")
        return index

    with pytest.raises(KernelError, match="item 4 is wrong"):
        spread(
            work, range(12), lambda index: ("", SIZES[index] + index * (index == 9)), alone=alone
        )


def test_small_items_are_done_here() -> None:
    """Processes would take longer to make."""
    assert spread(lambda _: os.getpid(), range(3), lambda _: ("", 9)) == [os.getpid()] * 3
