"""Public benchmarks are known by name, and one that cannot be read is never left out in silence."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from distill.contamination.benchmarks import questions
from distill.recipe import Curation, RecipeError, load_parts, tables

PUBLIC = tables.names("benchmarks")


def curation(*benchmarks: Any) -> Curation:
    return Curation.model_validate({"benchmarks": benchmarks})


def lines(path: Path, *rows: Any) -> str:
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return str(path)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_benchmark_is_known_by_its_name(name: str) -> None:
    sources = curation(name).benchmarks
    written = {key: one for key, one in tables.read(f"benchmarks/{name}.toml").items() if key != "evaluation"}
    subsets = [source.subset for source in sources]
    named = written.pop("subset", None)
    assert subsets == (named if isinstance(named, list) else [named])
    for source in sources:
        assert (source.name, source.kind, source.reference) == (name, "open", None)
        assert {key: getattr(source, key) for key in written} == written
    assert curation(*(source.model_dump() for source in sources)).identity() == curation(name).identity()


def test_names_and_tables_stand_side_by_side_on_the_command_line() -> None:
    _, found = load_parts(('curation.benchmarks=["aime24", {name = "mine", path = "mine.jsonl"}]',))
    assert [(source.name, source.path) for source in found.benchmarks] == [
        ("aime24", "HuggingFaceH4/aime_2024"),
        ("mine", "mine.jsonl"),
    ]


def test_the_identity_of_a_named_benchmark_is_what_stores_were_made_with() -> None:
    aime = {
        "name": "aime24",
        "path": "HuggingFaceH4/aime_2024",
        "question": "problem",
        "licence": "MAA (evaluation only)",
    }
    assert curation("aime24").identity() == curation(aime | {"kind": "open", "reference": ""}).identity()
    assert len(PUBLIC) == 20


def test_an_unknown_name_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(ValidationError, match=r"no benchmark 'aime99'; there are: aime24, .*olympiadbench"):
        curation("aime99")


def test_only_the_questions_are_read(tmp_path: Path) -> None:
    table = str(tmp_path / "one.parquet")
    pq.write_table(pa.table({"problem": ["First?", None, " ", "Second?"], "other": [1, 2, 3, 4]}), table)
    rows = lines(tmp_path / "two.jsonl", {"question": "Third?"}, {"question": 4}, {"answer": "5"})
    one = {"name": "one", "path": table, "question": "problem", "language": "@language", "tests": "tests"}
    assert questions(curation(one, {"name": "two", "path": rows})) == [
        ("one", "First?"),
        ("one", "Second?"),
        ("two", "Third?"),
    ]
    assert questions(curation()) == []


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (None, "cannot be read: .*there is no"),
        (["{torn\n", {"question": "First?"}], "1 unreadable rows .line 1"),
        ([{"problem": "First?"}], "no column question"),
        ([], "no text in column 'question'"),
    ],
)
def test_a_benchmark_without_its_questions_is_an_error_that_says_what_to_do(
    tmp_path: Path, rows: list[Any] | None, cause: str
) -> None:
    path = str(tmp_path / "mine.jsonl") if rows is None else lines(tmp_path / "mine.jsonl", *rows)
    with pytest.raises(
        RecipeError, match=f"benchmark 'mine'.*{cause}.*curation.benchmarks: .name = \"mine\", path ="
    ):
        questions(curation({"name": "mine", "path": path}))
