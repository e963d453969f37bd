import os
import socket
import sys
import tempfile

import numpy as np
import pytest

from snconvert.sandbox.channel import Channel, Numbers
from snconvert.weights.extent import Extent


@pytest.fixture
def ends():
    first, second = (Channel(end) for end in socket.socketpair())
    yield first, second
    first.close()
    second.close()


def test_messages_arrive_as_they_were_sent(ends):
    """Whatever pickles arrives, in order."""
    for message in ("a", {"b": [1, None]}, b"c" * 50_000):
        ends[0].send(message)
        assert ends[1].receive() == message


def test_extents_take_their_file_along(ends):
    """An extent of a file without a name can be read at the other end, as long as it is used."""
    before = len(os.listdir("/proc/self/fd"))
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"0123456789")
        extents = [Extent(file.fileno(), 0, 3), Extent(file.fileno(), 4, 2)]
        ends[0].send(extents)
        received = ends[1].receive()
    assert [extent.pread(9, 0) for extent in received] == [b"012", b"45"]
    assert received[0].descriptor == received[1].descriptor
    ends[1].release()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_end_is_an_error(ends):
    """Nobody waits for a message that cannot come."""
    ends[0].close()
    with pytest.raises(EOFError):
        ends[1].receive()
    with pytest.raises(ConnectionError):
        ends[1].send("x" * 1_000_000)


def test_too_many_files_are_refused(ends):
    """A message that could not arrive whole is not sent."""
    with pytest.raises(ValueError, match="260 files"):
        ends[0].send([Extent(number, 0, 1) for number in range(260)])


ARRAYS = [
    np.array(2.5, "float32"),
    np.arange(6, dtype=">i4").reshape(2, 3).T,
    np.zeros((0, 3), "float16"),
    np.array([True, False]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_arrays_arrive_as_they_were_sent(ends, array):
    """Numbers, type, byte order and shape are the same, and the copy can be written to."""
    ends[0].send({"u": array})
    found = ends[1].receive()["u"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    assert found.flags.writeable


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_arrays_pass_through_a_process_without_numpy(ends, array, monkeypatch):
    """There they are `Numbers`, which numpy opens later, and which become arrays elsewhere."""
    ends[0].send([array])
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "numpy")
        (passed,) = ends[1].receive()
        assert isinstance(passed, Numbers)
        ends[1].send(passed)
    back = ends[0].receive()
    for found in (back, np.asarray(passed)):
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)
    assert np.asarray(passed, "float64").dtype == np.float64


def test_other_arrays_are_pickled_as_ever(ends):
    """Types that numpy's own letters do not name arrive all the same."""
    array = np.array([("a", 1)], dtype=[("name", "U1"), ("count", "i4")])
    ends[0].send(array)
    np.testing.assert_array_equal(ends[1].receive(), array)
