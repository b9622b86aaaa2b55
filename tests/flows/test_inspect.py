"""Inspect: what is read as what, what cannot be used and why; its recipe runs as it is."""

import gzip
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.collect import inspection
from distill.store import shards
from flows.cli import main

TRACE = "<think>\nI add the two numbers and check the sum by counting up.\n</think>\n\nIt is $\\boxed{%s}$."


def asked(number: int) -> str:
    return f"A pond holds {number} carps, and 5 more are set in. How many are there?"


PROBLEMS = [{"problem": asked(n), "answer": str(n + 5)} for n in range(4)]
READY = [row | {"generation": TRACE % row["answer"]} for row in PROBLEMS]
SEVERAL = [row | {"generations": [TRACE % row["answer"], TRACE % "1"]} for row in PROBLEMS]
REPEATED = [row | {"generation": TRACE % end} for row in PROBLEMS for end in (row["answer"], "1", "2")]
TALK = [
    {"conversations": [{"from": "human", "value": asked(n)}, {"from": "gpt", "value": TRACE % (n + 5)}]}
    for n in range(4)
]
PLAIN = [row | {"response": f"It is $\\boxed{{{row['answer']}}}$."} for row in PROBLEMS]


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder / name)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("rows", "examples"),
    [(READY, 4), (SEVERAL, 4), (REPEATED, 4), (TALK, 4), (PLAIN, 4), (PROBLEMS, 4)],
    ids=["ready", "several", "repeated", "talk", "plain", "problems"],
)
def test_the_written_recipe_runs_as_it_is(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    examples: int,
) -> None:
    recipe = str(tmp_path / "mine.toml")
    assert main(["inspect", written(tmp_path, rows), "--write", recipe]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == recipe
    values = tomllib.loads(Path(recipe).read_text(encoding="utf-8"))
    assert (values["teacher"] == "deepseek-r1") == (rows is PROBLEMS)
    teacher = ["--set", 'teacher={engine="scripted", model="scripted"}'] if rows is PROBLEMS else []
    assert main(["dataset", recipe, "--set", "verification.workers=1", *teacher]) == 0
    made = Path(capsys.readouterr().out.split()[-1])
    kept = [row for path in (made / "examples").glob("*.parquet") for row in shards.read_rows(str(path))]
    assert len({row["problem_id"] for row in kept}) >= (1 if rows is PROBLEMS else examples)
    assert all("How many are there?" in row["prompt"][-1]["content"] for row in kept)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_is_shown_fits_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    long = {f"a_column_with_a_very_long_name_{n}": "[red]寺庙[/red]\x1b[31m" * 90 for n in range(3)}
    assert main(["inspect", written(tmp_path, [row | long for row in SEVERAL])]) == 0
    shown = capsys.readouterr().out
    assert "4 of the first 4 rows can be used" in " ".join(shown.split()) and "\x1b" not in shown
    assert "[red]" in shown or width == 40
    assert width == 40 or all(
        word in shown for word in ("question", "reference", "completion", "thinking", "1 of 2")
    )
    from rich.cells import cell_len

    assert max(map(cell_len, shown.splitlines())) <= width


def test_reasons_have_counts_and_an_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prose = [{"problem": asked(n), "answer": f"There are {n} carps left."} for n in range(5, 8)]
    blank = [{"problem": " ", "answer": "4"}]
    assert main(["inspect", written(tmp_path, [*PROBLEMS, *prose, *blank])]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "rows.jsonl: 4 of the first 8 rows can be used"
    assert any(line.startswith("reference_fails 3 unparsed_reference by math/") for line in lines)
    assert "empty 1 the question is blank" in lines


def test_options_are_shown_with_their_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"question": "Which one swims?", "options": ["crow", "carp"], "answer": "B"}
    assert main(["inspect", written(tmp_path, [row])]) == 0
    assert "A) crow B) carp" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", b"\n\n \n", "has no rows"),
        ("a.csv", b"question,answer\n", "has no rows"),
        ("a.json", b"[]", "has no rows"),
        ("a.jsonl", bytes(range(128, 256)), "is not UTF-8"),
        ("a.jsonl", json.dumps(PROBLEMS[0]).encode("utf-16"), "is not UTF-8"),
        ("a.csv", "question,answer\ndéjà vu,1\n".encode("latin-1"), "no CSV in UTF-8"),
        ("a.parquet", b"PAR1" * 9, "cannot be read"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 9999, mtime=0)[:-20], "cannot be read"),
        ("a.json", b"[1, 2", "no JSON array"),
        ("a.jsonl", b"[1]\n[2]\n", "list where an object should be"),
        ("a.jsonl", b"[" * 200_000, "nested too deeply"),
        ("a.jsonl", b'{"name": 1}\n', "no 'question' in name"),
        ("a.txt", b"What is it?", "its name must end in one of"),
    ],
)
def test_a_bad_file_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["inspect", str(tmp_path / name)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line and name in line and len(line) < 500


def test_a_line_longer_than_64_mib_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(tmp_path / "huge.jsonl", "wb") as file:
        file.seek(65 << 20)
        file.write(b"x")
    assert main(["inspect", str(tmp_path / "huge.jsonl")]) == 1
    assert "longer than 64 MiB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "name a FILE"),
        (["rows.jsonl", "--hub", "me/mine"], 2, "name a FILE"),
        (["rows.jsonl", "--rows", "0"], 2, "--rows"),
        (["rows.jsonl", "--write", "mine"], 2, "ends in .toml"),
        (["rows.jsonl", "--write", "there.toml"], 1, "not overwritten: there.toml"),
        (["rows.jsonl", "--write", "no/such/mine.toml"], 1, "no/such/mine.toml"),
        (["missing.jsonl"], 1, "missing.jsonl"),
        (["folder"], 1, "folder is a folder: name one of its files"),
    ],
)
def test_wrong_use_is_one_clear_line_and_nothing_is_overwritten(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, PROBLEMS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.toml").write_text("mine", encoding="utf-8")
    assert main(["inspect", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line and (tmp_path / "there.toml").read_text(encoding="utf-8") == "mine"


def test_a_data_set_is_read_lazily_with_its_split_and_subset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    written(tmp_path / "set", SEVERAL, "test.jsonl")
    hub = ["inspect", "--hub", str(tmp_path / "set"), "--split", "test", "--rows", "2"]
    assert main([*hub, "--write", str(tmp_path / "mine.toml")]) == 0
    assert "2 of the first 2 rows can be used" in capsys.readouterr().out
    values = tomllib.loads((tmp_path / "mine.toml").read_text(encoding="utf-8"))
    assert values["problems"][0]["split"] == "test"
    assert main([*hub[:-4], "--split", "no"]) == 1
    assert "cannot be loaded" in capsys.readouterr().err


@given(
    st.lists(st.dictionaries(st.text(max_size=9), st.text(max_size=40), max_size=4), min_size=1, max_size=5)
)
def test_a_recipe_of_any_rows_is_toml(rows: list[dict[str, str]]) -> None:
    found = inspection.of(
        [row | {"question": "Why?"} for row in rows], inspection.Origin("a\x7f\ud800.jsonl")
    )
    values = tomllib.loads(inspection.recipe(found))
    assert values["problems"][0]["question"] == "question"
