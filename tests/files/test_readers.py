"""Sources: every format gives the same rows, bad lines are marked where they stand, and unreadable files say
what to do."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.files import readers
from distill.files.readers import BAD_ROW, content_identity, json_lines, read_rows
from distill.recipe import ProblemSource, RecipeError

ROWS = [{"question": f"{number} + 1 = ? 你好", "answer": str(number + 1)} for number in range(5)]


def source(path: Path | str, **values: Any) -> ProblemSource:
    return ProblemSource(name="test", path=str(path), **values)


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def write(path: Path) -> Path:
    """The five rows in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.name.partition(".")[2]:
        case "jsonl":
            path.write_bytes(lines(ROWS))
        case "jsonl.gz":
            path.write_bytes(gzip.compress(lines(ROWS)))
        case "json":
            path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8-sig")
        case "parquet":
            pq.write_table(pa.Table.from_pylist([row | {"generations": ["long"]} for row in ROWS]), path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    assert list(read_rows(source(write(tmp_path / name)))) == ROWS


def test_json_lines_under_a_json_name_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines(ROWS))
    assert list(read_rows(source(tmp_path / "a.json"))) == ROWS


def test_limit_takes_the_first_rows(tmp_path: Path) -> None:
    assert list(read_rows(source(write(tmp_path / "a.parquet"), limit=2))) == ROWS[:2]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b'{"question": "torn', "line 2: not JSON"),
        (b"[1, 2]", "line 2: list where an object should be"),
        (b"null", "line 2: NoneType where an object should be"),
        (b'{"question": "\xff"}', "line 2: byte 15 is not UTF-8"),
        (b'{"question": "\xed\xa0\x80"}', "line 2: byte 15 is not UTF-8"),
        (b'{"a":' * 100_000, "line 2: nested too deeply"),
        (b'{"answer": ' + b"1" * 5000 + b"}", "line 2: not JSON"),
        (b"<html><body>502</body></html>", "line 2: not JSON"),
    ],
)
def test_a_bad_line_is_marked_in_its_place(tmp_path: Path, line: bytes, cause: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS[:1]) + line + b"\n" + lines(ROWS[1:2]))
    first, bad, last = read_rows(source(tmp_path / "a.jsonl"))
    assert [first, last] == ROWS[:2]
    assert list(bad) == [BAD_ROW] and bad[BAD_ROW].startswith(cause)


def test_byte_order_mark_windows_line_ends_blank_lines_and_a_missing_last_line_end_are_no_faults(
    tmp_path: Path,
) -> None:
    text = b"\xef\xbb\xbf" + lines(ROWS).replace(b"\n", b"\r\n\r\n").rstrip()
    (tmp_path / "a.jsonl").write_bytes(text)
    assert list(read_rows(source(tmp_path / "a.jsonl"))) == ROWS


def test_an_endless_line_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 100)
    good = b'{"question": "1"}\n'
    found = list(json_lines(io.BytesIO(good + b'{"question": "' + b"x" * 1000 + b'"}\n' + good)))
    assert [BAD_ROW in row for row in found] == [False, True, False]


@given(st.binary(max_size=200))
def test_any_bytes_give_one_row_for_each_line_that_is_not_blank(content: bytes) -> None:
    found = list(json_lines(io.BytesIO(content)))
    assert len(found) == sum(
        bool(line.strip()) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    )
    assert all(isinstance(row, dict) for row in found)


def test_parquet_text_that_is_not_utf_8_costs_only_its_row(tmp_path: Path) -> None:
    column = pa.array([b"one", b"\xff\xfe", b"three"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"question": column, "answer": ["1", "2", "3"]}), tmp_path / "a.parquet")
    found = list(read_rows(source(tmp_path / "a.parquet")))
    assert [row.get("question") for row in found] == ["one", None, "three"]
    assert found[1][BAD_ROW].startswith("row 2:")


def test_parquet_without_the_columns_of_the_recipe_is_refused_with_those_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    with pytest.raises(RecipeError, match=r"no column problem.*has question, answer"):
        list(read_rows(source(path, question="problem")))
    assert len(list(read_rows(source(path, reference="solution", kind="open")))) == len(ROWS)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet"])
def test_a_torn_archive_is_an_error_and_not_a_short_source(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecipeError, match="cannot be read to its end"):
        list(read_rows(source(path)))


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("missing.jsonl", "there is no missing.jsonl"),
        ("/no/such/folder", "there is no"),
        ("a.txt", "cannot tell the format"),
    ],
)
def test_what_cannot_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, cause: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("question\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=cause):
        list(read_rows(source(path)))


def test_a_relative_path_is_taken_from_the_current_folder_and_then_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seed = source("data/seed/heldout.jsonl")
    assert len(list(read_rows(seed))) == 300
    write(tmp_path / "data/seed/heldout.jsonl")
    assert list(read_rows(seed)) == ROWS


def test_identity_follows_content_and_not_the_name(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.jsonl"), write(tmp_path / "b.jsonl")
    assert content_identity(source(first)) == content_identity(source(second))
    before = content_identity(source(tmp_path))
    second.write_bytes(second.read_bytes() + b"\n")
    assert content_identity(source(first)) != content_identity(source(second))
    assert content_identity(source(tmp_path)) != before


def test_a_hub_dataset_is_identified_by_what_pins_it() -> None:
    pinned = source("open-r1/OpenR1-Math-220k", revision="abc", subset="default")
    assert content_identity(pinned) == {
        "hub": "open-r1/OpenR1-Math-220k",
        "revision": "abc",
        "subset": "default",
    }


def test_a_hub_dataset_that_cannot_be_had_names_cause_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RecipeError, match=r"cannot be loaded \(.*fetch it once while online"):
        list(read_rows(source("no-such-owner/no-such-dataset")))


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_a_folder_is_read_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write(tmp_path / "folder" / name)
    assert list(read_rows(source(tmp_path / "folder"))) == ROWS
    with pytest.raises(RecipeError, match="correct `path`, `split`"):
        list(read_rows(source(tmp_path / "folder", split="test")))


def test_a_saved_dataset_is_read_whole_or_by_split(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(str(tmp_path / "split"))
    assert list(read_rows(source(tmp_path / "one"))) == ROWS
    assert list(read_rows(source(tmp_path / "split", split="test"))) == ROWS[:1]
