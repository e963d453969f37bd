"""Writing the converted model: where it may go, and how its bytes are put together."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snconvert.archive.atomic import exists, new_file, new_folder, sync_folder, writing
from snconvert.archive.copying import Copying, Progress, write_at
from snconvert.archive.source import ASSETS, CONFIG, METADATA, WEIGHTS, Source
from snconvert.errors import OutputError, SourceError, located, printable
from snconvert.weights.overlay import Overlay

Check = Callable[[str], None]

_WIDE = 0xFFFFFFFF
_DATE = 0x0021  # 1980-01-01, the first date that zip knows
_ALIGNMENT = 8


def check_output(
    source_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    in_place: bool = False,
) -> str:
    """Checks, before any work, that the output may be written.

    Args:
        source_path: The input.
        out: The output. Where it is a link, the link stays and the file it leads to is replaced.
        force: Whether an existing output may be replaced.
        in_place: Whether the output may be the input, and replace it.

    Returns:
        The path that will be written, free of links.

    Raises:
        OutputError: The output exists, is the input in some disguise, is of another kind, or its
            folder is missing or cannot be written.
    """
    source, shown = os.fspath(source_path), os.fspath(out)
    with located(file=shown), writing(shown):
        real = _real(shown)
        folder = os.path.dirname(real)
        if not os.path.isdir(folder):
            raise OutputError(f"the folder {printable(folder)!r} does not exist", "Create it first")
        with contextlib.suppress(FileNotFoundError):
            os.lstat(real)  # says what is wrong with the name itself, if anything is
        same = os.path.exists(real) and os.path.exists(source) and os.path.samefile(source, real)
        if same and not in_place:
            raise OutputError(
                "the output is the input itself",
                "Choose another output, or use --in-place to replace the input",
            )
        if os.path.isdir(source):
            _check_folder(source, real, force=force or in_place)
        elif os.path.lexists(real):
            mode = os.lstat(real).st_mode
            if not stat.S_ISREG(mode):
                if stat.S_ISDIR(mode):
                    fix = "Name the file in it, too: one model is written to one file"
                    raise OutputError("the output is a folder", fix)
                raise OutputError("the output is no regular file", "Choose another output")
            if not (force or in_place):
                raise exists(shown)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(
                f"the folder {printable(folder)!r} cannot be written",
                "Choose a folder that you may write to",
            )
    return real


class Output:
    """A converted model on its way into its place; made by `begin`."""

    def __init__(self, source: Source, shown: str, parts: _Archive | _Folder) -> None:
        self._source = source
        self._shown = shown
        self._parts = parts
        self._copying = Copying(source, parts.weights, parts.offset)
        self.finished = False

    def finish(
        self,
        *,
        config: bytes,
        metadata: Callable[[], bytes],
        overlay: Overlay,
        assets: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        check: Check | None = None,
    ) -> int:
        """Writes what is missing: the changes of the weights, and the other members.

        Args:
            config: The bytes of the new `config.json`.
            metadata: Returns the bytes of the new `metadata.json`; called once the weights are
                written.
            overlay: The changes of the weights.
            assets: Old name -> new name of the assets that are renamed.
            progress: Called with numbers of bytes of the old weights, as they are copied.
            check: Called with a path to the finished output, before it takes its place.

        Returns:
            The size of the output in bytes.

        Raises:
            SourceError: The input is damaged, cannot be read, or changed while it was read.
            OutputError: The output cannot be written.
        """
        source, parts = self._source, self._parts
        with located(file=self._shown):
            names = _asset_names(source, assets)
        with located(file=source.path), writing(self._shown):
            parts.end_weights(overlay.size, self._copying.finish(overlay, progress))
            parts.add(CONFIG, iter([config]), len(config))
            for old, new in names.items():
                parts.add(new, source.read(old), source.members[old].size)
            last = metadata()
            parts.add(METADATA, iter([last]), len(last))
            size = parts.close()
            if check is not None:
                check(parts.path)
            source.check_unchanged()
        self.finished = True
        return size

    def check(self) -> None:
        """Raises what has ended the copying of the weights, if anything has, before `finish` does.

        Raises:
            SourceError: As `finish` does.
            OutputError: As `finish` does.
        """
        with located(file=self._source.path), writing(self._shown):
            self._copying.check()

    def close(self) -> None:
        """Ends the copying of the weights."""
        self._copying.close()


@contextlib.contextmanager
def begin(source: Source, out: str | os.PathLike[str], *, force: bool = False) -> Iterator[Output]:
    """Starts to write a model beside its place, which it takes at the end of the block.

    The weights are copied from now on. An archive gets an archive, a folder a folder. All members
    of an archive are stored with one fixed date, so that the same input gives the same bytes. Where
    `out` is a link, the link stays and what it leads to is replaced; a folder only as a whole, and
    only if it holds nothing but a model.

    Args:
        source: The input.
        out: The output.
        force: Whether an existing output is replaced.

    Yields:
        What has to be finished within the block. If it raises, nothing is left behind.

    Raises:
        SourceError: The input cannot be read.
        OutputError: The output cannot be written.
    """
    shown = os.fspath(out)
    folder = source.kind == "folder"
    with located(file=shown), writing(shown):
        real = _real(shown)
        if folder and os.path.lexists(real):
            _check_folder(source.path, real, force=force)
    with located(file=source.path), _parts(source, real, shown, force) as parts:
        with writing(shown):
            output = Output(source, shown, parts)
        with contextlib.closing(output):
            yield output
        if not output.finished:
            raise RuntimeError("an output was begun and not finished")


@contextlib.contextmanager
def _parts(source: Source, real: str, shown: str, force: bool) -> Iterator[_Archive | _Folder]:
    if source.kind == "archive":
        with new_file(real, force) as descriptor:
            yield _Archive(descriptor)
        return
    with new_folder(real, force) as folder:
        with writing(shown):
            weights = _create(os.path.join(folder, WEIGHTS))
        try:
            yield _Folder(folder, weights)
        finally:
            with contextlib.suppress(OSError):  # they have been flushed, or are not wanted
                os.close(weights)


def _real(out: str) -> str:
    if not out:
        raise OutputError("the output has no name", "Give a path")
    return os.path.realpath(out)


def _check_folder(source: str, real: str, *, force: bool) -> None:
    inside = os.path.realpath(source) + os.sep
    outside = real + os.sep
    if outside != inside and (outside.startswith(inside) or inside.startswith(outside)):
        raise OutputError(
            "the input and the output folder lie inside each other", "Choose another output"
        )
    if not os.path.lexists(real):
        return
    if not os.path.isdir(real):
        raise OutputError(
            "the output is a file, but the input is a folder and so is its output",
            "Choose another output",
        )
    if not force:
        raise exists(real)
    ours = {CONFIG, METADATA, WEIGHTS, ASSETS.rstrip("/")}
    others = sorted(set(os.listdir(real)) - ours)
    if others:
        raise OutputError(
            f"the folder holds other files as well ({printable(others[0])})",
            "Move them away or choose another output",
        )


def _asset_names(source: Source, renamed: Mapping[str, str] | None) -> dict[str, str]:
    names = {old: (renamed or {}).get(old, old) for old in source.assets}
    for new in names.values():
        parts = new.split("/")
        if not new.startswith(ASSETS) or any(part in ("", ".", "..") for part in parts):
            raise OutputError(f"the asset name {printable(new)!r} is no path under assets/")
    if len(set(names.values())) < len(names):
        raise OutputError("two assets would get the same name", "Rename the layers")
    return names


class _Archive:
    """Puts a zip archive together in an open file; every member is stored.

    The weights come first, at a place that does not depend on their size, nor on anything that is
    not known yet when they are copied.

    Attributes:
        path: How the file can be opened while it has no name.
        weights: The file, open for reading and writing.
        offset: Where the weights begin in it: behind a local header with an extra field that has
            room for zip64 and aligns them.
    """

    offset = 72

    def __init__(self, descriptor: int) -> None:
        self.path = f"/dev/fd/{descriptor}"
        self.weights = descriptor
        self._entries: list[_Entry] = []

    def end_weights(self, size: int, crc: int) -> None:
        """Completes the weights, which have been written."""
        self._end(_Entry(WEIGHTS.encode(), crc, size, 0), self.offset)
        os.lseek(self.weights, self.offset + size, os.SEEK_SET)

    def add(self, name: str, chunks: Iterator[bytes], size: int) -> None:
        """Writes another member.

        Raises:
            SourceError: It has another size.
        """
        start = os.lseek(self.weights, 0, os.SEEK_CUR)
        entry = _Entry(name.encode(), 0, size, start)
        _write(self.weights, entry.header())
        written = 0
        for chunk in chunks:
            entry.crc = zlib.crc32(chunk, entry.crc)
            written += len(chunk)
            _write(self.weights, chunk)
        if written != size:
            raise SourceError(f"{printable(name)} changed while it was read", "Try again")
        self._end(entry)

    def close(self) -> int:
        """Writes the directory and returns the size of the archive."""
        start = os.lseek(self.weights, 0, os.SEEK_CUR)
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
        _write(self.weights, directory + tail)
        return end + len(tail)

    def _end(self, entry: _Entry, data: int = 0) -> None:
        write_at(self.weights, entry.header(data), entry.start)
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


class _Folder:
    """Puts an unzipped model together; the same as `_Archive`, but each member is a file."""

    offset = 0

    def __init__(self, folder: str, weights: int) -> None:
        self.path = folder
        self.weights = weights
        self._size = 0

    def end_weights(self, size: int, crc: int) -> None:  # noqa: ARG002 - only archives hold it
        """Completes the weights, which have been written."""
        os.fsync(self.weights)
        self._size += size

    def add(self, name: str, chunks: Iterator[bytes], size: int) -> None:
        """Writes another member."""
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = _create(path)
        try:
            for chunk in chunks:
                _write(descriptor, chunk)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._size += size

    def close(self) -> int:
        """Flushes the folders and returns the size of all files."""
        for path, _, _ in os.walk(self.path):
            sync_folder(path)
        return self._size


def _create(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
