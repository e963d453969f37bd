"""Python processes without the start: forks of an interpreter that has imported the libraries.

`Popen` and `run` take a command `[sys.executable, ...]` as those of `subprocess` do, and what they
start is a child of the caller as it is there: pipes, signals and exit status are the usual ones.
Only the interpreter is not started and its libraries are not imported anew, which is most of what a
short process costs: 0.2 s, with TensorFlow 5 s.

A server forks twice and lets its child end, so that the kernel gives the grandchild to the nearest
ancestor that takes orphans: the caller, for that moment. Importing the libraries starts no thread,
that of TensorFlow included, whose threads begin with its first operation.

A process of its own, as `subprocess` starts it, is for tests of the start, of what is imported, and
of what differs after an import. As a script, this module is the server.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import quick_variables
from places import ROOT

FILE_CARRIER = ("snconvert",)
"""All of snconvert that works on files, with numpy and h5py."""

TENSORFLOW = ("tensorflow",)

JAX = ("jax", "keras")
"""Keras on its first, with which no process starts a thread either before it computes."""

_SET_CHILD_SUBREAPER = 36  # prctl(2)
_LOCK = threading.Lock()


class Popen(subprocess.Popen[Any]):
    """`subprocess.Popen` of a Python command, forked from a warm interpreter.

    Args:
        command: `sys.executable`, perhaps `-P` and `-W ignore`, then `-c`, `-m` or a script.
        modules: What the interpreter has imported.
        **options: Those of `subprocess.Popen`.
    """

    def __init__(
        self, command: Sequence[Any], *, modules: Sequence[str] = FILE_CARRIER, **options: Any
    ) -> None:
        self._modules = tuple(modules)
        super().__init__(command, **options)

    def _execute_child(self, *args: Any) -> None:
        given = inspect.signature(super()._execute_child).bind(*args).arguments
        names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        ends = [given[name] for name in names]
        streams = [own if end == -1 else end for own, end in enumerate((ends[0], ends[3], ends[5]))]
        request = {
            "arguments": [os.fspath(argument) for argument in given["args"]][1:],
            "cwd": os.path.abspath(given["cwd"] or "."),
            "environment": dict(os.environ if given["env"] is None else given["env"]),
            "umask": given["umask"],
            "session": given["start_new_session"],
            "descriptors": [0, 1, 2, *given["pass_fds"]],
        }
        self.pid = _fork(_server(self._modules), request, [*streams, *given["pass_fds"]])
        self._child_created = True
        self._close_pipe_fds(*ends)


def run(
    command: Sequence[Any],
    *,
    input: str | None = None,  # noqa: A002 - the name that `subprocess.run` gives it
    check: bool = False,
    timeout: float | None = None,
    capture_output: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` by way of this module's `Popen`."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


@cache
def _server(modules: tuple[str, ...]) -> socket.socket:
    """Starts a server; it ends with its connection, when this process does if not before."""
    ours, theirs = socket.socketpair()
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    if "keras" in modules:
        environment["KERAS_BACKEND"] = modules[0]
    with theirs:
        server = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), *modules],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is not for it
        )

    @atexit.register
    def end() -> None:
        ours.close()
        server.wait()

    return ours


def _fork(server: socket.socket, request: dict[str, Any], descriptors: list[int]) -> int:
    """Returns the number of a new child of this process."""
    message = os.memfd_create("request")
    try:
        os.write(message, json.dumps(request).encode())
        with _LOCK, _taking_orphans():
            socket.send_fds(server, [b"."], [message, *descriptors])
            return int(server.recv(32))
    finally:
        os.close(message)


@contextlib.contextmanager
def _taking_orphans() -> Iterator[None]:
    prctl = ctypes.CDLL(None).prctl
    prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Answers requests until the other end is closed; returns, in each fork, what it has to do."""
    while True:
        _, received, _, _ = socket.recv_fds(connection, 1, 253)
        if not received:
            return None
        if len(os.listdir("/proc/self/task")) > 1:
            raise RuntimeError("a fork takes one thread only along; something has started more")
        message, *descriptors = received
        request: dict[str, Any] = json.loads(os.pread(message, os.fstat(message).st_size, 0))
        numbers, go = os.pipe(), os.pipe()
        between = os.fork()
        if between == 0:
            grandchild = os.fork()
            if grandchild:
                os.write(numbers[1], b"%d" % grandchild)
                os._exit(0)
            os.read(go[0], 1)  # the caller is the parent by now
            for number in (*numbers, *go, message, connection.detach()):
                os.close(number)
            _take_over(descriptors, request["descriptors"])
            return request
        os.waitpid(between, 0)
        connection.send(os.read(numbers[0], 32))
        os.write(go[1], b".")
        for number in (*numbers, *go, *received):
            os.close(number)


def _take_over(descriptors: list[int], numbers: list[int]) -> None:
    """Gives descriptors the numbers that they have at the caller's."""
    above = max(numbers) + 1
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for copy, number in zip(copies, numbers, strict=True):
        os.dup2(copy, number)
        os.close(copy)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        how: dict[str, Any] = {"mode": "w" if number else "r", "closefd": False}
        if name == "stderr":
            how |= {"errors": "backslashreplace", "buffering": 1}
        stream = open(number, encoding="utf-8", **how)  # noqa: SIM115 - for good
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _become(request: dict[str, Any]) -> None:
    """Does what the command says, in this process, as if the interpreter had just started."""
    if request["session"]:
        os.setsid()
    if request["umask"] >= 0:
        os.umask(request["umask"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if hasattr(time, "tzset"):
        time.tzset()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # `random` sees to itself
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path and path not in sys.path]
    arguments = request["arguments"]
    here = [""]
    while arguments[0] in {"-P", "-W"}:
        if arguments.pop(0) == "-P":
            here = []
        else:
            warnings.simplefilter(arguments.pop(0))
    kind = arguments[0]
    sys.argv = arguments
    if kind == "-c":
        code = arguments.pop(1)
        sys.path[:0] = here
        main = type(sys)("__main__")
        sys.modules["__main__"] = main
        exec(compile(code, "<string>", "exec"), main.__dict__)  # noqa: S102 - the command says so
    elif kind == "-m":
        del arguments[0]
        sys.path[:0] = here
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[:0] = [os.path.dirname(os.path.abspath(arguments[0]))]
        runpy.run_path(arguments[0], run_name="__main__")


def import_file_carrier() -> None:
    """Imports every module that the import contract keeps from keras, and the command line."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (names,) = (c["source_modules"] for c in contracts["contracts"] if c["type"] == "forbidden")
    for name in (*names, "snconvert.cli", "snconvert.api"):
        module = importlib.import_module(name)
        for _, inner, _ in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            importlib.import_module(inner)


def main() -> None:
    """Imports the libraries and serves; in a fork, does what it was forked for."""
    # It may have been started while its caller's signals waited; those of the forks do not.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    number, *modules = sys.argv[1:]
    sys.path[0] = str(ROOT)
    for module in modules:
        import_file_carrier() if module == "snconvert" else importlib.import_module(module)
    quick_variables.forget_names()
    gc.freeze()
    request = _serve(socket.socket(fileno=int(number)))
    if request is not None:
        _become(request)


if __name__ == "__main__":
    main()
