"""Reads shards of the store: a damaged one is set aside, so that the next run makes it anew.

Only for shards that a command of ours can make again; what belongs to a user is read with `shards`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa

from distill.store import shards
from distill.store.keys import Damaged
from distill.store.paths import filesystem

R = TypeVar("R")


def read(record: type[R], path: str) -> Iterator[R]:
    """The records of a shard; raises Damaged, and sets the file aside, when it is not what was written."""
    with guarded(path):
        yield from shards.read(record, path)


def count(path: str) -> int:
    """Rows of a shard, guarded as `read` guards records."""
    with guarded(path):
        return shards.count(path)


def read_rows(path: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The flat rows of a shard, guarded as `read` guards records."""
    with guarded(path):
        yield from shards.read_rows(path, columns)


def read_tables(path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The Arrow tables of a shard, guarded as `read` guards records."""
    with guarded(path):
        yield from shards.read_tables(path, columns)


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """Sets a shard aside, and raises Damaged, when what is read in the block is not what was written."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
            raise  # the file system spoke, not the checksum
        files, name = filesystem(path)
        files.mv(name, f"{name}.damaged")
        cause = str(error).splitlines()[0][:200]
        raise Damaged(
            f"{path} was damaged ({cause}) and is set aside; run the same command again to make "
            "this shard anew"
        ) from error
