"""Work in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from snconvert.errors import SnconvertError

R = TypeVar("R")


def start(thread: ThreadPoolExecutor, work: Callable[..., R], *args: Any) -> Future[R]:
    """Starts work in a thread.

    Raises:
        SnconvertError: The system starts no more threads; nothing of the work was done.
    """
    try:
        return thread.submit(work, *args)
    except RuntimeError as error:
        raise SnconvertError(
            "the system starts no thread that could read the file", "Check `ulimit -u`"
        ) from error
