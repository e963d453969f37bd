"""A byte range of a file, without a copy of its bytes.

The weights lie somewhere inside the archive. Everything that reads them gets an `Extent` and takes
the bytes from the file itself: by a memory map for the kernels, by `pread` where the file could
shrink under the reader.

The weights of an older file become those of Keras 3 by a few changed blocks, which an extent
carries along: whoever reads it sees the file as Keras 3 would have written it.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from snconvert.core import system
from snconvert.errors import SourceError

RANGE = struct.Struct("<QQ")
"""What goes over a socket that stands for a file: place and length of a range that is asked for, or
whether it failed and how long the answer is, which follows."""
_MOST_ASKED = 8 << 20


class Changes(NamedTuple):
    """What lies over the bytes of a file.

    Attributes:
        blocks: Block number -> its new bytes. Block `i` covers the bytes from `i * block` on; each
            is `block` long but the last, which ends at `size`. Bytes in no block are the file's,
            and zero beyond its end.
        size: The number of bytes with the changes.
        block: The length of a block in bytes.
    """

    blocks: Mapping[int, bytes]
    size: int
    block: int

    def touched(self, low: int, high: int) -> Iterator[int]:
        """Yields the numbers of the blocks that lie over some of the bytes from `low` to `high`."""
        numbers = range(low // self.block, -(-high // self.block))
        yield from (index for index in numbers if index in self.blocks)


class Shard(NamedTuple):
    """One of several HDF5 files over which the weights of a model are spread.

    Attributes:
        name: The name of the file.
        extent: Its bytes.
        datasets: The paths of the datasets in it, each behind the prefix.
        prefix: What stands before the paths in this file, `FILE/`, where its groups have nothing to
            do with those of the other files.
    """

    name: str
    extent: Extent
    datasets: frozenset[str]
    prefix: str = ""


class Extent(NamedTuple):
    """The `stored` bytes from `offset` on in the open file `descriptor`, and what lies over them.

    Or those of several files, one behind the other.

    An extent borrows the descriptor: who opened the file closes it. It can be sent to a
    `sandbox.worker.Worker`, which passes the descriptor along.

    Attributes:
        descriptor: A file descriptor that is open for reading; a `Descriptor`, if it is to be read
            in a process that it cannot be sent to. Or a socket, whose other end answers `RANGE`;
            it is read by one thread or process at a time.
        offset: Where the range begins in the file.
        stored: Its length in the file, in bytes.
        changes: What lies over the bytes of the file, if anything does.
        shards: The files, where there are several; all else but `stored` is without a meaning then.
    """

    descriptor: int
    offset: int
    stored: int
    changes: Changes | None = None
    shards: tuple[Shard, ...] = ()

    @classmethod
    def joined(cls, shards: tuple[Shard, ...]) -> Extent:
        """Returns the bytes of several files, one behind the other."""
        return cls(-1, 0, sum(shard.extent.size for shard in shards), None, shards)

    def holding(self, path: str) -> tuple[Extent, str]:
        """Returns the bytes of the one file that holds a dataset, and its path in that file."""
        for shard in self.shards:
            if path in shard.datasets:
                return shard.extent, path.removeprefix(shard.prefix)
        return self, path

    @property
    def size(self) -> int:
        """The number of bytes, with the changes."""
        return self.stored if self.changes is None else self.changes.size

    def pread(self, size: int, position: int) -> bytes:
        """Returns up to `size` bytes from `position` in the range on; fewer only at its end.

        Raises:
            SourceError: The file has become shorter than the range, or cannot be read.
        """
        buffer = bytearray(max(0, min(size, self.size - position)))
        self.pread_into(memoryview(buffer), position)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, position: int) -> None:
        """Fills `buffer` with the bytes from `position` in the range on.

        Raises:
            SourceError: The file has become shorter than the range, or cannot be read.
        """
        if self.shards:
            for part, low, high, start in self._parts(position, position + len(buffer)):
                part.pread_into(buffer[low - position : high - position], low - start)
            return
        if self.changes is None:
            self._read(buffer, position)
            return
        old = max(0, min(len(buffer), self.stored - position))
        self._read(buffer[:old], position)
        buffer[old:] = bytes(len(buffer) - old)
        last = position + len(buffer)
        for index in self.changes.touched(position, last):
            block, start = self.changes.blocks[index], index * self.changes.block
            low, high = max(position, start), min(last, start + len(block))
            buffer[low - position : high - position] = block[low - start : high - start]

    def _read(self, buffer: memoryview, position: int) -> None:
        done = 0
        while done < len(buffer):
            try:
                rest = buffer[done:] if done else buffer
                count = system.preadv(self.descriptor, [rest], self.offset + position + done)
            except OSError as error:
                if error.errno == errno.ESPIPE:
                    count = self._ask(rest[:_MOST_ASKED], self.offset + position + done)
                    done += count
                    continue
                raise SourceError(
                    f"the file cannot be read ({error.strerror})", "Check the disk and try again"
                ) from error
            if count == 0:
                raise SourceError(
                    f"the file ends at byte {self.offset + position + done}, before its weights do",
                    "It was cut or changed while it was read; try again with an intact file",
                )
            done += count

    def _ask(self, buffer: memoryview, position: int) -> int:
        """Fills `buffer` by what the other end of a socket answers."""
        os.write(self.descriptor, RANGE.pack(position, len(buffer)))
        failed, size = map(int, RANGE.unpack(self._receive(RANGE.size)))
        answer = self._receive(size)
        if failed:
            raise SourceError(*answer.decode().split("\n"))
        if size != len(buffer):
            raise SourceError("the file ends before its weights do", "Copy or download it again")
        buffer[:] = answer
        return size

    def _receive(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self.descriptor, size)
            if not part:
                raise SourceError("the connection to the store was closed", "Try again")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def view(self, size: int, position: int) -> memoryview:
        """Returns so many bytes from `position` on: mapped, or a copy where any of them changed.

        A file that shrinks while it is mapped kills the process that touches the lost pages:
        do so in a `sandbox.worker.Worker`, or read with `pread`.

        Raises:
            SourceError: The file cannot be mapped, for example because it has become shorter.
        """
        for part, low, high, start in self._parts(position, position + size):
            if high - low == size:
                return part.view(size, low - start)
        elsewhere = stat.S_ISSOCK(os.fstat(self.descriptor).st_mode)
        if not elsewhere and self._as_stored(position, position + size):
            return self._map(size, position)
        return memoryview(self.pread(size, position))

    def _parts(self, low: int, high: int) -> Iterator[tuple[Extent, int, int, int]]:
        """Yields the files that hold bytes from `low` to `high`: which, and where each begins."""
        start = 0
        for shard in self.shards:
            end = start + shard.extent.size
            if max(low, start) < min(high, end):
                yield shard.extent, max(low, start), min(high, end), start
            start = end

    def _as_stored(self, start: int, end: int) -> bool:
        """Whether the bytes are the file's: a block may have changed beside them only."""
        if self.changes is None:
            return True
        if end > self.stored:
            return False
        before = self._replace(changes=None)
        for index in self.changes.touched(start, end):
            low = max(start, index * self.changes.block)
            high = min(end, (index + 1) * self.changes.block)
            if before.pread(high - low, low) != self.pread(high - low, low):
                return False
        return True

    def _map(self, size: int, position: int) -> memoryview:
        if size == 0:
            return memoryview(b"")
        lead = (self.offset + position) % mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(
                self.descriptor,
                lead + size,
                access=mmap.ACCESS_READ,
                offset=self.offset + position - lead,
            )
        except (OSError, ValueError) as error:
            raise SourceError(
                f"the file cannot be mapped into memory ({error})",
                "It was cut or changed while it was read; try again with an intact file",
            ) from error
        return memoryview(mapped)[lead:]
