"""A driver that runs conversions under an audit hook, and says what they should not have done.

    python tests/support/watched.py cases FOLDER
    python tests/support/watched.py probes FOLDER

The hook sees what Python code does in the process and in the guarded process that it forks:
imports, files opened, changed or listed, network, other programs, code compiled or executed,
unpickled names, libraries loaded. What libhdf5 does in C it does not see: there no file can be
opened at all, by a limit (`archive/h5.py`). `tests/system/test_no_execution.py` judges the result.
"""

from __future__ import annotations

# ruff: noqa: S102, S301, S307, S605, S606 - each forbidden thing is done once here
import builtins
import contextlib
import functools
import importlib
import inspect
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import run
from places import CASES

import snconvert
from snconvert.sandbox.worker import Worker

COMMANDS = ("apply", "inspect")
FORBIDDEN = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.forkpty",
    "pty.spawn",
    "webbrowser.open",
    "code.__new__",
    "function.__new__",
)
ON_PATHS = (
    "open",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
    "os.truncate",
    "os.utime",
    "os.listdir",
    "os.scandir",
    "os.chdir",
    "shutil.rmtree",
    "shutil.copyfile",
    "glob.glob",
)
UNPICKLED = ("snconvert.", "numpy")


class Watch:
    """An audit hook for the rest of the process's life, and that of its forks.

    Args:
        log: Where violations go, one JSON list a line.
        allowed: Files, and folders with all in them, that may be opened, listed and changed.
    """

    def __init__(self, log: Path, allowed: list[Path]) -> None:
        python = (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values())
        package = Path(snconvert.__file__).parent
        self._read = [os.path.realpath(path) for path in (*python, package)]
        self._allowed = [os.path.realpath(path) for path in allowed]
        self._log = log

    def install(self) -> None:
        """Starts watching."""
        self._file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._main = os.getpid()
        self._import = builtins.__import__
        sys.addaudithook(self._see)
        builtins.__import__ = self._import_statement
        importlib.import_module = self._dynamic_import

    def _report(self, event: str, *what: object) -> None:
        where = "process" if os.getpid() == self._main else "guarded process"
        line = json.dumps([event, where, *(repr(item)[:200] for item in what)])
        os.write(self._file, line.encode() + b"\n")

    def _import_statement(self, name: str, *args: Any, **options: Any) -> Any:
        # What an `import` statement names stands in the code that runs it.
        code = sys._getframe(1).f_code
        names = {part for item in code.co_names for part in (item, item.partition(".")[0])}
        top = name.partition(".")[0]
        ours = ("snconvert", "numpy", "h5py", "encodings", "re")  # these import from C
        if name and name not in names and top not in ours:
            self._report("import", name)
        return self._import(name, *args, **options)

    def _dynamic_import(self, name: str, *_: object) -> Any:
        self._report("import", name)
        raise ImportError(name)

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if event in FORBIDDEN or self._names_other_code(event, args):
            self._report(event, *args)
        elif event in ON_PATHS:
            for path in args[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
                if not self._may(event, path, args):
                    self._report(event, *args)

    def _names_other_code(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "import":
            top = str(args[0]).partition(".")[0]
            ours = ("snconvert", "numpy", "h5py", "typer", "rich")
            return top not in sys.stdlib_module_names and top not in ours
        if event == "pickle.find_class":
            return not str(args[0]).startswith(UNPICKLED)
        if event == "ctypes.dlopen":
            return args[0] is not None
        if event in ("compile", "exec"):
            caller = sys._getframe(2).f_code.co_filename
            by_typer = caller in (typing.__file__, inspect.__file__)  # our annotations
            name = args[1] if event == "compile" else args[0].co_filename
            return name == "<string>" and not by_typer
        return False

    def _may(self, event: str, path: object, args: tuple[Any, ...]) -> bool:
        if path is None or isinstance(path, int):
            return True  # open already
        text = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
        real = os.path.realpath(text)
        if real in (os.devnull, f"/proc/{os.getpid()}/statm"):
            return True
        if any(real == root or real.startswith(root + os.sep) for root in self._allowed):
            return True
        reading = event in ("os.listdir", "os.scandir")
        if event == "open":
            reading = not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return reading and any(real.startswith(root + os.sep) for root in self._read)


def violations(log: Path) -> list[list[str]]:
    """Returns what was logged, and empties the log."""
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def cases(folder: Path) -> dict[str, Any]:
    """Runs every command on every case."""
    log, out, temporary = folder / "log", folder / "out", folder / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    found = {}
    names = sorted(path.name for path in CASES.glob("*") if path.is_file())
    for name in names:
        for command in COMMANDS:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            arguments: list[object] = [command, CASES / name]
            if command == "apply":
                arguments += ["-o", out / "out.keras"]
            watch = Watch(log, [CASES / name, out, temporary])
            outcome = run(arguments, prepare=watch.install)
            found[f"{command} {name}"] = {
                "code": outcome.code,
                "stderr": outcome.stderr[-500:],
                "violations": violations(log),
            }
    return found


def _connect() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))


def _guarded(function: Callable[..., object], *args: object) -> None:
    with Worker() as worker:
        worker.call(function, *args, seconds=10)


def _import_module(name: str) -> object:
    return importlib.import_module(name)  # as the hook replaced it


def _import_by_name(name: str) -> object:
    return __import__(name)


PROBES: dict[str, tuple[str, str, Callable[[], object]]] = {
    "import_module": ("import", "process", functools.partial(_import_module, "os")),
    "__import__": ("import", "process", lambda: _import_by_name("subprocess")),
    "import of a new module": ("import", "process", lambda: _import_by_name("colorsys")),
    "import in the child": ("import", "guarded process", lambda: _guarded(_import_by_name, "os")),
    "open": ("open", "process", Path("/etc/hostname").read_text),
    "open of the bait": ("open", "process", (CASES / "_bait/secret.txt").read_text),
    "open to write": ("open", "process", lambda: Path(os.__file__).open("a").close()),
    "os.open": ("open", "process", lambda: os.open("/etc/hostname", os.O_RDONLY)),
    "open in the child": ("open", "guarded process", lambda: _guarded(open, "/etc/hostname")),
    "remove": ("os.remove", "process", lambda: os.remove("/nowhere/at/all")),
    "rename": ("os.rename", "process", lambda: os.rename("/nowhere/a", "/nowhere/b")),
    "listdir": ("os.listdir", "process", lambda: os.listdir("/etc")),
    "connect": ("socket.connect", "process", _connect),
    "connect in the child": (
        "socket.connect",
        "guarded process",
        functools.partial(_guarded, _connect),
    ),
    "getaddrinfo": ("socket.getaddrinfo", "process", lambda: socket.getaddrinfo("127.0.0.1", 9)),
    "subprocess": ("subprocess.Popen", "process", lambda: subprocess.run(["true"], check=False)),
    "system": ("os.system", "process", lambda: os.system("true")),
    "system in the child": ("os.system", "guarded process", lambda: _guarded(os.system, "true")),
    "exec": ("os.exec", "process", lambda: os.execv("/nowhere/at/all", ["all"])),
    "posix_spawn": ("os.posix_spawn", "process", lambda: os.posix_spawn("/nowhere", ["a"], {})),
    "eval": ("compile", "process", lambda: eval("1 + 1")),
    "eval in the child": ("compile", "guarded process", lambda: _guarded(eval, "1 + 1")),
    "exec of text": ("exec", "process", lambda: exec("a = 1")),
    "pickle": ("pickle.find_class", "process", lambda: pickle.loads(b"cos\nsystem\n.")),
    "dlopen": ("ctypes.dlopen", "process", lambda: load_library("libm.so.6")),
}


def load_library(name: str) -> object:
    """Loads a shared library."""
    import ctypes

    return ctypes.CDLL(name)


def probes(folder: Path) -> dict[str, Any]:
    """Does each forbidden thing once, under the hook."""
    log = folder / "log"
    found: dict[str, Any] = {}
    for name, (event, where, action) in PROBES.items():
        watch = Watch(log, [folder / "out"])

        def prepare(watch: Watch = watch, action: Callable[[], object] = action) -> None:
            watch.install()
            with contextlib.suppress(Exception):  # that it was tried is what counts
                action()
            os._exit(0)

        run([], prepare=prepare)
        found[name] = {"event": event, "where": where, "violations": violations(log)}
    return found


if __name__ == "__main__":
    kind, place = sys.argv[1:]
    json.dump({"cases": cases, "probes": probes}[kind](Path(place)), sys.stdout)
