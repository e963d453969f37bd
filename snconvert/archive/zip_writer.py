"""The bytes of a model on its way to the disk: a zip archive, or a folder of files."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from snconvert.archive.atomic import new_file, new_folder, sync_folder, writing
from snconvert.archive.copying import write_at
from snconvert.archive.source import WEIGHTS
from snconvert.core import system
from snconvert.errors import SourceError, printable

_WIDE = 0xFFFFFFFF
_DATE = 0x0021  # 1980-01-01, the first date that zip knows
_ALIGNMENT = 8


class ZipWriter:
    """Puts a zip archive together in an open file; every member is stored.

    The weights come first, at a place that does not depend on their size, nor on anything that is
    not known yet when they are copied.

    Attributes:
        path: How the file can be opened until it is in its place.
        weights: The one file, open for reading and writing.
        offset: Where the weights begin in it: behind a local header with an extra field that has
            room for zip64 and aligns them.
    """

    folder: ClassVar = False
    offset: ClassVar = 72

    def __init__(self, descriptor: system.Descriptor) -> None:
        self.path = descriptor.path
        self._file = descriptor
        self.weights: list[int] = [descriptor]
        self._entries: list[_Entry] = []

    @classmethod
    @contextlib.contextmanager
    def new(
        cls,
        out: str,
        shown: str,  # noqa: ARG003
        weights: Sequence[str],  # noqa: ARG003 - an archive holds one file of them
        *,
        force: bool,
    ) -> Iterator[Self]:
        """Yields a writer of what becomes `out` when the block ends without an exception.

        Args:
            out: Where the archive shall be; not a link.
            shown: The path as the user gave it, for messages.
            weights: The names of the files of weights.
            force: Whether a file there is replaced.
        """
        with new_file(out, force) as descriptor:
            yield cls(descriptor)

    def end_weights(self, size: int, crc: int) -> None:
        """Completes the weights, which have been written."""
        self._end(_Entry(WEIGHTS.encode(), crc, size, 0), self.offset)
        os.lseek(self._file, self.offset + size, os.SEEK_SET)

    def add(self, name: str, chunks: Iterator[bytes], size: int) -> None:
        """Writes another member.

        Raises:
            SourceError: It has another size.
        """
        start = os.lseek(self._file, 0, os.SEEK_CUR)
        entry = _Entry(name.encode(), 0, size, start)
        _write(self._file, entry.header())
        written = 0
        for chunk in chunks:
            entry.crc = zlib.crc32(chunk, entry.crc)
            written += len(chunk)
            _write(self._file, chunk)
        if written != size:
            raise SourceError(f"{printable(name)} changed while it was read", "Try again")
        self._end(entry)

    def close(self) -> int:
        """Writes the directory and returns the size of the archive."""
        start = os.lseek(self._file, 0, os.SEEK_CUR)
        directory = b"".join(entry.central() for entry in self._entries)
        end, count = start + len(directory), len(self._entries)
        tail = b""
        if start >= _WIDE or count >= 0xFFFF:  # noqa: PLR2004 - a saturated field
            tail = struct.pack(
                "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 0x32D, 45, 0, 0, count, count, end - start, start
            ) + struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
        few = min(count, 0xFFFF)
        tail += struct.pack(
            "<4sHHHHIIH", b"PK\x05\x06", 0, 0, few, few, end - start, min(start, _WIDE), 0
        )
        _write(self._file, directory + tail)
        return end + len(tail)

    def _end(self, entry: _Entry, data: int = 0) -> None:
        write_at(self._file, entry.header(data), entry.start)
        self._entries.append(entry)


@dataclass(slots=True)
class _Entry:
    """A member of an archive: its name, its CRC-32, its size, and where its header begins."""

    name: bytes
    crc: int
    size: int
    start: int

    def header(self, data: int = 0) -> bytes:
        """Returns the local header, with padding if the data begins at `data`."""
        wide = self.size >= _WIDE
        extra = struct.pack("<HHQQ", 1, 16, self.size, self.size) if wide else b""
        padding = data - self.start - 30 - len(self.name) - len(extra)
        if padding > 0:  # as Android's zipalign writes it
            extra += struct.pack(f"<HHH{padding - 6}x", 0xD935, padding - 4, _ALIGNMENT)
        flags = 0 if self.name.isascii() else 0x0800
        least, shown = (45, _WIDE) if wide else (20, self.size)
        fixed: tuple[Any, ...] = (least, flags, 0, 0, _DATE, self.crc, shown, shown)
        lengths = len(self.name), len(extra)
        return struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *fixed, *lengths) + self.name + extra

    def central(self) -> bytes:
        """Returns the member's entry in the directory."""
        wide = [self.size, self.size] * (self.size >= _WIDE) + [self.start] * (self.start >= _WIDE)
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        flags = 0 if self.name.isascii() else 0x0800
        least, shown = 45 if wide else 20, min(self.size, _WIDE)
        fixed: tuple[Any, ...] = (0x300 | least, least, flags, 0, 0, _DATE, self.crc, shown, shown)
        rest = (len(self.name), len(extra), 0, 0, 0, 0o100644 << 16, min(self.start, _WIDE))
        head = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", *fixed, *rest)
        return head + self.name + extra


class FolderWriter:
    """Puts an unzipped model together; like `ZipWriter`, but each member is a file."""

    folder: ClassVar = True
    offset: ClassVar = 0

    def __init__(self, folder: str, weights: list[int]) -> None:
        self.path = folder
        self.weights = weights
        self._size = 0

    @classmethod
    @contextlib.contextmanager
    def new(cls, out: str, shown: str, weights: Sequence[str], *, force: bool) -> Iterator[Self]:
        """Yields a writer of what becomes `out` when the block ends without an exception.

        Args:
            out: Where the folder shall be; not a link.
            shown: The path as the user gave it, for messages.
            weights: The names of the files of weights.
            force: Whether a folder there is replaced.
        """
        with new_folder(out, force) as folder:
            opened: list[int] = []
            try:
                with writing(shown):
                    for name in weights:
                        opened.append(_create(os.path.join(folder, name)))  # noqa: PERF401 - as it is closed
                yield cls(folder, opened)
            finally:
                for descriptor in opened:
                    with contextlib.suppress(OSError):  # they have been flushed, or are not wanted
                        os.close(descriptor)

    def end_weights(self, size: int, crc: int) -> None:  # noqa: ARG002 - only archives hold it
        """Completes the weights, which have been written."""
        for descriptor in self.weights:
            system.flush(descriptor)
        self._size += size

    def add(self, name: str, chunks: Iterator[bytes], size: int) -> None:
        """Writes another member."""
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = _create(path)
        try:
            for chunk in chunks:
                _write(descriptor, chunk)
            system.flush(descriptor)
        finally:
            os.close(descriptor)
        self._size += size

    def close(self) -> int:
        """Flushes the folders and returns the size of all files."""
        for path, _, _ in os.walk(self.path):
            sync_folder(path)
        return self._size


def _create(path: str) -> int:
    return os.open(path, system.flags("RDWR", "CREAT", "EXCL", "BINARY"), 0o666)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


Writer = ZipWriter | FolderWriter
