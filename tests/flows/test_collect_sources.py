"""A source that comes in wholly unusable ends the command; one that loses some rows says which, and goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main

pytestmark = pytest.mark.usefixtures("prefect_server")

GOOD = [{"question": f"What is {n} + 4?", "answer": str(n + 4)} for n in range(5)]
PROSE = [{"question": f"How many are left of {n}?", "answer": f"She has {n} apples left."} for n in range(5)]
DIALOGUE = [{"question": [{"role": "user", "content": "a"}] * 2, "answer": "4"}] * 5


def collect(folder: Path, *sources: tuple[str, list[dict[str, Any]]]) -> int:
    tables = []
    for name, rows in sources:
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        tables.append(f'[[problems]]\nname = "{name}"\npath = "{path}"\nlanguage = "en"\n')
    (folder / "mixed.toml").write_text(
        'description = "d"\nteacher = {engine = "scripted", model = "scripted"}\n' + "".join(tables)
    )
    return main(["collect", "--dataset", str(folder / "mixed.toml"), "--set", "verification.workers=1"])


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (PROSE, "reference_fails", "a sentence: 'She has 0 apples left.'"),
        (DIALOGUE, "bad_row", "has turns of user, user, not of user, assistant"),
    ],
)
def test_a_source_of_which_every_row_fails_ends_with_1_and_one_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: Any, reason: str, detail: str
) -> None:
    assert collect(tmp_path, ("sums", GOOD), ("quiz", bad)) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"problem source 'quiz': none of 5 rows can be used; 5 are {reason}" in told and detail in told


def test_a_source_that_loses_some_rows_goes_on_and_each_reason_is_told_with_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*GOOD, *PROSE[:2], {"question": " ", "answer": "4"}]
    assert collect(tmp_path, ("sums", rows)) == 0
    out, err = capsys.readouterr()
    assert (
        "2 problems are reference_fails (for example " in err and "1 problems are empty (for example " in err
    )
    (found,) = json.loads(Path(out.split()[-1], "made.json").read_text(encoding="utf-8"))["sources"].values()
    assert (found["rows"], found["unusable"]) == (8, {"reference_fails": 2, "empty": 1})
    assert "a sentence: 'She has 0 apples left.'" in found["examples"]["reference_fails"]


def test_a_source_that_only_repeats_another_one_is_no_failure(tmp_path: Path) -> None:
    assert collect(tmp_path, ("sums", GOOD), ("again", GOOD)) == 0
