"""Runs one SQL query on a database in memory that a trusted script has filled: reading only, one statement,
bounded.

No Python of a model runs here. What a query may do is decided by SQLite's authorizer, after the script is
done.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from typing import Any, BinaryIO

MOST_ROWS = 10_000
MOST_BYTES = 4 << 20
LONGEST_VALUE = 1 << 20
STEPS_BETWEEN_LOOKS = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""
FORBIDDEN_FUNCTIONS = frozenset(
    ("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "zeroblob", "randomblob")
)
READING = frozenset((20, 21, 33))
"""SQLITE_READ, SQLITE_SELECT and SQLITE_RECURSIVE (sqlite3.h); some have no name in Python's module."""
FUNCTION = 31


def main(data: dict[str, Any], result: BinaryIO, inbox: int | None, outbox: int | None) -> None:
    """Writes `{"rows": ...}`, `{"error": message}`, `{"schema_error": message}` or `{"timeout": true}`."""
    result.write(json.dumps(report(data)).encode())


def report(data: dict[str, Any]) -> dict[str, Any]:
    """What there is to say about one query."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    # text that is no UTF-8 stays what it is, and different from other text
    database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        database.executescript(data["schema"])
        database.executescript(data["rows"])
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return {"schema_error": str(error)}
    _confine(database, data["seconds"])
    try:
        return {"rows": rows(database.execute(data["query"]))}
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        cause = str(error) or "more memory than it may have"
        return {"timeout": True} if cause == "interrupted" else {"error": cause}


def rows(cursor: sqlite3.Cursor) -> list[list[Any]]:
    """All rows, blobs as `{"blob": hexadecimal}`; raises ValueError for too many or too large ones."""
    if cursor.description is None:
        raise ValueError("no query: the statement gives no rows")
    found: list[list[Any]] = []
    size = 0
    for row in cursor:
        size += sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)
        if len(found) == MOST_ROWS or size > MOST_BYTES:
            raise ValueError(f"more than {MOST_ROWS} rows or {MOST_BYTES} bytes")
        found.append([{"blob": value.hex()} if isinstance(value, bytes) else value for value in row])
    return found


def _confine(database: sqlite3.Connection, seconds: float) -> None:
    """From here on the connection only reads, and only for so many CPU seconds."""
    with contextlib.suppress(sqlite3.Error):  # an SQLite without JSON
        # their first use declares them, which the authorizer would deny
        database.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
    deadline = time.process_time() + seconds
    database.set_authorizer(_allow)
    database.set_progress_handler(lambda: time.process_time() > deadline, STEPS_BETWEEN_LOOKS)
    if hasattr(database, "setlimit"):
        database.setlimit(0, LONGEST_VALUE)  # SQLITE_LIMIT_LENGTH


def _allow(action: int, first: str | None, second: str | None, schema: str | None, view: str | None) -> int:
    allowed = action in READING or (action == FUNCTION and (second or "").lower() not in FORBIDDEN_FUNCTIONS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
