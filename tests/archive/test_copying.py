import contextlib
import os
import shutil
import tempfile
import threading
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

from snconvert.archive import copying
from snconvert.archive.copying import Copying
from snconvert.core import system
from snconvert.errors import SnconvertError, SourceError
from snconvert.formats.table import open_model
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay, OverlayFile

MODEL = DATA / "models" / "a01_seq_plain.keras"
FOLDER = DATA / "models" / "a16_dir_h5dir"


def copy(source, overlay, progress=None, offset=24):
    """Returns what was written and its CRC-32."""
    with tempfile.TemporaryFile(buffering=0) as file:
        with contextlib.closing(
            Copying(source.weights, source.members[source.weights_name], file.fileno(), offset)
        ) as copying:
            crc = copying.finish(overlay, progress)
        assert os.pread(file.fileno(), offset, 0) == bytes(offset)
        return os.pread(file.fileno(), 1 << 24, offset), crc


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(copying, "_CHUNK", 1000)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_bytes_and_checksums_are_those_of_the_edited_weights(data):
    """Whatever is written over, cut off or appended: bytes and CRC are right."""
    with open_model(MODEL) as source:
        file = OverlayFile(source.weights, data.draw(st.sampled_from([64, 1000, 1024, 5000])))
        expected = bytearray(source.weights.view(source.weights.size, 0))
        for _ in range(data.draw(st.integers(0, 4))):
            if data.draw(st.integers(0, 5)) == 0:
                size = data.draw(st.integers(0, len(expected) + 3000))
                file.truncate(size)
                expected = expected[:size].ljust(size, b"\0")
            at = data.draw(st.integers(0, len(expected) + 2500))
            new = data.draw(st.binary(min_size=1, max_size=300))
            file.seek(at)
            file.write(new)
            expected.extend(bytes(max(0, at + len(new) - len(expected))))
            expected[at : at + len(new)] = new
        written, crc = copy(source, file.overlay())
    assert written == expected
    assert crc == zlib.crc32(expected)


def test_blocks_are_asked_for_once_and_in_order():
    """A mapping may compute its blocks: each is needed once, from the first to the last."""
    asked = []

    class Lazy(dict):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    with open_model(MODEL) as source:
        size = source.weights.size + 1500
        count = -(-size // 512)
        blocks = Lazy({i: b"x" * min(512, size - 512 * i) for i in reversed(range(count))})
        written, crc = copy(source, Overlay(blocks, size, 512))
    assert asked == list(range(count))
    assert written == b"x" * size
    assert crc == zlib.crc32(written)


def test_what_is_told_adds_up_to_the_weights(tmp_path):
    """Progress counts the old weights, unpacked where the input is compressed."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(MODEL) as plain, zipfile.ZipFile(path, "w", 8) as packed:
        weights = plain.read("model.weights.h5")
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    for model in (path, MODEL, FOLDER):
        with open_model(model) as source:
            seen = []
            written, crc = copy(source, Overlay.empty(source.weights), seen.append)
            assert sum(seen) == source.weights.size == len(written)
        assert crc == zlib.crc32(written)
        assert model == FOLDER or written == weights


def test_damaged_weights_are_noticed():
    """A flipped bit in the stored weights is an error that names the member."""
    path = DATA / "corpus" / "cases" / "zip_flip_weights.keras"
    with open_model(path) as source, pytest.raises(SourceError, match=r"model\.weights\.h5.*CRC"):
        copy(source, Overlay.empty(source.weights))


def test_an_input_that_shrinks_is_an_error(tmp_path):
    """A file cut while it is copied is an error, no crash and no endless loop."""
    path = shutil.copy(MODEL, tmp_path / "m.keras")
    with open_model(path) as source:
        os.truncate(path, 5000)
        with pytest.raises(SourceError, match="ends at byte 5000"):
            copy(source, Overlay.empty(source.weights))


def test_the_copy_is_on_the_disk_before_anybody_waits_for_it(monkeypatch):
    """While `u` is searched the weights are copied and flushed; if one waits, they need not be."""
    flushed, held = threading.Event(), threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: flushed.set())
    with open_model(MODEL) as source, tempfile.TemporaryFile(buffering=0) as file:
        with contextlib.closing(
            Copying(source.weights, source.members[source.weights_name], file.fileno(), 0)
        ) as early:
            assert flushed.wait(10)
            assert os.pread(file.fileno(), 1 << 24, 0) == bytes(
                source.weights.view(source.weights.size, 0)
            )
            early.finish(Overlay.empty(source.weights))
        flushed.clear()
        read = Extent.pread_into

        def slow(extent, buffer, at):
            assert held.wait(10)
            read(extent, buffer, at)

        monkeypatch.setattr(Extent, "pread_into", slow)
        with contextlib.closing(
            Copying(source.weights, source.members[source.weights_name], file.fileno(), 0)
        ) as late:
            threading.Timer(0.2, held.set).start()
            late.finish(Overlay.empty(source.weights))
        assert not flushed.is_set()


def test_a_copy_that_nobody_wants_ends(monkeypatch):
    """Where the search for `u` fails, the copy of a large model does not go on."""
    monkeypatch.setattr(copying, "_CHUNK", 1)
    with open_model(MODEL) as source, tempfile.TemporaryFile(buffering=0) as file:
        before = threading.active_count()
        Copying(source.weights, source.members[source.weights_name], file.fileno(), 0).close()
        assert threading.active_count() == before
        assert os.fstat(file.fileno()).st_size < source.weights.size


def test_an_error_of_the_copy_comes_when_it_is_waited_for(monkeypatch):
    """A disk that is full meanwhile is an OSError at the end, not a lost one."""

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(system, "pwrite", full)
    with open_model(MODEL) as source, pytest.raises(OSError, match="No space"):
        copy(source, Overlay.empty(source.weights))


def test_a_copy_that_an_interrupt_left_behind_writes_to_its_own_file_only(monkeypatch):
    """Ctrl-C while the thread starts: what gets the numbers of the closed files stays as it is."""
    go = threading.Event()
    read = Extent.pread_into

    def slow(extent, buffer, at):
        assert go.wait(10)
        read(extent, buffer, at)

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    start = threading.Thread.start
    with open_model(MODEL) as source, tempfile.TemporaryFile(buffering=0) as file:
        monkeypatch.setattr(Extent, "pread_into", slow)
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Copying(source.weights, source.members[source.weights_name], file.fileno(), 0)
        monkeypatch.undo()
        numbers = [file.fileno(), source.weights.descriptor]
    others = [tempfile.TemporaryFile(buffering=0) for _ in range(8)]  # noqa: SIM115 - closed below
    assert {other.fileno() for other in others} >= set(numbers)
    go.set()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and "ThreadPool" in thread.name:
            thread.join(10)
    for other in others:
        assert os.fstat(other.fileno()).st_size == 0
        other.close()


def test_an_output_that_cannot_be_read_back_is_no_fault_of_the_input(monkeypatch):
    """The blocks that change are read from the output: an error there is an OSError."""
    monkeypatch.setattr(system, "pread", lambda *_: b"")
    with (
        open_model(MODEL) as source,
        tempfile.TemporaryFile(buffering=0) as file,
        contextlib.closing(
            Copying(source.weights, source.members[source.weights_name], file.fileno(), 0)
        ) as begun,
        pytest.raises(OSError, match="shorter"),
    ):
        begun.finish(Overlay({0: b"x" * 64}, source.weights.size, 64))


def test_a_system_without_threads_is_one_line_and_leaves_nothing_open(monkeypatch):
    """As under a limit of processes, which counts threads, too."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with open_model(MODEL) as source, tempfile.TemporaryFile() as output:
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(SnconvertError, match=r"starts no thread.*ulimit -u"):
            Copying(source.weights, source.members[source.weights_name], output.fileno(), 0)
        with pytest.raises(SnconvertError, match="starts no thread"):
            source.sha256()
        assert len(os.listdir("/proc/self/fd")) == before
