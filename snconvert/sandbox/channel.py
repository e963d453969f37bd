"""Pickled messages over a socket; open files travel along.

An `Extent` names an open file by its descriptor, which means nothing in another process. The
channel sends the descriptor itself (SCM_RIGHTS), so that files without a name work as well. Where
the system cannot send it, as on Windows, the other end opens the file's path, and makes sure that
it is the same file.

Arrays come as `Numbers` to a process that has not imported numpy. Most runs only pass them on, and
the import would take a sixth of what a small model takes.
"""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

from snconvert.core.system import READING, SENDS_FILES, Descriptor
from snconvert.errors import SourceError
from snconvert.weights.extent import Changes, Extent

_HEAD = struct.Struct("<QI")  # the length of the body, the number of files
_MOST_FILES = 250


@dataclass(frozen=True, slots=True)
class Numbers:
    """An array on its way through a process that does not look at it; `np.asarray` opens it.

    Attributes:
        dtype: Its type, as numpy writes it.
        shape: Its shape.
        data: Its bytes, the last axis fastest.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Returns the array; numpy calls this."""
        import numpy as np  # noqa: PLC0415 - that is the point of it

        array = np.frombuffer(self.data, self.dtype).reshape(self.shape)
        return array.astype(dtype or array.dtype, copy=bool(copy))


class Channel:
    """One end of a connection between a `Worker` and its child.

    Args:
        connection: A connected stream socket, which the channel takes over; a Unix socket where
            there are such.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._received: list[int] = []

    def fileno(self) -> int:
        """Returns the socket's descriptor, so that `select` can wait for a message."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes the connection and the files that came over it."""
        self.release()
        self._socket.close()

    def release(self) -> None:
        """Closes the files of the messages received so far; maps of them stay valid."""
        while self._received:
            os.close(self._received.pop())

    def send(self, message: object) -> None:
        """Sends one message.

        Raises:
            ConnectionError: The other end is gone.
        """
        buffer = io.BytesIO(bytes(_HEAD.size))
        buffer.seek(_HEAD.size)
        pickler = _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.dump(message)
        files = list(pickler.files)
        if len(files) > _MOST_FILES:
            raise ValueError(f"{len(files)} files in one message, the limit is {_MOST_FILES}")
        data = buffer.getbuffer()
        _HEAD.pack_into(data, 0, len(data) - _HEAD.size, len(files))
        # The rest in one piece: TCP lets a second one wait until the first is known to be there.
        sent = socket.send_fds(self._socket, [data[: _HEAD.size]], files) if files else 0
        self._socket.sendall(data[sent:])

    def receive(self) -> Any:
        """Returns the next message.

        Raises:
            EOFError: The other end is gone.
            ConnectionError: As EOFError, in the middle of something.
            SourceError: A file was replaced before it could be opened here.
        """
        head, files = self._head()
        self._received.extend(files)
        size, sent = _HEAD.unpack(head + self._bytes(_HEAD.size - len(head)))
        if sent != len(files):
            raise ConnectionError("files were lost on the way: too many are open")
        return _Unpickler(io.BytesIO(self._bytes(size)), files, self._received).load()

    def _head(self) -> tuple[bytes, list[int]]:
        if not SENDS_FILES:
            return self._socket.recv(_HEAD.size), []
        return socket.recv_fds(self._socket, _HEAD.size, _MOST_FILES)[:2]

    def _bytes(self, size: int) -> bytearray:
        """Returns so many bytes, which may come in pieces."""
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                raise EOFError("the other end is gone")
            view = view[count:]
        return data


class _Pickler(pickle.Pickler):
    """Replaces the descriptor of each extent by its place among the files to be sent, or its path.

    And each array of plain numbers by its parts.
    """

    def __init__(self, buffer: io.BytesIO, protocol: int) -> None:
        super().__init__(buffer, protocol)
        self.files: dict[int, int] = {}

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Extent) and not value.shards:
            changes = None if value.changes is None else tuple(value.changes)
            return "extent", self._file(value.descriptor), value.offset, value.stored, changes
        if isinstance(value, Numbers):
            return "array", value.dtype, value.shape, value.data
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind in "biuf":
            return "array", value.dtype.str, value.shape, value.tobytes()
        return None

    def _file(self, descriptor: int) -> Any:
        if SENDS_FILES:
            return self.files.setdefault(descriptor, len(self.files))
        if not isinstance(descriptor, Descriptor):
            raise TypeError(f"the path of open file {descriptor} is not known")
        return descriptor.path, _identity(descriptor)


class _Unpickler(pickle.Unpickler):
    """Puts extents and arrays together again.

    Args:
        buffer: The message.
        files: The files that came with it.
        opened: Gets those that are opened here.
    """

    def __init__(self, buffer: io.BytesIO, files: list[int], opened: list[int]) -> None:
        super().__init__(buffer)
        self._files = files
        self._opened = opened

    def persistent_load(self, place: Any) -> Any:
        kind, *parts = place
        if kind == "array":
            numbers = Numbers(*parts)
            # Writable, as other unpickled arrays are.
            return numbers.__array__(copy=True) if "numpy" in sys.modules else numbers
        file, offset, stored, changes = parts
        lying_over = None if changes is None else Changes(*changes)
        descriptor = self._files[file] if isinstance(file, int) else self._open(*file)
        return Extent(descriptor, offset, stored, lying_over)

    def _open(self, path: str, identity: tuple[int, int]) -> int:
        try:
            descriptor = os.open(path, READING)
            self._opened.append(descriptor)
            same = _identity(descriptor) == identity
        except OSError:
            same = False
        if not same:
            raise SourceError(
                "the file was replaced or removed while it was read",
                "Try again when nothing writes to it",
            )
        return descriptor


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
