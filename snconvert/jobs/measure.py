"""Sigma and `u` of many kernels, found side by side; runs inside the guarded process."""

from __future__ import annotations

import contextlib
import heapq
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from snconvert.core.system import processes
from snconvert.core.triplet import Triplet
from snconvert.errors import KernelError, located
from snconvert.jobs.requests import Task
from snconvert.jobs.spreading import WORTH_FORKS
from snconvert.linalg.blocks import read
from snconvert.linalg.kernel_norm import kernel_bounds, kernel_triplet
from snconvert.linalg.matrix_norm import Together, alone, has_parts
from snconvert.linalg.stored_u import Normalisation, kernel_in_use
from snconvert.sandbox.forks import OneAtATime, rounds, side_by_side
from snconvert.weights.contents import State
from snconvert.weights.extent import Extent
from snconvert.weights.reading import read_kernel

_BATCH, _MANY = 1 << 18, 64
_DIVIDED = 1.1  # as long as it takes one process
_Result = Triplet | KernelError | None


def measure(
    extent: Extent,
    tasks: Sequence[Task],
    *,
    report: Callable[[tuple[str, int]], None] | None = None,
) -> list[Triplet | None]:
    """Returns the leading singular triplet of each kernel, `None` for one that cannot have it.

    Args:
        extent: Where the weights file lies.
        tasks: The kernels.
        report: Called with the layer's path and the kernel's bytes when a kernel is done.

    Raises:
        KernelError: A required kernel holds NaN or infinity, or its norm is no float32 number.
            Or any sigma is to be proved, and cannot be.
    """
    count = _processes(tasks)
    order = sorted(range(len(tasks)), key=lambda index: -tasks[index].dataset.nbytes)
    divided = _divided([tasks[index] for index in order], count)

    def work(batch: Sequence[int], together: Together = alone) -> dict[int, _Result]:
        return {index: _one(extent, tasks[index], turn, together) for index in batch}

    def results() -> Iterator[tuple[Sequence[int], dict[int, _Result]]]:
        for index in order[:divided]:
            yield [index], work([index], lambda part, parts: rounds(part, range(parts), count))
        batches = list(_batches(tasks, order[divided:]))
        for place, done in side_by_side(work, batches, count):
            yield batches[place], done

    found: dict[int, _Result] = {}
    # Large kernels' proofs, and large maps, take memory: one at a time.
    with contextlib.closing(OneAtATime()) as turn:
        for batch, done in results():
            found |= done
            if report is not None:
                size = sum(tasks[index].dataset.nbytes for index in batch)
                report((tasks[batch[-1]].layer[0], size))
    in_order = [found[index] for index in range(len(tasks))]
    for result in in_order:
        if isinstance(result, KernelError):
            raise result
    return [None if isinstance(result, KernelError) else result for result in in_order]


def _divided(tasks: Sequence[Task], count: int) -> int:
    """Returns on how many of the first tasks all processes should work together, one by one.

    As many as make the last process end soonest, if each of the others is left to whichever process
    is free.

    Args:
        tasks: The largest first.
        count: The number of processes.
    """
    if count < 2 or not _simple(tasks):  # noqa: PLR2004
        return 0
    sizes = [math.prod(task.view.shape) for task in tasks]
    best, soonest = 0, math.inf
    for divided in range(min(2 * count, len(sizes)) + 1):
        if divided and not has_parts(tasks[divided - 1].view):
            break
        busy = [_DIVIDED / count * sum(sizes[:divided])] * count
        for size in sizes[divided:]:
            heapq.heapreplace(busy, busy[0] + size)
        if max(busy) < soonest:
            best, soonest = divided, max(busy)
    return best


def _batches(tasks: Sequence[Task], order: Sequence[int]) -> Iterator[list[int]]:
    """Yields tasks to be done in one go: a large one by itself, many small ones together.

    The largest come first, so that no process is left alone with the largest at the end.
    """
    batch: list[int] = []
    size = 0
    for index in order:
        batch.append(index)
        size += tasks[index].dataset.nbytes
        if size >= _BATCH or len(batch) == _MANY:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _processes(tasks: Sequence[Task]) -> int:
    """Returns how many processes there may be: each has a memory limit of its own."""
    if _simple(tasks) and sum(task.dataset.nbytes for task in tasks) < WORTH_FORKS:
        return 1
    return processes()


def _simple(tasks: Sequence[Task]) -> bool:
    """Whether the work on a kernel is as long as the kernel, about."""
    return not any(task.certify or task.convolution for task in tasks)


def _one(extent: Extent, task: Task, turn: OneAtATime, together: Together) -> _Result:
    kernel = read_kernel(extent, task.path, task.dataset)
    half = task.dataset.dtype == "bfloat16"
    triplet: Triplet | None = None
    try:
        with located(path=task.layer[0], class_name=task.layer[1]):
            form = kernel, task.view, task.convolution
            triplet = kernel_triplet(*form, bfloat16=half, turn=turn, together=together)
            if task.state is not None:
                stored = _normalisation(extent, task.state)
                triplet = kernel_in_use(triplet, *form, stored, bfloat16=half)
            if task.certify:
                with turn:
                    bounds = kernel_bounds(*form, triplet, bfloat16=half)
                triplet = triplet._replace(bounds=bounds)
    except KernelError as error:
        # A sigma that has no proof may be wrong, whether the layer is to be converted or not.
        return error if task.required or triplet is not None else None
    return triplet


def _normalisation(extent: Extent, state: State) -> Normalisation:
    u, gamma = state.u, state.gamma
    if isinstance(u, tuple):
        raw = read_kernel(extent, *u)
        u = read(raw, 0, np.empty(raw.shape), bfloat16=u[1].dtype == "bfloat16")
    value = None if gamma is None else float(read_kernel(extent, *gamma))
    return Normalisation(u, value, state.settings)
