"""Finds sigma and `u` of many kernels side by side; runs inside the guarded process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np

from snconvert.archive.extent import Extent
from snconvert.archive.h5 import Dataset, read_dataset
from snconvert.errors import KernelError
from snconvert.linalg.scan import count_nonfinite
from snconvert.linalg.triplet import Triplet, leading_triplet
from snconvert.matrix import MatrixView

_SMALLEST, _LARGEST = (float(limit) for limit in (np.finfo("f4").tiny, np.finfo("f4").max))


@dataclass(frozen=True, slots=True)
class Task:
    """One kernel to measure.

    Attributes:
        layer: The layer's path and class name, for messages.
        path: The kernel's dataset.
        dataset: Where it lies.
        view: Its matrix view.
        required: Whether the layer is to be converted, so that a bad kernel is an error.
    """

    layer: tuple[str, str]
    path: str
    dataset: Dataset
    view: MatrixView
    required: bool


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
    """
    results: list[Triplet | KernelError | None] = [None] * len(tasks)
    mapped = extent.map()

    # The largest first, so that no thread is left alone with the largest at the end.
    order = sorted(range(len(tasks)), key=lambda index: -tasks[index].dataset.nbytes)
    with ThreadPoolExecutor(max_workers=_threads()) as pool:
        futures = {pool.submit(_one, extent, mapped, tasks[index]): index for index in order}
        for future in as_completed(futures):
            index = futures[future]
            results[index] = future.result()
            if report is not None:
                report((tasks[index].layer[0], tasks[index].dataset.nbytes))
    for result in results:
        if isinstance(result, KernelError):
            raise result
    return [None if isinstance(result, KernelError) else result for result in results]


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one(extent: Extent, mapped: memoryview, task: Task) -> Triplet | KernelError | None:
    dataset = task.dataset
    bfloat16 = dataset.dtype == "bfloat16"
    if dataset.offset is None:
        kernel = read_dataset(extent, task.path)
    else:
        dtype = np.dtype("u2" if bfloat16 else dataset.dtype).newbyteorder(dataset.byteorder)
        count = int(np.prod(dataset.shape))
        kernel = np.frombuffer(mapped, dtype, count, dataset.offset).reshape(dataset.shape)
    problem = _problem(kernel, task, bfloat16=bfloat16)
    if isinstance(problem, Triplet):
        return problem
    return problem if task.required else None


def _problem(kernel: np.ndarray, task: Task, *, bfloat16: bool) -> Triplet | KernelError:
    path, class_name = task.layer
    bad = count_nonfinite(kernel, bfloat16=bfloat16)
    if bad:
        return KernelError(
            f"the kernel holds {bad} NaN or infinite numbers among {kernel.size}",
            "Train or repair the layer first, or leave it out with --exclude",
            path=path,
            class_name=class_name,
        )
    triplet = leading_triplet(kernel, task.view, bfloat16=bfloat16)
    if not triplet.zero and not _SMALLEST <= triplet.sigma <= _LARGEST:
        return KernelError(
            f"the kernel's norm is {triplet.sigma:.3g}, which float32 cannot hold",
            "Rescale the kernel, or leave the layer out with --exclude",
            path=path,
            class_name=class_name,
        )
    return triplet
