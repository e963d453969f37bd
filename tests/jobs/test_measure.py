"""Large kernels that several processes work on together."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from snconvert.core.matrix_view import MatrixView
from snconvert.core.triplet import Triplet
from snconvert.errors import SourceError
from snconvert.jobs import measure
from snconvert.jobs.requests import Task
from snconvert.linalg import matrix_norm
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Dataset
from snconvert.weights.extent import Extent

SHAPES = [(1300, 600), (600, 900), (300, 90), (64, 32)]
LARGE = 1 << 23
Kernels = tuple[Extent, list[Task], list[np.ndarray]]


@pytest.fixture
def kernels(tmp_path: Path) -> Iterator[Kernels]:
    """Gives kernels in a file, unaligned, and their tasks."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype("f4") for shape in SHAPES]
    tasks, content = [], bytes(3)
    for index, array in enumerate(arrays):
        dataset = Dataset(array.shape, "float32", "little", len(content), array.nbytes)
        view = MatrixView.of(array.shape)
        tasks.append(Task((f"m/{index}", "Dense"), f"k{index}", dataset, view, required=True))
        content += array.tobytes()
    (tmp_path / "weights").write_bytes(content)
    with (tmp_path / "weights").open("rb") as file:
        yield Extent(file.fileno(), 0, len(content)), tasks, arrays


def by_processes(extent: Extent, tasks: list[Task], count: int) -> tuple[list[Triplet], int]:
    """Measures kernels with so many processes, in the guarded process; smaller ones are large here.

    Returns:
        What was found, and how many kernels were worked on together.
    """
    matrix_norm._KEPT = matrix_norm._DIVISIBLE = measure._WORTH_FORKS = 1 << 15
    matrix_norm._GRAM = {True: 100, False: 100}
    own, divided = measure.rounds, []

    def counted(work, items, processes):
        divided.append(processes)
        return own(work, items, processes)

    measure.rounds = counted
    measure.processes = lambda: count
    found = measure.measure(extent, tasks)
    assert set(divided) <= {count}
    return found, len(divided)


def test_any_number_of_processes_finds_the_same_bytes(kernels: Kernels) -> None:
    """Sigma, `u` and residual have the same bits, with 1, 2, 3 or 8 processes for parts."""
    extent, tasks, arrays = kernels
    every = []
    for count in (1, 2, 3, 8):
        with Worker() as worker:
            found, divided = worker.call(by_processes, extent, tasks, count)
        assert divided == (0 if count == 1 else 2)
        every.append([(x.sigma, np.asarray(x.u).tobytes(), x.residual) for x in found])
    assert every == [every[0]] * 4
    for (sigma, _, residual), array in zip(every[0], arrays, strict=True):
        assert sigma == pytest.approx(np.linalg.norm(array.astype("f8"), 2), rel=1e-6)
        assert residual < 1e-6


def dying(extent: Extent, tasks: list[Task]) -> None:
    """Measures kernels while one of the processes that work on a part is killed."""
    own = matrix_norm._round_trip

    def killed(*arguments):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return own(*arguments)

    parent, matrix_norm._round_trip = os.getpid(), killed
    by_processes(extent, tasks, 2)


def test_a_process_that_dies_is_told_as_a_crash(kernels: Kernels) -> None:
    """The search does not wait for what a killed process would have added."""
    with Worker() as worker, pytest.raises(SourceError, match="was killed"):
        worker.call(dying, *kernels[:2])


@pytest.mark.parametrize(
    ("sizes", "count", "divided"),
    [
        ([LARGE], 2, 1),
        ([LARGE], 1, 0),
        ([LARGE - 1], 2, 0),  # too small
        ([LARGE, LARGE], 2, 0),  # one each
        ([LARGE, LARGE], 4, 2),
        ([LARGE] * 3, 2, 1),
        ([LARGE] * 8, 2, 0),
        ([LARGE] * 9, 2, 1),
        ([25 * LARGE, 4 * LARGE, LARGE // 4], 2, 2),  # VGG16
        ([2 * LARGE, *[LARGE // 8] * 32], 2, 0),
        ([LARGE // 8] * 500, 2, 0),
        ([], 2, 0),
    ],
)
def test_which_kernels_all_processes_work_on(sizes: list[int], count: int, divided: int) -> None:
    """Those that would else keep one process busy when the others have nothing left to do."""
    tasks = [
        Task(("m", "Dense"), "k", Dataset((0,), "float32", "little", 0, 0), view, required=True)
        for view in (MatrixView.of((size // 1024, 1024)) for size in sizes)
    ]
    assert measure._divided(tasks, count) == divided
    assert measure._divided([task._replace(certify=True) for task in tasks], count) == 0
