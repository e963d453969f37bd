import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

from snconvert.archive import atomic
from snconvert.archive.atomic import new_file, new_folder, remove_stale
from snconvert.core import system
from snconvert.errors import OutputError


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out put\n.keras")


def write(out, text="new", force=False):
    with new_file(out, force) as descriptor:
        os.write(descriptor, text.encode())


def write_folder(out, text="new", force=False):
    with new_folder(out, force) as folder:
        Path(folder, "f").write_text(text)


def names(out):
    return os.listdir(os.path.dirname(out))


WRITERS = pytest.mark.parametrize("writer", [write, write_folder])


def content(out):
    path = Path(out)
    return (path / "f" if path.is_dir() else path).read_text()


@WRITERS
def test_the_output_appears_whole(out, writer):
    """After the block there is the output and nothing else."""
    writer(out)
    assert content(out) == "new"
    assert names(out) == [os.path.basename(out)]


@WRITERS
def test_an_existing_output_is_kept_without_force(out, writer):
    """The last check is at the rename itself: who comes second does not win."""
    writer(out, "old")
    with pytest.raises(OutputError, match="exists already"):
        writer(out)
    assert content(out) == "old"
    assert names(out) == [os.path.basename(out)]
    writer(out, force=True)
    assert content(out) == "new"
    assert names(out) == [os.path.basename(out)]


@WRITERS
@pytest.mark.parametrize("force", [False, True])
def test_renaming_works_without_renameat2(out, writer, force, monkeypatch):
    """Where the system has no rename with flags, the slower ways give the same."""
    monkeypatch.setattr(atomic, "_renameat2", lambda *_: False)
    writer(out, "old")
    if force:
        writer(out, force=True)
    else:
        with pytest.raises(OutputError, match="exists already"):
            writer(out)
    assert content(out) == ("new" if force else "old")
    assert names(out) == [os.path.basename(out)]


def test_publishing_works_without_hard_links(out, monkeypatch):
    """A file system that knows neither flags nor hard links still gets the file."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(atomic, "_renameat2", lambda *_: False)
    monkeypatch.setattr(atomic.os, "link", refuse)
    write(out, "old")
    with pytest.raises(OutputError, match="exists already"):
        write(out)
    assert content(out) == "old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
@pytest.mark.parametrize("opener", [new_file, new_folder])
@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_left_after_an_exception(out, error, opener, force):
    """Whatever ends the block, the temporary output goes and the old one stays."""
    if force:
        (write if opener is new_file else write_folder)(out, "old")
    with pytest.raises(error), opener(out, force) as handle:  # noqa: PT012 - the block is what fails
        assert len(names(out)) == 1 + force
        if opener is new_folder:
            Path(handle, "f").write_text("half")
        raise error
    assert len(names(out)) == force
    if force:
        assert content(out) == "old"


@pytest.mark.parametrize(("number", "word"), [(28, "No space left"), (5, "Input/output error")])
def test_a_failing_disk_is_one_error(out, monkeypatch, number, word):
    """The system's reason is in the message, and nothing is left behind."""

    def fail(_):
        raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=word) as caught, new_file(out, force=False):
        monkeypatch.setattr(atomic.os, "fsync", fail)
    assert caught.value.file == out
    assert names(out) == []


def test_a_missing_folder_is_one_error(tmp_path):
    """A folder that went away meanwhile is an OutputError, too."""
    with pytest.raises(OutputError, match="No such file"):
        write(str(tmp_path / "none" / "x"))


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_the_usual_ones_or_kept(out, umask):
    """A new file follows the umask; a replaced one keeps its mode."""
    before = os.umask(umask)
    try:
        write(out)
        assert stat.S_IMODE(os.stat(out).st_mode) == 0o666 & ~umask
        os.chmod(out, 0o604)
        write(out, force=True)
        assert stat.S_IMODE(os.stat(out).st_mode) == 0o604
    finally:
        os.umask(before)


def test_long_names_fit(tmp_path):
    """A name of the greatest length can be written, though the temporary one is longer."""
    out = str(tmp_path / ("ä" * 127))
    write(out)
    assert content(out) == "new"


SCRIPT = """
import os, sys, time
from pathlib import Path
from snconvert.archive.atomic import new_file, new_folder
opener = new_file if sys.argv[1] == "write" else new_folder
with opener(sys.argv[2], False) as handle:
    if opener is new_folder:
        Path(handle, "f").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@WRITERS
def test_what_a_killed_process_left_is_removed_by_the_next(out, writer):
    """A living writer's temporary output is left alone, a killed one's goes."""
    root = str(ROOT)
    command = [sys.executable, "-c", SCRIPT, writer.__name__, out]
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        process.stdout.readline()
        (theirs,) = names(out)
        remove_stale(out)
        assert names(out) == [theirs]
        process.kill()
    assert names(out) == [theirs]
    writer(out)
    assert names(out) == [os.path.basename(out)]


def test_other_files_are_not_taken_for_stale(out):
    """Only temporary names of this very output are looked at."""
    folder = Path(out).parent
    kept = ["a.tmp", ".other.keras.snconvert-1-ff.tmp", f".{Path(out).name}.snconvert-1-ff.old"]
    for name in kept:
        (folder / name).write_text("")
    stale = folder / f".{Path(out).name}.snconvert-1-ff.tmp"
    stale.write_text("")
    remove_stale(out)
    assert sorted(names(out)) == sorted(kept)


def test_a_link_in_the_place_of_a_stale_file_is_not_followed(out, tmp_path):
    """Removing what is stale never reaches through a link."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "f").write_text("kept")
    Path(tmp_path / f".{Path(out).name}.snconvert-1-ff.tmp").symlink_to(victim)
    remove_stale(out)
    assert (victim / "f").read_text() == "kept"


def test_without_locks_the_process_number_decides(out, monkeypatch):
    """On a file system without locks, what belongs to a running process stays."""

    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(system.fcntl, "flock", unsupported)
    folder = Path(out).parent
    living = folder / f".{Path(out).name}.snconvert-{os.getpid()}-ff.tmp"
    with subprocess.Popen(["true"]) as process:
        process.wait()
    dead = folder / f".{Path(out).name}.snconvert-{process.pid}-ff.tmp"
    for path in (living, dead):
        path.write_text("")
    remove_stale(out)
    assert names(out) == [living.name]
    write(out)


def test_a_held_lock_is_seen(out):
    """Two openings of one file do not both get its lock, even within one process."""
    write(out)
    first, second = os.open(out, os.O_RDWR), os.open(out, os.O_RDWR)
    assert system.lock(first)
    assert not system.lock(second)
    os.close(first)
    assert system.lock(second)
    os.close(second)


def test_a_neighbour_that_takes_the_new_file_for_stale_does_no_harm(out, monkeypatch):
    """A temporary file that was removed before it was locked is made anew."""
    calls = []

    def late(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            os.unlink(os.path.join(os.path.dirname(out), names(out)[0]))
        return len(calls) != 2 and system.lock(descriptor)

    monkeypatch.setattr(atomic, "lock", late)
    write(out)
    assert len(calls) == 3
    assert names(out) == [os.path.basename(out)]


def test_a_reader_never_sees_half_a_file(out):
    """While a file is replaced over and over, every look finds one whole version."""
    write(out, "a" * 5000)
    end = time.monotonic() + 0.5
    pid = os.fork()
    if pid == 0:
        while time.monotonic() < end:
            for letter in "ab":
                write(out, letter * 5000, force=True)
        os._exit(0)
    while time.monotonic() < end:
        assert content(out) in ("a" * 5000, "b" * 5000)
    os.waitpid(pid, 0)
