"""A made dataset is read by datasets, DuckDB and polars with the very lines that its card gives, and every
column survives."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from distill.curate import hub
from distill.recipe import Curation
from distill.records import Candidate, Example
from distill.store import schema
from flows import files

TRACES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder with kept, dropped and paired traces of two sources."""
    place = tmp_path_factory.mktemp("readers")
    rows = [trace(number, sample) for number in range(TRACES // 2) for sample in range(2)]
    (place / "traces.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    curation = Curation.model_validate({"preferences": {}})
    files.curate_file(str(place / "traces.jsonl"), str(place / "made"), curation, None)
    return place / "made"


def trace(number: int, sample: int) -> dict[str, Any]:
    """A row as `distill curate --input` takes it; the second of a problem is wrong."""
    again = [
        "I add them.",
        "The tens and the ones are added each, and then their sums; nothing is carried over in the end.",
    ]
    return {
        "id": f"t{number}-{sample}",
        "problem_id": f"p{number}",
        "kind": "math",
        "source": "sums" if number % 2 else "größere 'sums'",
        "question": f"What is {number} plus {number * number + 3}?",
        "reference": str(number + number * number + 3),
        "thinking": f"They ask for {number} and {number * number + 3}. {again[sample]} 和是 ok.",
        "answer": f"The answer is {number + number * number + 3 + sample}.",
        "outcome": "wrong" if sample else "correct",
        "finish_reason": "stop",
    }


def lines(folder: Path, library: str) -> str:
    """The code of the card for one library, with the folder put in."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if library in block)
    return str(block).replace("PATH", str(folder))


def test_datasets_reads_every_part_by_the_lines_of_the_card(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    found: dict[str, Any] = {}
    exec(lines(folder, "load_dataset"), found)
    assert found["candidates"].num_rows == TRACES and found["examples"].num_rows == TRACES // 2
    assert found["candidates"].column_names == schema.schema(Candidate).names
    assert found["examples"][0]["messages"][1]["content"].startswith("<think>\n")
    assert len(found["candidates"][0]["minhash"]) == 128
    assert set(found["preferences"][0]) >= {"prompt", "chosen", "rejected"}
    plain = datasets.load_dataset("parquet", data_files=f"{folder}/examples/*.parquet", split="train")
    assert plain.to_list() == found["examples"].to_list()


def test_duckdb_counts_reasons_by_the_lines_of_the_card(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    duckdb = pytest.importorskip("duckdb")
    exec(lines(folder, "duckdb"), {})
    assert "größere 'sums'" in capsys.readouterr().out
    counted = duckdb.sql(
        f"select dropped, count(*) from '{folder}/candidates/*.parquet' group by all order by all"
    ).fetchall()
    assert counted == [("wrong", TRACES // 2), (None, TRACES // 2)]
    (first,) = duckdb.sql(
        f"select messages[2].content, octet_length(encode(source)) from '{folder}/examples/*.parquet' limit 1"
    ).fetchall()
    assert first[0].startswith("<think>\n")
    assert duckdb.sql(
        f"select distinct octet_length(minhash) from '{folder}/candidates/*.parquet'"
    ).fetchall() == [(128,)]


def test_polars_sums_tokens_by_the_lines_of_the_card(folder: Path) -> None:
    polars = pytest.importorskip("polars")
    exec(lines(folder, "polars"), {})
    scanned = polars.scan_parquet(f"{folder}/examples/*.parquet")
    by_source = dict(
        scanned.group_by("source").agg(polars.col("completion_tokens").sum()).collect().iter_rows()
    )
    stored = pq.read_table(folder / "examples").to_pylist()
    assert by_source.keys() == {row["source"] for row in stored}
    whole = polars.scan_parquet(f"{folder}/candidates/*.parquet").collect()
    assert whole.columns == schema.schema(Candidate).names and whole.height == TRACES
    assert scanned.collect()["messages"][0].to_list()[1]["role"] == "assistant"


def test_all_of_a_made_folder_is_published_but_what_is_hidden(folder: Path) -> None:
    for path in (path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        assert any(path.match(pattern) for pattern in (*hub.FILES, *hub.FOLDERS)) == (
            not path.name.startswith(".")
        ), path


def test_the_schema_of_the_files_is_the_one_of_the_records(folder: Path) -> None:
    for part, record in {"candidates": Candidate, "examples": Example}.items():
        for path in (folder / part).glob("*.parquet"):
            assert pq.read_schema(path).remove_metadata().equals(schema.schema(record))
