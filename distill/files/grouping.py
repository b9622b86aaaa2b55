"""Brings the traces of each problem together: shards of candidates that split no problem, whatever the order of the rows.

Problems come in the order in which they first appear, and the traces of a problem in theirs. Rows that already lie so, give or
take a few strangers among them, are written once. Others are dealt out to piles on disk, each for a stretch of neighbouring
problems, and every pile is put in order on its own. Memory is bounded by a shard's rows, or by twice a pile: 128 MiB, beyond
16 GiB of rows a 128th of them, and at least the largest problem. What is remembered of all rows is the name, the place and the
size of each problem, some 200 bytes. On disk, scattered rows lie twice for a while.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from shutil import rmtree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill.records import Candidate
from distill.store import schema, shards

SHARD_ROWS = 4096
SHARD_CHARACTERS = 64 << 20
"""A shard is full at either."""
STRANGERS = 64
"""Rows of others, such as torn lines, that may lie between two siblings."""
PILE_BYTES = 128 << 20
MOST_PILES = 128
"""Each is an open file; a process may have 1,024 as a rule."""
ROW_CHARACTERS = 512
"""What a row takes beside its texts, about."""
SCHEMA = schema.schema(Candidate)
TEXTS = ("question", "tests", "thinking", "answer", "extra")


@dataclass(frozen=True, slots=True)
class Seen:
    """The problems in order of their first rows, with about how many characters the rows of each have."""

    places: dict[str, int] = field(default_factory=dict)
    characters: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Group:
    """Rows of one problem, as they come."""

    problem: str
    rows: list[Candidate] = field(default_factory=list)
    characters: int = 0
    last: int = 0
    """Number of the last row in the file."""

    def add(self, row: Candidate, characters: int, number: int) -> None:
        """Takes in a row."""
        self.rows.append(row)
        self.characters += characters
        self.last = number


def gather(candidates: Iterable[Candidate], folder: str) -> list[str]:
    """Writes the candidates into shards of a folder on this machine that appears when all are there, and returns their paths."""
    done = Path(folder)
    if not done.is_dir():
        spool = done.with_name(f"{done.name}.spool")
        rmtree(spool, ignore_errors=True)
        seen = Seen()
        if _write(candidates, spool, seen):
            piled = done.with_name(f"{done.name}.piles")
            rmtree(piled, ignore_errors=True)
            _deal(shards.list_shards(str(spool)), piled, seen)
            rmtree(spool)
            _put_in_order(piled, spool, seen)
            rmtree(piled)
        spool.rename(done)
    return shards.list_shards(folder)


def _write(candidates: Iterable[Candidate], folder: Path, seen: Seen) -> bool:
    """Writes the candidates, siblings together as far as they lie near each other; True when a problem's lay farther apart."""
    scattered = False
    shard: list[Candidate] = []
    characters = count = 0
    for group in _groups(candidates):
        place = seen.places.setdefault(group.problem, len(seen.places))
        if place == len(seen.characters):
            seen.characters.append(0)
        else:
            scattered = True
        seen.characters[place] += group.characters
        shard += group.rows
        characters += group.characters
        if len(shard) >= SHARD_ROWS or characters >= SHARD_CHARACTERS:
            shards.write(Candidate, shard, f"{folder}/{count:05}.parquet")
            shard, characters, count = [], 0, count + 1
    if shard or not count:
        shards.write(Candidate, shard, f"{folder}/{count:05}.parquet")
    return scattered


def _groups(candidates: Iterable[Candidate]) -> Iterator[Group]:
    """The rows of each problem that have at most STRANGERS rows of others between them, problems in order of their first rows."""
    waiting: dict[str, Group] = {}
    rows = characters = 0
    for number, one in enumerate(candidates):
        problem, size = one.trace.problem.problem_id, _size(one)
        group = waiting.get(problem) or waiting.setdefault(problem, Group(problem))
        group.add(one, size, number)
        rows, characters = rows + 1, characters + size
        while len(waiting) > 1:
            first = next(iter(waiting.values()))
            if number - first.last <= STRANGERS and rows < SHARD_ROWS and characters < SHARD_CHARACTERS:
                break
            rows, characters = rows - len(first.rows), characters - first.characters
            yield waiting.pop(first.problem)
    yield from waiting.values()


def _size(one: Candidate) -> int:
    """About how many characters a row takes."""
    trace, problem = one.trace, one.trace.problem
    texts = len(problem.question) + len(problem.tests or "") + len(trace.thinking or "") + len(trace.answer) + len(one.extra or "")
    return ROW_CHARACTERS + texts


def _deal(paths: list[str], folder: Path, seen: Seen) -> None:
    """Deals rows out to piles of neighbouring problems, each an Arrow stream that is appended to."""
    folder.mkdir()
    pile_of_problem = _piles(paths, seen)
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    try:
        for path in paths:
            for table in shards.read_tables(path):
                numbers = pile_of_problem[_places(table, seen)]
                for pile in np.unique(numbers).tolist():
                    if pile not in writers:
                        options = pa.ipc.IpcWriteOptions(compression="zstd")
                        writers[pile] = pa.ipc.new_stream(f"{folder}/{pile:03}.arrows", table.schema, options=options)
                    writers[pile].write_table(table.take(pa.array(np.flatnonzero(numbers == pile))))
    finally:
        for writer in writers.values():
            writer.close()


def _piles(paths: list[str], seen: Seen) -> NDArray[np.int64]:
    """The pile of each problem: neighbours together, and about as much text in each pile."""
    size = sum(_arrow_bytes(pq.read_metadata(path)) for path in paths)
    piles = min(MOST_PILES, -(-size // PILE_BYTES))
    characters: NDArray[np.int64] = np.asarray(seen.characters, np.int64)
    number: NDArray[np.int64] = (np.cumsum(characters) - characters) * piles // characters.sum()
    return number


def _arrow_bytes(footer: pq.FileMetaData) -> int:
    """About how much memory the rows of a shard take; a column without a value has 8 bytes a row there, and none in the shard."""
    written: int = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
    return written + 8 * int(footer.num_columns) * int(footer.num_rows)


def _put_in_order(piles: Path, folder: Path, seen: Seen) -> None:
    """Writes the rows of each pile into shards with siblings together."""
    count = 0
    for path in sorted(piles.iterdir()):
        pa.default_memory_pool().release_unused()
        count += _order_pile(path, folder, count, seen)
        path.unlink()


def _order_pile(path: Path, folder: Path, first: int, seen: Seen) -> int:
    """Writes one pile into shards that are numbered from `first`, and returns how many."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        table = stream.read_all().combine_chunks()
    places = _places(table, seen)
    order = np.argsort(places, kind="stable")
    cuts = _cuts(places[order], _characters(table)[order])
    for number, (start, end) in enumerate(pairwise(cuts), start=first):
        shards.write_tables(SCHEMA, _pieces(table, order[start:end]), f"{folder}/{number:05}.parquet")
    return len(cuts) - 1


def _cuts(places: NDArray[np.int64], characters: NDArray[np.int64]) -> list[int]:
    """Where shards begin, and where the last one ends: each with the problem that makes it full."""
    ends = np.flatnonzero(np.diff(places, append=-1)) + 1
    before = np.concatenate([[0], np.cumsum(characters)])
    cuts = [0]
    for end in ends.tolist():
        if end - cuts[-1] >= SHARD_ROWS or before[end] - before[cuts[-1]] >= SHARD_CHARACTERS or end == len(places):
            cuts.append(end)
    return cuts


def _characters(table: pa.Table) -> NDArray[np.int64]:
    """About how many characters each row takes."""
    lengths = (pc.fill_null(pc.utf8_length(table[name]), 0).to_numpy().astype(np.int64) for name in TEXTS)
    return ROW_CHARACTERS + sum(lengths, np.zeros(table.num_rows, np.int64))


def _pieces(table: pa.Table, rows: NDArray[np.int64]) -> Iterator[pa.Table]:
    """Some rows of a table in pieces that are worth a row group each."""
    length = max(1, table.num_rows * shards.ROW_GROUP_BYTES // max(table.nbytes, 1))
    return (table.take(pa.array(rows[start : start + length])) for start in range(0, len(rows), length))


def _places(table: pa.Table, seen: Seen) -> NDArray[np.int64]:
    """The place of each row's problem."""
    return np.fromiter((seen.places[problem] for problem in table["problem_id"].to_pylist()), dtype=np.int64, count=table.num_rows)
