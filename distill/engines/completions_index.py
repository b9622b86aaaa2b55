"""The index beside a journal: where its completions lie and what they cost, so that opening one reads no text.

`00000.index` lies beside `00000.journal`: a line of JSON, 16 bytes a completion, and a CRC-32 of both. It is a copy of what the
journal says and never needed: one that is missing, damaged, made by another version, or that does not fit the journal (the bytes
before its end have to be those that it saw) counts as absent. A journal that grew since is read from the index's end on. An
index vouches for where frames were, not for their bytes: those are checked when a completion is read.
"""

import hashlib
import json
import os
import zlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.engines import frames
from distill.engines.usage import Spent, spent_on
from distill.store import shards

VERSION = 1
"""Raised when `ledger.spent_on` counts otherwise or a row means something else; a new field of `Spent` is seen without it."""
TAIL_BYTES = 4096
CHECKSUM_BYTES = 4
SPENT_NAMES = {one.name for one in fields(Spent)}

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Index:
    """What a journal holds before a byte: nothing, unless said otherwise."""

    end: int = 0
    spent: Spent = field(default_factory=Spent)
    """What its completions cost, failed and replaced ones too; those that were taken over cost nothing here."""
    rows: Rows = field(default_factory=lambda: _rows([]))
    """Of each completion the hash of its key and its place, in the order of the file; a key may have several."""


def hashed(key: str) -> int:
    """64 bits that stand for a key of any length: whoever reads the completion compares the key itself."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True)


def place(offset: int, failed: bool) -> int:
    """Where a frame lies, and in its sign whether its completion failed."""
    return ~offset if failed else offset


def offset_of(place: int) -> int:
    """The offset of the frame at a place."""
    return place if place >= 0 else ~place


def beside(journal: str | os.PathLike[str]) -> Path:
    """Where the index of a journal is."""
    return Path(journal).with_suffix(".index")


def read(journal: str | os.PathLike[str], file: int) -> Index:
    """The index of an open journal; an empty one where there is none that fits."""
    try:
        data = beside(journal).read_bytes()
    except OSError:
        return Index()
    line, body = data.find(b"\n") + 1, memoryview(data)[:-CHECKSUM_BYTES]
    if line == 0 or zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little") != data[-CHECKSUM_BYTES:]:
        return Index()
    try:
        said = json.loads(data[:line])
        if said["version"] != VERSION or said["spent"].keys() != SPENT_NAMES or said["tail"] != _tail(file, said["end"]):
            return Index()
        return Index(said["end"], Spent(**said["spent"]), np.frombuffer(body[line:], "<i8").reshape(-1, 2))
    except (AttributeError, KeyError, TypeError, ValueError):  # whole, but not what this version writes
        return Index()


def write(journal: str | os.PathLike[str], file: int, index: Index) -> None:
    """Writes the index of an open journal, whole or not at all; raises OSError."""
    said = {"version": VERSION, "end": index.end, "tail": _tail(file, index.end), "spent": asdict(index.spent)}
    body = json.dumps(said).encode("ascii") + b"\n" + index.rows.astype("<i8").tobytes()
    with shards.replacing(str(beside(journal))) as target:
        target.write(body + zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little"))


def read_on(index: Index, file: int) -> Index:
    """All that an open journal holds, of which an index knows the beginning."""
    end, spent = index.end, index.spent
    found: list[tuple[int, int]] = []
    for frame in frames.scan(file, index.end):
        end = frame.end
        spent = spent if frame.borrowed else spent.plus(spent_on(frame.completion))
        found.append((hashed(frame.completion.key), place(frame.offset, frame.completion.failure is not None)))
    return Index(end, spent, np.concatenate([index.rows, _rows(found)]) if found else index.rows)


def _rows(found: list[tuple[int, int]]) -> Rows:
    return np.array(found, np.int64).reshape(-1, 2)


def _tail(file: int, end: int) -> int:
    """CRC-32 of the last bytes before an end; another number where the file is shorter."""
    start = max(0, end - TAIL_BYTES)
    data = os.pread(file, end - start, start)
    return zlib.crc32(data) if len(data) == end - start else -1
