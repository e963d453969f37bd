import os
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snconvert.errors import SourceError
from snconvert.weights.extent import Changes, Extent
from snconvert.weights.overlay import OverlayFile


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(256)) * 64)
    descriptor = os.open(path, os.O_RDWR)
    yield path, descriptor
    os.close(descriptor)


@pytest.mark.parametrize(("offset", "size"), [(0, 16384), (1, 100), (4097, 5000), (16384, 0)])
def test_map_and_pread_give_the_same_bytes_as_the_file(file, offset, size):
    """A range is what a plain slice of the file is, wherever it begins."""
    path, descriptor = file
    extent = Extent(descriptor, offset, size)
    expected = path.read_bytes()[offset : offset + size]
    assert bytes(extent.view(extent.size, 0)) == expected
    assert extent.pread(size + 10, 0) == expected
    assert extent.pread(7, 5) == expected[5:12]
    assert extent.pread(7, size + 5) == b""


def test_map_is_read_only(file):
    """Nobody can change the input through a map of it."""
    view = Extent(file[1], 3, 8).view(8, 0)
    assert view.readonly
    assert not np.frombuffer(view, np.uint8).flags.writeable


def test_map_outlives_the_descriptor(file):
    """A map stays valid when the file is closed."""
    descriptor = os.dup(file[1])
    view = Extent(descriptor, 5, 4).view(4, 0)
    os.close(descriptor)
    assert bytes(view) == bytes([5, 6, 7, 8])


def test_a_file_that_shrank_is_an_error_and_no_crash(file):
    """Reading beyond the new end says that the file was cut."""
    extent = Extent(file[1], 0, 16384)
    os.ftruncate(file[1], 100)
    assert extent.pread(50, 0) == bytes(range(50))
    with pytest.raises(SourceError, match="ends at byte 100"):
        extent.pread(200, 0)
    with pytest.raises(SourceError, match="cannot be mapped"):
        extent.view(extent.size, 0)


def test_an_unreadable_file_is_one_clear_error(tmp_path):
    """An error of the system arrives as a SourceError with its text."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(SourceError, match="Is a directory"):
        Extent(descriptor, 0, 4).pread(4, 0)
    os.close(descriptor)


@given(data=st.data())
def test_what_lies_over_a_file_is_read_in_its_place(data):
    """Changed blocks, cut ends and added bytes read as in the file they stand for."""
    base = bytes(range(100, 200))
    extent = data.draw(st.sampled_from([8, 16, 100]))
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"lead" + base)
        overlay = OverlayFile(Extent(file.fileno(), 4, len(base)), extent)
        expected = bytearray(base)
        for _ in range(data.draw(st.integers(0, 4))):
            start = data.draw(st.integers(0, 120))
            piece = data.draw(st.binary(min_size=1, max_size=20))
            overlay.seek(start)
            overlay.write(piece)
            expected += bytes(max(0, start + len(piece) - len(expected)))
            expected[start : start + len(piece)] = piece
        if data.draw(st.booleans()):
            size = data.draw(st.integers(1, len(expected)))
            overlay.truncate(size)
            del expected[size:]
        changed = Extent(file.fileno(), 4, len(base), Changes(*overlay.overlay()[:3]))
        assert changed.size == len(expected)
        assert changed.pread(200, 0) == expected
        low = data.draw(st.integers(0, len(expected)))
        high = data.draw(st.integers(low, len(expected)))
        assert changed.view(high - low, low) == expected[low:high]
        again = OverlayFile(changed, data.draw(st.sampled_from([8, 24, 100])))
        written, size, block, _ = again.overlay()
        result = bytearray(base[:size].ljust(size, b"\0"))
        for index, new in written.items():
            result[index * block : index * block + len(new)] = new
        assert result == expected
