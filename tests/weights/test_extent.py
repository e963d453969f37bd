import os

import numpy as np
import pytest

from snconvert.errors import SourceError
from snconvert.weights.extent import Extent


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
    assert bytes(extent.map()) == expected
    assert extent.pread(size + 10, 0) == expected
    assert extent.pread(7, 5) == expected[5:12]
    assert extent.pread(7, size + 5) == b""


def test_map_is_read_only(file):
    """Nobody can change the input through a map of it."""
    view = Extent(file[1], 3, 8).map()
    assert view.readonly
    assert not np.frombuffer(view, np.uint8).flags.writeable


def test_map_outlives_the_descriptor(file):
    """A map stays valid when the file is closed."""
    descriptor = os.dup(file[1])
    view = Extent(descriptor, 5, 4).map()
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
        extent.map()


def test_an_unreadable_file_is_one_clear_error(tmp_path):
    """An error of the system arrives as a SourceError with its text."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(SourceError, match="Is a directory"):
        Extent(descriptor, 0, 4).pread(4, 0)
    os.close(descriptor)
