"""A model in an object store: read in ranges, or downloaded into a file without a name."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from snconvert.address import Address
from snconvert.archive.file_source import FileSource
from snconvert.archive.remote import Stored, find
from snconvert.archive.source import changed
from snconvert.core.report import OnProgress, Progress
from snconvert.core.system import SENDS_FILES, Descriptor
from snconvert.errors import OutputError, SnconvertError, SourceNotFoundError
from snconvert.weights.extent import RANGE

_PART = 8 << 20  # bytes of one request while all are fetched
_BLOCK = 32 << 10  # and of one for the structure of a file
_MOST_BLOCKS = 4096


@dataclass
class RemoteSource(FileSource):
    """An object of which only the ranges that somebody reads are fetched, or all of it.

    Attributes:
        ranged: Whether the ranges suffice. Nothing maps the file then, and one at a time reads it.
        progress: Called with how much is there, of a download.
    """

    ranged: bool = False
    progress: OnProgress = None

    def _open(self) -> None:
        if not isinstance(self.path, Address):
            raise TypeError(f"{self.path!r} is no address")
        self._stored = find(self.path)
        self._server: _Ranges | None = None
        if self.ranged and SENDS_FILES:
            self._server = _Ranges(self._stored)
            descriptor = self._server.descriptor
        else:
            descriptor = self._download()
        self._descriptors.append(descriptor)
        self.size = self._stored.size
        self._list(descriptor)

    def close(self) -> None:
        """Closes the input, and the connection to the store."""
        super().close()
        if (server := getattr(self, "_server", None)) is not None:
            server.close()

    def check_weights(self) -> None:
        """Compares the CRC of the weights, if they were downloaded."""
        if self._server is None:
            super().check_weights()

    def check_unchanged(self) -> None:
        """Compares size and version of the object with those at its opening.

        Raises:
            SourceError: It was replaced or removed since.
        """
        try:
            now = find(self._stored.address)
        except SourceNotFoundError:
            raise changed(self.path) from None
        if (now.size, now.version) != (self._stored.size, self._stored.version):
            raise changed(self.path)

    def _download(self) -> Descriptor:
        folder, size = tempfile.gettempdir(), self._stored.size
        try:
            if (free := shutil.disk_usage(folder).free) < size:
                raise _no_room(folder, f"it has {size} bytes, and {free} are free")
            return self._spooled(self._parts())
        except SnconvertError:  # some are an `OSError`, too
            raise
        except OSError as error:
            raise _no_room(folder, error.strerror or str(error)) from error

    def _parts(self) -> Iterator[bytes]:
        """Yields the bytes of the object, all of one version."""
        size = self._stored.size
        for start in range(0, size, _PART):
            part = self._stored.read(start, min(size, start + _PART))
            if self.progress is not None:
                self.progress(Progress("downloading", "", start + len(part), size))
            yield part
        self.check_unchanged()


class _Ranges:
    """Answers the reads of an object, which come through a socket in place of a file.

    So the guarded process, which can open nothing, reads the structure of a file that is elsewhere.
    `Extent` asks with place and length, and gets the bytes, or why there are none.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._blocks: dict[int, bytes] = {}
        ours, self._theirs = socket.socketpair()
        self.descriptor = Descriptor(ours.detach(), str(stored.address))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._theirs.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while len(request := self._theirs.recv(RANGE.size, socket.MSG_WAITALL)) == RANGE.size:
                start, size = RANGE.unpack(request)
                try:
                    head, data = 0, self._read(start, min(self._stored.size, start + size))
                except SnconvertError as error:
                    head, data = 1, f"{error.what}\n{error.fix}".encode()
                self._theirs.sendall(RANGE.pack(head, len(data)) + data)

    def _read(self, start: int, end: int) -> bytes:
        numbers = range(start // _BLOCK, -(-end // _BLOCK))
        if len(numbers) * _BLOCK > _PART:
            return self._stored.read(start, end)
        missing = [number for number in numbers if number not in self._blocks]
        if len(self._blocks) + len(missing) > _MOST_BLOCKS:
            self._blocks.clear()
            missing = [*numbers]
        if missing:
            low = missing[0] * _BLOCK
            data = self._stored.read(low, min((missing[-1] + 1) * _BLOCK, self._stored.size))
            for number in range(missing[0], missing[-1] + 1):
                self._blocks[number] = data[number * _BLOCK - low :][:_BLOCK]
        first = start - numbers.start * _BLOCK
        return b"".join(self._blocks[number] for number in numbers)[first : first + end - start]


def _no_room(folder: str, why: str) -> OutputError:
    return OutputError(
        f"the model cannot be downloaded into {folder} ({why})",
        "Set TMPDIR to a folder with more room",
    )
