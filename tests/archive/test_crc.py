import zlib

from hypothesis import given
from hypothesis import strategies as st

from snconvert.archive.copying import crc_of_changed, crc_with_zeros, crc_without


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


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_crc_follows_from_what_is_cut_off(head, tail):
    """The CRC of the head is that of the whole and of the tail."""
    whole = zlib.crc32(head + tail)
    assert crc_without(whole, zlib.crc32(tail), len(tail)) == zlib.crc32(head)


@given(st.binary(max_size=300), st.integers(0, 5000))
def test_the_crc_follows_from_appended_zeros(message, size):
    """Zeros at the end need not be read."""
    assert crc_with_zeros(zlib.crc32(message), size) == zlib.crc32(message + bytes(size))


def test_what_is_appended_and_cut_off_may_be_longer_than_the_order_of_x():
    """5 GiB of zeros, one part after the other, and back."""
    long = crc_with_zeros(crc_with_zeros(zlib.crc32(b"a"), 4 << 30), 1 << 30)
    assert long == crc_with_zeros(zlib.crc32(b"a"), 5 << 30)
    assert crc_without(long, crc_with_zeros(0, 5 << 30), 5 << 30) == zlib.crc32(b"a")
