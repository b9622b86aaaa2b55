"""Completions of one teacher with some settings, in one SQLite file that any number of runs on this machine
share.

- Each completion is committed before the next one is looked at: a killed process loses none. The log is
  brought to the disk at most four times a second: a power cut may lose the last quarter of a second.
- A run claims a key before it asks for it, so that two runs never pay for one draw. A dead run's claims are
  void.
- Damage costs the rows that it touched (`completion_file`). Local files only.
"""

import os
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from distill.engines.completion_file import CompletionFile, decode, encode, hashed, locks
from distill.engines.protocol import Completion, SharedUsage
from distill.progress import say
from distill.store import StoreError

LOOK_SECONDS = 0.5
"""How often the claims of other runs are looked at."""
CLAIM = """
INSERT INTO leases SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM completions WHERE hash = ? AND NOT failed)
ON CONFLICT DO NOTHING
"""
MARKER = b"\xd1\x57\x1a\x0a"
"""Begins a frame of an older version's journal; ASCII JSON never holds these bytes."""
HEADER_BYTES = len(MARKER) + 8
SEARCHED_BYTES = 1 << 20


class Completions:
    """Completions by key; a context manager that leaves everything on disk. Threads may share one."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens or makes the file; raises OSError or StoreError."""
        self._run = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._claimed: set[int] = set()
        self._looked_at, self._held = 0.0, dict[int, str]()
        self._told = False
        self._file = CompletionFile(Path(path), lambda: [(place, self._run) for place in list(self._claimed)])
        if self._file.alone:
            for left in self._file.path.parent.glob("run-*.lock"):
                left.unlink(missing_ok=True)
        self._alive = os.open(self._lock_of(self._run), os.O_RDWR | os.O_CREAT, 0o644)
        locks(self._alive)
        self._file.share()

    def __enter__(self) -> "Completions":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._file.do(self._file.totals).rows

    def get(self, key: str) -> Completion | None:
        """The completion of a key, a failed one too; None when there is none."""
        return self._file.do(lambda: self._file.find(key))

    def append(self, completions: Iterable[Completion], borrowed: bool = False) -> None:
        """Adds completions (`borrowed`: paid for before), ends their claims; a first good one stays."""
        made = [encode(completion, borrowed) for completion in completions]

        def work() -> list[int]:
            hashes = self._file.insert(made)
            self._end_claims(self._claimed.intersection(hashes))
            return hashes

        self._claimed.difference_update(self._file.write(work))
        self._file.sync()

    def claim(self, key: str) -> bool:
        """Whether this run may ask for a key: it has no good completion, and no run alive has claimed it."""
        place = hashed(key)
        if found := self._file.write(
            lambda: self._file.db.execute(CLAIM, (place, self._run, place)).rowcount == 1
        ):
            self._claimed.add(place)
        return found

    def release(self, keys: Iterable[str]) -> None:
        """Ends claims of this run on keys that it will not ask for."""
        if ended := self._claimed.intersection(map(hashed, keys)):
            self._file.write(lambda: self._end_claims(ended))
            self._claimed.difference_update(ended)

    def free(self, keys: Iterable[str], idle: bool, what: str = "completions") -> list[str]:
        """Keys that no run alive had claimed half a second ago; an `idle` run says whom it waits for."""
        with self._file.lock:
            held = self._file.do(self._claims)
            claims = [(key, held.get(hashed(key))) for key in keys]
            others = {run.partition("-")[0] for _, run in claims if run not in (None, self._run)}
            if idle and others and not self._told:
                self._told = True
                say(f"waiting for {what} that process {', '.join(sorted(others))} is sampling")
        return [key for key, run in claims if run is None]

    def usage(self) -> SharedUsage:
        """What all runs have spent up to now."""
        return self._file.do(
            lambda: SharedUsage(
                self._file.totals().spent, sum(run != self._run for run in self._claims().values())
            )
        )

    def budgets(self, used: Iterable[int]) -> list[int]:
        """Notes values of `max_tokens` that completions are asked with; all that were ever used."""
        values = [(value,) for value in used]

        def work() -> list[int]:
            self._file.db.executemany("INSERT OR IGNORE INTO budgets VALUES (?)", values)
            return [row[0] for row in self._file.db.execute("SELECT max_tokens FROM budgets ORDER BY 1")]

        return self._file.write(work)

    def adopt(self, journal: Path) -> None:
        """Takes over an older version's journal, once; one that cannot be read costs nothing else."""
        name = f"{journal.parent.name}/{journal.name}"

        def work() -> None:
            known = self._file.db.execute("SELECT bytes FROM adopted WHERE path = ?", (name,)).fetchone()
            if frames := list(frames_of(journal, known[0] if known else 0)):
                self._file.insert(decode(frame.body) for frame in frames)
                self._file.db.execute("INSERT OR REPLACE INTO adopted VALUES (?, ?)", (name, frames[-1].end))

        with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            self._file.write(work)

    def close(self) -> None:
        """Ends the claims of this run, brings everything to the disk and closes the file."""
        try:
            with suppress(OSError, StoreError):  # of a full disk, say: a dead run's claims are void
                self._file.write(lambda: self._end_claims(self._claimed))
                self._file.sync(0)
        finally:
            self._file.close()
            self._lock_of(self._run).unlink(missing_ok=True)
            os.close(self._alive)

    def _claims(self) -> dict[int, str]:
        """The claims of runs alive, as of half a second ago; those of dead runs are removed."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return self._held
        held: dict[int, str] = dict(self._file.db.execute("SELECT hash, run FROM leases").fetchall())
        for run in {*held.values()} - {self._run}:
            if self._is_dead(run):
                self._file.db.execute("DELETE FROM leases WHERE run = ?", (run,))
                self._lock_of(run).unlink(missing_ok=True)
                held = {place: holder for place, holder in held.items() if holder != run}
        self._held, self._looked_at = held, time.monotonic()
        return held

    def _is_dead(self, run: str) -> bool:
        try:
            file = os.open(self._lock_of(run), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            return locks(file)
        finally:
            os.close(file)

    def _end_claims(self, places: Iterable[int]) -> None:
        self._file.db.executemany(
            "DELETE FROM leases WHERE hash = ? AND run = ?", ((place, self._run) for place in places)
        )

    def _lock_of(self, run: str) -> Path:
        return self._file.path.with_name(f"run-{run}.lock")


class Frame(NamedTuple):
    """The JSON of one completion, and where its frame ends."""

    body: bytes
    end: int


def frames_of(path: Path, offset: int) -> Iterator[Frame]:
    """Every whole frame of an older version's journal from an offset on: a marker, a length, a CRC-32 and a
    completion's JSON. Other bytes are passed over. Raises OSError."""
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
