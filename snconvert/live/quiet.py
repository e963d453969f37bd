"""The start of a backend without what it says of itself on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_start() -> Iterator[None]:
    """Takes away what TensorFlow says on stderr when it is imported for the first time.

    TensorFlow says so in C++, before any setting of it could be heard.
    """
    if "keras" in sys.modules or "tensorflow" in sys.modules:
        yield
        return
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
