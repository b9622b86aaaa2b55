"""How completions lie in a journal's file: in frames, so that damage costs only those that it touched.

A frame is a marker, the payload's length, a CRC-32 of both, then one completion as ASCII JSON; it counts when its checksum
holds. A completion that was taken over from another journal says so, since it was paid for there. Files are read in pieces and
never mapped: another process may cut one at any time, and a mapping would end this one. Nothing is written here, and no frame is
preferred to another.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from operator import attrgetter

from distill.engines import Completion

MARKER = b"\xd1\x57\x1a\x0a"  # bytes that ASCII JSON never holds
LENGTH = struct.Struct("<I")
HEADER_BYTES = len(MARKER) + 2 * LENGTH.size
SEARCHED_BYTES = 1 << 20
BORROWED = "borrowed"
NAMES = tuple(field.name for field in fields(Completion))
_values = attrgetter(*NAMES)
_to_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Frame:
    """A completion and where it was found."""

    offset: int
    end: int
    completion: Completion
    borrowed: bool


def encode(completion: Completion, borrowed: bool) -> bytes:
    """The bytes of a frame."""
    entry = dict(zip(NAMES, _values(completion), strict=True))
    if borrowed:
        entry[BORROWED] = True
    payload = _to_json(entry).encode("ascii")
    length = LENGTH.pack(len(payload))
    return MARKER + length + LENGTH.pack(zlib.crc32(payload, zlib.crc32(length))) + payload


def read(file: int, offset: int) -> Frame | None:
    """The frame at an offset of an open file, or None when there is no whole one with a right checksum."""
    header = os.pread(file, HEADER_BYTES, offset)
    if len(header) < HEADER_BYTES or not header.startswith(MARKER):
        return None
    length, start = header[len(MARKER) : -LENGTH.size], offset + HEADER_BYTES
    size = LENGTH.unpack(length)[0]
    if size > os.fstat(file).st_size - start:  # a damaged length may be 4 GB, which would be set aside for the reading
        return None
    payload = os.pread(file, size, start)
    if LENGTH.pack(zlib.crc32(payload, zlib.crc32(length))) != header[-LENGTH.size :]:
        return None
    entry = json.loads(payload)
    borrowed = entry.pop(BORROWED, False)
    return Frame(offset, start + size, Completion(**entry), borrowed)


def scan(file: int, offset: int) -> Iterator[Frame]:
    """Every whole frame of an open file from an offset on; bytes between them are passed over."""
    while (start := _next_marker(file, offset)) is not None:
        frame = read(file, start)
        offset = start + 1 if frame is None else frame.end
        if frame is not None:
            yield frame


def _next_marker(file: int, offset: int) -> int | None:
    """Where the next marker begins, or None when there is none up to the end of the file."""
    if os.pread(file, len(MARKER), offset) == MARKER:
        return offset
    while len(block := os.pread(file, SEARCHED_BYTES, offset)) >= len(MARKER):
        if (found := block.find(MARKER)) >= 0:
            return offset + found
        offset += len(block) - len(MARKER) + 1
    return None
