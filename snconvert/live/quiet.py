"""The start of a backend without what it says of itself on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from snconvert.core.report import OnProgress, begin_stage


@contextmanager
def quiet_start(progress: OnProgress = None) -> Iterator[None]:
    """Takes away what TensorFlow says on stderr when it is imported for the first time.

    TensorFlow says so in C++, before any setting of it could be heard.

    Args:
        progress: Called when the import begins, and at the end of the block, where Keras has the
            model and nobody tells how far it is.
    """
    if "keras" in sys.modules or "tensorflow" in sys.modules:
        yield
        begin_stage(progress, "keras")
        return
    begin_stage(progress, "importing")
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
    begin_stage(progress, "keras")
