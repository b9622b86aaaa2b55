"""The shelf: completions that journals of other runs hold, to be taken over instead of asked for again.

A completion's key says all that it depends on, so one that was made for another list of problems, other shards or another limit
is as good. Nothing is opened before the first question, nothing is ever written, cut or locked: the journals may be in use. Each is
seen as it was when the shelf was opened. One that vanishes, cannot be read or is damaged costs what it held and nothing else.
In memory there are 20 bytes for each good completion.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.engines import Completion, completions_index, frames
from distill.engines.completions_index import Index, Rows, hashed
from distill.engines.usage import Spent


@dataclass(frozen=True, slots=True)
class _Table:
    """Good completions of all journals in the order of their keys' hashes; those of one key in the order of the journals."""

    hashes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    journals: NDArray[np.uint32]


class Shelf:
    """A view of journals' files that reads only; several threads may ask it."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = paths
        self._opened: tuple[list[str], _Table] | None = None
        self._lock = threading.Lock()

    def get(self, key: str) -> Completion | None:
        """A good completion of a key, or None; the first call reads the indexes, and what lies behind them in the journals."""
        with self._lock:
            if self._opened is None:
                paths = list(self._paths)
                self._opened = paths, _table([_good(path) for path in paths])
        paths, table = self._opened
        wanted = hashed(key)
        row = int(np.searchsorted(table.hashes, wanted))
        while row < len(table.hashes) and table.hashes[row] == wanted:
            completion = _completion(paths[table.journals[row]], int(table.offsets[row]))
            if completion is not None and completion.key == key:
                return completion
            row += 1
        return None


def spent_in(folder: str) -> Spent:
    """What the completions of all journals of a folder have cost; raises OSError when one cannot be read."""
    total = Spent()
    for path in sorted(Path(folder).glob("*.journal")):
        total = total.plus(_contents(path).spent)
    return total


def _good(path: str) -> Rows:
    """Hashes of keys and offsets of the good completions of a journal; none when it cannot be read."""
    try:
        rows = _contents(path).rows
    except OSError:
        rows = Index().rows
    return rows[rows[:, 1] >= 0]


def _table(found: list[Rows]) -> _Table:
    rows = np.concatenate([Index().rows, *found])
    journals = np.repeat(np.arange(len(found), dtype=np.uint32), [len(one) for one in found])
    order = np.argsort(rows[:, 0], kind="stable")
    return _Table(rows[order, 0], rows[order, 1], journals[order])


def _completion(path: str, offset: int) -> Completion | None:
    try:
        with _file(path) as file:
            frame = frames.read(file, offset)
    except OSError:
        return None
    return None if frame is None else frame.completion


def _contents(path: str | Path) -> Index:
    with _file(path) as file:
        return completions_index.read_on(completions_index.read(path, file), file)


@contextmanager
def _file(path: str | Path) -> Iterator[int]:
    """A descriptor to read from."""
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)
