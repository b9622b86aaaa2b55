"""Reads what is left of a damaged SQLite file of completions: every row whose bytes are whole, whatever
became of the rest.

- The file is read page by page (https://www.sqlite.org/fileformat.html): no header, schema, index or inner
  page is trusted.
- Frames of a write-ahead log that was not written back stand over the pages that they change; older pages are
  read as well.
- A row counts when its checksum holds. What rows mean is not known here.
"""

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PAGE_BYTES = 4096
TABLE_LEAF = 13
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
COLUMNS = 5
"""Of the table of completions: id, hash, failed, crc, body."""
INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""Bytes of a value by its serial type, as far as they are integers."""


class Row(NamedTuple):
    """The body of a row, and the pages that it lies on."""

    body: bytes
    pages: frozenset[int]


class _Pages:
    """The pages of a file, some of them changed by frames of its log; numbers begin at 1."""

    def __init__(self, file: int, changed: Mapping[int, bytes]) -> None:
        self._file, self._changed = file, changed
        self.count = max([os.fstat(file).st_size // PAGE_BYTES, *changed])

    def __getitem__(self, number: int) -> bytes:
        """A page; zeros behind the end of the file."""
        found = self._changed.get(number) or os.pread(self._file, PAGE_BYTES, (number - 1) * PAGE_BYTES)
        return found.ljust(PAGE_BYTES, b"\0")


def rows(path: Path) -> Iterator[Row]:
    """Every whole row of completions in a file and its log; one may come twice, older versions too."""
    file = os.open(path, os.O_RDONLY)
    try:
        changed = _frames(Path(f"{path}-wal"))
        for pages in [_Pages(file, changed), *([_Pages(file, {})] if changed else [])]:
            for number in range(1, pages.count + 1):
                page = pages[number]
                if page[0] == TABLE_LEAF:
                    yield from _cells(pages, number, page)
    finally:
        os.close(file)


def _frames(log: Path) -> dict[int, bytes]:
    """The last version of each page in the frames of a log that belong to its present use."""
    data = log.read_bytes() if log.exists() else b""
    found: dict[int, bytes] = {}
    for start in range(WAL_HEADER_BYTES, len(data) - PAGE_BYTES, FRAME_HEADER_BYTES + PAGE_BYTES):
        if data[start + 8 : start + 16] == data[16:24]:  # the salt, which changes when the log begins anew
            page = start + FRAME_HEADER_BYTES
            number = int.from_bytes(data[start : start + 4], "big")
            if 0 < number < 1 << 31:
                found[number] = data[page : page + PAGE_BYTES]
    return found


def _cells(pages: _Pages, number: int, page: bytes) -> Iterator[Row]:
    """The whole rows of a leaf page."""
    for position in range(int.from_bytes(page[3:5], "big")):
        at = 8 + 2 * position
        with suppress(ValueError, IndexError):
            yield _row(pages, number, page, int.from_bytes(page[at : at + 2], "big"))


def _row(pages: _Pages, number: int, page: bytes, at: int) -> Row:
    """The row of a cell; raises ValueError or IndexError when it is not a whole row of completions."""
    size, at = _varint(page, at)
    _, at = _varint(page, at)  # the row's id
    if size > PAGE_BYTES * pages.count:
        raise ValueError("longer than the file")
    most, least = PAGE_BYTES - 35, (PAGE_BYTES - 12) * 32 // 255 - 23
    local = least + (size - least) % (PAGE_BYTES - 4)
    local = size if size <= most else local if local <= most else least
    parts, missing, used = [page[at : at + local]], size - local, {number}
    following = int.from_bytes(page[at + local : at + local + 4], "big") if missing else 0
    while missing > 0:
        if following in used or not 0 < following <= pages.count:
            raise ValueError("a broken chain")
        used.add(following)
        page = pages[following]
        parts.append(page[4 : 4 + missing])
        missing, following = missing - (PAGE_BYTES - 4), int.from_bytes(page[:4], "big")
    return Row(_body(b"".join(parts)), frozenset(used))


def _body(record: bytes) -> bytes:
    """The body in a record of completions; raises ValueError when its checksum does not hold."""
    end, at = _varint(record, 0)
    kinds = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    if len(kinds) != COLUMNS or kinds[-1] < 12 or kinds[-1] % 2 or max(kinds[:-1]) >= len(INTEGER_BYTES):
        raise ValueError("another table's")
    body_at = end + sum(INTEGER_BYTES[kind] for kind in kinds[:-1])
    crc_at = body_at - INTEGER_BYTES[kinds[-2]]
    body = record[body_at : body_at + (kinds[-1] - 12) // 2]
    constant = kinds[-2] - 8 if kinds[-2] > 6 else 0  # SQLite keeps 0 and 1 in the type alone
    if zlib.crc32(body) != constant + int.from_bytes(record[crc_at:body_at], "big", signed=True):
        raise ValueError("damaged")
    return body


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer of one to nine bytes, and where it ends."""
    value = 0
    for position in range(at, at + 8):
        value = value << 7 | data[position] & 127
        if data[position] < 128:
            return value, position + 1
    return value << 8 | data[at + 8], at + 9
