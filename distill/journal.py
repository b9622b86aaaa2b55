"""The journal of a shard in the making: every completion that was paid for, on disk before the next one is asked.

One file of frames: a marker, the payload's length, a CRC-32 of both, then one completion as ASCII JSON. A frame counts when
its checksum holds; bytes between good frames are passed over and those after the last one are cut when the file is opened,
so damage costs the frames that it touched. Appends reach the operating system at once (a killed process loses nothing)
and the disk at least once a second or every 64 completions (a power cut loses that much). In memory there is a key and
an offset for each completion, never its text. Local files only, and one writer: the folder's lock sees to that.
"""

import json
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from distill.engines import Completion

MARKER = b"\xd1\x57\x1a\x0a"  # bytes that ASCII JSON never holds
LENGTH = struct.Struct("<I")
HEADER_BYTES = len(MARKER) + 2 * LENGTH.size
SYNC_SECONDS = 1.0
SYNC_COMPLETIONS = 64


class Journal:
    """Completions by key, appended to a file; a context manager that leaves everything on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens or makes the journal and cuts a torn tail; raises ValueError when the file is something else."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._unsynced = 0
        self._synced_at = time.monotonic()
        try:
            self._load(path)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Completion | None:
        """The completion of a key, read from the file, or None; raises OSError when its bytes have changed since."""
        if key not in self._places:
            return None
        offset, size = self._places[key]
        payload = _payload(os.pread(self._file, size, offset), 0)
        if payload is None:
            raise OSError(f"the journal was changed at byte {offset} while it was open")
        return Completion(**json.loads(payload))

    def append(self, completions: Iterable[Completion]) -> None:
        """Adds completions in one write; a key that is there already keeps its first completion."""
        data = bytearray()
        places: dict[str, tuple[int, int]] = {}
        for completion in completions:
            if completion.key not in self._places and completion.key not in places:
                frame = _frame(completion)
                places[completion.key] = (self._end + len(data), len(frame))
                data += frame
        _write(self._file, data, self._end)
        self._places |= places
        self._end += len(data)
        self._unsynced += len(places)
        if self._unsynced >= SYNC_COMPLETIONS or time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self._sync()

    def close(self) -> None:
        """Brings everything to the disk and closes the file."""
        try:
            self._sync()
        finally:
            os.close(self._file)

    def _sync(self) -> None:
        os.fsync(self._file)
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def _load(self, path: str | os.PathLike[str]) -> None:
        size = os.fstat(self._file).st_size
        if size == 0:
            return
        with mmap.mmap(self._file, size, access=mmap.ACCESS_READ) as data:
            for offset, payload in _frames(data):
                self._end = offset + HEADER_BYTES + len(payload)
                self._places.setdefault(json.loads(payload)["key"], (offset, self._end - offset))
            if self._end == 0 and data[: len(MARKER)] != MARKER[:size]:
                raise ValueError(f"{os.fspath(path)} is not a journal of completions; move it away to sample its shard anew")
        os.ftruncate(self._file, self._end)


def _frames(data: mmap.mmap) -> Iterator[tuple[int, bytes]]:
    """(offset, payload) of every frame whose checksum holds."""
    offset = data.find(MARKER)
    while offset >= 0:
        payload = _payload(data, offset)
        if payload is not None:
            yield offset, payload
        offset = data.find(MARKER, offset + (1 if payload is None else HEADER_BYTES + len(payload)))


def _frame(completion: Completion) -> bytes:
    payload = json.dumps(asdict(completion), separators=(",", ":")).encode("ascii")
    length = LENGTH.pack(len(payload))
    return MARKER + length + LENGTH.pack(zlib.crc32(payload, zlib.crc32(length))) + payload


def _payload(data: bytes | mmap.mmap, offset: int) -> bytes | None:
    """The payload of the frame at an offset, or None when there is no whole frame with a right checksum."""
    header = data[offset : offset + HEADER_BYTES]
    if len(header) < HEADER_BYTES:
        return None
    length = header[len(MARKER) : -LENGTH.size]
    payload = data[offset + HEADER_BYTES : offset + HEADER_BYTES + LENGTH.unpack(length)[0]]
    return payload if LENGTH.pack(zlib.crc32(payload, zlib.crc32(length))) == header[-LENGTH.size :] else None


def _write(file: int, data: bytearray, offset: int) -> None:
    """Writes all bytes at an offset: what a full disk let through is written over by the next try."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written
