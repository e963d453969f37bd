import zlib

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
    changes = []
    for at, new in edits:
        start = at % len(message)
        part = new[: len(message) - start]
        old = bytes(changed[start : start + len(part)])
        changed[start : start + len(part)] = part
        changes.append((len(message) - start - len(part), zlib.crc32(old) ^ zlib.crc32(part)))
    assert crc_of_changed(zlib.crc32(message), changes) == zlib.crc32(changed)


def test_long_tails_are_right():
    """The power of x is right for many bytes."""
    size = 50_000_001
    before, after = zlib.crc32(b"a" + bytes(size)), zlib.crc32(b"b" + bytes(size))
    assert crc_of_changed(before, [(size, zlib.crc32(b"a") ^ zlib.crc32(b"b"))]) == after
