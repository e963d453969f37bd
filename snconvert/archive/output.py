"""Writing the converted model: where it may go, and how its bytes are put together."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from snconvert.archive.atomic import exists, new_file, new_folder, sync_folder, writing
from snconvert.archive.copying import Progress, copy_weights
from snconvert.archive.overlay import Overlay
from snconvert.archive.source import ASSETS, CONFIG, METADATA, WEIGHTS, Source
from snconvert.errors import OutputError, SourceError, located, printable

Check = Callable[[str], None]

_WIDE = 0xFFFFFFFF
_DATE = 0x0021  # 1980-01-01, the first date that zip knows


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


def write_archive(
    source: Source,
    out: str | os.PathLike[str],
    *,
    config: bytes,
    metadata: Callable[[], bytes],
    overlay: Overlay,
    assets: Mapping[str, str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    check: Check | None = None,
) -> int:
    """Writes a `.keras` archive: the source's bytes with the changes applied.

    All members are stored with one fixed date, so that the same input gives the same bytes. Where
    `out` is a link, the link stays and the file it leads to is replaced.

    Args:
        source: The input.
        out: The output file.
        config: The bytes of the new `config.json`.
        metadata: Returns the bytes of the new `metadata.json`; called once the weights are written.
        overlay: The changes of the weights.
        assets: Old name -> new name of the assets that are renamed.
        force: Whether an existing output is replaced.
        progress: Called with the number of bytes of the old weights in each chunk.
        check: Called with a path to the finished output, before it takes its place.

    Returns:
        The size of the output in bytes.

    Raises:
        SourceError: The input is damaged, cannot be read, or changed while it was read.
        OutputError: The output cannot be written. In both cases nothing is left behind.
    """
    shown = os.fspath(out)
    with located(file=shown), writing(shown):
        real = _real(shown)
        names = _asset_names(source, assets)
    with located(file=source.path), writing(shown), new_file(real, force) as descriptor:
        archive = _Archive(descriptor)
        archive.add(CONFIG, iter([config]), len(config))
        place = archive.begin(WEIGHTS, overlay.size)
        archive.end(place, copy_weights(source, overlay, descriptor, progress))
        for old, new in names.items():
            archive.add(new, source.read(old), source.members[old].size)
        last = metadata()
        archive.add(METADATA, iter([last]), len(last))
        size = archive.close()
        if check is not None:
            check(f"/dev/fd/{descriptor}")
        source.check_unchanged()
    return size


def write_folder(
    source: Source,
    out: str | os.PathLike[str],
    *,
    config: bytes,
    metadata: Callable[[], bytes],
    overlay: Overlay,
    assets: Mapping[str, str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    check: Check | None = None,
) -> int:
    """Writes an unzipped model: as `write_archive`, but a folder that holds the members.

    A folder that is there is replaced as a whole, and only if it holds nothing but a model.
    """
    shown = os.fspath(out)
    with located(file=shown), writing(shown):
        real = _real(shown)
        names = _asset_names(source, assets)
        if os.path.lexists(real):
            _check_folder(source.path, real, force=force)
    with located(file=source.path), writing(shown), new_folder(real, force) as folder:
        size = _write_file(folder, CONFIG, iter([config]))
        with _created(folder, WEIGHTS) as descriptor:
            copy_weights(source, overlay, descriptor, progress)
        size += overlay.size
        for old, new in names.items():
            size += _write_file(folder, new, source.read(old))
        size += _write_file(folder, METADATA, iter([metadata()]))
        for path, _, _ in os.walk(folder):
            sync_folder(path)
        if check is not None:
            check(folder)
        source.check_unchanged()
    return size


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
    """Puts a zip archive together in an open file; every member is stored."""

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor
        self._entries: list[tuple[bytes, int, int, int]] = []

    def add(self, name: str, chunks: Iterator[bytes], size: int) -> None:
        place = self.begin(name, size)
        crc, written = 0, 0
        for chunk in chunks:
            crc = zlib.crc32(chunk, crc)
            written += len(chunk)
            _write(self._file, chunk)
        if written != size:
            raise SourceError(f"{printable(name)} changed while it was read", "Try again")
        self.end(place, crc)

    def begin(self, name: str, size: int) -> int:
        """Writes the header of a member whose CRC is not known yet; its data comes next."""
        self._entries.append((name.encode(), 0, size, os.lseek(self._file, 0, os.SEEK_CUR)))
        _write(self._file, self._header(len(self._entries) - 1))
        return len(self._entries) - 1

    def end(self, place: int, crc: int) -> None:
        """Completes the header of a member whose data has been written."""
        name, _, size, start = self._entries[place]
        self._entries[place] = name, crc, size, start
        header = self._header(place)
        if os.pwrite(self._file, header, start) != len(header):
            raise OSError("a short write")

    def close(self) -> int:
        """Writes the directory and returns the size of the archive."""
        start = os.lseek(self._file, 0, os.SEEK_CUR)
        directory = b"".join(self._central(*entry) for entry in self._entries)
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

    def _header(self, place: int) -> bytes:
        name, crc, size, _ = self._entries[place]
        wide = size >= _WIDE
        extra = struct.pack("<HHQQ", 1, 16, size, size) if wide else b""
        flags = 0 if name.isascii() else 0x0800
        least, shown = (45, _WIDE) if wide else (20, size)
        fixed: tuple[Any, ...] = (least, flags, 0, 0, _DATE, crc, shown, shown)
        return struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *fixed, len(name), len(extra)) + (
            name + extra
        )

    def _central(self, name: bytes, crc: int, size: int, start: int) -> bytes:
        wide = [size, size] * (size >= _WIDE) + [start] * (start >= _WIDE)
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        flags = 0 if name.isascii() else 0x0800
        least, shown = 45 if wide else 20, min(size, _WIDE)
        fixed: tuple[Any, ...] = (0x300 | least, least, flags, 0, 0, _DATE, crc, shown, shown)
        sizes = (len(name), len(extra), 0, 0, 0, 0o100644 << 16, min(start, _WIDE))
        return struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", *fixed, *sizes) + name + extra


class _created:  # noqa: N801 - reads like a function
    """Makes a file in a new folder, and flushes it at the end of the block."""

    def __init__(self, folder: str, name: str) -> None:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def _write_file(folder: str, name: str, chunks: Iterator[bytes]) -> int:
    size = 0
    with _created(folder, name) as descriptor:
        for chunk in chunks:
            _write(descriptor, chunk)
            size += len(chunk)
    return size


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
