"""One pass over the weights: check them, and write them with their changes.

Another thread computes the CRC-32 of the old weights while this one writes; the CRC-32 of the new
weights follows from the old one and the changed blocks.
"""

from __future__ import annotations

import bisect
import itertools
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from snconvert.archive.crc import crc_of_changed
from snconvert.archive.extent import Extent
from snconvert.archive.members import damaged
from snconvert.archive.overlay import Overlay
from snconvert.archive.source import WEIGHTS, Source

_CHUNK = 2 << 20
_BUFFERS = 3

Progress = Callable[[int], None]


@dataclass
class _Checksum:
    """The CRC-32 of the old weights; updated in a thread, one chunk after the other."""

    common: int
    crc: int = 0
    crc_common: int = 0  # of the first `common` bytes of the weights

    def update(self, chunk: memoryview, at: int) -> None:
        if at < self.common:
            part = chunk[: self.common - at]
            self.crc = self.crc_common = zlib.crc32(part, self.crc)
            chunk = chunk[len(part) :]
        self.crc = zlib.crc32(chunk, self.crc)


class _Blocks:
    """Hands out the changed blocks of a range; each block is asked of the mapping once."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self._indices = sorted(overlay.blocks)
        self._next = 0
        self._last: tuple[int, bytes] = (-1, b"")

    def between(self, low: int, high: int) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yields position and bytes of what changed from `low` to `high`, ascending."""
        start, data = self._last
        if 0 <= start < low < start + len(data):
            yield low, data[low - start : high - start]
        while self._next < len(self._indices):
            index = self._indices[self._next]
            start = index * self._overlay.block
            if start >= high:
                return
            self._next += 1
            data = self._overlay.blocks[index]
            self._last = start, data
            yield start, data[: high - start]


def copy_weights(
    source: Source, overlay: Overlay, descriptor: int, progress: Progress | None = None
) -> int:
    """Writes the weights with their changes to a file, and checks the old ones on the way.

    Args:
        source: The input.
        overlay: The changes of its weights.
        descriptor: Open for writing, at the position where the weights belong.
        progress: Called with the number of bytes of the old weights in each chunk.

    Returns:
        The CRC-32 of the weights as they were written.

    Raises:
        SourceError: The input cannot be read, or the CRC of its weights is not that of its header.
        OSError: The output cannot be written.
    """
    weights = source.weights
    common = min(weights.size, overlay.size)
    checksum = _Checksum(common)
    blocks = _Blocks(overlay)
    changes: list[tuple[int, int]] = []
    chunk = max(1, _CHUNK // overlay.block) * overlay.block
    buffers = [memoryview(bytearray(chunk)) for _ in range(_BUFFERS)]
    jobs: list[Future[None] | None] = [None] * _BUFFERS
    with ThreadPoolExecutor(1) as checking:
        for turn, at in enumerate(range(0, weights.size, chunk)):
            pending = jobs[turn % _BUFFERS]
            if pending is not None:
                pending.result()
            data = buffers[turn % _BUFFERS][: min(chunk, weights.size - at)]
            weights.pread_into(data, at)
            jobs[turn % _BUFFERS] = checking.submit(checksum.update, data, at)
            if at < common:
                new = data[: common - at]
                end = at + len(new)
                filled = _filled(overlay, weights, at, end)
                for place, changed in itertools.chain(blocks.between(at, end), filled):
                    if new.obj is data.obj:
                        new = memoryview(bytearray(new))
                    low, high = place - at, place - at + len(changed)
                    change = zlib.crc32(new[low:high]) ^ zlib.crc32(changed)
                    changes.append((common - at - high, change))
                    new[low:high] = changed
                _write(descriptor, new)
            if progress is not None:
                progress(len(data))
        for pending in jobs:
            if pending is not None:
                pending.result()
    if source.members[WEIGHTS].crc not in (None, checksum.crc):
        raise damaged(WEIGHTS)
    crc = crc_of_changed(checksum.crc_common, changes)
    for at in range(common, overlay.size, chunk):
        grown = bytearray(min(chunk, overlay.size - at))
        end = at + len(grown)
        filled = _filled(overlay, weights, at, end)
        for place, changed in itertools.chain(blocks.between(at, end), filled):
            grown[place - at : place - at + len(changed)] = changed
        crc = zlib.crc32(grown, crc)
        _write(descriptor, memoryview(grown))
    return crc


def _filled(
    overlay: Overlay, weights: Extent, low: int, high: int
) -> Iterator[tuple[int, memoryview]]:
    """Yields position and bytes of the fills from `low` to `high`, ascending."""
    first = bisect.bisect_right(overlay.fills, low, key=lambda fill: fill.end)
    for fill in itertools.islice(overlay.fills, first, None):
        if fill.offset >= high:
            return
        start, end = max(low, fill.offset), min(high, fill.end)
        yield start, fill.read(weights, start, end)


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
