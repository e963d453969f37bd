"""The bytes of one member of an archive or folder, decompressed and checked."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from snconvert.archive.members import STORED, Member, damaged
from snconvert.weights.extent import Extent

CHUNK = 1 << 20


def read_bytes(file: Extent, member: Member) -> Iterator[bytes]:
    """Yields the member's bytes, decompressed, in chunks; checks their number and their CRC.

    Raises:
        SourceError: The bytes are not those that were saved. It comes with the last chunk:
            what was yielded before must not be kept then.
    """
    source = Extent(file.descriptor, member.offset, member.stored)
    crc, size = 0, 0
    try:
        for chunk in _stored(source) if member.method == STORED else _inflated(source):
            crc = zlib.crc32(chunk, crc)
            size += len(chunk)
            if size > member.size:
                break
            yield chunk
    except zlib.error:
        size = -1
    if size != member.size or member.crc not in (None, crc):
        raise damaged(member.name)


def _stored(source: Extent) -> Iterator[bytes]:
    for offset in range(0, source.size, CHUNK):
        yield source.pread(CHUNK, offset)


def _inflated(source: Extent) -> Iterator[bytes]:
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    for data in _stored(source):
        rest, chunk = data, b""
        while rest or len(chunk) == CHUNK:  # a full chunk may leave output behind without input
            chunk = decoder.decompress(rest, CHUNK)
            rest = decoder.unconsumed_tail
            yield chunk
        if decoder.unused_data:
            raise zlib.error("data after the end of the stream")
    if not decoder.eof:
        raise zlib.error("incomplete stream")
