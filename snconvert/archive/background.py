"""The SHA-256 of an input, computed while other work goes on.

It is the slowest single pass over a large file, and one that only one thread can do: it starts when
it is known that there will be an output, beside the search for `u`, and is asked for at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Any, TypeVar

from snconvert.errors import SnconvertError
from snconvert.weights.extent import Extent

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


_CHUNK = 1 << 20
_OFTEN = 0.1  # seconds between two words on how far it is


class Hashing:
    """Reads and hashes the files of an input in a thread of its own.

    Args:
        parts: Returns the files in their order, each open until the next one.
    """

    def __init__(self, parts: Callable[[], Iterator[tuple[str, Extent]]]) -> None:
        self._parts = parts
        self._closed = Event()
        self._done = 0
        self._thread = ThreadPoolExecutor(1)
        self._digest = start(self._thread, self._hash)

    def result(self, tell: Callable[[int], None] | None = None) -> str:
        """Waits for the SHA-256 and returns it in hexadecimal.

        Args:
            tell: Called now and then with how many bytes are done.

        Raises:
            SourceError: The input cannot be read.
        """
        while tell is not None and not wait([self._digest], _OFTEN).done:
            tell(self._done)
        return self._digest.result()

    def close(self) -> None:
        """Ends the thread, whether it is done or not."""
        self._closed.set()
        self._thread.shutdown()

    def _hash(self) -> str:
        digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
        for _, part in self._parts():
            for offset in range(0, part.size, _CHUNK):
                if self._closed.is_set():
                    return ""
                data = buffer[: min(_CHUNK, part.size - offset)]
                part.pread_into(data, offset)
                digest.update(data)
                self._done += len(data)
        return digest.hexdigest()
