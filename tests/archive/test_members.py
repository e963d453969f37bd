import io
import os
import struct
import tempfile
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.archive.member_bytes import CHUNK, read_bytes
from snconvert.archive.members import read_members
from snconvert.errors import SourceError
from snconvert.weights.extent import Extent

CONTENT = {"config.json": b"{}", "model.weights.h5": b"weights " * 400, "assets/ü v.txt": b"a\nb"}


def archive(content=CONTENT, method=zipfile.ZIP_STORED, mode=None):
    """Returns the bytes of an archive as Python writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in content.items() if isinstance(content, dict) else content:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = (mode or (0o40755 if name.endswith("/") else 0o100644)) << 16
            file.writestr(info, data)
    return buffer.getvalue()


def read(data):
    """Returns the members' bytes by name."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        extent = Extent(file.fileno(), 0, len(data))
        members = read_members(extent)
        return {name: b"".join(read_bytes(extent, member)) for name, member in members.items()}


class Stream(io.BytesIO):
    """A file that cannot seek: zipfile writes sizes behind the data."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise OSError

    def tell(self):
        raise OSError


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_as_zipfile_reads_them(method):
    """Stored and deflated members come out as they went in, whatever their names."""
    assert read(archive(method=method)) == CONTENT


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("wide", [False, True])
def test_streamed_and_zip64_archives_are_read(method, wide):
    """Data descriptors and 64-bit sizes are understood, each and together."""
    for file in (Stream(), io.BytesIO()):
        with zipfile.ZipFile(file, "w", method) as out:
            for name, data in CONTENT.items():
                with out.open(name, "w", force_zip64=wide) as member:
                    member.write(data)
        assert read(file.getvalue()) == CONTENT


def test_a_comment_and_folder_entries_are_no_harm():
    """What `zip -r` adds is accepted."""
    data = archive({"assets/": b"", **CONTENT})
    comment = data[:-2] + struct.pack("<H", 5) + b"hello"
    assert read(comment) == CONTENT


def patched(data, find, offset, value, last=False):
    """Returns the archive with bytes replaced, `offset` after a signature."""
    at = (data.rindex(find) if last else data.index(find)) + offset
    return data[:at] + value + data[at + len(value) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
PLAIN = archive()
BROKEN = {
    "nothing|truncated|missing": PLAIN[:-1],
    "before": b"#!/bin/sh\n" + PLAIN,
    "follows": PLAIN + b"\0",
    "encrypted": patched(PLAIN, CENTRAL, 8, b"\1\0"),
    "special file": archive(mode=0o120777),
    "method 14": archive(method=zipfile.ZIP_LZMA),
    "differ": patched(PLAIN, LOCAL, 30, b"C"),
    "duplicate": archive([("a", b"1"), ("A", b"2")]),
    "several files": patched(PLAIN, END, 4, b"\1\0"),
    "zip bomb": archive({"config.json": bytes(30 << 20)}, zipfile.ZIP_DEFLATED),
    "truncated": patched(
        patched(PLAIN, CENTRAL, 20, b"\xff\xff\0\0" * 2), LOCAL, 18, b"\xff\xff\0\0" * 2
    ),
    "two sizes": patched(PLAIN, CENTRAL, 24, b"\3"),
    "headers": patched(PLAIN, CENTRAL, 16, b"\0\0\0\0"),
    "damaged": patched(PLAIN, b"weights w", 0, b"W"),
    "directory": patched(PLAIN, END, 8, b"\2\0\2\0"),
}


@pytest.mark.parametrize("word", BROKEN)
def test_an_odd_archive_is_refused(word):
    """Each way in which readers could disagree about an archive is an error of its own."""
    with pytest.raises(SourceError, match=word):
        read(BROKEN[word])


def test_overlapping_members_are_refused():
    """A member that lies inside another one is refused, though both have proper headers."""
    inner = archive({"b": b"1"})
    inner = inner[: inner.index(CENTRAL)]
    data = archive([("a", inner), ("b", b"1")])
    second = data.index(LOCAL, 4)
    outer = data[: data.rindex(LOCAL)] + data[data.index(CENTRAL) :]
    outer = patched(outer, CENTRAL, 42, struct.pack("<I", second), last=True)
    start = struct.pack("<I", data.rindex(LOCAL))
    with pytest.raises(SourceError, match="overlap"):
        read(patched(outer, END, 16, start))


def test_bytes_between_members_are_refused():
    """What belongs to no member is not carried along silently."""
    data = archive([("a", b"1"), ("b", b"1")])
    second = data.rindex(LOCAL)
    data = data[:second] + b"hide" + data[second:]
    data = patched(data, CENTRAL, 42, struct.pack("<I", second + 4), last=True)
    (start,) = struct.unpack_from("<I", data, data.index(END) + 16)
    with pytest.raises(SourceError, match="belong to no member"):
        read(patched(data, END, 16, struct.pack("<I", start + 4)))


def test_bytes_before_the_directory_are_refused():
    """Nothing hides between the last member and the directory either."""
    data = PLAIN.replace(CENTRAL, b"hide" + CENTRAL, 1)
    start = struct.pack("<I", PLAIN.index(CENTRAL) + 4)
    with pytest.raises(SourceError, match="up to its directory"):
        read(patched(data, END, 16, start))


@pytest.mark.parametrize("extra", [0, 1, 100, 257, 258, 259])
def test_decompression_in_chunks_loses_nothing(extra):
    """The end of a deflated member arrives wherever the chunks end."""
    content = {"a": b"\1" * (2 * CHUNK + extra)}
    assert read(archive(content, zipfile.ZIP_DEFLATED)) == content


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../x", "a//x", "C:x", "a\\x", "a\nx", "./x", "a/./x", "\x1b[2J"]
)
def test_names_that_escape_are_refused(name):
    """No name leads out of the archive, on any system, or to the terminal."""
    with pytest.raises(SourceError, match="no plain path") as caught:
        read(archive({name: b""}))
    assert "\x1b" not in str(caught.value)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_damage_is_a_source_error_or_no_damage(data):
    """Any changed or cut bytes give the same content or one SourceError, and nothing else."""
    method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    damaged = bytearray(archive(method=method))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    try:
        found = read(bytes(damaged[: len(damaged) - cut]))
    except SourceError:
        return
    assert sorted(found.values()) == sorted(CONTENT.values())


def test_a_bomb_that_lies_about_its_size_is_cut_off():
    """A member never yields more than its header promises, plus one chunk."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(64 << 20)) + packer.flush()
    fixed = (20, 0, 8, 0, 33, 1, len(packed), 1000)
    local = struct.pack("<4sHHHHHIIIHH", LOCAL, *fixed, 1, 0) + b"a" + packed
    central = struct.pack("<4sHHHHHHIIIHHHHHII", CENTRAL, 20, *fixed, 1, 0, 0, 0, 0, 0, 0) + b"a"
    end = struct.pack("<4s4HIIH", END, 0, 0, 1, 1, len(central), len(local), 0)
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(local + central + end)
        extent = Extent(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        member = read_members(extent)["a"]
        chunks = []
        with pytest.raises(SourceError, match="damaged"):
            chunks.extend(read_bytes(extent, member))
        assert sum(map(len, chunks)) <= 1000
