"""Pickled messages over a Unix socket; open files travel along.

An `Extent` names an open file by its descriptor, which means nothing in another process. The
channel sends the descriptor itself (SCM_RIGHTS), so that files without a name work as well.

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

from snconvert.weights.extent import Changes, Extent

_HEAD = struct.Struct("<QI")  # the length of the body, the number of files
_MOST_FILES = 64


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
        connection: A connected Unix stream socket, which the channel takes over.
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
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.dump(message)
        files = list(pickler.files)
        if len(files) > _MOST_FILES:
            raise ValueError(f"{len(files)} files in one message, the limit is {_MOST_FILES}")
        head = _HEAD.pack(buffer.tell(), len(files))
        if files:
            socket.send_fds(self._socket, [head], files)
        else:
            self._socket.sendall(head)
        self._socket.sendall(buffer.getbuffer())

    def receive(self) -> Any:
        """Returns the next message.

        Raises:
            EOFError: The other end is gone.
            ConnectionError: As EOFError, in the middle of something.
        """
        head, files, _, _ = socket.recv_fds(self._socket, _HEAD.size, _MOST_FILES)
        self._received.extend(files)
        size, sent = _HEAD.unpack(head + self._bytes(_HEAD.size - len(head)))
        if sent != len(files):
            raise ConnectionError("files were lost on the way: too many are open")
        return _Unpickler(io.BytesIO(self._bytes(size)), files).load()

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
    """Replaces the descriptor of each extent by its place among the files to be sent.

    And each array of plain numbers by its parts.
    """

    def __init__(self, buffer: io.BytesIO, protocol: int) -> None:
        super().__init__(buffer, protocol)
        self.files: dict[int, int] = {}

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Extent):
            place = self.files.setdefault(value.descriptor, len(self.files))
            changes = None if value.changes is None else tuple(value.changes)
            return "extent", place, value.offset, value.stored, changes
        if isinstance(value, Numbers):
            return "array", value.dtype, value.shape, value.data
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind in "biuf":
            return "array", value.dtype.str, value.shape, value.tobytes()
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, files: list[int]) -> None:
        super().__init__(buffer)
        self._files = files

    def persistent_load(self, place: Any) -> Any:
        kind, *parts = place
        if kind == "array":
            numbers = Numbers(*parts)
            # Writable, as other unpickled arrays are.
            return numbers.__array__(copy=True) if "numpy" in sys.modules else numbers
        index, offset, stored, changes = parts
        lying_over = None if changes is None else Changes(*changes)
        return Extent(self._files[index], offset, stored, lying_over)
