"""A byte range of a file, without a copy of its bytes.

The weights lie somewhere inside the archive. Everything that reads them gets an `Extent` and takes
the bytes from the file itself: by a memory map for the kernels, by `pread` where the file could
shrink under the reader.
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

from snconvert.errors import SourceError


class Extent(NamedTuple):
    """The `size` bytes from `offset` on in the open file `descriptor`.

    An extent borrows the descriptor: who opened the file closes it. It can be sent to a
    `sandbox.worker.Worker`, which passes the descriptor along.

    Attributes:
        descriptor: A file descriptor that is open for reading.
        offset: Where the range begins in the file.
        size: Its length in bytes.
    """

    descriptor: int
    offset: int
    size: int

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
        done = 0
        while done < len(buffer):
            try:
                rest = buffer[done:] if done else buffer
                count = os.preadv(self.descriptor, [rest], self.offset + position + done)
            except OSError as error:
                raise SourceError(
                    f"the file cannot be read ({error.strerror})", "Check the disk and try again"
                ) from error
            if count == 0:
                raise SourceError(
                    f"the file ends at byte {self.offset + position + done}, before its weights do",
                    "It was cut or changed while it was read; try again with an intact file",
                )
            done += count

    def map(self) -> memoryview:
        """Returns the range as read-only memory that the system pages in from the file.

        A file that shrinks while it is mapped kills the process that touches the lost pages:
        do so in a `sandbox.worker.Worker`, or read with `pread`.

        Raises:
            SourceError: The file cannot be mapped, for example because it has become shorter.
        """
        if self.size == 0:
            return memoryview(b"")
        lead = self.offset % mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(
                self.descriptor,
                lead + self.size,
                access=mmap.ACCESS_READ,
                offset=self.offset - lead,
            )
        except (OSError, ValueError) as error:
            raise SourceError(
                f"the file cannot be mapped into memory ({error})",
                "It was cut or changed while it was read; try again with an intact file",
            ) from error
        return memoryview(mapped)[lead:]
