"""The journal of a shard in the making: every completion that was paid for, on disk before the next one is looked at.

One file of frames (`frames`) that is only appended to: what lies behind the last whole frame is cut when the file is opened, so
damage costs the completions that it touched. The first good completion of a key stays; a failed one gives way to the next.
Appends reach the operating system at once (a killed process loses nothing) and the disk at most four times a second: a power cut
may lose the last quarter of a second, and what came just before a pause as long as the system holds writes back (half a minute
on Linux). Closing writes an index beside it (`journal_index`). In memory there are two numbers for each key, never a text.
Local files only, and one writer: the folder's lock sees to that.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from distill.engines import Completion, completions_index, frames
from distill.engines.completions_index import Index, Rows, hashed, offset_of
from distill.engines.usage import Spent, spent_on
from distill.store.folders import StoreError

SYNC_SECONDS = 0.25
"""At 2,000 completions a second one fsync in 64 would be 31 a second, of 1 to 20 ms each."""


class Journal:
    """Completions by key, appended to a file; a context manager that leaves everything on disk."""

    spent: Spent
    """What all completions in the file have cost, failed and replaced ones too, but not those taken over from other journals."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens or makes the journal and cuts a torn tail; raises StoreError when the file is something else."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._synced_at = time.monotonic()
        try:
            self._load(completions_index.read(path, self._file))
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        return hashed(key) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def failed(self, key: str) -> bool:
        """Whether all that there is of a key is a failed completion; it is asked again then."""
        return self._places.get(hashed(key), 0) < 0

    def get(self, key: str) -> Completion | None:
        """The completion of a key, read from the file, or None; raises OSError when its bytes have changed since."""
        place = self._places.get(hashed(key))
        if place is None:
            return None
        offset = offset_of(place)
        frame = frames.read(self._file, offset)
        if frame is not None:
            return frame.completion if frame.completion.key == key else None
        if offset >= self._indexed:
            raise OSError(f"the journal was changed at byte {offset} while it was open")
        self._load(Index())  # damaged since its index was written: what is left is found by reading all of it
        return self.get(key)

    def append(self, completions: Iterable[Completion], borrowed: bool = False) -> None:
        """Adds completions in one write, unless their key has a good one; `borrowed` ones were paid for in another journal."""
        data = bytearray()
        places: dict[int, int] = {}
        spent = self.spent
        for completion in completions:
            key, failed = hashed(completion.key), completion.failure is not None
            held = places.get(key, self._places.get(key))
            if held is None or held < 0:
                places[key] = completions_index.place(self._end + len(data), failed)
                data += frames.encode(completion, borrowed)
                spent = spent if borrowed else spent.plus(spent_on(completion))
        _write(self._file, data, self._end)
        self._places |= places
        self._end += len(data)
        self.spent = spent
        if time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self._sync()

    def close(self) -> None:
        """Brings everything to the disk, with an index beside it, and closes the file."""
        try:
            self._sync()
            if self._end != self._indexed:
                with suppress(OSError):  # on a full disk: the next run reads the journal instead
                    completions_index.write(self._path, self._file, Index(self._end, self.spent, self._rows()))
        finally:
            os.close(self._file)

    def _sync(self) -> None:
        os.fsync(self._file)
        self._synced_at = time.monotonic()

    def _load(self, index: Index) -> None:
        """Takes what an index says and what follows it in the file."""
        found = completions_index.read_on(index, self._file)
        size = os.fstat(self._file).st_size
        if found.end == 0 and os.pread(self._file, len(frames.MARKER), 0) != frames.MARKER[:size]:
            raise StoreError(f"{os.fspath(self._path)} is not a journal of completions; move it away to sample its shard anew")
        os.ftruncate(self._file, found.end)
        self._places, self._end, self.spent, self._indexed = _places(found.rows), found.end, found.spent, index.end

    def _rows(self) -> Rows:
        count = len(self._places)
        columns = (self._places.keys(), self._places.values())
        return np.column_stack([np.fromiter(column, np.int64, count) for column in columns])


def _places(rows: Rows) -> dict[int, int]:
    """The place of each key: its first good completion, or else its last failed one."""
    good = rows[:, 1] >= 0
    ordered = np.concatenate([rows[~good], rows[good][::-1]])  # of a key's places the last one stays
    return dict(zip(ordered[:, 0].tolist(), ordered[:, 1].tolist(), strict=True))


def _write(file: int, data: bytearray, offset: int) -> None:
    """Writes all bytes at an offset: what a full disk let through is written over by the next try."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written
