"""What operating systems lack or do in another way, and what takes its place.

The rest of the package asks here, so that no other module imports what only POSIX has. What a
system cannot promise stands in SECURITY.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

fcntl: Any
resource: Any
try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None

FORKS = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether a process may be forked: on macOS, what numpy computes with does not survive it."""
SENDS_FILES = hasattr(socket, "send_fds")
"""Whether an open file can be sent to another process."""
POSIX = fcntl is not None
"""Whether folders can be opened, files renamed and removed while they are open, and have modes."""

_STILL_RUNNING = 258  # WAIT_TIMEOUT
_place = threading.Lock()


class Descriptor(int):
    """A file descriptor that knows the path of its file.

    Where an open file cannot be sent to another process, that one opens the path again.

    Args:
        number: The descriptor.
        path: The path.

    Attributes:
        path: The path, absolute.
    """

    path: str

    def __new__(cls, number: int, path: str) -> Self:
        """Returns the descriptor."""
        descriptor = super().__new__(cls, number)
        descriptor.path = os.path.abspath(path)
        return descriptor


def processes() -> int:
    """Returns how many processes to compute in: one a core, but a few take all of the memory's."""
    known = hasattr(os, "sched_getaffinity")
    return min(8, len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1)


def flags(*names: str) -> int:
    """Returns the sum of those flags of `os.open` that the system has.

    Args:
        *names: Their names, without `O_`. `O_CLOEXEC` need not be named: Python sets it.
    """
    return sum(getattr(os, f"O_{name}", 0) for name in names)


READING = flags("RDONLY", "BINARY", "NONBLOCK", "NOCTTY")
"""How an input is opened: a path may have become a FIFO, which is not waited on."""


def _at_place(descriptor: int, offset: int, work: Any, argument: Any) -> Any:
    """Reads or writes at a place of a file whose position stays.

    One thread at a time: descriptors that were duplicated share their position.
    """
    with _place:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return work(descriptor, argument)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    data: bytes = _at_place(descriptor, offset, os.read, size)
    return data


def _preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
    data = pread(descriptor, min(len(buffers[0]), _MOST), offset)
    buffers[0][: len(data)] = data
    return len(data)


def _pwrite(descriptor: int, data: memoryview, offset: int) -> int:
    count: int = _at_place(descriptor, offset, os.write, data[:_MOST])
    return count


_MOST = 8 << 20
pread = getattr(os, "pread", _pread)
preadv = getattr(os, "preadv", _preadv)
pwrite = getattr(os, "pwrite", _pwrite)


def flush(descriptor: int) -> None:
    """Flushes a file to the disk, not only to its cache, where `os.fsync` of macOS stops."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        with contextlib.suppress(OSError):  # a file system that does not know that
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def lock(descriptor: int) -> bool | None:
    """Locks an open file or folder until it is closed.

    Returns:
        Whether nobody else had it locked; `None` where there are no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def is_running(process: int) -> bool:
    """Whether there is a process with that number."""
    if os.name != "nt":
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return True
    kernel = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009 - mypy knows it on Windows only
    handle = kernel.OpenProcess(0x100000, False, process)  # SYNCHRONIZE; os.kill would end it
    running: bool = bool(handle) and kernel.WaitForSingleObject(handle, 0) == _STILL_RUNNING
    kernel.CloseHandle(handle)
    return running


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Lets the process open no file within the block, where the system can forbid that."""
    if resource is None:
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextlib.contextmanager
def little_memory(size: int) -> Iterator[None]:
    """Lets the process allocate no more than so many bytes within the block, where that can be."""
    already = allocated()
    if not already:
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (already + size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


def allocated() -> int:
    """Returns how much private memory the process has, as its limit counts it; 0: not known."""
    try:
        with open("/proc/self/statm") as statistics:
            return int(statistics.read().split()[5]) * int(resource.getpagesize())
    except (OSError, ValueError, IndexError):
        return 0
