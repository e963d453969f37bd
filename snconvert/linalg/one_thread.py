"""BLAS in one thread, for the same bytes everywhere.

OpenBLAS divides a product among its threads, and on some processors the parts are summed in another
order then: the last bits of `u` would depend on the number of cores, and a file that is converted
in the guarded process would differ from a live model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_NAMES = (  # numpy's wheels, and builds with a BLAS of the system
    ("scipy_openblas", "64_"),
    ("scipy_openblas", ""),
    ("openblas", "64_"),
    ("openblas", ""),
)


@contextmanager
def one_thread() -> Iterator[None]:
    """Has OpenBLAS work in one thread inside the block; another BLAS is left as it is."""
    if FUNCTIONS is None:
        yield
        return
    threads, set_threads = FUNCTIONS
    before = threads()
    if before != 1:
        set_threads(1)
    try:
        yield
    finally:
        if before != 1:
            set_threads(before)


def _functions() -> tuple[Any, Any] | None:
    """Returns what reads and what sets the number of threads of the OpenBLAS that numpy uses."""
    if os.environ.get("OPENBLAS_NUM_THREADS") == "1":
        return None  # as the command line and the guarded process are started
    import ctypes  # noqa: PLC0415 - not for the command line, where start-up counts

    try:
        # Its symbols are found among those of the library that is linked to it.
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]  # noqa: SLF001 -- numpy has no public way
    except (AttributeError, OSError):
        return None
    for prefix, suffix in _NAMES:
        threads = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
        set_threads = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
        if threads is not None and set_threads is not None:
            return threads, set_threads
    return None


# At import, as the guarded process loads no library once it reads a file.
FUNCTIONS = _functions()
