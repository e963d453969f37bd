"""The central directory of a zip archive, read strictly.

Zip readers disagree about odd archives: which of two equal names counts, which header is right,
where the archive begins. Here an archive is what every reader sees the same way, or it is refused:
each member once, local header equal to the central one, members side by side from the first byte to
the directory, nothing in between and nothing after it.

Reference: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
from typing import NamedTuple

from snconvert.errors import SourceError, printable
from snconvert.weights.extent import Extent

STORED, DEFLATED = 0, 8
_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard"}

_MOST_MEMBERS = 20_000
_LARGEST_DIRECTORY = 16 << 20
_BOMB_RATIO = 200
_BOMB_SIZE = 16 << 20

_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_DESCRIPTOR = 0x0008
_UTF8 = 0x0800
_SATURATED = 0xFFFFFFFF

_RESAVE = "Save the model again with Keras"
_COPY = "Copy or download it again"


class Member(NamedTuple):
    """Where the bytes of one member lie.

    Attributes:
        name: The member's name, a path with `/`.
        offset: Where its stored bytes begin in the file.
        stored: How many bytes are stored.
        size: How many bytes it has once decompressed.
        method: `STORED` or `DEFLATED`.
        crc: The CRC-32 of its bytes, None in a folder.
    """

    name: str
    offset: int
    stored: int
    size: int
    method: int
    crc: int | None


class _Entry(NamedTuple):
    name: bytes
    flags: int
    method: int
    crc: int
    stored: int
    size: int
    header: int
    mode: int
    extra: bytes


def read_members(file: Extent) -> dict[str, Member]:
    """Returns the members of a zip archive by name, in the order of its directory.

    Args:
        file: The whole file.

    Raises:
        SourceError: The archive is damaged, ambiguous or of a kind that Keras does not write.
    """
    members: dict[str, Member] = {}
    ends: list[tuple[int, int]] = []
    seen: dict[str, str] = {}
    entries, directory = _entries(file)
    for entry in entries:
        name = _name(entry)
        shown = printable(name)
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise SourceError(
                f"the archive has duplicate members: {shown!r} is there more than once", _RESAVE
            )
        seen[key] = name
        _check(entry, name)
        offset, end = _local(file, entry, shown)
        ends.append((entry.header, end))
        if not name.endswith("/"):
            members[name] = Member(name, offset, entry.stored, entry.size, entry.method, entry.crc)
    position = 0
    for start, end in sorted(ends):
        if start != position:
            how = "overlap" if start < position else "leave bytes that belong to no member"
            raise SourceError(
                f"the archive's members {how} (at byte {min(start, position)})", _RESAVE
            )
        position = end
    if position != directory:
        raise SourceError("the archive's members do not reach up to its directory", _RESAVE)
    return members


def _entries(file: Extent) -> tuple[list[_Entry], int]:
    count, size, start = _end(file)
    if count > _MOST_MEMBERS or size > _LARGEST_DIRECTORY:
        raise SourceError(f"the archive has too many members ({count})", _RESAVE)
    directory = file.pread(size, start)
    entries = []
    offset = 0
    for _ in range(count):
        if directory[offset : offset + 4] != b"PK\x01\x02" or offset + 46 > size:
            raise SourceError("the archive's directory is damaged (corrupt zip)", _COPY)
        (flags, method, crc, stored, full, name, extra, comment, disk, mode, header) = (
            struct.unpack_from("<8xHH4xIIIHHHH2xII", directory, offset)
        )
        body = offset + 46
        offset = body + name + extra + comment
        if offset > size:
            raise SourceError("the archive's directory is damaged (corrupt zip)", _COPY)
        fields = directory[body + name : body + name + extra]
        wide = _wide(fields)
        if full == _SATURATED:
            full = _take(wide)
        if stored == _SATURATED:
            stored = _take(wide)
        if header == _SATURATED:
            header = _take(wide)
        if disk not in (0, 0xFFFF):
            raise SourceError("the archive is split over several files", "Join them first")
        raw = directory[body : body + name]
        entries.append(_Entry(raw, flags, method, crc, stored, full, header, mode >> 16, fields))
    if offset != size:
        raise SourceError("the archive's directory is damaged (corrupt zip)", _COPY)
    return entries, start


def _end(file: Extent) -> tuple[int, int, int]:
    """Returns number of members, size and start of the directory; checks that it ends the file."""
    tail_start = max(0, file.size - 65557)
    tail = file.pread(65557, tail_start)
    offset = tail.rfind(b"PK\x05\x06")
    if offset < 0 or offset + 22 > len(tail):
        raise SourceError(
            "this is not a complete zip archive: its directory is missing "
            "(truncated or corrupt file)",
            _COPY,
        )
    disk, first, here, count, size, start, comment = struct.unpack_from("<4x4HIIH", tail, offset)
    if offset + 22 + comment != len(tail):
        raise SourceError("the zip archive is truncated, or other data follows its end", _COPY)
    ends = tail_start + offset
    locator = file.pread(20, ends - 20) if ends >= 20 else b""  # noqa: PLR2004 - its size
    if locator[:4] == b"PK\x06\x07":
        ends, wide = _end64(file, locator, ends - 20)
        narrow = ((here, 0xFFFF), (count, 0xFFFF), (size, _SATURATED), (start, _SATURATED))
        for (value, full), other in zip(narrow, wide, strict=True):
            if value not in (full, other):
                raise SourceError("the zip archive's two directory ends differ", _RESAVE)
        here, count, size, start = wide
    if disk not in (0, 0xFFFF) or first not in (0, 0xFFFF) or here != count:
        raise SourceError("the archive is split over several files", "Join them first")
    if start + size != ends:
        raise SourceError(
            "the zip archive is damaged: its directory is not where it should be, "
            "or other data comes before or after",
            _COPY,
        )
    return count, size, start


def _end64(file: Extent, locator: bytes, limit: int) -> tuple[int, tuple[int, int, int, int]]:
    (position,) = struct.unpack_from("<8xQ", locator)
    record = file.pread(56, position) if 0 <= position <= limit - 56 else b""
    if (
        record[:4] != b"PK\x06\x06"
        or struct.unpack_from("<4xQ", record)[0] != limit - position - 12
    ):
        raise SourceError("the zip archive's directory end (zip64) is damaged", _COPY)
    here, count, size, start = struct.unpack_from("<24x4Q", record)
    return position, (here, count, size, start)


def _fields(extra: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, offset)
        if offset + 4 + size > len(extra) or kind in fields:
            raise SourceError("the archive's directory is damaged (an extra field)", _COPY)
        fields[kind] = extra[offset + 4 : offset + 4 + size]
        offset += 4 + size
    return fields


def _wide(extra: bytes) -> list[int]:
    """Returns the 64-bit values of the zip64 field, the next one to use last."""
    field = _fields(extra).get(1, b"")
    return list(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))[::-1]


def _take(wide: list[int]) -> int:
    if not wide:
        raise SourceError("the archive's directory is damaged (a zip64 size is missing)", _COPY)
    return wide.pop()


def _name(entry: _Entry) -> str:
    try:
        name = entry.name.decode("utf-8" if entry.flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise SourceError("a member's name is not valid UTF-8", _RESAVE) from None
    other = _fields(entry.extra).get(0x7075)
    if other is not None and other[5:] != name.encode():
        if entry.name.isascii():
            raise SourceError(f"the member {printable(name)!r} has two names", _RESAVE)
        name = other[5:].decode("utf-8", "replace")  # Info-ZIP's way to write non-ASCII names
    parts = name.removesuffix("/").split("/")
    odd = not name or "\\" in name or any(not char.isprintable() for char in name)
    if odd or any(part in ("", ".", "..") for part in parts) or re.match("[A-Za-z]:", name):
        raise SourceError(
            f"the member name {printable(name)!r} is no plain path inside the archive", _RESAVE
        )
    return name


def _check(entry: _Entry, name: str) -> None:
    shown = printable(name)
    if entry.flags & _ENCRYPTED:
        raise SourceError(f"the member {shown!r} is encrypted", "Unpack it with its password first")
    if entry.method not in (STORED, DEFLATED):
        method = _METHODS.get(entry.method, "unknown")
        raise SourceError(
            f"the member {shown!r} is compressed by method {entry.method} ({method}), "
            "not stored or deflated",
            "Unpack the archive and zip it again without compression",
        )
    kind = stat.S_IFMT(entry.mode)
    expected = stat.S_IFDIR if name.endswith("/") else stat.S_IFREG
    if kind not in (0, expected) or (name.endswith("/") and entry.size):
        raise SourceError(f"the member {shown!r} is a link or another special file", _RESAVE)
    if entry.size > _BOMB_SIZE and entry.size > _BOMB_RATIO * entry.stored:
        raise SourceError(
            f"the member {shown!r} would expand from {entry.stored} to {entry.size} bytes: "
            f"more than the limit of {_BOMB_RATIO}:1 (a zip bomb)",
            "Save the model again with Keras, which does not compress",
        )
    if entry.method == STORED and entry.stored != entry.size:
        raise SourceError(f"the member {shown!r} has two sizes (corrupt zip)", _COPY)


def _local(file: Extent, entry: _Entry, shown: str) -> tuple[int, int]:
    """Compares the local header; returns where the data begins and where the member ends."""
    head = file.pread(30, entry.header)
    if len(head) < 30 or head[:4] != b"PK\x03\x04":  # noqa: PLR2004 - the header's size
        raise SourceError(f"the header of the member {shown!r} is damaged (corrupt zip)", _COPY)
    flags, method, crc, stored, size, name, extra = struct.unpack_from("<6xHH4xIIIHH", head)
    rest = file.pread(name + extra, entry.header + 30)
    wide = _wide(rest[name:])
    size = _take(wide) if size == _SATURATED else size
    stored = _take(wide) if stored == _SATURATED else stored
    late = flags & _DESCRIPTOR
    sizes = (entry.crc, entry.stored, entry.size)
    same = (flags, method, rest[:name]) == (entry.flags, entry.method, entry.name)
    if not same or ((crc, stored, size) != sizes and not late):
        raise SourceError(f"the two headers of the member {shown!r} differ", _RESAVE)
    data = entry.header + 30 + name + extra
    end = data + entry.stored
    if end > file.size:
        raise SourceError(f"the member {shown!r} is truncated", _COPY)
    if late:
        end += _descriptor(file.pread(24, end), sizes, shown)
    return data, end


def _descriptor(tail: bytes, sizes: tuple[int, int, int], shown: str) -> int:
    """Returns the length of the data descriptor that follows a member written as a stream."""
    for layout in ("<4sIII", "<4sIQQ", "<0sIII", "<0sIQQ"):
        length = struct.calcsize(layout)
        if len(tail) >= length:
            signature, *values = struct.unpack_from(layout, tail)
            if signature in (b"PK\x07\x08", b"") and tuple(values) == sizes:
                return length
    raise SourceError(f"the two headers of the member {shown!r} differ", _RESAVE)


def damaged(name: str) -> SourceError:
    """Returns the error for a member whose bytes do not match their checksum."""
    return SourceError(
        f"the member {printable(name)!r} is damaged: its bytes do not match its CRC-32 checksum",
        "Copy or download the file again",
    )
