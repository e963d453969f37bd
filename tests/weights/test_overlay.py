import io
import os
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay, OverlayFile

positions = st.integers(0, 70)


def applied(base: bytes, overlay: Overlay) -> bytes:
    """Puts an overlay over its base, as its docstring says."""
    result = bytearray(base[: overlay.size].ljust(overlay.size, b"\0"))
    for index, block in overlay.blocks.items():
        start = index * overlay.block
        assert len(block) == min(overlay.block, overlay.size - start)
        result[start : start + len(block)] = block
    return bytes(result)


class LikeAPlainFile(RuleBasedStateMachine):
    """Every operation does to the overlay what it does to a plain file."""

    @initialize(base=st.binary(max_size=60), offset=st.integers(0, 9), block=st.integers(1, 16))
    def start(self, base, offset, block):
        self.base = base
        self.source = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by teardown
        self.source.write(b"x" * offset + base + b"yyyy")
        self.plain = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - as above
        self.plain.write(base)
        self.plain.seek(0)
        self.overlay = OverlayFile(Extent(self.source.fileno(), offset, len(base)), block)

    def teardown(self):
        self.source.close()
        self.plain.close()

    @rule(size=st.integers(-1, 80))
    def read(self, size):
        assert self.overlay.read(size) == self.plain.read(size)

    @rule(size=st.integers(0, 80))
    def readinto(self, size):
        ours, theirs = bytearray(b"z" * size), bytearray(b"z" * size)
        count = self.overlay.readinto(ours)
        assert count == self.plain.readinto(theirs)
        assert ours[:count] == theirs[:count]
        assert not any(ours[count:])

    @rule(data=st.binary(max_size=40))
    def write(self, data):
        assert self.overlay.write(data) == self.plain.write(data)

    @rule(at=positions)
    def seek(self, at):
        assert self.overlay.seek(at) == self.plain.seek(at)

    @rule(by=st.integers(-20, 20), whence=st.sampled_from([io.SEEK_CUR, io.SEEK_END]))
    def seek_relative(self, by, whence):
        try:
            expected = self.plain.seek(by, whence)
        except OSError:
            with pytest.raises(ValueError, match="negative"):
                self.overlay.seek(by, whence)
        else:
            assert self.overlay.seek(by, whence) == expected

    @rule(size=st.none() | positions)
    def truncate(self, size):
        assert self.overlay.truncate(size) == self.plain.truncate(size)

    @rule()
    def flush(self):
        self.overlay.flush()

    @invariant()
    def same(self):
        if hasattr(self, "plain"):
            assert self.overlay.tell() == self.plain.tell()
            size = os.fstat(self.plain.fileno()).st_size
            content = os.pread(self.plain.fileno(), size, 0)
            assert self.overlay.size == size
            assert applied(self.base, self.overlay.overlay()) == content


TestLikeAPlainFile = LikeAPlainFile.TestCase
TestLikeAPlainFile.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)


def test_only_touched_blocks_are_kept(tmp_path):
    """A write keeps the blocks it lies in, and the file stays as it is."""
    path = tmp_path / "base"
    path.write_bytes(b"a" * 100)
    with path.open("rb") as file:
        overlay = OverlayFile(Extent(file.fileno(), 0, 100), 10)
        overlay.seek(15)
        overlay.write(b"bbbbb" + b"c")
        assert overlay.blocks == {1: b"aaaaabbbbb", 2: b"c" + b"a" * 9}
        assert Overlay.empty(Extent(file.fileno(), 0, 100)) == Overlay({}, 100)
    assert path.read_bytes() == b"a" * 100


def test_negative_sizes_are_refused():
    """A negative size is an error, as for a plain file."""
    overlay = OverlayFile(Extent(-1, 0, 0))
    with pytest.raises(ValueError, match="negative"):
        overlay.truncate(-1)
