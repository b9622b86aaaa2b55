"""Anybody's rows: what is used, what is kept, and that nothing that a file may hold ends in a traceback."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.files import grouping, traces
from distill.recipe import Verification
from distill.records import Candidate
from distill.store import shards
from distill.text import language
from distill.verifiers import incomplete
from flows import files
from flows.cli import main

ROW = {"question": "What is 2 + 3?", "reference": "5", "answer": "It is 5."}


def read(path: Path, *rows: dict[str, Any] | str) -> list[Candidate]:
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8"
    )
    return list(traces.candidates_from(str(path)))


def one(folder: Path, **values: Any) -> Candidate:
    (found,) = read(folder / "one.jsonl", ROW | values)
    return found


def from_parquet(folder: Path, **columns: Any) -> list[Candidate]:
    length = len(next(iter(columns.values())))
    pq.write_table(pa.table({"answer": ["5"] * length, **columns}), folder / "in.parquet")
    return list(traces.candidates_from(str(folder / "in.parquet")))


def test_unusable_rows_are_problems_of_their_own_and_keep_source_and_columns(tmp_path: Path) -> None:
    found = read(
        tmp_path / "in.jsonl",
        "{torn",
        "{torn",
        ROW | {"answer": None, "source": "quiz", "site": 7},
        ROW | {"answer": 3, "source": 1},
    )
    problems = [candidate.trace.problem.problem_id for candidate in found]
    assert len(set(problems)) == 4 and problems == [candidate.trace.id for candidate in found]
    assert all(
        len(problem) == 16 and candidate.verdict.outcome == "error"
        for problem, candidate in zip(problems, found, strict=True)
    )
    assert [candidate.trace.problem.source for candidate in found] == ["file", "file", "quiz", "file"]
    assert [candidate.extra for candidate in found] == [None, None, '{"site": 7}', None]
    again = list(traces.candidates_from(str(tmp_path / "in.jsonl")))
    assert again == found


def test_an_unusable_row_stays_with_the_siblings_that_it_names(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "in.jsonl", {"id": 9, "problem_id": "p1", "response": ["no text"]})
    assert (found.trace.problem.problem_id, found.trace.id) == ("p1", "9")


def test_many_torn_lines_are_no_siblings(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{torn\n" * 500, encoding="utf-8")
    paths = grouping.gather(traces.candidates_from_all(str(tmp_path / "in.jsonl")), str(tmp_path / "out"))
    assert len({row["problem_id"] for path in paths for row in shards.read_rows(path)}) == 500


@pytest.mark.parametrize(
    "value", [10**30, 2**63, 2**64 - 1, -1, 10**400, float("nan"), float("inf"), -0.5, "3", True, [3], None]
)
@pytest.mark.parametrize(
    "name",
    [
        "prompt_tokens",
        "thinking_tokens",
        "answer_tokens",
        "seed",
        "cost_usd",
        "sample_index",
        "majority_share",
        "verify_seconds",
    ],
)
def test_a_number_that_is_none_counts_as_absent(tmp_path: Path, name: str, value: Any) -> None:
    assert one(tmp_path, **{name: value}) == one(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("prompt_tokens", 3.0, 3),
        ("prompt_tokens", 3.5, None),
        ("answer_tokens", 2**63 - 1, 2**63 - 1),
        ("sample_index", 4.0, 4),
        ("cost_usd", 2, 2.0),
        ("cost_usd", 0.25, 0.25),
    ],
)
def test_numbers_of_data_frames_are_read(tmp_path: Path, name: str, value: Any, wanted: Any) -> None:
    assert getattr(one(tmp_path, **{name: value}).trace, name) == wanted


def test_numbers_beyond_the_columns_are_written_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(
        "\n".join(
            json.dumps(ROW | {"prompt_tokens": 10**30, "seed": 2**63, "score": value})
            for value in (0.5, 2**60 + 1)
        ),
        encoding="utf-8",
    )
    grouping.gather(traces.candidates_from_all(str(tmp_path / "in.jsonl")), str(tmp_path / "out"))
    files.verify_file(str(tmp_path / "in.jsonl"), str(tmp_path / "out.parquet"), Verification(workers=1))
    assert pq.read_table(tmp_path / "out.parquet")["score"].to_pylist() == [0.5, 2.0**60]


@pytest.mark.parametrize(("value", "wanted"), [(7.0, "7"), (7.5, "7.5"), (7, "7"), ("7", "7")])
def test_identifiers_are_text_whatever_their_type(tmp_path: Path, value: Any, wanted: str) -> None:
    found = one(tmp_path, problem_id=value, id=value)
    assert (found.trace.problem.problem_id, found.trace.id) == (wanted, wanted)


def test_unsigned_and_decimal_columns_are_read(tmp_path: Path) -> None:
    decimals = [Decimal("3.5"), Decimal("1000.0")]
    tokens = pa.array([2**64 - 1, 12], pa.uint64())
    found = from_parquet(
        tmp_path, reference=decimals, prompt_tokens=tokens, cost_usd=decimals, price=decimals
    )
    assert [candidate.trace.problem.reference for candidate in found] == ["3.5", "1000.0"]
    assert [candidate.trace.prompt_tokens for candidate in found] == [None, 12]
    assert [candidate.trace.cost_usd for candidate in found] == [3.5, 1000.0]
    assert [candidate.extra for candidate in found] == ['{"price": 3.5}', '{"price": 1000.0}']


def test_a_reference_that_is_not_a_number_is_none(tmp_path: Path) -> None:
    assert one(tmp_path, reference=float("nan")).trace.problem.reference is None
    assert one(tmp_path, reference={"a": "\ud800"}).verdict.outcome == "error"


def test_a_date_that_no_calendar_has_costs_only_its_row(tmp_path: Path) -> None:
    for kind in (
        pa.timestamp("us"),
        pa.timestamp("ms"),
        pa.duration("s"),
        pa.timestamp("us", "Nowhere/Land"),
    ):
        found = from_parquet(tmp_path, made=pa.array([0, 2**62, 1], pa.int64()).view(kind))
        known = "unverified" if getattr(kind, "tz", None) is None else "error"
        assert [candidate.verdict.outcome for candidate in found] == [known, "error", known]
        assert "out of range" in found[1].verdict.detail


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"extra": '{ "a":1}'}, '{ "a":1}'),
        ({"extra": '{"a": 1, "b": 1}', "b": 2}, '{"a": 1, "b": 2}'),
        ({"extra": "mine", "b": 2}, '{"b": 2, "extra": "mine"}'),
        ({"extra": "[1]"}, '{"extra": "[1]"}'),
        ({"extra": "{torn"}, '{"extra": "{torn"}'),
        ({"extra": 7}, '{"extra": 7}'),
        ({"extra": {"deep": [1]}, "b": 2}, '{"b": 2, "extra": {"deep": [1]}}'),
        ({"extra": None}, None),
    ],
)
def test_a_column_named_extra_is_kept_whatever_it_holds(
    tmp_path: Path, row: dict[str, Any], wanted: str | None
) -> None:
    found = one(tmp_path, **row)
    assert found.extra == wanted and found.verdict.outcome == "unverified"


def damaged(folder: Path, name: str) -> Path:
    path = folder / name
    lines = gzip.compress(
        "".join(json.dumps(ROW | {"id": number}) + "\n" for number in range(5_000)).encode()
    )
    pq.write_table(
        pa.table({"question": ["x"] * 5_000, "answer": [str(number) for number in range(5_000)]}),
        folder / "whole.parquet",
    )
    columns = (folder / "whole.parquet").read_bytes()
    path.write_bytes(
        {
            "garbage.parquet": b"no Parquet at all " * 50,
            "empty.parquet": b"",
            "flipped.parquet": columns[:200] + bytes(300) + columns[500:],
            "torn.jsonl.gz": lines[: len(lines) // 2],
            "flipped.jsonl.gz": lines[:3_000] + bytes([255]) * 300 + lines[3_300:],
            "plain.jsonl.gz": json.dumps(ROW).encode(),
        }[name]
    )
    return path


@pytest.mark.parametrize(
    "name",
    [
        "garbage.parquet",
        "empty.parquet",
        "flipped.parquet",
        "torn.jsonl.gz",
        "flipped.jsonl.gz",
        "plain.jsonl.gz",
    ],
)
def test_a_damaged_file_is_told_in_one_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damaged(tmp_path, name)
    with pytest.raises(traces.UnknownFormatError, match="cannot be read to its end: "):
        list(traces.candidates_from_all(str(path)))
    assert main(["verify", "--input", str(path), "--output", str(tmp_path / "out.parquet")]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "cannot be read" in line]
    assert len(told) == 1 and name in told[0]


def test_a_missing_file_is_missing_and_not_damaged(tmp_path: Path) -> None:
    for name in ("in.jsonl", "in.jsonl.gz", "in.parquet"):
        with pytest.raises(FileNotFoundError):
            list(traces.candidates_from_all(str(tmp_path / name)))


def test_the_language_of_a_question_is_looked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    detect = language.detect
    monkeypatch.setattr(language, "detect", lambda text: asked.append(text) or detect(text))
    rows = [
        {"question": f"Wie viele Äpfel sind es, wenn {number} noch dazu kommen?", "answer": "x"}
        for number in range(3)
        for _ in range(4)
    ]
    found = read(tmp_path / "in.jsonl", *rows)
    assert len(asked) == 3 and {candidate.trace.problem.language for candidate in found} == {"de"}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"finish_reason": "content_filter"}, "no completion: content_filter"),
        ({"finish_reason": "length"}, "cut at the token limit"),
        ({"answer": None, "thinking": "So 5", "think_closed": False}, "the think block is never closed"),
    ],
)
def test_a_completion_that_was_broken_off_is_no_answer_whatever_it_holds(
    tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    (found,) = read(tmp_path / "in.jsonl", ROW | changed)
    assert incomplete(found.trace) == why
