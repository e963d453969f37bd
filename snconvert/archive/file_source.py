"""A model in one file: a zip archive, or bytes of another kind."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from snconvert.archive.background import Hashing
from snconvert.archive.member_bytes import read_bytes
from snconvert.archive.members import STORED, Member, read_members
from snconvert.archive.source import (
    CONFIG,
    METADATA,
    Source,
    identity_of,
    kind_of_file,
)
from snconvert.core.foreign import ZIP
from snconvert.core.system import READING, SENDS_FILES, Descriptor
from snconvert.errors import OutputError, SourceError
from snconvert.weights.extent import Extent


@dataclass
class FileSource(Source):
    """An open file; `members` is empty unless it is a zip archive, or all of it is the weights.

    Attributes:
        is_zip: Whether the file begins as a zip archive does.
    """

    is_zip: bool = False

    def _open(self) -> None:
        descriptor = Descriptor(os.open(self.path, READING), self.path)
        self._descriptors.append(descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            what = kind_of_file(status.st_mode)
            raise SourceError(f"this is {what}, not a file", "Check the path")
        self.size = status.st_size
        self._identities[self.path] = identity_of(status)
        self._list(descriptor)

    def _list(self, descriptor: int) -> None:
        """Lists the members of the file, if it is a zip archive."""
        file = Extent(descriptor, 0, self.size)
        self.is_zip = self.head(len(ZIP)) == ZIP
        if self.is_zip:
            self.members = read_members(file)

    def head(self, size: int) -> bytes:
        """Returns the first bytes of the file."""
        return Extent(self._descriptors[0], 0, self.size).pread(size, 0)

    def take_whole(self) -> None:
        """Makes all of the file the weights, of which nothing is known that tells damage."""
        whole = Member(self.weights_name, 0, self.size, self.size, STORED, None)
        self.members[self.weights_name] = whole
        self.weights = self.extent(self.weights_name)

    @property
    def verbatim(self) -> bool:
        """Whether the weights' bytes lie in an archive as they are, and can be read once more."""
        weights = self.members[self.weights_name]
        return weights.method == STORED and weights.crc is not None

    def read(self, name: str) -> Iterator[bytes]:
        """Yields the bytes of a member in chunks; the last step checks their CRC."""
        return read_bytes(Extent(self._descriptors[0], 0, self.size), self.members[name])

    def extent(self, name: str) -> Extent:
        """Returns where the bytes of a member lie: in the archive, or decompressed elsewhere."""
        member = self.members[name]
        if member.method == STORED:
            return Extent(self._descriptors[0], member.offset, member.size)
        return self._unpacked(name)

    def parts(self) -> Iterator[tuple[str, Extent]]:
        """Yields the file itself."""
        yield "", Extent(self._descriptors[0], 0, self.size)

    def check_weights(self) -> None:
        """Reads the stored weights once and compares their CRC, if an archive holds them."""
        if self.verbatim:
            for _ in self.read(self.weights_name):
                pass

    def _statuses(self, path: str) -> list[os.stat_result]:
        return [os.stat(path), os.fstat(self._descriptors[0])]

    def _same(self) -> bool:
        if not self.verbatim:
            return False
        small = [name for name in (CONFIG, METADATA) if name in self.members]
        if any(b"".join(self.read(name)) != self.stored[name] for name in small):
            return False
        with contextlib.closing(Hashing(self.parts)) as again:
            return self._hashing is None or again.result() == self._hashing.result()

    def _unpacked(self, name: str) -> Extent:
        """Decompresses the weights into a temporary file."""
        import tempfile  # noqa: PLC0415 -- few files need it, and all would wait for it

        try:
            descriptor = self._spooled(self.read(name))
        except OSError as error:
            raise OutputError(
                f"the weights cannot be decompressed into {tempfile.gettempdir()}"
                f" ({error.strerror})",
                "Set TMPDIR to a folder with more room",
            ) from error
        self._descriptors.append(descriptor)
        return Extent(descriptor, 0, self.members[name].size)

    def _spooled(self, chunks: Iterable[bytes]) -> Descriptor:
        """Writes bytes into a file without a name, so that nothing can be left, and opens it.

        Where open files cannot be sent to another process, it has a name until it is closed.

        Raises:
            OSError: There is no room for them.
        """
        import tempfile  # noqa: PLC0415 -- few files need it, and all would wait for it

        with (
            tempfile.TemporaryFile(buffering=0)
            if SENDS_FILES
            else tempfile.NamedTemporaryFile(buffering=0, delete=False)
        ) as file:
            self._temporary += [] if SENDS_FILES else [file.name]
            for chunk in chunks:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]
            return Descriptor(os.dup(file.fileno()), str(file.name))
