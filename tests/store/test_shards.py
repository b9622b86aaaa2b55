import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.records import Candidate, Example, Outline, Problem, Trace
from distill.store import exists, list_shards, read_text, shards, write_text
from distill.store import schema as arrow
from distill.store.paths import Unreachable
from tests.test_records import candidates as any_candidates
from tests.test_records import examples as any_examples
from tests.test_records import problems as any_problems

WRITER = """
import sys
from distill.store import shards
from distill.records import Problem

def rows():
    for number in range(10**9):
        yield Problem(str(number), "s", "math", "q" * 5000, None)
        if number == 20000:
            print("writing", flush=True)

shards.write(Problem, rows(), sys.argv[1])
"""


def problem(number: int, question: str = "q") -> Problem:
    return Problem(str(number), "s", "math", question, None)


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(any_problems, max_size=20))
def test_what_is_written_is_read_back_in_order(
    rows: list[Problem], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("shard") / "0.parquet")
    assert shards.write(Problem, rows, path) == len(rows)
    assert list(shards.read(Problem, path)) == rows
    assert shards.count(path) == len(rows)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(any_candidates, max_size=12), others=st.lists(any_examples, max_size=6))
def test_columns_become_the_records_that_rows_do(
    rows: list[Candidate], others: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("shard") / "0.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "BATCH_ROWS", 5)  # so that a column comes in pieces
        shards.write(Candidate, rows, path)
        assert list(shards.read(Candidate, path)) == rows
    assert repr(list(shards.read(Candidate, path))) == repr(rows)  # repr tells 1 from 1.0 and True
    for record in (Outline, Trace, Problem):
        assert repr(list(shards.read(record, path))) == repr(
            [arrow.from_row(record, row) for row in shards.read_rows(path)]
        )
    shards.write(Example, others, path)
    assert repr(list(shards.read(Example, path))) == repr(others)


def test_a_column_that_is_not_there_takes_its_default_or_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "0.parquet")
    schema = arrow.schema(Problem)
    table = pa.Table.from_pylist([arrow.to_row(problem(1))], schema=schema)
    older = table.drop_columns(["language", "response"])
    shards.write_tables(older.schema, [older], path)
    assert list(shards.read(Problem, path)) == [problem(1)]
    broken = table.drop_columns(["question"])
    shards.write_tables(broken.schema, [broken], path)
    with pytest.raises(KeyError, match="question"):
        list(shards.read(Problem, path))


def test_tables_are_read_a_row_group_at_a_time_with_the_columns_that_are_there(tmp_path: Path) -> None:
    path = str(tmp_path / "0.parquet")
    long = "x" * (shards.ROW_GROUP_BYTES // 4)
    shards.write(Problem, [problem(number, long) for number in range(5)], path)
    tables = list(shards.read_tables(path, ["problem_id", "absent"]))
    assert [table.column_names for table in tables] == [["problem_id"], ["problem_id"]]
    assert pa.concat_tables(tables)["problem_id"].to_pylist() == ["0", "1", "2", "3", "4"]
    assert pa.concat_tables(shards.read_tables(path)).equals(pq.read_table(path))


def test_small_tables_share_a_row_group(tmp_path: Path) -> None:
    path = str(tmp_path / "0.parquet")
    rows = [problem(number) for number in range(300)]
    tables = [pa.Table.from_pylist([arrow.to_row(row)], schema=arrow.schema(Problem)) for row in rows]
    assert shards.write_tables(arrow.schema(Problem), tables, path) == 300
    assert pq.ParquetFile(path).num_row_groups == 1
    assert list(shards.read(Problem, path)) == rows


def test_a_shard_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"

    def rows() -> Iterator[Problem]:
        yield problem(1)
        assert not exists(str(path))
        raise RuntimeError("the teacher has gone")

    with pytest.raises(RuntimeError, match="gone"):
        shards.write(Problem, rows(), str(path))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_write_leaves_no_shard(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert list_shards(str(tmp_path)) == []


def test_a_written_shard_replaces_an_old_one_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "0.parquet")
    shards.write(Problem, [problem(1)], path)
    shards.write(Problem, [problem(2), problem(3)], path)
    assert [row.problem_id for row in shards.read(Problem, path)] == ["2", "3"]


def test_flipped_bytes_are_an_error_and_not_a_wrong_row(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    rows = [problem(number, f"question {number}") for number in range(500)]
    shards.write(Problem, rows, str(path))
    whole = path.read_bytes()
    for offset in range(20, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x40]) + whole[offset + 1 :])
        try:
            found = list(shards.read(Problem, str(path)))
        except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError):
            continue
        assert found == rows, f"byte {offset}"


def test_row_groups_are_cut_by_bytes(tmp_path: Path) -> None:
    path = str(tmp_path / "0.parquet")
    long = "x" * (shards.ROW_GROUP_BYTES // 4)
    shards.write(Problem, [problem(number, long) for number in range(9)], path)
    sizes = [
        pq.ParquetFile(path).metadata.row_group(group).num_rows
        for group in range(pq.ParquetFile(path).num_row_groups)
    ]
    assert sizes == [4, 4, 1]


def test_shards_are_listed_in_order_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("00002.parquet", "00000.parquet", "00001.journal", ".00003.parquet.1234.tmp", "made.json"):
        (tmp_path / name).touch()
    assert [Path(path).name for path in list_shards(str(tmp_path))] == [
        "00000.parquet",
        "00002.parquet",
    ]
    assert list_shards(str(tmp_path / "absent")) == []


def test_urls_are_written_and_read_like_paths() -> None:
    folder = f"memory://distill-{time.monotonic_ns()}"
    shards.write(Problem, [problem(1)], f"{folder}/00000.parquet")
    assert list_shards(folder) == [f"{folder}/00000.parquet"]
    assert list(shards.read(Problem, f"{folder}/00000.parquet")) == [problem(1)]


def test_unknown_columns_are_kept_by_rows_and_passed_over_by_records(tmp_path: Path) -> None:
    path = str(tmp_path / "0.parquet")
    schema = arrow.schema(Problem).append(pa.field("mine", pa.int64()))
    shards.write_rows(schema, [arrow.to_row(problem(1)) | {"mine": 7}], path)
    assert next(shards.read_rows(path))["mine"] == 7
    assert list(shards.read(Problem, path)) == [problem(1)]


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = str(tmp_path / "a.json")
    write_text(path, "one 一")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert read_text(path) == "one 一"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_protocol_without_its_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(Unreachable, match=r"gs://bucket/a needs .*pip install 'fsspec\[gs\]'"):
        exists("gs://bucket/a")
