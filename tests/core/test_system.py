import os
import subprocess
import sys
import threading

import pytest

from snconvert.core import system


@pytest.fixture
def descriptor(tmp_path):
    (tmp_path / "f").write_bytes(bytes(range(200)))
    descriptor = os.open(tmp_path / "f", os.O_RDWR)
    os.lseek(descriptor, 7, os.SEEK_SET)
    yield descriptor
    os.close(descriptor)


def position(descriptor):
    return os.lseek(descriptor, 0, os.SEEK_CUR)


def test_reading_at_a_place_leaves_the_position(descriptor):
    """Without `pread` the same bytes come, fewer at the end, and the position stays."""
    buffer = bytearray(20)
    for offset in (0, 50, 190, 200, 300):
        assert system._pread(descriptor, 20, offset) == os.pread(descriptor, 20, offset)
        count = system._preadv(descriptor, [memoryview(buffer)], offset)
        assert buffer[:count] == os.pread(descriptor, 20, offset)
        assert position(descriptor) == 7


def test_writing_at_a_place_leaves_the_position(descriptor):
    """Without `pwrite` the bytes go where they should, and the position stays."""
    assert system._pwrite(descriptor, memoryview(b"abc"), 100) == 3
    assert os.pread(descriptor, 5, 99) == b"\x63abc\x67"
    assert position(descriptor) == 7


def test_a_place_that_cannot_be_leaves_the_position(descriptor):
    """An error is the caller's, and the next one finds the file as it was."""
    with pytest.raises(OSError, match="Invalid argument"):
        system._pread(descriptor, 1, -5)
    assert position(descriptor) == 7


def test_threads_read_what_they_ask_for(descriptor):
    """Descriptors that were duplicated share a position: one reads after the other."""
    wrong = []

    def read(place, own):
        wrong.extend({system._pread(own, 1, place)[0] for _ in range(300)} - {place})

    copies = [os.dup(descriptor) for _ in range(4)]
    threads = [threading.Thread(target=read, args=(10 * i, own)) for i, own in enumerate(copies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in copies:
        os.close(own)
    assert not wrong


def test_a_descriptor_is_a_number_with_a_path(tmp_path, monkeypatch):
    """The path holds wherever the process goes."""
    monkeypatch.chdir(tmp_path)
    descriptor = system.Descriptor(5, "f")
    monkeypatch.chdir("/")
    assert descriptor == 5
    assert descriptor.path == str(tmp_path / "f")


def test_flags_that_a_system_lacks_are_left_out(monkeypatch):
    """What is asked for is what there is."""
    assert system.flags("RDWR", "CREAT", "BINARY") == os.O_RDWR | os.O_CREAT
    monkeypatch.setattr(os, "O_BINARY", 1 << 30, raising=False)
    monkeypatch.delattr(os, "O_CREAT")
    assert system.flags("RDWR", "CREAT", "BINARY") == os.O_RDWR | 1 << 30


def test_a_flush_reaches_the_disk_on_macos(descriptor, monkeypatch):
    """There `F_FULLFSYNC` does what `fsync` does elsewhere; a file system may lack it."""
    done = []
    monkeypatch.setattr(os, "fsync", lambda _: done.append("fsync"))
    monkeypatch.setattr(system.fcntl, "F_FULLFSYNC", 51, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(system.fcntl, "fcntl", lambda *_: done.append("full"))
        system.flush(descriptor)
    system.flush(descriptor)  # Linux does not know it
    assert done == ["full", "fsync"]


def test_a_process_is_known_by_its_number():
    """Whether it runs; a number may be too large for any."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert system.is_running(os.getpid())
    assert not system.is_running(process.pid)


def test_no_file_is_opened_where_that_is_forbidden(tmp_path):
    """Afterwards it can be, as before."""
    with system.no_more_files(), pytest.raises(OSError, match="Too many open files"):
        os.open(tmp_path, os.O_RDONLY)
    os.close(os.open(tmp_path, os.O_RDONLY))
