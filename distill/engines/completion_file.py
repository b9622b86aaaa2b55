"""The SQLite file of completions: its tables, how it is opened by several runs, and how it is made anew when
it was damaged.

- A run that is alone inspects the header and the schema when it opens the file; rows are checked when they
  are read.
- Damage: the file is set aside as `.damaged`, and every whole row goes into a new one. What is missing is
  asked again.
"""

import errno
import fcntl
import hashlib
import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import fields
from functools import cache
from itertools import count
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from distill.engines import completion_salvage
from distill.engines.completion_salvage import PAGE_BYTES
from distill.engines.protocol import Completion, Usage, usage_of
from distill.progress import say
from distill.store import StoreError

SYNC_SECONDS = 0.25
"""At 2,000 completions a second one fsync in 64 would be 31 a second, of 1 to 20 ms each."""
BUSY_SECONDS = 60.0
CHECKPOINT_PAGES = 4000
SCHEMA = """
CREATE TABLE completions(id INTEGER PRIMARY KEY, hash INTEGER NOT NULL UNIQUE, failed INTEGER NOT NULL,
    crc INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE totals(id INTEGER PRIMARY KEY, body TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE leases(hash INTEGER PRIMARY KEY, run TEXT NOT NULL);
CREATE TABLE budgets(max_tokens INTEGER PRIMARY KEY);
CREATE TABLE adopted(path TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID
"""
KNOWN = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY rowid"
CHECKED = """
SELECT (SELECT body FROM totals), count(*), coalesce(sum(hash >> 32), 0), coalesce(sum(hash & 4294967295), 0)
FROM completions INDEXED BY sqlite_autoindex_completions_1
"""
INSERT = """
INSERT INTO completions(failed, crc, body, hash) VALUES (?, ?, ?, ?) ON CONFLICT(hash) DO NOTHING
"""
COPIED = (
    ("INSERT OR IGNORE INTO budgets VALUES (?)", "SELECT max_tokens FROM budgets"),
    ("INSERT OR IGNORE INTO adopted VALUES (?, ?)", "SELECT path, bytes FROM adopted"),
)
"""What a repair takes over beside the rows."""
REPLACE_FAILED = "UPDATE completions SET failed = ?, crc = ?, body = ? WHERE hash = ? AND failed"
CONSTANTS = (
    (0, b"SQLite format 3\0" + PAGE_BYTES.to_bytes(2, "big") + bytes((2, 2, 0, 64, 32, 32))),
    (44, bytes((0, 0, 0, 4, *[0] * 11, 1))),
    (64, bytes(4)),
    (72, bytes(20)),
)
"""Bytes of a file's header that never change, and where: with one flipped, SQLite may write over rows."""
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT)
BORROWED = "borrowed"
NAMES = tuple(field.name for field in fields(Completion))
_values = attrgetter(*NAMES)
_counts = attrgetter(*(field.name for field in fields(Usage)))
_to_json = json.JSONEncoder(separators=(",", ":")).encode

R = TypeVar("R")


class Totals(NamedTuple):
    """Rows of a file, the sums of both halves of their hashes, and what they cost with those replaced."""

    rows: int = 0
    high: int = 0
    low: int = 0
    spent: Usage = Usage()


class Made(NamedTuple):
    """A completion on its way into the file."""

    completion: Completion
    body: bytes
    borrowed: bool
    """Whether it was paid for elsewhere."""


class DamagedFileError(sqlite3.DatabaseError):
    """The file does not hold what was written."""


class CompletionFile:
    """The file, opened; all work on it goes through `do`, from one thread at a time."""

    db: sqlite3.Connection

    def __init__(self, path: Path, claims: Callable[[], list[tuple[int, str]]]) -> None:
        """Opens or makes the file; `claims` are its user's, made again after a repair. Raises OSError or
        StoreError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._claims_of_user = path, claims
        self.lock = threading.RLock()
        self._synced_at, self._checked = time.monotonic(), False
        self._users = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        self.alone = locks(self._users)
        """Whether no other run had the file open when this one opened it."""
        if not self.alone:
            fcntl.flock(self._users, fcntl.LOCK_SH)  # waits while another run opens or repairs the file
        try:
            self._open()
        except BaseException:
            os.close(self._users)
            raise

    def share(self) -> None:
        """Lets other runs open the file."""
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def close(self) -> None:
        """Closes the file; what is in its log is written back when this was the last run."""
        self.db.close()
        os.close(self._users)

    def do(self, work: Callable[[], R]) -> R:
        """The result of some work, done once more after a repair; raises OSError or StoreError."""
        with self.lock:
            try:
                return work()
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise _told(error, self.path) from error
                self._repair(error)
            return work()

    def write(self, work: Callable[[], R]) -> R:
        """As `do`: all that the work writes, or nothing."""

        def whole() -> R:
            with self.transaction():
                return work()

        return self.do(whole)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Writes all that is done in the block, or nothing; one inside another belongs to it."""
        if self.db.in_transaction:
            yield
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            raise

    def totals(self) -> Totals:
        """What the file holds now."""
        return _totals(self.db)

    def find(self, key: str) -> Completion | None:
        """The completion of a key; before the first is called missing, index and totals are compared."""
        row = self.db.execute(
            "SELECT failed, crc, body FROM completions WHERE hash = ?", (hashed(key),)
        ).fetchone()
        if row is None:
            if not self._checked:
                said, *found = self.db.execute(CHECKED).fetchone()
                if found != json.loads(said)[: len(found)]:
                    raise DamagedFileError("the index lacks rows")
                self._checked = True
            return None
        failed, crc, body = row
        if not isinstance(body, bytes) or zlib.crc32(body) != crc:
            raise DamagedFileError("a row does not match its checksum")
        completion = decode(body).completion
        if completion.key != key or failed != (completion.failure is not None):
            raise DamagedFileError("the index does not match the rows")
        return completion

    def insert(self, made: Iterable[Made]) -> list[int]:
        """Adds completions unless their key has a good one, and counts what they cost; the hashes of all."""
        hashes = list[int]()
        with self.transaction():
            rows, high, low, spent = self.totals()
            for completion, body, borrowed in made:
                place = hashed(completion.key)
                hashes.append(place)
                values = (completion.failure is not None, zlib.crc32(body), body, place)
                if self.db.execute(INSERT, values).rowcount:
                    rows, high, low = rows + 1, high + (place >> 32), low + (place & 0xFFFFFFFF)
                elif not self.db.execute(REPLACE_FAILED, values).rowcount:
                    continue
                spent = spent if borrowed else spent.plus(usage_of(completion))
            self._put(Totals(rows, high, low, spent))
        return hashes

    def sync(self, seconds: float = SYNC_SECONDS) -> None:
        """Brings the log to the disk, unless that was just done: SQLite only does it at a checkpoint."""
        if time.monotonic() - self._synced_at < seconds:
            return
        with suppress(FileNotFoundError), open(f"{self.path}-wal", "rb") as log:
            os.fsync(log.fileno())
        self._synced_at = time.monotonic()

    def _put(self, totals: Totals) -> None:
        body = _to_json([*totals[:-1], *_counts(totals.spent)])
        self.db.execute("INSERT OR REPLACE INTO totals VALUES (1, ?, ?)", (body, zlib.crc32(body.encode())))

    def _open(self) -> None:
        """Connects to the file; a run that is alone inspects it first, and mends what is damaged."""
        try:
            if self.alone:
                _inspect(self.path)
            self._connect(self.path)
            if self.alone:
                self.db.execute("DELETE FROM leases")  # of dead runs
        except sqlite3.Error as error:
            if not self.alone or not _is_damage(error):
                raise _told(error, self.path) from error
            self._salvage(error)

    def _connect(self, path: Path) -> None:
        """Opens a file, and makes its tables when it is new."""
        self.db = sqlite3.connect(path, BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self.db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        known = self.db.execute(KNOWN).fetchall()
        if not known and self.db.execute("PRAGMA page_count").fetchone()[0] <= 1:
            with self.transaction():
                for statement in SCHEMA.split(";"):
                    self.db.execute(statement)
                self._put(Totals())
        elif known != _schema():
            raise DamagedFileError("the schema is another one")
        self.totals()

    def _repair(self, cause: sqlite3.Error) -> None:
        """Makes the open file anew from what is whole; raises StoreError while other runs use it."""
        try:
            if not locks(self._users):
                raise StoreError(
                    f"{self.path} is damaged ({cause}), and other runs use it: stop them, then run the same "
                    "command again"
                )
            self._salvage(cause)
            self.db.executemany("INSERT INTO leases VALUES (?, ?)", self._claims_of_user())
        except sqlite3.Error as error:
            raise _told(error, self.path) from error
        finally:
            self.share()

    def _salvage(self, cause: sqlite3.Error) -> None:
        """Puts all whole rows into a new file, which takes the place of the damaged one."""
        with suppress(AttributeError, sqlite3.Error):
            self.db.close()
        new = Path(f"{self.path}.new")
        names = (Path(f"{self.path}.damaged{f'-{number}' if number else ''}") for number in count())
        aside = next(name for name in names if not name.exists())
        for suffix in ("", "-wal", "-shm"):
            Path(f"{new}{suffix}").unlink(missing_ok=True)
        log = Path(f"{self.path}-wal")
        os.link(self.path, aside)
        if log.exists():
            os.link(log, f"{aside}-wal")
        self._connect(new)
        self.insert(decode(row.body) for row in completion_salvage.rows(aside))
        self._copy_the_rest(aside)
        kept = self.totals().rows
        self.db.close()
        log.unlink(missing_ok=True)  # it is of the file that is replaced
        Path(f"{self.path}-shm").unlink(missing_ok=True)
        os.replace(new, self.path)
        self._connect(self.path)
        say(
            f"{self.path} was damaged ({cause}) and is set aside as {aside.name}: {kept:,} completions are "
            "kept, the rest is asked again"
        )

    def _copy_the_rest(self, aside: Path) -> None:
        """Takes over what else a damaged file tells: usage, budgets, journals taken over."""
        with closing(sqlite3.connect(aside, isolation_level=None)) as old:
            with suppress(sqlite3.Error):
                self._put(self.totals()._replace(spent=_totals(old).spent))
            for insert, select in COPIED:
                with suppress(sqlite3.Error):
                    self.db.executemany(insert, old.execute(select))


def encode(completion: Completion, borrowed: bool = False) -> Made:
    """A completion with the body of its row: compact ASCII JSON."""
    entry: dict[str, Any] = dict(zip(NAMES, _values(completion), strict=True))
    if borrowed:
        entry[BORROWED] = True
    return Made(completion, _to_json(entry).encode("ascii"), borrowed)


def decode(body: bytes) -> Made:
    """The completion in a body."""
    entry = json.loads(body)
    borrowed = entry.pop(BORROWED, False)
    return Made(Completion(**entry), body, borrowed)


def hashed(key: str) -> int:
    """64 bits that stand for a key of any length: what is read is compared with the key itself."""
    hash8 = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(hash8.digest(), "little", signed=True)


def locks(file: int) -> bool:
    """Takes an open file for this run alone, if that can be done at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _totals(db: sqlite3.Connection) -> Totals:
    body, crc = db.execute("SELECT body, crc FROM totals WHERE id = 1").fetchone() or ("", None)
    if not isinstance(body, str) or zlib.crc32(body.encode()) != crc:
        raise DamagedFileError("the totals do not match their checksum")
    rows, high, low, *spent = json.loads(body)
    return Totals(rows, high, low, Usage(*spent))


def _inspect(path: Path) -> None:
    """Raises DamagedFileError for a damaged header or another length than it says; no run uses it."""
    if not path.exists() or not (size := path.stat().st_size):
        return
    with path.open("rb") as file:
        header = file.read(100)
    log = Path(f"{path}-wal")
    as_it_says = int.from_bytes(header[28:32], "big") * PAGE_BYTES == size
    short = not as_it_says and not (log.exists() and log.stat().st_size)
    if short or any(header[at : at + len(value)] != value for at, value in CONSTANTS):
        raise DamagedFileError("its header or its end is not what was written")


@cache
def _schema() -> list[Any]:
    """What SQLite says of a new file's tables."""
    with sqlite3.connect(":memory:") as db:
        db.executescript(SCHEMA)
        found = db.execute(KNOWN).fetchall()
    db.close()
    return found


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in DAMAGE
    # an OperationalError without a code: a text that is no UTF-8
    return isinstance(error, DamagedFileError | sqlite3.OperationalError)


def _told(error: sqlite3.Error, path: Path) -> Exception:
    """What callers are told: a disk that is full or fails is an OSError."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        case sqlite3.SQLITE_IOERR:
            return OSError(errno.EIO, f"{os.strerror(errno.EIO)} ({error})", str(path))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(
                f"{path} was in use by another process for {BUSY_SECONDS:.0f} s; run the same command again"
            )
        case _:
            return StoreError(f"{path} cannot be used: {error}")
