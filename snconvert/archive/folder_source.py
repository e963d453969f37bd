"""A model in a folder, of which only the files that a format asks for are looked at."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from snconvert.archive.member_bytes import read_bytes
from snconvert.archive.members import STORED, Member
from snconvert.archive.source import Source, identity_of, kind_of_file
from snconvert.core.system import POSIX, READING, Descriptor, flags
from snconvert.errors import SourceError, printable
from snconvert.weights.extent import Extent

_MOST_FILES = 20_000
_DEEPEST = 32
_FLAGS = READING | flags("NOFOLLOW")


@dataclass
class FolderSource(Source):
    """An open folder; `members` are the files that were added.

    Attributes:
        names: The names of all that lies at the top of the folder, sorted.
    """

    names: list[str] = field(default_factory=list)
    _kept: dict[str, Extent] = field(default_factory=dict)

    def _open(self) -> None:
        self._root = _Root(self.path)
        if self._root.descriptor is not None:
            self._descriptors.append(self._root.descriptor)
        self.names = self._root.list(".")

    def add(self, name: str) -> None:
        """Makes a file of the folder a member.

        Raises:
            SourceError: It is a link or a special file.
        """
        if name in self.members:
            return
        status = self._root.status(name)
        _check_plain(name, status.st_mode, stat.S_IFREG)
        self.members[name] = Member(name, 0, status.st_size, status.st_size, STORED, None)
        self._identities[os.path.join(self.path, name)] = identity_of(status)
        self.size += status.st_size

    def same_files(self, names: Iterable[str]) -> tuple[str, str] | None:
        """Returns two of the names that are of one file, by hard links, if there are such."""
        seen: dict[tuple[int, ...], str] = {}
        for name in names:
            (_, _, *number), _, _ = self._identities[os.path.join(self.path, name)]
            first = seen.setdefault(tuple(number), name)
            if first != name:
                return first, name
        return None

    def files_below(self, folder: str) -> list[str]:
        """Returns the paths of all files below a folder in the folder, in order.

        Raises:
            SourceError: It is a link, or there are too many, or one has no plain name.
        """
        files: list[str] = []
        _walk(self._root, folder, files)
        return files

    def read(self, name: str) -> Iterator[bytes]:
        """Yields the bytes of a file in chunks; the last step checks their number."""
        with _opened(self._root, name) as descriptor:
            yield from read_bytes(Extent(descriptor, 0, -1), self.members[name])

    def extent(self, name: str) -> Extent:
        """Returns where the bytes of a file lie; it stays open."""
        descriptor = self._root.open(name)
        self._descriptors.append(descriptor)
        self._kept[name] = Extent(descriptor, 0, self.members[name].size)
        return self._kept[name]

    def parts(self) -> Iterator[tuple[str, Extent]]:
        """Yields the files in the order of their names: their joined bytes identify the model.

        Files in the folder that are no members do not count.
        """
        for name in sorted(self.members):
            if name in self._kept:
                yield name, self._kept[name]
                continue
            with _opened(self._root, name) as descriptor:
                yield name, Extent(descriptor, 0, self.members[name].size)

    def check_weights(self) -> None:
        """Does nothing: a folder holds no CRC."""


class _Root:
    """The folder, open if the system can open one, so that its files stay those of one folder."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.descriptor = os.open(path, flags("RDONLY", "DIRECTORY")) if POSIX else None
        self._above = "" if POSIX else path

    def status(self, name: str) -> os.stat_result:
        """Returns the status of a file or folder, or of the link that is there."""
        path = os.path.join(self._above, name)
        return os.stat(path, dir_fd=self.descriptor, follow_symlinks=False)

    def open(self, name: str) -> Descriptor:
        """Opens a file."""
        path = os.path.join(self._above, name)
        number = os.open(path, _FLAGS, dir_fd=self.descriptor)
        return Descriptor(number, os.path.join(self._path, name))

    def list(self, folder: str) -> list[str]:
        """Returns the names in a folder, sorted."""
        if self.descriptor is None:
            return sorted(os.listdir(os.path.join(self._path, folder)))
        descriptor = os.open(folder, _FLAGS | os.O_DIRECTORY, dir_fd=self.descriptor)
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)


def _walk(root: _Root, folder: str, files: list[str]) -> None:
    _check_plain(folder, root.status(folder).st_mode, stat.S_IFDIR)
    for name in root.list(folder):
        path = f"{folder}/{name}"
        if len(files) > _MOST_FILES or path.count("/") > _DEEPEST:
            raise SourceError("the folder holds too many files under assets", "Check the path")
        if stat.S_ISDIR(root.status(path).st_mode):
            _walk(root, path, files)
        elif not name.isprintable() or "\\" in name:
            raise SourceError(f"the file name {printable(path)!r} is not plain", "Rename it")
        else:
            files.append(path)


def _check_plain(name: str, mode: int, kind: int) -> None:
    if stat.S_ISLNK(mode):
        raise SourceError(
            f"{printable(name)} in the folder is a link, which is not followed",
            "Copy the folder with `cp -rL` and use the copy",
        )
    if stat.S_IFMT(mode) != kind:
        what = kind_of_file(mode)
        raise SourceError(f"{printable(name)} in the folder is {what}", "Check the path")


class _opened:  # noqa: N801 - reads like a function
    """Opens a file of a folder for the length of a `with` block."""

    def __init__(self, root: _Root, name: str) -> None:
        try:
            self._descriptor = root.open(name)
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
