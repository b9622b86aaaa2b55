"""Reads the journals of older versions: frames of a marker, a length, a CRC-32 and a completion's JSON."""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MARKER = b"\xd1\x57\x1a\x0a"  # bytes that ASCII JSON never holds
HEADER_BYTES = len(MARKER) + 8
SEARCHED_BYTES = 1 << 20


class Frame(NamedTuple):
    """The JSON of one completion, and where its frame ends."""

    body: bytes
    end: int


def read(path: Path, offset: int = 0) -> Iterator[Frame]:
    """Every whole frame of a journal from an offset on; other bytes are passed over. Raises OSError."""
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        while len(header := os.pread(file, HEADER_BYTES, offset)) == HEADER_BYTES:
            if not header.startswith(MARKER):
                block = os.pread(file, SEARCHED_BYTES, offset)
                found = block.find(MARKER)
                offset += found if found >= 0 else len(block) - len(MARKER) + 1
                continue
            length, crc = header[4:8], int.from_bytes(header[8:], "little")
            end = offset + HEADER_BYTES + int.from_bytes(length, "little")
            body = os.pread(file, end - offset - HEADER_BYTES, offset + HEADER_BYTES) if end <= size else b""
            whole = end <= size and zlib.crc32(body, zlib.crc32(length)) == crc
            offset = end if whole else offset + 1
            if whole:
                yield Frame(body, end)
    finally:
        os.close(file)
