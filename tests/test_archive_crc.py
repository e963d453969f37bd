import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from snconvert.archive.crc import crc_of_changed


@given(
    st.binary(min_size=1, max_size=300),
    st.lists(st.tuples(st.integers(0, 299), st.binary(min_size=1, max_size=40)), max_size=6),
)
def test_the_crc_follows_from_the_changes(message, edits):
    """The CRC computed from old CRC and changed blocks is that of the new message."""
    changed = bytearray(message)
    deltas, tails = [], []
    for at, new in edits:
        start = at % len(message)
        part = new[: len(message) - start]
        old = bytes(changed[start : start + len(part)])
        changed[start : start + len(part)] = part
        deltas.append(zlib.crc32(old) ^ zlib.crc32(part))
        tails.append(len(message) - start - len(part))
    result = crc_of_changed(
        zlib.crc32(message), np.array(deltas, np.uint32), np.array(tails, np.uint64)
    )
    assert result == zlib.crc32(changed)


def test_long_tails_are_right():
    """The power of x is right for more bytes than one table step covers."""
    size = 50_000_001
    before, after = zlib.crc32(b"a" + bytes(size)), zlib.crc32(b"b" + bytes(size))
    change = np.array([zlib.crc32(b"a") ^ zlib.crc32(b"b")], np.uint32)
    assert crc_of_changed(before, change, np.array([size], np.uint64)) == after
