"""Other systems, simulated on Linux: what they lack is taken away from an interpreter.

    PLATFORM=windows PYTHONPATH=FOLDER python ...

FOLDER holds a `sitecustomize.py` that calls `pretend`, so that the interpreters which that one
starts are of the same system. What has no like on Linux (drive letters, text mode, the ways of a
console) is not simulated.
"""

from __future__ import annotations

import concurrent.futures.thread
import contextlib
import ctypes
import logging
import multiprocessing.popen_spawn_posix
import multiprocessing.resource_tracker
import os
import random
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USED = (concurrent.futures.thread, ctypes, logging, multiprocessing, random, tempfile)
"""What is imported before anything goes: Python itself is another one there."""

MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
OS = (
    *("fork", "forkpty", "pread", "preadv", "pwrite", "pwritev", "readv", "writev", "fchmod"),
    *("fchown", "getuid", "geteuid", "killpg", "memfd_create", "mkfifo", "register_at_fork"),
    *("sched_getaffinity", "sendfile", "setsid", "statvfs", "sysconf", "wait"),
    *("O_NONBLOCK", "O_NOCTTY", "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC"),
)
SOCKET = ("AF_UNIX", "SCM_RIGHTS", "send_fds", "recv_fds")
SIGNAL = (
    *("SIGALRM", "SIGBUS", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPROF", "alarm", "setitimer"),
    *("ITIMER_PROF", "ITIMER_REAL", "pthread_sigmask", "SIG_BLOCK", "SIG_UNBLOCK"),
)
O_BINARY = 1 << 30


def install(folder: Path) -> None:
    """Writes what makes each interpreter with the folder on its path one of another system."""
    text = f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
    text += "import os, platforms\nplatforms.pretend(os.environ['PLATFORM'])\n"
    (folder / "sitecustomize.py").write_text(text)


def pretend(name: str) -> None:
    """Makes this interpreter one of another system."""
    {"windows": _windows, "macos": _macos}[name]()


def _macos() -> None:
    import fcntl

    def fork() -> int:
        raise AssertionError("forked")

    del os.preadv, os.sched_getaffinity
    os.fork = fork
    fcntl.F_FULLFSYNC = 51  # type: ignore[attr-defined]
    sys.platform = "darwin"


def _windows() -> None:
    send, receive, family = socket.send_fds, socket.recv_fds, socket.AF_UNIX
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in ((os, OS), (socket, SOCKET), (signal, SIGNAL)):
        for name in names:
            delattr(module, name)
    multiprocessing.resource_tracker._HAVE_SIGMASK = False
    shutil._use_fd_functions = shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]
    sys.platform = "simulated"
    os.supports_dir_fd.clear()
    os.supports_fd.clear()
    os.O_BINARY = O_BINARY
    os.open = _opening(os.open)
    os.stat = _created(os.stat)
    for name in ("rename", "replace", "unlink", "rmdir"):
        setattr(os, name, _unless_open(getattr(os, name)))
    socket.socketpair = _pair
    socket.socket.share = _sharing(send, family)  # type: ignore[attr-defined]
    socket.fromshare = _from(receive, family)  # type: ignore[attr-defined]
    select.select = _of_sockets(select.select)
    subprocess.Popen.__init__ = _starting(subprocess.Popen.__init__)
    subprocess.Popen.kill = lambda process: process.send_signal(9)


def _opening(function: Any) -> Any:
    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> Any:
        caller = sys._getframe(1).f_globals["__name__"]
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        if caller.startswith("snconvert") and path != os.devnull and not flags & O_BINARY:
            raise AssertionError(f"{path} is opened as text")
        return function(path, flags & ~O_BINARY, mode)

    return opened


def _created(function: Any) -> Any:
    """Returns a function that says of a path when its file was created."""

    def status(*arguments: Any, **options: Any) -> os.stat_result:
        found = function(*arguments, **options)
        fields = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        return os.stat_result(tuple(found), fields | {"st_ctime_ns": 1, "st_ctime": 1e-9})

    return status


def _unless_open(function: Any) -> Any:
    """Returns a function that changes names, but not of what is open or mapped."""

    def changed(*paths: str, dir_fd: int | None = None) -> Any:
        names = {os.path.realpath(path) for path in paths}
        # A temporary file without a name is another thing there.
        unnamed = sys._getframe(1).f_globals["__name__"] == "tempfile"
        for used in () if unnamed else _in_use():
            if any(used == name or used.startswith(name + os.sep) for name in names):
                raise PermissionError(13, "it is used by a process", used)
        return function(*paths) if dir_fd is None else function(*paths, dir_fd=dir_fd)

    return changed


def _in_use() -> Iterator[str]:
    """Yields the paths of the files that this process and its children have open or mapped."""
    me = Path(f"/proc/{os.getpid()}")
    children = " ".join(each.read_text() for each in me.glob("task/*/children")).split()
    for process in [me, *(Path(f"/proc/{child}") for child in children)]:
        with contextlib.suppress(OSError):
            for link in os.scandir(process / "fd"):
                with contextlib.suppress(OSError):
                    yield os.readlink(link.path)
            for line in (process / "maps").read_text().splitlines():
                yield line.split(maxsplit=5)[-1]


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


def _sharing(send: Any, family: int) -> Any:
    """Returns what stands for `socket.share`: it offers the connection under a name."""

    def share(connection: socket.socket, _: int) -> bytes:
        name = f"\0{os.urandom(16).hex()}"
        server, given = socket.socket(family), os.dup(connection.fileno())
        server.bind(name)
        server.listen(1)

        def give() -> None:
            with server, server.accept()[0] as taker:
                send(taker, [b"."], [given])
            os.close(given)

        threading.Thread(target=give, daemon=True).start()
        return name.encode()

    return share


def _from(receive: Any, family: int) -> Any:
    def fromshare(name: bytes) -> socket.socket:
        with socket.socket(family) as giver:
            giver.connect(name.decode())
            return socket.socket(fileno=receive(giver, 1, 1)[1][0])

    return fromshare


def _of_sockets(function: Any) -> Any:
    def selected(*lists: Any) -> Any:
        for item in lists[0]:
            if not stat.S_ISSOCK(os.fstat(item.fileno()).st_mode):
                raise OSError(10038, "no socket")
        return function(*lists)

    return selected


def _starting(function: Any) -> Any:
    def started(*arguments: Any, **options: Any) -> None:
        if options.get("pass_fds"):
            raise ValueError("pass_fds not supported on Windows.")
        options.pop("creationflags", None)
        function(*arguments, **options)

    return started
