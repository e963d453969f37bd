"""Opening a saved model, an archive or an unzipped folder, without trusting it.

What is looked at: the kind by the first bytes, the members and their names, and the small members'
bytes. What is not: the meaning of the JSON and the inside of the weights.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Self

from snconvert.archive.background import Hashing
from snconvert.archive.descriptors import check_descriptors
from snconvert.archive.members import STORED, Member, read_bytes, read_members
from snconvert.core import foreign
from snconvert.errors import OutputError, SourceError, located, printable
from snconvert.weights.extent import Extent

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"

_LARGEST = {CONFIG: 64 << 20, METADATA: 16 << 20}
_MOST_FILES = 20_000
_DEEPEST = 32

Identity = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass
class Source:
    """An open saved model; a context manager that closes its files.

    Attributes:
        path: The path as the user gave it.
        kind: `archive` (a zip) or `folder`.
        config: The bytes of `config.json`.
        metadata: The bytes of `metadata.json`, None where there is none.
        weights: Where the bytes of `model.weights.h5` lie, decompressed.
        assets: The names of the assets, `assets/...`, in the order of the input.
        size: The size of the input in bytes, all files of a folder together.
        members: The members of the archive or the files of the folder by name.
        warnings: What the user should know about the input, one sentence each.
    """

    path: str
    kind: Literal["archive", "folder"]
    size: int
    members: dict[str, Member]
    config: bytes = b""
    metadata: bytes | None = None
    weights: Extent = field(default_factory=lambda: Extent(-1, 0, 0))
    assets: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    _descriptors: list[int] = field(default_factory=list)
    _identities: dict[str, Identity] = field(default_factory=dict)
    _hashing: Hashing | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the input; maps of the weights that are in use stay valid."""
        if self._hashing is not None:
            self._hashing.close()
        while self._descriptors:
            with contextlib.suppress(OSError):  # what was read was read
                os.close(self._descriptors.pop())

    @property
    def verbatim(self) -> bool:
        """Whether the weights' bytes lie in the input as they are, not compressed."""
        return self.members[WEIGHTS].method == STORED

    def read(self, name: str) -> Iterator[bytes]:
        """Yields the bytes of a member in chunks; the last step checks them.

        Raises:
            SourceError: The member is damaged or cannot be read.
        """
        if self.kind == "archive":
            file = Extent(self._descriptors[0], 0, self.size)
            yield from read_bytes(file, self.members[name])
            return
        with _opened(self._descriptors[0], name) as descriptor:
            yield from read_bytes(Extent(descriptor, 0, -1), self.members[name])

    def parts(self) -> Iterator[tuple[str, Extent]]:
        """Yields the files whose bytes make up the input, each open until the next one.

        For an archive that is the archive; for a folder its files in the order of their names, so
        that their joined bytes identify the model. Other files in the folder do not count.
        """
        if self.kind == "archive":
            yield "", Extent(self._descriptors[0], 0, self.size)
            return
        for name in sorted(self.members):
            if name == WEIGHTS:
                yield name, self.weights
                continue
            with _opened(self._descriptors[0], name) as descriptor:
                yield name, Extent(descriptor, 0, self.members[name].size)

    def hash_ahead(self) -> None:
        """Starts the thread that computes the SHA-256, for whoever will ask for it later."""
        if self._hashing is None:
            self._hashing = Hashing(self.parts)

    def sha256(self) -> str:
        """Returns the SHA-256 of the input in hexadecimal.

        That is of the archive, or of the folder's files joined in the order of their names.

        Raises:
            SourceError: The input cannot be read.
        """
        self.hash_ahead()
        return "" if self._hashing is None else self._hashing.result()

    def check_weights(self) -> None:
        """Reads the stored weights once and compares their CRC; a folder has none to compare.

        Whoever writes the archive need not call this: writing checks along the way.

        Raises:
            SourceError: The weights are damaged.
        """
        if self.kind == "archive" and self.verbatim:
            for _ in self.read(WEIGHTS):
                pass

    def check_unchanged(self) -> None:
        """Compares size, times and inode of the input with those at its opening.

        The time of the status changes with every byte that is written, whatever other times are set
        back to, and with the permissions and links. Only where these changed, too, can the bytes be
        the same; then what was read is compared with what is there now.

        Raises:
            SourceError: The input was changed or replaced since.
        """
        for path, (before, status, status_time) in self._identities.items():
            try:
                now = {_identity(os.stat(path))}
                if self.kind == "archive":
                    now.add(_identity(os.fstat(self._descriptors[0])))
            except OSError:
                raise _changed(self.path) from None
            if now == {(before, status, status_time)}:
                continue
            renewed = {identity[0] for identity in now} == {before}
            if not renewed or status in {identity[1] for identity in now} or not self._same():
                raise _changed(self.path)
            self.check_weights()

    def _same(self) -> bool:
        """Whether what is there now is what was read: of weights only a CRC tells."""
        if self.kind == "folder" or not self.verbatim:
            return False
        small = {CONFIG: self.config, METADATA: self.metadata}
        known = {name: data for name, data in small.items() if data is not None}
        if any(b"".join(self.read(name)) != data for name, data in known.items()):
            return False
        with contextlib.closing(Hashing(self.parts)) as again:
            return self._hashing is None or again.result() == self._hashing.result()


def refuse_url(path: str) -> None:
    """Raises `SourceError` for the address of a file: nothing is downloaded."""
    if re.match("[A-Za-z][A-Za-z0-9+.-]+://", path) and not os.path.lexists(path):
        raise SourceError(
            "this is a URL, and nothing is downloaded",
            "Download the file, and give the path of the copy",
            file=path,
        )


@contextlib.contextmanager
def unchanged(path: str) -> Iterator[None]:
    """Makes sure that a model is the same at the end of a block, for those who read it by its path.

    Args:
        path: A file or a folder.

    Raises:
        SourceError: It was changed or replaced in the block.
    """
    before = _identities_below(path)
    yield
    if _identities_below(path) != before:
        raise _changed(path)


def _identities_below(path: str) -> list[tuple[str, Identity | None]]:
    paths = [path]
    for place, _, names in os.walk(path):
        paths += [os.path.join(place, name) for name in sorted(names)]
    found: list[tuple[str, Identity | None]] = []
    for each in paths:
        identity = None
        with contextlib.suppress(OSError, ValueError):  # it cannot be read: opening it says why
            identity = _identity(os.stat(each))
        found.append((each, identity))
    return found


def _changed(path: str) -> SourceError:
    return SourceError(
        "the file was changed, replaced or removed while it was read",
        "Try again when nothing writes to it",
        file=path,
    )


def open_source(path: str | os.PathLike[str]) -> Source:
    """Opens a saved model for reading and checks its outside.

    Args:
        path: A `.keras` archive, or the folder that Keras writes with `zipped=False`. The
            extension does not matter.

    Raises:
        SourceError: The input is missing, is something else (the message says what), is damaged,
            or holds what Keras does not write.
        UnsupportedError: This process may open too few files.
    """
    shown = os.fspath(path)
    with located(file=shown):
        refuse_url(shown)
        check_descriptors()
        try:
            mode = os.stat(shown).st_mode
            if stat.S_ISDIR(mode):
                return _guarded(Source(shown, "folder", 0, {}), _open_folder)
            if not stat.S_ISREG(mode):
                raise SourceError(
                    f"this is {_special(mode)}, not a file", "Save it to a file and name that"
                )
            return _guarded(Source(shown, "archive", 0, {}), _open_archive)
        except FileNotFoundError:
            raise SourceError("there is no such file", "Check the path") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise SourceError(f"the file cannot be read ({reason})", "Check the path") from error


def _guarded(source: Source, fill: Callable[[Source], None]) -> Source:
    try:
        fill(source)
    except BaseException:
        source.close()
        raise
    return source


def _open_archive(source: Source) -> None:
    # Between stat and open the path may have become a FIFO: do not wait on it.
    descriptor = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    source._descriptors.append(descriptor)  # noqa: SLF001 - this module fills it
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"this is {_special(status.st_mode)}, not a file", "Check the path")
    source.size = status.st_size
    source._identities[source.path] = _identity(status)  # noqa: SLF001
    file = Extent(descriptor, 0, source.size)
    head = file.pread(foreign.HEAD, 0)
    if not head.startswith(foreign.ZIP):
        raise foreign.unknown_file(head, source.size)
    source.members = read_members(file)
    _check_names(source.members)
    _read_small(source)
    member = source.members[WEIGHTS]
    if member.method == STORED:
        source.weights = Extent(descriptor, member.offset, member.size)
    else:
        source.weights = _unpacked(source)
    _check_weights_kind(source)


def _check_names(members: dict[str, Member]) -> None:
    names = list(members)
    other = foreign.unknown_members(names)
    if other is not None:
        raise other
    for needed in (CONFIG, WEIGHTS):
        if needed in members:
            continue
        fix = "Save the model again with Keras"
        for name in names:
            if name.casefold() == needed:
                fix = f"It holds {printable(name)!r}, but names are case sensitive: rename it"
            elif name.endswith("/" + needed):
                folder = name.removesuffix(needed)
                fix = f"Everything lies in {printable(folder)!r}: zip what is inside that folder"
        raise SourceError(f"the archive has no {needed} at its top level", fix)
    for name in names:
        if name not in (CONFIG, METADATA, WEIGHTS) and not name.startswith(ASSETS):
            raise SourceError(
                f"the archive has an unexpected member {printable(name)!r}, "
                "which no Keras model needs",
                "If you put it there, remove it (`zip -d`); if not, do not trust the file",
            )


def _read_small(source: Source) -> None:
    for name, most in _LARGEST.items():
        if name in source.members and source.members[name].size > most:
            raise SourceError(
                f"{name} is too large ({source.members[name].size} bytes, the limit is {most})",
                "Save the model again with Keras",
            )
    source.config = b"".join(source.read(CONFIG))
    if METADATA in source.members:
        source.metadata = b"".join(source.read(METADATA))
    else:
        source.warnings.append("It has no metadata.json, so its Keras version is unknown")
    source.assets = tuple(name for name in source.members if name.startswith(ASSETS))


def _check_weights_kind(source: Source) -> None:
    error = foreign.unknown_weights(source.weights.pread(8, 0))
    if error is not None:
        raise error


def _unpacked(source: Source) -> Extent:
    """Decompresses the weights into a file without a name, so that nothing can be left behind."""
    import tempfile  # noqa: PLC0415 -- few files need it, and all would wait for it

    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            for chunk in source.read(WEIGHTS):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]
            descriptor = os.dup(file.fileno())
    except OSError as error:
        raise OutputError(
            f"the weights cannot be decompressed into {tempfile.gettempdir()} ({error.strerror})",
            "Set TMPDIR to a folder with more room",
        ) from error
    source._descriptors.append(descriptor)  # noqa: SLF001
    return Extent(descriptor, 0, source.members[WEIGHTS].size)


def _open_folder(source: Source) -> None:
    root = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    source._descriptors.append(root)  # noqa: SLF001
    names = sorted(os.listdir(root))
    other = foreign.unknown_members(names)
    if other is not None:
        raise other
    for needed in (CONFIG, WEIGHTS):
        if needed not in names:
            raise SourceError(
                f"the folder has no {needed}, so it is not a model that Keras saved",
                "Name the .keras file, or the folder that holds config.json and model.weights.h5",
            )
    wanted = [name for name in (METADATA, CONFIG, WEIGHTS) if name in names]
    unknown = [name for name in names if name not in (*wanted, ASSETS.rstrip("/"))]
    if unknown:
        shown = ", ".join(printable(name) for name in unknown[:5])
        source.warnings.append(f"Other files in the folder are not carried over: {shown}")
    if ASSETS.rstrip("/") in names:
        _walk(root, ASSETS.rstrip("/"), wanted)
    for name in wanted:
        status = os.stat(name, dir_fd=root, follow_symlinks=False)
        _check_plain(name, status.st_mode, stat.S_IFREG)
        source.members[name] = Member(name, 0, status.st_size, status.st_size, STORED, None)
        source._identities[os.path.join(source.path, name)] = _identity(status)  # noqa: SLF001
        source.size += status.st_size
    _read_small(source)
    descriptor = os.open(WEIGHTS, _FLAGS, dir_fd=root)
    source._descriptors.append(descriptor)  # noqa: SLF001
    source.weights = Extent(descriptor, 0, source.members[WEIGHTS].size)
    _check_weights_kind(source)


def _walk(root: int, folder: str, found: list[str]) -> None:
    _check_plain(folder, os.stat(folder, dir_fd=root, follow_symlinks=False).st_mode, stat.S_IFDIR)
    descriptor = os.open(folder, _FLAGS | os.O_DIRECTORY, dir_fd=root)
    try:
        names = sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)
    for name in names:
        path = f"{folder}/{name}"
        if len(found) > _MOST_FILES or path.count("/") > _DEEPEST:
            raise SourceError("the folder holds too many files under assets", "Check the path")
        if stat.S_ISDIR(os.stat(path, dir_fd=root, follow_symlinks=False).st_mode):
            _walk(root, path, found)
        elif not name.isprintable() or "\\" in name:
            raise SourceError(f"the file name {printable(path)!r} is not plain", "Rename it")
        else:
            found.append(path)


def _check_plain(name: str, mode: int, kind: int) -> None:
    if stat.S_ISLNK(mode):
        raise SourceError(
            f"{printable(name)} in the folder is a link, which is not followed",
            "Copy the folder with `cp -rL` and use the copy",
        )
    if stat.S_IFMT(mode) != kind:
        raise SourceError(f"{printable(name)} in the folder is {_special(mode)}", "Check the path")


_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class _opened:  # noqa: N801 - reads like a function
    """Opens a file of a folder for the length of a `with` block."""

    def __init__(self, root: int, name: str) -> None:
        try:
            self._descriptor = os.open(name, _FLAGS, dir_fd=root)
        except OSError as error:
            raise SourceError(
                f"{printable(name)} cannot be read ({error.strerror})",
                "Try again when nothing writes to the folder",
            ) from error

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def _identity(status: os.stat_result) -> Identity:
    """Returns what a change changes, what else changes the time of the status, and that time."""
    known = status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
    other = status.st_mode, status.st_uid, status.st_gid, status.st_nlink
    return known, other, status.st_ctime_ns


def _special(mode: int) -> str:
    kinds_of = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for test, name in kinds_of if test(mode)), "a device")
