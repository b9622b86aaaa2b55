"""Brings the traces of each problem together: shards of candidates that split no problem, whatever the order of the rows.

Problems come in the order in which they first appear, and the traces of a problem in theirs. Rows that already lie so are
written once. Others are dealt out to files on disk, each for some hundred problems, and every such file is put in order on its
own: memory is bounded by the traces of those problems. What is remembered of all rows is one number for each problem.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from shutil import rmtree

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill import arrow, shards
from distill.records import Candidate

SHARD_ROWS = 4096
SHARD_CHARACTERS = 64 << 20
"""A shard is full at either."""
PROBLEMS_OF_PILE = 512
SCHEMA = arrow.schema(Candidate)
TEXTS = ("thinking", "answer")


def gather(candidates: Iterable[Candidate], folder: str) -> list[str]:
    """Writes the candidates into shards of a folder on this machine that appears when all are there, and returns their paths."""
    done = Path(folder)
    if not done.is_dir():
        spool = done.with_name(f"{done.name}.spool")
        rmtree(spool, ignore_errors=True)
        order: dict[str, int] = {}
        if _write(candidates, spool, order):
            piled = done.with_name(f"{done.name}.piles")
            rmtree(piled, ignore_errors=True)
            _deal(shards.list_shards(str(spool)), piled, order)
            rmtree(spool)
            _put_in_order(piled, spool, order)
            rmtree(piled)
        spool.rename(done)
    return shards.list_shards(folder)


def _write(candidates: Iterable[Candidate], folder: Path, order: dict[str, int]) -> bool:
    """Writes the candidates as they come and notes the order of the problems; True when a problem's were not together."""
    scattered = False
    shard: list[Candidate] = []
    characters = count = 0
    for problem, siblings in groupby(candidates, key=lambda one: one.trace.problem.problem_id):
        scattered |= order.setdefault(problem, len(order)) != len(order) - 1
        for one in siblings:
            shard.append(one)
            characters += len(one.trace.thinking or "") + len(one.trace.answer)
        if len(shard) >= SHARD_ROWS or characters >= SHARD_CHARACTERS:
            shards.write(Candidate, shard, f"{folder}/{count:05}.parquet")
            shard, characters, count = [], 0, count + 1
    if shard or not count:
        shards.write(Candidate, shard, f"{folder}/{count:05}.parquet")
    return scattered


def _deal(paths: Iterable[str], folder: Path, order: dict[str, int]) -> None:
    """Deals rows out to piles of neighbouring problems, each an Arrow stream that is appended to."""
    folder.mkdir()
    piles: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    try:
        for path in paths:
            for table in shards.read_tables(path):
                numbers = _places(table, order) // PROBLEMS_OF_PILE
                for pile in np.unique(numbers).tolist():
                    if pile not in piles:
                        options = pa.ipc.IpcWriteOptions(compression="zstd")
                        piles[pile] = pa.ipc.new_stream(f"{folder}/{pile:06}.arrows", table.schema, options=options)
                    piles[pile].write_table(table.take(pa.array(np.flatnonzero(numbers == pile))))
    finally:
        for writer in piles.values():
            writer.close()


def _put_in_order(piles: Path, folder: Path, order: dict[str, int]) -> None:
    """Writes each pile as one shard with siblings together."""
    for count, path in enumerate(sorted(piles.iterdir())):
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            table = stream.read_all()
        ordered = table.take(pa.array(np.argsort(_places(table, order), kind="stable")))
        shards.write_tables(SCHEMA, _slices(ordered), f"{folder}/{count:05}.parquet")


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    """A table in pieces that are worth a row group each."""
    rows = max(1, table.num_rows * shards.ROW_GROUP_BYTES // max(table.nbytes, 1))
    return (table.slice(start, rows) for start in range(0, table.num_rows, rows))


def _places(table: pa.Table, order: dict[str, int]) -> NDArray[np.int64]:
    """The number of each row's problem."""
    return np.fromiter((order[problem] for problem in table["problem_id"].to_pylist()), dtype=np.int64, count=table.num_rows)
