"""Shards: Parquet files of one record type, written whole or not at all.

A shard that exists is finished: it is written under a temporary name, fsynced, and renamed. Pages carry
checksums, so flipped bytes are an error and not a wrong row. Row groups are sized by bytes, so memory is
bounded by a group and not by a shard. Paths are local, or any fsspec URL (`s3://...`): there a file is
written to the temporary folder of this machine (`TMPDIR`) and put in its place whole.
"""

import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from itertools import islice, repeat
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.store import schema
from distill.store.paths import (
    answering,
    filesystem,
    is_elsewhere,
    replacing,
)

ROW_GROUP_BYTES = 32 << 20
BATCH_ROWS = 1024
COMPRESSION = "zstd"
COMPRESSION_LEVEL = 1  # costs what snappy costs and is 1.8x smaller on traces
LABELS = (
    "source",
    "kind",
    "language",
    "licence",
    "finish_reason",
    "teacher",
    "outcome",
    "verifier",
    "dropped",
    "unusable",
)

R = TypeVar("R")


def write(record: type[R], rows: Iterable[R], path: str) -> int:
    """Writes records to a new shard and returns how many; the shard appears only when all of them are in
    it."""
    return write_rows(schema.schema(record), (schema.to_row(row) for row in rows), path)


def write_rows(schema: pa.Schema, rows: Iterable[Mapping[str, Any]], path: str) -> int:
    """Writes flat rows of any schema the way `write` writes records."""
    count = 0
    with writing(schema, path) as writer:
        for batch in batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def write_tables(schema: pa.Schema, tables: Iterable[pa.Table], path: str) -> int:
    """Writes Arrow tables of one schema the way `write` writes records."""
    count = 0
    with writing(schema, path) as writer:
        for table in tables:
            writer.write_table(table)
            count += table.num_rows
    return count


class Writer:
    """Takes Arrow tables of any size, and holds them back until they are worth a row group."""

    def __init__(self, parquet: pq.ParquetWriter) -> None:
        self._parquet = parquet
        self._held: list[pa.Table] = []
        self._held_bytes = 0

    def write_table(self, table: pa.Table) -> None:
        """Adds a table to the shard."""
        self._held.append(table)
        self._held_bytes += table.nbytes
        if (
            self._held_bytes >= ROW_GROUP_BYTES // 2
        ):  # half: tables of a little less than a row group stay as they are
            self.flush()

    def flush(self) -> None:
        """Writes what is held back."""
        if self._held:
            self._parquet.write_table(pa.concat_tables(self._held))
        self._held, self._held_bytes = [], 0


@contextmanager
def writing(schema: pa.Schema, path: str) -> Iterator[Writer]:
    """A writer of Arrow tables to a new shard, which appears when the block ends well."""
    with replacing(path) as file, _writer(file, schema) as parquet:
        writer = Writer(parquet)
        yield writer
        writer.flush()


def read(record: type[R], path: str) -> Iterator[R]:
    """The records of a shard in order; raises OSError when the file's checksums do not hold."""
    wanted = [name for name, _ in schema.columns(record)]
    with _opened(path) as parquet:
        for batch in _batches_of(parquet, wanted):
            yield from islice(_records(record, batch), batch.num_rows)


def read_rows(path: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The flat rows of a shard in order, a bounded number in memory at a time; absent columns are left
    out."""
    with _opened(path) as parquet:
        for batch in _batches_of(parquet, columns):
            yield from batch.to_pylist()


def read_tables(path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The Arrow tables of a shard in order, one a row group; absent columns are left out."""
    with _opened(path) as parquet:
        chosen = _present(parquet, columns)
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group, columns=chosen)


def count(path: str) -> int:
    """Rows of a shard, from its footer."""
    with _opened(path) as parquet:
        return int(parquet.metadata.num_rows)


def batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows in lists of about ROW_GROUP_BYTES of text each."""
    batch: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += 64 + sum(len(value) for value in row.values() if isinstance(value, str))
        if size >= ROW_GROUP_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    """A shard to read from; elsewhere, each row group's wanted columns are fetched together and nothing
    beside them."""
    files, name = filesystem(path)
    fetching: dict[str, Any] = {"cache_type": "none"} if is_elsewhere(path) else {}
    with answering(path):
        file = files.open(name, "rb", **fetching)
    with file:
        yield pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=is_elsewhere(path))


def _batches_of(parquet: pq.ParquetFile, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    chosen = _present(parquet, columns)
    for group in range(
        parquet.num_row_groups
    ):  # one at a time: all that are asked for at once are fetched at once
        yield from parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=chosen)


def _present(parquet: pq.ParquetFile, columns: list[str] | None) -> list[str]:
    present: list[str] = parquet.schema_arrow.names
    return present if columns is None else [column for column in columns if column in present]


def _records(record: Any, batch: pa.RecordBatch) -> Iterator[Any]:
    """What `arrow.from_row` makes of each row, built from whole columns: it takes a fifth of the time."""
    hints = typing.get_type_hints(record)
    arguments: list[Iterable[Any]] = []
    for field in fields(record):
        if is_dataclass(hints[field.name]):
            arguments.append(_records(hints[field.name], batch))
        elif field.name in batch.schema.names:
            arguments.append(_values(batch.column(field.name), hints[field.name]))
        elif field.default is not MISSING:
            arguments.append(repeat(field.default))
        else:
            raise KeyError(field.name)
    return map(record, *arguments)


def _values(column: pa.Array, hint: Any) -> list[Any]:
    """A column as Python values; lists of structs become lists of records."""
    if column.null_count == len(column):
        return [None] * len(column)
    if pa.types.is_list(column.type):
        return _lists(column, hint)
    if column.null_count == 0 or not pa.types.is_primitive(column.type) or pa.types.is_boolean(column.type):
        return list(column.to_numpy(zero_copy_only=False).tolist())
    values = list(
        column.fill_null(0).to_numpy().tolist()
    )  # NumPy would make floats of integers with nulls among them
    for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
        values[row] = None
    return values


def _lists(column: pa.Array, hint: Any) -> list[Any]:
    (inner,) = (
        found
        for part in (hint, *typing.get_args(hint))
        if typing.get_origin(part) is list
        for found in typing.get_args(part)
    )
    offsets = column.offsets.to_pylist()
    within = column.values.slice(
        offsets[0], offsets[-1] - offsets[0]
    )  # a batch may be a view of a longer column
    items = (
        [*_records(inner, pa.RecordBatch.from_struct_array(within))]
        if is_dataclass(inner)
        else _values(within, inner)
    )
    spans = zip(offsets[:-1], offsets[1:], column.is_valid().to_pylist(), strict=True)
    return [items[start - offsets[0] : end - offsets[0]] if valid else None for start, end, valid in spans]


def _writer(file: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        file,
        schema,
        compression=COMPRESSION,
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=[name for name in LABELS if name in schema.names],
        write_page_checksum=True,
    )
