"""The four shapes in which public sets keep options: collected, and a right and a wrong answer verified."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill.recipe import load_dataset
from distill.store import shards
from flows.cli import main

FISH = ["cod", "eel", "pike", "tench"]
SEPARATE = ["Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]


def mmlu(right: int) -> dict[str, Any]:
    return {"subject": "zoology", "choices": FISH, "answer": right}


def mmlu_pro(right: int) -> dict[str, Any]:
    options = [*FISH, *(f"carp {n}" for n in range(6))]
    return {"options": options, "answer": "ABCDEFGHIJ"[right], "answer_index": right, "category": "biology"}


def arc(right: int) -> dict[str, Any]:
    return {"id": "x", "choices": {"text": FISH, "label": ["1", "2", "3", "4"]}, "answerKey": str(right + 1)}


def gpqa(right: int) -> dict[str, Any]:
    return dict(zip(SEPARATE, FISH[right:] + FISH[:right], strict=True)) | {"Record ID": "r"}


SHAPES = {
    "mmlu": (mmlu, 'options = "choices"\nreference = "answer"', "question"),
    "mmlu-pro": (mmlu_pro, 'options = "options"\nreference = "answer"', "question"),
    "arc": (arc, 'options = "choices"\nreference = "answerKey"', "question"),
    "gpqa": (gpqa, f'options = {json.dumps(SEPARATE)}\nreference = "Correct Answer"', "Question"),
}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("name", SHAPES)
def test_options_are_asked_and_a_right_and_a_wrong_answer_are_told_apart(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    shape, keys, question = SHAPES[name]
    rows = [{question: f"Which fish is number {n} of pond {n % 4}?", **shape(n % 4)} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = tmp_path / "quiz.toml"
    recipe.write_text(
        'description = "d"\nteacher = {engine = "scripted", model = "scripted"}\n[[problems]]\nname = "quiz"\n'
        f'path = "{tmp_path / "rows.jsonl"}"\nkind = "choice"\nquestion = "{question}"\n{keys}\nlanguage = "en"\n',
        encoding="utf-8",
    )
    assert load_dataset(str(recipe)).problems[0].kind == "choice"
    assert main(["collect", "--dataset", str(recipe)]) == 0
    made = Path(capsys.readouterr().out.split()[-1])
    problems = [row for path in sorted(made.glob("*.parquet")) for row in shards.read_rows(str(path))]
    assert [row["unusable"] for row in problems] == [None] * 8
    traces = []
    for number, problem in enumerate(problems):
        lines = problem["question"].splitlines()
        assert f"{problem['reference']}) {FISH[number % 4]}" in lines
        letters = [line[0] for line in lines[1:]]
        assert letters == list("ABCDEFGHIJ"[: len(letters)]) and len(letters) == (
            10 if name == "mmlu-pro" else 4
        )
        asked = {key: problem[key] for key in ("question", "reference", "kind")}
        wrong = next(letter for letter in letters if letter != problem["reference"])
        traces += [
            asked | {"response": f"<think>\nI recall them.\n</think>\n\nThe answer is \\boxed{{{letter}}}."}
            for letter in (problem["reference"], wrong)
        ]
    (tmp_path / "traces.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in traces), encoding="utf-8"
    )
    verdicts = str(tmp_path / "verdicts.parquet")
    assert main(["verify", "--input", str(tmp_path / "traces.jsonl"), "--output", verdicts]) == 0
    assert [row["outcome"] for row in shards.read_rows(verdicts)] == ["correct", "wrong"] * 8
    if name == "gpqa":
        assert len({row["reference"] for row in problems}) > 1, (
            "the right one is not always in the same place"
        )
