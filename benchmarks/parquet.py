r"""Measures writing and reading of shards beside raw zstd and the writers that a user would pick, in one run
on the same bytes.

    .venv/bin/python benchmarks/parquet.py          (polars is a contender where it is installed)

The rows are generated traces (see corpus.py) of 2 to 40 KB with the columns of a trace. Contenders take
turns; a figure is the median of the repeats, in megabytes of raw column data a CPU second of this process,
with one thread each. Files are written to memory-backed or local temporary storage and CPU time is counted,
so that the disk has no say; ratio is raw bytes over bytes written. `shards.write` starts from Python records,
the other writers from an Arrow table that is there.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import corpus
import pyarrow as pa
import pyarrow.parquet as pq

from distill.records import Problem, Trace
from distill.store import schema, shards

OUTLINE = ("id", "problem_id", "source", "finish_reason", "thinking_tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    pa.set_cpu_count(1)
    rows = traces(chosen.rows)
    table = pa.Table.from_pylist([schema.to_row(row) for row in rows], schema=schema.schema(Trace))
    with tempfile.TemporaryDirectory() as folder:
        write = writers(rows, table, folder)
        spent = in_turns(write, chosen.repeats)
        sizes = {name: size(folder, name) for name in write}
        show("write", spent, table.nbytes, sizes)
        show("read", in_turns(readers(folder), chosen.repeats), table.nbytes, {})
        groups = pq.ParquetFile(f"{folder}/write_tables").metadata
        smallest = (
            min(groups.row_group(number).num_rows for number in range(groups.num_row_groups - 1))
            if groups.num_row_groups > 1
            else 0
        )
        print(
            f"\n{table.nbytes / 1e6:.0f} MB raw, {groups.num_row_groups} row groups, the smallest but the "
            f"last of {smallest:,} rows"
        )


def traces(count: int) -> list[Trace]:
    """Traces of 2 to 40 KB."""
    documents = [
        document
        for words in (330, 1650, 6600)
        for document in corpus.corpus(count // 3, seed=words, words=words)
    ]
    return [
        Trace(
            Problem(f"{n:016x}", "corpus", "math", one.question, "42"),
            f"{n:016x}",
            0,
            one.text,
            "42",
            True,
            "stop",
            prompt_tokens=90,
            thinking_tokens=len(one.text) // 4,
            answer_tokens=9,
        )
        for n, one in enumerate(documents)
    ]


def writers(rows: list[Trace], table: pa.Table, folder: str) -> dict[str, Callable[[], Any]]:
    """What writes the rows; `raw zstd` compresses the bytes of the columns and does nothing else."""
    columns = [
        buffer
        for column in table.columns
        for chunk in column.chunks
        for buffer in chunk.buffers()
        if buffer is not None
    ]
    codec = pa.Codec("zstd", 1)
    found: dict[str, Callable[[], Any]] = {
        "raw zstd-1": lambda: Path(folder, "raw zstd-1").write_bytes(
            b"".join(codec.compress(one, asbytes=True) for one in columns)
        ),
        "write_tables": lambda: shards.write_tables(table.schema, pieces(table), f"{folder}/write_tables"),
        "write (records)": lambda: shards.write(Trace, rows, f"{folder}/write (records)"),
        "pyarrow (snappy)": lambda: pq.write_table(table, f"{folder}/pyarrow (snappy)"),
        "pyarrow zstd-1": lambda: pq.write_table(
            table, f"{folder}/pyarrow zstd-1", compression="zstd", compression_level=1
        ),
    }
    if find_spec("datasets"):
        from datasets import Dataset

        whole = Dataset(table)
        found["datasets (snappy)"] = lambda: whole.to_parquet(f"{folder}/datasets (snappy)")
    if find_spec("polars"):
        import polars

        frame: Any = polars.from_arrow(table)
        found["polars zstd-1"] = lambda: frame.write_parquet(
            f"{folder}/polars zstd-1", compression="zstd", compression_level=1
        )
    return found


def readers(folder: str) -> dict[str, Callable[[], Any]]:
    """What reads them again."""
    path = f"{folder}/write_tables"
    return {
        "pyarrow, whole": lambda: pq.read_table(path, use_threads=False),
        "read_tables": lambda: sum(table.num_rows for table in shards.read_tables(path)),
        "read_tables, 5 columns": lambda: sum(
            table.num_rows for table in shards.read_tables(path, list(OUTLINE))
        ),
        "read (records)": lambda: sum(1 for _ in shards.read(Trace, path)),
        "read_rows (dicts)": lambda: sum(1 for _ in shards.read_rows(path)),
    }


def pieces(table: pa.Table) -> list[pa.Table]:
    """The table as a filter leaves it behind: many small ones."""
    return [table.slice(start, 100) for start in range(0, table.num_rows, 100)]


def in_turns(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            start = time.process_time()
            work()
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def size(folder: str, name: str) -> int:
    return Path(folder, name).stat().st_size


def show(what: str, spent: dict[str, float], raw: int, sizes: dict[str, int]) -> None:
    first = next(iter(spent.values()))
    print(f"\n{what:24} {'MB/CPU s':>9} {'of first':>9} {'ratio':>6}")
    for name, seconds in spent.items():
        print(
            f"{name:24} {raw / 1e6 / seconds:9.0f} {first / seconds:9.2f} "
            f"{f'{raw / sizes[name]:.1f}' if name in sizes else '':>6}"
        )


if __name__ == "__main__":
    main()
