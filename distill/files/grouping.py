"""Brings the traces of each problem together: shards of candidates that split no problem, whatever the order
of the rows.

Rows are partitioned by a hash of their problem's name, and each part is sorted. The traces of a problem keep
their order; problems come in the order of that hash, so the shards do not depend on how the file mixes
problems. Memory is bounded by one part, a 64th of the rows, and by a shard's rows. On disk the rows lie twice
for a while.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from shutil import rmtree
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from distill.records import Candidate, Measures
from distill.store import list_shards, schema, shards

SHARD_ROWS = 4096
SHARD_CHARACTERS = 64 << 20
"""A shard is full at either, and ends with the problem that fills it."""
PARTS = 64
"""Each is an open file while rows are dealt out; a process may have 1,024 as a rule."""
ROW_CHARACTERS = 512
"""What a row takes beside its texts, about."""
SCHEMA = schema.schema(Candidate)
TEXTS = ("question", "tests", "thinking", "answer", "extra")
GIVEN = pa.schema([field for field in SCHEMA if field.name not in schema.schema(Measures).names])
"""The columns that rows of a file may bring; those that are measured later are null."""
STREAM = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def gather(candidates: Iterable[Candidate], folder: str) -> list[str]:
    """Writes the candidates into shards of a folder on this machine that appears when all are there, and
    returns their paths."""
    done = Path(folder)
    if not done.is_dir():
        parts, spool = done.with_name(f"{done.name}.parts"), done.with_name(f"{done.name}.spool")
        for torn in (parts, spool):
            rmtree(torn, ignore_errors=True)
            torn.mkdir(parents=True)
        _partition(candidates, parts)
        _write(parts, spool)
        rmtree(parts)
        spool.rename(done)
    return list_shards(folder)


def _partition(candidates: Iterable[Candidate], folder: Path) -> None:
    """Deals the rows out to parts by problem, each an Arrow stream that is appended to."""
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    with ExitStack() as stack:
        for batch in shards.batches(map(schema.to_row, candidates)):
            table = pa.Table.from_pylist(batch, schema=GIVEN)
            numbers = np.array([crc32(str(row["problem_id"]).encode()) % PARTS for row in batch])
            for part in np.unique(numbers).tolist():
                if part not in writers:
                    stream = pa.ipc.new_stream(str(folder / f"{part:03}.arrows"), GIVEN, options=STREAM)
                    writers[part] = stack.enter_context(stream)
                writers[part].write_table(table.take(pa.array(np.flatnonzero(numbers == part))))
            del batch, table  # before the next batch is gathered


def _write(parts: Path, folder: Path) -> None:
    """Writes the rows of all parts into shards; without any row there is one empty shard."""
    pieces = groupby(_pieces(sorted(parts.iterdir())), key=itemgetter(0))
    number = -1
    for number, tables in pieces:
        shards.write_tables(SCHEMA, (table for _, table in tables), f"{folder}/{number:05}.parquet")
    if number < 0:
        shards.write_tables(SCHEMA, [], f"{folder}/00000.parquet")


def _pieces(parts: Iterable[Path]) -> Iterator[tuple[int, pa.Table]]:
    """The sorted rows of all parts, each piece at most a row group of one part, with the number of the shard
    that it belongs to."""
    shard = rows = characters = 0
    for path in parts:
        pa.default_memory_pool().release_unused()
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            table = stream.read_all().combine_chunks()
        path.unlink()
        problems = table["problem_id"].to_numpy()
        order = np.argsort(problems, kind="stable")
        texts = np.concatenate([[0], np.cumsum(_characters(table)[order])])
        length = max(1, table.num_rows * shards.ROW_GROUP_BYTES // max(table.nbytes, 1))
        start = 0
        for end in [
            *(np.flatnonzero(problems[order][1:] != problems[order][:-1]) + 1).tolist(),
            table.num_rows,
        ]:
            full = (
                rows + end - start >= SHARD_ROWS or characters + texts[end] - texts[start] >= SHARD_CHARACTERS
            )
            if full or end == table.num_rows:
                for first in range(start, end, length):
                    piece = table.take(pa.array(order[first : min(first + length, end)]))
                    yield shard, pa.concat_tables([SCHEMA.empty_table(), piece], promote_options="default")
                rows, characters = rows + end - start, characters + texts[end] - texts[start]
                start = end
            if full:
                shard, rows, characters = shard + 1, 0, 0


def _characters(table: pa.Table) -> NDArray[np.int64]:
    """About how many characters each row takes."""
    lengths = (pc.fill_null(pc.utf8_length(table[name]), 0).to_numpy().astype(np.int64) for name in TEXTS)
    return ROW_CHARACTERS + sum(lengths, np.zeros(table.num_rows, np.int64))
