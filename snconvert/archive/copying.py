"""The weights' way into the output: copied as they are, then changed in place.

What changes in them is known only once `u` is found, and is little. So a thread copies the old
weights, and flushes them to the disk, while that goes on; the changes are written over them at the
end. The CRC-32 of the old weights is checked on the way, and that of the new ones follows from it
and the changes.

CRC-32 is linear: for messages of equal length, `crc(a) ^ crc(b)` depends on `a ^ b` alone. Where a
few blocks of a large file change, its new CRC follows from the old one and the blocks, without a
second pass: a block whose change has the CRC `d` and is followed by `t` bytes contributes `d * x^(8
t)` modulo the polynomial. The sum over the blocks is taken by Horner's rule from the first to the
last, so that what is raised to a power are the distances between them, of which few differ.

Reference: crc32_combine in zlib's crc32.c (multmodp, x2nmodp).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Event

from snconvert.archive.background import start
from snconvert.archive.members import Member, damaged
from snconvert.core import system
from snconvert.errors import SnconvertError
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31  # x^0: the bits are reflected
_ONES = 0xFFFFFFFF


def crc_of_changed(crc: int, changes: Iterable[tuple[int, int]]) -> int:
    """Returns the CRC-32 of a message after some of its blocks changed.

    Args:
        crc: The CRC-32 of the message before.
        changes: For each changed block, the number of bytes that follow it and `crc32(old block) ^
            crc32(new block)`.

    Example:
        >>> import zlib
        >>> change = zlib.crc32(b"quick") ^ zlib.crc32(b"brown")
        >>> crc = crc_of_changed(zlib.crc32(b"the quick fox"), [(len(" fox"), change)])
        >>> crc == zlib.crc32(b"the brown fox")
        True
    """
    total = last = 0
    for tail, change in sorted(changes, reverse=True):
        total = _multiply(total, _power(last - tail)) if total else 0
        total, last = total ^ change, tail
    return crc ^ _multiply(total, _power(last))


def crc_with_zeros(crc: int, size: int) -> int:
    """Returns the CRC-32 of a message after `size` zero bytes were appended to it.

    Example:
        >>> import zlib
        >>> crc_with_zeros(zlib.crc32(b"fox"), 2) == zlib.crc32(b"fox" + bytes(2))
        True
    """
    return _multiply(crc ^ _ONES, _power(size)) ^ _ONES


def crc_without(crc: int, tail: int, size: int) -> int:
    """Returns the CRC-32 of a message after its end was cut off.

    Args:
        crc: The CRC-32 of the message before.
        tail: The CRC-32 of what was cut off.
        size: Its length in bytes.

    Example:
        >>> import zlib
        >>> crc_without(zlib.crc32(b"the fox"), zlib.crc32(b" fox"), 4) == zlib.crc32(b"the")
        True
    """
    # The polynomial is primitive: x^(2^32 - 1) = 1, so that this power undoes x^(8 * size).
    return _multiply(crc ^ tail, _power(-size % _ONES))


def _multiply(a: int, b: int) -> int:
    """Returns `a * b` modulo the polynomial."""
    product, bit = 0, _ONE
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@lru_cache(maxsize=4096)
def _power(length: int) -> int:
    """Returns `x^(8 * length)` modulo the polynomial."""
    power, square = _ONE, 1 << 23  # x^8
    while length:
        if length & 1:
            power = _multiply(power, square)
        square = _multiply(square, square)
        length >>= 1
    return power


_CHUNK = 2 << 20
_BEAT = 0.1  # seconds between two reports of the progress

Progress = Callable[[int], None]


class Copying:
    """Copies a file of weights in a thread of its own.

    Args:
        weights: Its bytes.
        member: What it is called, and the CRC that is known of it.
        descriptor: The output, open for reading and writing; its position is left alone.
        offset: Where the weights belong in the output.
        before: The copying that is to end first.
    """

    def __init__(
        self,
        weights: Extent,
        member: Member,
        descriptor: int,
        offset: int,
        before: Copying | None = None,
    ) -> None:
        self._weights = weights
        self._name, self._expected = member.name, member.crc
        self._descriptor, self._offset = descriptor, offset
        self._copied, self._before = 0, before
        self._awaited, self._closed = Event(), Event()
        self._thread = ThreadPoolExecutor(1)
        # The thread has files of its own: if an interrupt leaves it behind, it must not write to
        # what has got the number of a file that was closed.
        files: list[int] = []
        try:
            for one in (self._weights.descriptor, descriptor):
                files.append(os.dup(one))  # noqa: PERF401 - each at once, lest one be lost
            self._crc: Future[int] = start(self._thread, self._copy, *files)
        except (OSError, SnconvertError):
            for file in files:
                os.close(file)
            raise
        except BaseException:
            self._closed.set()
            raise

    def finish(self, overlay: Overlay, progress: Progress | None = None) -> int:
        """Waits for the copy and changes it.

        Args:
            overlay: The changes of the weights.
            progress: Called with the number of bytes that were copied since it was called last.

        Returns:
            The CRC-32 of the weights as they are in the output now.

        Raises:
            SourceError: The input cannot be read, or the CRC of its weights is not that of its
                header.
            OSError: The output cannot be written.
        """
        crc = self._resize(self._wait(progress), overlay.size)
        changes = []
        for position, new in _changes(overlay, self._weights):
            old = self._read(len(new), position)
            changes.append((overlay.size - position - len(new), zlib.crc32(old) ^ zlib.crc32(new)))
            write_at(self._descriptor, new, self._offset + position)
        return crc_of_changed(crc, changes)

    def close(self) -> None:
        """Ends the thread, whether it is done or not."""
        self._closed.set()
        self._thread.shutdown()

    def check(self) -> None:
        """Raises what has ended the copy, if anything has."""
        if self._crc.done():
            self._crc.result()

    def _copy(self, source: int, output: int) -> int:
        try:
            if self._before is not None:
                wait([self._before._crc])  # noqa: SLF001 - of its own class
            weights = self._weights._replace(descriptor=source, changes=None)
            crc, buffer = 0, memoryview(bytearray(min(_CHUNK, weights.size)))
            for position in range(0, weights.size, _CHUNK):
                if self._closed.is_set():
                    return 0
                chunk = buffer[: min(_CHUNK, weights.size - position)]
                weights.pread_into(chunk, position)
                crc = zlib.crc32(chunk, crc)
                write_at(output, chunk, self._offset + position)
                self._copied = position + len(chunk)
            if self._expected not in (None, crc):
                raise damaged(self._name)
            if not self._awaited.is_set():  # else changes come at once, and one flush does for all
                system.flush(output)
            return crc
        finally:
            os.close(source)
            os.close(output)

    def _wait(self, progress: Progress | None) -> int:
        self._awaited.set()
        reported, running = 0, {self._crc}
        while running:
            _, running = wait(running, _BEAT)
            now = self._copied
            if progress is not None and now > reported:
                progress(now - reported)
            reported = now
        return self._crc.result()

    def _resize(self, crc: int, size: int) -> int:
        """Cuts the weights, or makes them longer by zeros; returns their CRC-32 then."""
        old, tail = self._weights.stored, 0
        for position in range(size, old, _CHUNK):
            tail = zlib.crc32(self._read(min(_CHUNK, old - position), position), tail)
        os.ftruncate(self._descriptor, self._offset + size)
        return crc_without(crc, tail, old - size) if size < old else crc_with_zeros(crc, size - old)

    def _read(self, size: int, position: int) -> bytes:
        data = system.pread(self._descriptor, size, self._offset + position)
        if len(data) != size:
            raise OSError("it became shorter while it was written")
        return data


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Writes all of `data` from a place in a file on."""
    rest = memoryview(data)
    while rest:
        count = system.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count


def _changes(overlay: Overlay, weights: Extent) -> Iterator[tuple[int, bytes | memoryview]]:
    """Yields place and bytes of what is to be written, each over what came before."""
    for index in sorted(overlay.blocks):
        yield index * overlay.block, overlay.blocks[index]
    for fill in overlay.fills:
        for low in range(fill.offset, fill.end, _CHUNK):
            yield low, fill.read(weights, low, min(fill.end, low + _CHUNK))
