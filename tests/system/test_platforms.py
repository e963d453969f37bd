"""Files on systems that lack what POSIX or Linux has, simulated on Linux."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platforms
import pytest
from places import CASES, MODELS, ROOT, SUPPORT

import snconvert as package

Python = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = """
import contextlib
import sys
from snconvert.__main__ import main
for line in sys.argv.pop(1).splitlines():
    sys.argv[1:] = line.split()
    try:
        main()
    except SystemExit as end:
        if end.code:
            print("exit", end.code, file=sys.stderr)
"""
"""Runs one command line after the other."""


def started(platform: str, folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts an interpreter of another system in a folder."""
    site = folder.parent / "site"
    site.mkdir(exist_ok=True)
    platforms.install(site)
    paths = os.pathsep.join(map(str, (site, ROOT, SUPPORT)))
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "PLATFORM": platform},
    )


def run(platform: str, folder: Path, code: str, *arguments: str) -> tuple[str, str]:
    """Runs code on another system, and returns what it has printed."""
    with started(platform, folder, code, *arguments) as process:
        return process.communicate(timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    shutil.copy(MODELS / "a02_seq_adam.keras", place / "a.keras")
    shutil.copy(CASES / "ok_deflated.keras", place / "deflated.keras")
    shutil.copytree(MODELS / "a16_dir_h5dir", place / "unzipped")
    return place


def contents(place: Path) -> dict[str, bytes]:
    files = (path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


VERBS = """
apply a.keras -q --verify
apply deflated.keras -q
apply unzipped -q --verify
verify a.keras a-sn.keras -q
bake a-sn.keras -q
remove a-sn.keras -q
inspect a-sn.keras -q
apply a.keras -q --force
apply a.keras -q --in-place
apply unzipped -q --in-place
"""


def test_windows_gives_the_same_bytes(folder: Path) -> None:
    """All verbs on archives and folders, new, replaced and in place, give what they give here; no
    file is renamed, replaced or removed while it is open."""
    assert run("windows", folder, COMMANDS, VERBS.strip()) == ("", "")
    there = contents(folder)
    for name in ("a-sn", "a-sn-baked", "a-sn-plain", "deflated-sn"):
        (folder / f"{name}.keras").unlink()
    shutil.rmtree(folder / "unzipped-sn")
    shutil.copy(MODELS / "a02_seq_adam.keras", folder / "a.keras")
    shutil.copytree(MODELS / "a16_dir_h5dir", folder / "unzipped", dirs_exist_ok=True)
    for name in ("a.keras", "deflated.keras", "unzipped"):
        package.apply_file(folder / name)
    package.bake_file(folder / "a-sn.keras")
    package.remove_file(folder / "a-sn.keras")
    for name in ("a.keras", "unzipped"):
        package.apply_file(folder / name, in_place=True)
    assert contents(folder) == there


def test_macos_gives_the_same_bytes(folder: Path) -> None:
    """Nothing is forked, and what is written is the same."""
    assert run("macos", folder, COMMANDS, "apply a.keras -q --verify") == ("", "")
    package.apply_file(folder / "a.keras", folder / "here.keras")
    assert (folder / "a-sn.keras").read_bytes() == (folder / "here.keras").read_bytes()


def test_windows_works_on_several_models_at_once(folder: Path) -> None:
    """Each is worked on by an interpreter of its own."""
    shutil.copy(folder / "a.keras", folder / "b.keras")
    assert run("windows", folder, COMMANDS, "apply a.keras b.keras --jobs 2 -q") == ("", "")
    assert (folder / "a-sn.keras").read_bytes() == (folder / "b-sn.keras").read_bytes()


def test_windows_refuses_in_one_line(folder: Path) -> None:
    """Damaged containers and damaged HDF5 end in one line each, and nothing is written."""
    damaged = bytearray((folder / "a.keras").read_bytes())
    damaged[damaged.index(b"\x89HDF") + 100 : damaged.index(b"\x89HDF") + 400] = bytes(300)
    (folder / "damaged.keras").write_bytes(damaged)
    (folder / "cut.keras").write_bytes(damaged[:9000])
    before = contents(folder)
    commands = "apply damaged.keras\napply cut.keras\napply a.keras -o missing/out.keras\n"
    out, err = run("windows", folder, COMMANDS, commands + "apply https://a.org/b.keras")
    lines = err.splitlines()
    assert out == ""
    assert lines[1::2] == ["exit 1"] * 4, err
    for line, word in zip(lines[::2], ("HDF5", "truncated", "missing", "URL"), strict=True):
        assert line.startswith("error: ")
        assert word in line
    del before["a.keras"]
    found = contents(folder)
    assert {name: found[name] for name in before} == before


HANGING = """
import hdf5_faults
from snconvert.errors import SourceError
from snconvert.sandbox.worker import Worker
with Worker() as worker:
    try:
        worker.call(hdf5_faults.hang, None, seconds=0.1)
    except SourceError as error:
        print(error)
    print(worker.call(abs, -1, seconds=1.0))
"""


@pytest.mark.parametrize("platform", ["windows", "macos"])
def test_what_hangs_is_ended(platform: str, folder: Path) -> None:
    """Where no timer can be set, the parent looks at the clock."""
    out, err = run(platform, folder, HANGING)
    error, answer = out.splitlines()
    assert "did not finish on this file" in error
    assert (answer, err) == ("1", "")


ORPHAN = """
import hdf5_faults
from snconvert.sandbox.worker import Worker
with Worker() as worker:
    print(worker._pid, flush=True)
    worker.call(hdf5_faults.hang, None, seconds=0.2)
"""


@pytest.mark.slow  # the clock gives five seconds at least
def test_what_hangs_without_a_parent_ends_by_itself(folder: Path) -> None:
    """A guarded process outlives a parent that was killed, but not its own limit."""
    with started("windows", folder, ORPHAN) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.kill()
    assert not gone(child, 1)
    assert gone(child, 15)


INTERRUPTED = """
import sys
import hdf5_faults
from snconvert.__main__ import main
from snconvert.sandbox.worker import Worker
call = Worker.call
def hang(worker, *_, **__):
    print(worker._pid, flush=True)
    call(worker, hdf5_faults.hang, None)
Worker.call = hang
sys.argv[1:] = ["apply", "a.keras"]
main()
"""


INTERRUPT = "error: interrupted. Outputs that are there are complete, the others are not there.\n"


def test_ctrl_c_ends_windows_at_once(folder: Path) -> None:
    """It ends the guarded process as well, and leaves nothing behind."""
    before = contents(folder)
    with started("windows", folder, INTERRUPTED) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, "", INTERRUPT)
    assert gone(child, 2)
    assert contents(folder) == before


def gone(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


STALE = """
import os
from snconvert.archive.atomic import new_file, remove_stale
folder = os.getcwd()
out = os.path.join(folder, "out.keras")
dead = os.path.join(folder, ".out.keras.snconvert-4194304000-ff.tmp")
open(dead, "w").close()
os.mkdir(dead.replace("-ff", "-fe"))
with new_file(out, force=False) as descriptor:
    print(os.path.exists(dead), os.path.exists(dead.replace("-ff", "-fe")))
    os.mkdir(descriptor.path + "x.tmp")
    remove_stale(out)
    print(os.path.exists(descriptor.path), os.path.exists(descriptor.path + "x.tmp"))
    os.rmdir(descriptor.path + "x.tmp")
"""


def test_windows_tells_what_is_left_over_by_the_process(folder: Path) -> None:
    """What a process has left that is gone is removed, what a living one writes is not."""
    assert run("windows", folder, STALE) == ("False False\nTrue True\n", "")
    assert (folder / "out.keras").exists()


REPLACED = """
import os
from snconvert.errors import SourceError
from snconvert.formats.table import open_model
from snconvert.sandbox.worker import Worker
from snconvert.weights.reading import scan
with Worker() as worker, open_model("a.keras") as source:
    replace(os.path.abspath("deflated.keras"), os.path.abspath("a.keras"))
    try:
        worker.call(scan, source.weights)
    except SourceError as error:
        print(error)
    print(worker.call(abs, -1))
"""


def test_windows_reads_no_other_file_at_the_same_path(folder: Path) -> None:
    """The guarded process opens the path again, and makes sure that it is the same file."""
    code = "import posix\nreplace = posix.rename\n" + REPLACED
    error, answer = run("windows", folder, code)[0].splitlines()
    assert error.startswith("the file was replaced or removed while it was read")
    assert answer == "1"


EVERYTHING = """
import importlib, pkgutil, sys
import snconvert
from snconvert.archive import *
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for _, inner, _ in pkgutil.walk_packages(getattr(module, "__path__", ()), name + "."):
        importlib.import_module(inner)
print("imported")
"""


def test_every_module_of_the_file_carrier_is_imported_on_windows(folder: Path) -> None:
    """None imports what only POSIX has."""
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (names,) = (c["source_modules"] for c in contracts["contracts"] if c["type"] == "forbidden")
    done = run("windows", folder, EVERYTHING, *names, "snconvert.cli", "snconvert.api")
    assert done == ("imported\n", "")


LACKS: dict[str, Any] = {
    "import fcntl": "ModuleNotFoundError",
    "import resource": "ModuleNotFoundError",
    "import os; os.fork()": "AttributeError",
    "import os; os.open('.', os.O_RDONLY)": "PermissionError",
    "import os; file = open('a.keras'); os.rename('a.keras', 'b.keras')": "PermissionError",
    "import os, mmap\nwith open('a.keras', 'rb') as file: "
    "m = mmap.mmap(file.fileno(), 9, access=1)\nos.unlink('a.keras')": "PermissionError",
}


@pytest.mark.parametrize("code", LACKS)
def test_the_simulation_takes_away(code: str, folder: Path) -> None:
    """The tests above can fail: what Windows lacks is not there."""
    assert run("windows", folder, code)[1].splitlines()[-1].startswith(LACKS[code])
