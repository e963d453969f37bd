"""BLAS in one thread."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from snconvert.linalg.one_thread import FUNCTIONS, one_thread

SEARCH = """
import hashlib
import numpy as np
from snconvert.core.convolution_map import Convolution
from snconvert.linalg.convolution_norm import operator_triplet
from snconvert.linalg.matrix_norm import leading_triplet
from snconvert.core.matrix_view import MatrixView
random = np.random.default_rng(0)
digest = hashlib.sha256()
for shape in ((192, 768), (300, 1500), (1152, 192), (700, 700)):
    kernel = random.normal(size=shape).astype("f4")
    digest.update(leading_triplet(kernel, MatrixView.of(shape)).u)
kernel, same = random.normal(size=(3, 3, 24, 32)), (1, 1)
taps = Convolution((3, 3), same, same, same, (14, 14), (14, 14))
digest.update(operator_triplet(kernel, MatrixView.of(kernel.shape), taps).u)
print(digest.hexdigest())
"""


def test_it_lasts_as_long_as_the_block() -> None:
    """The number of threads is one inside, and afterwards what it was, also after an error."""
    if FUNCTIONS is None:
        pytest.skip("numpy has another BLAS than OpenBLAS, or one that was started with one thread")
    threads, set_threads = FUNCTIONS
    before = threads()
    try:
        set_threads(2)
        with pytest.raises(ZeroDivisionError):
            _fail_inside(threads)
        assert threads() == 2
    finally:
        set_threads(before)


@one_thread()
def _fail_inside(threads: Any) -> None:
    assert threads() == 1
    raise ZeroDivisionError


def test_the_number_of_threads_changes_no_bit() -> None:
    """`u` has the same bytes whatever the number of threads that BLAS may use."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", SEARCH],
            env={**os.environ, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for count in ("1", "2")
    }
    assert len(digests) == 1
