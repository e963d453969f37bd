"""The factor of each stored spectral kernel at inference; runs inside the guarded process.

As the layers do: sigma is `max |W u| / |u|` over the blocks, with the stored `u`, however far
training or averaging has left it behind the kernel, and `s(sigma)` follows by the mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings, scale
from snconvert.errors import KernelError, located
from snconvert.jobs.requests import Scaling, StoredState
from snconvert.jobs.spreading import spread
from snconvert.linalg.blocks import Array, scan
from snconvert.linalg.stored_u import norm_by
from snconvert.weights.extent import Extent
from snconvert.weights.reading import read_dataset, read_kernel


def factors(
    extent: Extent,
    tasks: Sequence[Scaling],
    *,
    report: Callable[[tuple[str, int]], None] | None = None,
) -> list[float]:
    """Returns `s(sigma)` of each kernel, by which inference multiplies it.

    Args:
        extent: Where the weights file lies.
        tasks: The kernels.
        report: Called with the layer's path and the kernel's bytes when a kernel is done.

    Raises:
        KernelError: A kernel or its `u` holds NaN or infinity.
    """

    def work(task: Scaling) -> float:
        with located(path=task.layer[0], class_name=task.layer[1]):
            return _factor(extent, task)

    return spread(
        work,
        tasks,
        lambda task: (task.layer[0], task.dataset.nbytes),
        report,
        alone=any(task.convolution for task in tasks),  # whose maps can take much memory
    )


def _factor(extent: Extent, task: Scaling) -> float:
    return inference_factor(
        read_kernel(extent, task.path, task.dataset),
        task.view,
        task.settings,
        StoredState(
            read_dataset(extent, task.u),
            None if task.gamma is None else read_dataset(extent, task.gamma),
        ),
        conv=task.convolution,
        bfloat16=task.dataset.dtype == "bfloat16",
    )


def inference_factor(
    kernel: Array,
    view: MatrixView,
    settings: Settings,
    stored: StoredState,
    *,
    conv: Convolution | None = None,
    bfloat16: bool = False,
) -> float:
    """Returns `s(sigma)` of one kernel, by which inference multiplies it.

    Args:
        kernel: As for `leading_triplet`.
        view: As for `leading_triplet`.
        settings: How it is normalised.
        stored: Its `u`, float32, and its `gamma`.
        conv: The map whose norm is sigma; `None` where that is the view's.
        bfloat16: As for `leading_triplet`.

    Raises:
        KernelError: The kernel or its `u` holds NaN or infinity.
    """
    blocks, _, n = view.shape
    u, gamma = stored.u, None if stored.gamma is None else float(stored.gamma)
    expected = (blocks, *(conv.outputs if conv else ()), n)
    if u.shape != expected:
        raise KernelError(
            f"its u has the shape {u.shape}, but the kernel's view makes it {expected}",
            "Convert the original model again",
        )
    nonfinite = scan(kernel, bfloat16=bfloat16).nonfinite
    if nonfinite or not np.isfinite(u).all() or not math.isfinite(gamma or 0.0):
        raise KernelError(
            "its kernel, u or gamma holds NaN or infinite numbers",
            "Go back to an earlier state of the model; or undo the conversion with `snconvert"
            " remove`, which keeps the numbers as they are",
        )
    sigma = norm_by(kernel, view, conv, u, bfloat16=bfloat16)
    return scale(sigma, settings, gamma)
