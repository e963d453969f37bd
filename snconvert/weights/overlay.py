"""Edits of a large file that are kept beside it: copy-on-write blocks over an extent.

HDF5 renames groups and appends small arrays by changing a few blocks of metadata. `OverlayFile`
lets it believe that it writes to the file, and keeps what it wrote; the writer of the output puts
the changed blocks over a copy.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from snconvert.weights.extent import Extent

if TYPE_CHECKING:
    from snconvert.weights.scaling import Fill  # which needs numpy


class Overlay(NamedTuple):
    """The changes that turn the bytes of an extent into the bytes of the output.

    Attributes:
        blocks: Block number -> its new bytes. Block `i` covers the bytes from `i * block` on; each
            is `block` long but the last, which ends at `size`. Bytes in no block are the extent's,
            and zero beyond its end. A writer asks for each block once, in ascending order,
            so that the mapping may compute them.
        size: The size of the output in bytes.
        block: The length of a block in bytes.
        fills: What lies over all that, in ascending order of its places, free of overlaps.
    """

    blocks: Mapping[int, bytes]
    size: int
    block: int = 65536
    fills: tuple[Fill, ...] = ()

    @classmethod
    def empty(cls, extent: Extent) -> Overlay:
        """Returns the overlay that changes nothing."""
        return cls({}, extent.size)


class ShardedOverlay(NamedTuple):
    """The changes of weights that lie in several files.

    Attributes:
        overlays: Those of each file.
        places: Path of each array after the changes -> the number of the file that holds it.
        moved: The paths of arrays before and after, where they differ.
        grown: How many bytes more of arrays there are.
    """

    overlays: tuple[Overlay, ...]
    places: Mapping[str, int]
    moved: Mapping[str, str]
    grown: int


class OverlayFile(io.RawIOBase):
    r"""A binary file over an extent: reads fall through, writes stay in memory.

    Args:
        extent: The bytes to begin with; they are never changed.
        block: The length of a copied block. Smaller blocks hold less of what did not change.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     _ = file.write(b"0123456789")
        ...     file.flush()
        ...     overlay = OverlayFile(Extent(file.fileno(), 2, 6), block=4)
        ...     _ = overlay.seek(4), overlay.write(b"ab!")
        ...     overlay.blocks, overlay.size
        ({1: b'ab!'}, 7)
    """

    def __init__(self, extent: Extent, block: int = 65536) -> None:
        super().__init__()
        self._extent = extent
        self._base = extent.size  # bytes beyond were cut off once and read as zeros
        self._block = block
        self._blocks: dict[int, bytearray] = {}
        self._size = extent.size
        self._position = 0

    @property
    def size(self) -> int:
        """The present size of the file in bytes."""
        return self._size

    @property
    def blocks(self) -> dict[int, bytes]:
        """The changed blocks, in ascending order; see `Overlay.blocks`."""
        changed = set(self._blocks)
        if self._base < self._extent.size:  # what was cut off and grown again is zero, not old
            regrown = min(self._size, self._extent.size)
            changed.update(range(self._base // self._block, -(-regrown // self._block)))
        if self._extent.changes is not None:  # what lay over the file before lies over it still
            known, length = self._extent.changes.blocks, self._extent.changes.block
            changed.update(
                index
                for number in known
                for index in range(
                    number * length // self._block, -(-(number + 1) * length // self._block)
                )
            )
        return {
            index: bytes(self._load(index)[: self._size - index * self._block])
            for index in sorted(changed)
            if index * self._block < self._size
        }

    def overlay(self) -> Overlay:
        """Returns the changes made so far."""
        return Overlay(self.blocks, self._size, self._block)

    def readable(self) -> bool:
        """Returns true."""
        return True

    def writable(self) -> bool:
        """Returns true."""
        return True

    def seekable(self) -> bool:
        """Returns true."""
        return True

    def tell(self) -> int:
        """Returns the position of the next read or write."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position, which may lie beyond the end, and returns it."""
        if whence == io.SEEK_SET and offset >= 0:  # what libhdf5 does before each read and write
            self._position = offset
            return offset
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fills `buffer` from the position on and returns how many bytes there were.

        What lies beyond the end of the file becomes zero, because HDF5 does not look at the
        count and would else see whatever was in its memory.
        """
        view = memoryview(buffer)
        if view.itemsize != 1:
            view = view.cast("B")
        if not self._blocks and self._position + len(view) <= self._base:  # most of all reads
            self._extent.pread_into(view, self._position)
            self._position += len(view)
            return len(view)
        count = max(0, min(len(view), self._size - self._position))
        self._read(view[:count], self._position)
        view[count:] = bytes(len(view) - count)
        self._position += count
        return count

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Writes all of `data` at the position and returns its length in bytes."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            index, start = divmod(self._position + done, self._block)
            part = view[done : done + self._block - start]
            if index not in self._blocks:
                self._blocks[index] = self._load(index)
            self._blocks[index][start : start + len(part)] = part
            done += len(part)
        if done:
            self._size = max(self._size, self._position + done)
            self._position += done
        return done

    def truncate(self, size: int | None = None) -> int:
        """Cuts the file, or grows it by zeros; the position stays."""
        size = self._position if size is None else size
        if size < 0:
            raise ValueError(f"negative size {size}")
        if size < self._size:
            self._base = min(self._base, size)
            last, kept = divmod(size, self._block)
            for index in [index for index in self._blocks if index >= last]:
                if index == last and kept:
                    self._blocks[index][kept:] = bytes(self._block - kept)
                else:
                    del self._blocks[index]
        self._size = size
        return size

    def _load(self, index: int) -> bytearray:
        """Returns block `index`, full length: a changed one itself, else a copy of the base."""
        if index in self._blocks:
            return self._blocks[index]
        block = bytearray(self._block)
        start = index * self._block
        count = max(0, min(self._block, self._base - start))
        self._extent.pread_into(memoryview(block)[:count], start)
        return block

    def _read(self, view: memoryview, position: int) -> None:
        old = max(0, min(len(view), self._base - position))
        self._extent.pread_into(view[:old], position)
        view[old:] = bytes(len(view) - old)
        if not self._blocks or not len(view):
            return
        for index in range(position // self._block, (position + len(view) - 1) // self._block + 1):
            changed = self._blocks.get(index)
            if changed is not None:
                start = index * self._block
                low, high = max(position, start), min(position + len(view), start + self._block)
                view[low - position : high - position] = changed[low - start : high - start]
