"""BLAS in one thread, for the same bytes everywhere, and what its kernels are good at.

OpenBLAS divides a product among its threads, and on some processors the parts are summed in another
order then: the last bits of `u` would depend on the number of cores, and a file that is converted
in the guarded process would differ from a live model.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


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


def _functions(*names: str) -> tuple[Any, ...] | None:
    """Returns functions of the OpenBLAS that numpy uses, `None` if that is another BLAS."""
    try:
        # Its symbols are found among those of the library that is linked to it.
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]  # noqa: SLF001 -- numpy has no public way
    except (AttributeError, OSError):
        return None
    for prefix in ("scipy_openblas", "openblas"):  # numpy's wheels, and builds with the system's
        for suffix in ("64_", ""):
            functions = [getattr(library, f"{prefix}_{name}{suffix}", None) for name in names]
            if all(functions):
                return tuple(functions)
    return None


def _multiplies_pairs() -> bool:
    """Whether OpenBLAS has kernels for AVX-512, which a processor may have in vain."""
    functions = _functions("get_corename")
    if functions is None:
        return False
    functions[0].restype = ctypes.c_char_p
    return functions[0]() in {b"SkylakeX", b"Cooperlake", b"SapphireRapids"}


# At import, as the guarded process loads no library once it reads a file. The command line and the
# guarded process are started with one thread.
FUNCTIONS = (
    None
    if os.environ.get("OPENBLAS_NUM_THREADS") == "1"
    else _functions("get_num_threads", "set_num_threads")
)
PAIRS = _multiplies_pairs()
"""Whether a product by two rows takes less time than two products by one row each."""
