"""The system fails, or somebody interferes, in the middle of a conversion."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import handmade
import pytest
from limited import run_all
from places import CASES, SUPPORT

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SCENARIOS = (
    "archive-new",
    "archive-force",
    "archive-inplace",
    "deflated-new",
    "folder-new",
    "folder-force",
)
QUICK = {"kill": "archive-inplace", "EIO": "folder-force"}
"""The scenario that a fault is tried with every time."""

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount and change users")


def one_line(text: str) -> str:
    """Returns the only line of stderr, an error that says what to do."""
    (line,) = text.splitlines()
    assert re.match(r"error: [^.].*\. .*\.$", line), line
    return line


def inject(name: str, mode: str, root: Path) -> dict[str, Any]:
    """Runs a scenario with a fault of `mode` at each call."""
    command = [sys.executable, str(SUPPORT / "faults.py"), name, mode, str(root / "faults")]
    (outcome,) = run_all([{"command": command, "seconds": 240}])
    assert outcome["code"] == 0, outcome
    found: dict[str, Any] = json.loads(outcome["stdout"])
    return found


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        pytest.param(mode, name, marks=[] if name == QUICK[mode] else pytest.mark.slow)
        for mode in QUICK
        for name in SCENARIOS
    ],
)
def test_a_fault_at_any_call_loses_nothing(mode: str, name: str, tmp_path: Path) -> None:
    """Whichever open, write, fsync, rename, unlink or close it is at which the process is killed
    or the disk fails: the input is untouched, the output is the old or the complete new one, what
    is left behind is one temp file at most, after a kill, and the next run removes it."""
    found = inject(name, mode, tmp_path)
    old, new = found["before"], found["after"]
    assert (found["code"], found["stderr"]) == (0, "")
    calls = found["calls"]
    assert {"write", "fsync", "close"} <= set(calls)
    assert {"renameat2", "replace"} & set(calls)
    assert sorted(run["at"] for run in found["runs"]) == list(range(len(calls)))
    outputs = []
    for run in found["runs"]:
        there, where = run["there"], (run["at"], run["call"])
        outputs.append(there["output"])
        assert not run["timeout"], where
        assert there["output"] in (old["output"], new["output"]), where
        assert there["input"] == old["input"] or "inplace" in name, where
        tops = {"/".join(other.split("/")[:2]) for other in there["others"]}
        assert len(tops) <= 1, where
        if mode == "kill":
            assert run["code"] == -signal.SIGKILL, where
        else:
            assert run["code"] in (0, 1), where
            # What cannot be removed stays; everything else does not.
            assert not tops or run["call"] in ("open", "unlink", "rmdir", "close"), where
            assert not tops or there["output"] == new["output"], where
            if run["code"]:
                line = one_line(run["stderr"])
                assert name.startswith("archive") or "model.keras" in line or "out.keras" in line
                complete = there["output"] == new["output"]
                assert ("the output is complete" in line) == complete, where
            else:
                assert run["stderr"] == "", where
                assert there["output"] == new["output"], where
        if tops:
            again = run["again"]
            assert again["there"]["others"] == [], where
            assert again["there"]["output"] == new["output"], where
            if again["code"]:  # it was finished before the kill
                assert there["output"] == new["output"], where
    assert set(outputs) == {old["output"], new["output"]}


def test_the_outputs_of_the_scenarios_are_whole(tmp_path: Path) -> None:
    """What counts as the complete new output there has the right CRCs."""
    source = CASES / "ok_assets.keras"
    command = [sys.executable, "-m", "snconvert", "apply", str(source)]
    subprocess.run([*command, "-qo", str(tmp_path / "out.keras")], check=True)
    with zipfile.ZipFile(tmp_path / "out.keras") as archive:
        assert archive.testzip() is None
        assert "config.json" in archive.namelist()


MEDDLING = ("vanish", "cut", "empty", "grow", "replace", "rewrite")
TRIED = {"apply": MEDDLING, "inspect": ("cut", "rewrite")}
"""The ways to change the input that are tried every time."""


@pytest.fixture(scope="module")
def meddled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Any]:
    """Runs the driver with each way to change the input that a test is run for."""
    parameters = [
        item.callspec.params for item in request.session.items if "meddled" in item.fixturenames
    ]
    keys = [(each["command"], each["how"]) for each in parameters]
    script, folder = str(SUPPORT / "meddling.py"), str(tmp_path_factory.mktemp("meddled"))
    tries = [f"{command}-{how}" for command, how in keys]
    (outcome,) = run_all([{"command": [sys.executable, script, folder, *tries], "seconds": 240}])
    assert outcome["code"] == 0, outcome
    return dict(zip(keys, json.loads(outcome["stdout"]), strict=True))


@pytest.mark.parametrize(
    ("command", "how"),
    [
        pytest.param(command, how, marks=[] if how in TRIED[command] else pytest.mark.slow)
        for command in TRIED
        for how in MEDDLING
    ],
)
def test_an_input_that_changes_is_noticed(
    command: str, how: str, meddled: dict[tuple[str, str], Any]
) -> None:
    """At whichever read the input vanishes, is cut, grows, is replaced or rewritten: one line and
    nothing written, or the change came too late to matter."""
    found = meddled[command, how]
    assert (found["plain"]["code"], found["plain"]["stderr"]) == (0, "")
    for where, run in found["runs"].items():
        assert not run["timeout"], where
        if run["code"] == 0:
            assert how == "rewrite", where  # every other change shows in the file's status
            assert run["stderr"] == "", where
            assert run["output"] == found["plain"]["output"], where
            assert run["left"] == found["plain"]["left"], where
            continue
        assert run["code"] == 1, where
        assert run["left"] == [], where
        line = one_line(run["stderr"])
        assert "model.keras: " in line, where
        assert re.search("changed|cut|damaged|ends at|truncated", line), line
        assert "crash" not in line, where
    refused = [run["code"] for run in found["runs"].values()]
    assert refused.count(1) >= len(refused) - 3
    if how == "empty":
        assert "SIGBUS" in found["runs"]["measure"]["stderr"]


def test_an_input_that_is_not_there(snconvert: Run, tmp_path: Path) -> None:
    """A missing input is named, and nothing is written."""
    result = snconvert("apply", tmp_path / "none.keras")
    assert result.returncode == 1
    assert "none.keras: there is no such file" in one_line(result.stderr)
    assert os.listdir(tmp_path) == []


TRIES = 6
START = "from snconvert.__main__ import main; print('up', flush=True); main()"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """A model whose conversion takes longer than the start, its conversion, and the time of it."""
    folder = tmp_path_factory.mktemp("large")
    source, output = folder / "model.keras", folder / "out.keras"
    handmade.chain(source, 400, 32)
    started = time.monotonic()
    command = [sys.executable, "-c", START, "apply", str(source), "-qo", str(output)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return source, output, time.monotonic() - started


def is_gone(group: int) -> bool:
    """Whether no process of a group is left; a busy machine takes a moment to collect the dead."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.turns
@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_leaves_nothing(
    number: signal.Signals, force: bool, large: tuple[Path, Path, float], tmp_path: Path
) -> None:
    """Ctrl-C or `kill` at random times: one line, the usual exit code, the old or the complete new
    output, no temp file, and no process that works on."""
    source, right, duration = large
    before = source.read_bytes()
    output = tmp_path / "out.keras"
    rng = random.Random(number * 2 + force)
    codes = []
    for part in range(TRIES):
        output.write_bytes(b"old") if force else output.unlink(missing_ok=True)
        command = [sys.executable, "-c", START, "apply", source, "-qo", output]
        with subprocess.Popen(
            [*command, *["--force"] * force],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep((part + rng.random()) / TRIES * duration)
            process.send_signal(number)
            out, err = (text.decode() for text in process.communicate(timeout=30))
        codes.append(process.returncode)
        assert out == ""
        old = b"old" if force else None
        there = output.read_bytes() if output.exists() else None
        if process.returncode == 0:
            assert err == ""
            assert there == right.read_bytes()
        elif process.returncode == -signal.SIGTERM and not err:
            assert there == old  # it came before any of our code ran
        else:
            assert process.returncode == 128 + number, err
            assert re.fullmatch(r"error: interrupted\. .*\.", one_line(err))
            assert there in (old, right.read_bytes())
        assert os.listdir(tmp_path) == ["out.keras"] * (there is not None)
        assert is_gone(process.pid)
    assert source.read_bytes() == before
    assert 128 + number in codes


def test_a_signal_ends_all_jobs(large: tuple[Path, Path, float], tmp_path: Path) -> None:
    """`--jobs` as well: the parent's end is the end of its workers, and they clean up."""
    source, _, duration = large
    names = [f"model{index}.keras" for index in range(6)]
    for name in names:
        shutil.copyfile(source, tmp_path / name)
    seen = []
    for share in (0.3, 0.6, 0.9, 1.2, 1.5):
        for path in tmp_path.glob("*-sn.keras"):
            path.unlink()
        command = [sys.executable, "-c", START, "apply", *names, "-q", "--jobs", "3"]
        with subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(share * duration)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        seen.append(process.returncode)
        assert process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        if process.returncode > 0:
            assert "interrupted" in one_line(err)
        assert is_gone(process.pid)
        done = [path.name for path in tmp_path.glob("*-sn.keras")]
        assert sorted(os.listdir(tmp_path)) == sorted(names + done)
        for name in done:
            with zipfile.ZipFile(tmp_path / name) as archive:
                assert archive.testzip() is None
    assert 128 + signal.SIGTERM in seen


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts file systems below the temporary folder, and unmounts them."""
    mounts: list[Path] = []

    def mount(name: str, *options: str) -> Path:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *options, str(place)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no mounts here: {done.stderr.decode()}")
        mounts.append(place)
        return place

    yield mount
    for place in reversed(mounts):
        subprocess.run(["umount", str(place)], check=True)


@ROOT
@pytest.mark.parametrize("kilobytes", [4, 64, 200])
def test_a_full_disk(
    kilobytes: int,
    snconvert: Run,
    mounted: Callable[..., Path],
    large: tuple[Path, Path, float],
) -> None:
    """Wherever in the output the disk is full: one line that says so, and nothing is left."""
    source = large[0]
    disk = mounted("disk", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none")
    result = snconvert("apply", source, "-o", disk / "out.keras")
    assert result.returncode == 1
    line = one_line(result.stderr)
    assert "out.keras: the output cannot be written (No space left on device)" in line
    assert "Free some room" in line
    assert os.listdir(disk) == []


def test_a_limit_on_the_size_of_files(large: tuple[Path, Path, float], tmp_path: Path) -> None:
    """`ulimit -f` does not kill the process but makes one line."""
    source = large[0]
    (tmp_path / "out").mkdir()
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)
    command = [sys.executable, "-m", "snconvert", "apply", source, "-o", tmp_path / "out" / "o"]
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *map(str, command)]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert os.strerror(errno.EFBIG) in one_line(result.stderr)
    assert os.listdir(tmp_path / "out") == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == soft


@ROOT
def test_a_read_only_disk(
    snconvert: Run, mounted: Callable[..., Path], models: Path, tmp_path: Path
) -> None:
    """A folder on a disk that is mounted read-only: one line, before any work."""
    disk = mounted("disk", "-t", "tmpfs", "none")
    shutil.copy(models / "a01_seq_plain.keras", disk / "model.keras")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for arguments in ([], ["--in-place"], ["-o", disk / "new.keras"]):
        result = snconvert("apply", disk / "model.keras", *arguments)
        assert result.returncode == 1
        assert "cannot be written" in one_line(result.stderr)
    assert os.listdir(disk) == ["model.keras"]
    assert snconvert("apply", disk / "model.keras", "-o", tmp_path / "o").returncode == 0


def test_a_folder_without_permission(models: Path, tmp_path: Path) -> None:
    """A folder in which nothing may be created: one line. One that may not be listed will do."""
    # what root may do beyond the permission bits
    bounded = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    for name, mode in (("closed", 0o555), ("blind", 0o333)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)

    def run(name: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "snconvert", "apply", models / "a01_seq_plain.keras"]
        result = subprocess.run(
            [*(bounded if os.geteuid() == 0 else []), *command, "-qo", tmp_path / name / "o.keras"],
            capture_output=True,
            text=True,
            check=False,
        )
        return result.returncode, result.stderr

    code, err = run("closed")
    assert code == 1
    assert "o.keras: the folder" in one_line(err)
    assert "Choose a folder that you may write to" in err
    assert run("blind") == (0, "")
    (tmp_path / "blind").chmod(0o755)
    assert os.listdir(tmp_path / "closed") == []
    assert os.listdir(tmp_path / "blind") == ["o.keras"]


STREAMS = ["rules", "--help", "--version", "inspect MODEL", "inspect --json MODEL"]


@pytest.mark.parametrize("arguments", STREAMS)
def test_a_full_disk_under_the_report(arguments: str, models: Path) -> None:
    """Where what is printed cannot be written there is one line on stderr."""
    model = str(models / "a01_seq_plain.keras")
    command = [sys.executable, "-m", "snconvert", *arguments.replace("MODEL", model).split()]
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    assert "No space left on device" in one_line(result.stderr)


def test_closed_streams(models: Path, tmp_path: Path) -> None:
    """Without stdin, stdout and stderr no file of ours takes their place."""
    model = models / "a01_seq_plain.keras"
    command = [sys.executable, "-m", "snconvert", "apply", model, "-o", tmp_path / "out.keras"]
    script = ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *map(str, command)]
    assert subprocess.run(script, check=False).returncode == 0
    again = subprocess.run([*script, "--force"], check=False)
    assert again.returncode == 0
    assert os.listdir(tmp_path) == ["out.keras"]
    assert subprocess.run([*script, "--bound", "2"], check=False).returncode == 1
