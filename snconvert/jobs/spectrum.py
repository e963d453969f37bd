"""The singular values of many kernels, found side by side; runs inside the guarded process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from snconvert.core.spectrum import LARGE_ORDER, Spectrum, seconds_for
from snconvert.core.system import processes
from snconvert.errors import KernelError, located
from snconvert.jobs.requests import Task
from snconvert.linalg.spectrum import spectrum_of
from snconvert.sandbox.forks import OneAtATime, side_by_side
from snconvert.weights.extent import Extent
from snconvert.weights.reading import read_kernel

_WORTH_FORKS = 1.0  # seconds: less is done before processes are made


def spectra(
    extent: Extent,
    tasks: Sequence[Task],
    *,
    report: Callable[[tuple[str, int]], None] | None = None,
) -> list[Spectrum | None]:
    """Returns the spectrum of each kernel, `None` of one that is too large.

    Args:
        extent: Where the weights file lies.
        tasks: The kernels, of finite numbers.
        report: Called with the layer's path and the kernel's bytes when a kernel is done.

    Raises:
        KernelError: There is not enough memory.
    """
    order = sorted(range(len(tasks)), key=lambda index: -seconds_for(tasks[index].view.shape))
    results: dict[int, Spectrum | None] = {}
    with contextlib.closing(OneAtATime()) as turn:

        def work(index: int) -> Spectrum | None:
            large = min(tasks[index].view.shape[1:]) > LARGE_ORDER
            with turn if large else contextlib.nullcontext():
                return _one(extent, tasks[index])

        worth = sum(seconds_for(task.view.shape) for task in tasks) > _WORTH_FORKS
        for place, spectrum in side_by_side(work, order, processes() if worth else 1):
            task = tasks[order[place]]
            results[order[place]] = spectrum
            if report is not None:
                report((task.layer[0], task.dataset.nbytes))
    return [results[index] for index in range(len(tasks))]


def _one(extent: Extent, task: Task) -> Spectrum | None:
    kernel = read_kernel(extent, task.path, task.dataset)
    with located(path=task.layer[0], class_name=task.layer[1]):
        try:
            return spectrum_of(kernel, task.view, bfloat16=task.dataset.dtype == "bfloat16")
        except MemoryError:
            raise KernelError(
                f"its spectrum takes more than {16e-9 * min(task.view.shape[1:]) ** 2:.2g} GB of"
                " memory",
                "Leave out --spectrum",
            ) from None
