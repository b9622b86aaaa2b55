"""What nearly all rows are lost to is told at once, and a result without a usable row is a failure."""

import json
import logging
import time
from pathlib import Path
from typing import Any, get_args

import pytest

from distill import progress
from distill.curate import dropped, filters, funnel
from distill.curate.dropped import Lookout
from distill.engines import Completion, Request
from distill.recipe import Adaptive, Sampling, Screens, Teacher
from distill.records import Message, Outcome, Problem
from distill.store import folders, list_shards, shards
from flows import cli
from flows.sample import Looks

PROJECT = Path(__file__).parents[2]
MANY = 40
RECIPE = """
name = "thoughtless"
description = "A teacher that never thinks."
[[problems]]
name = "sums"
path = "{folder}/problems.jsonl"
[teacher]
engine = "replay"
model = "{folder}/traces.jsonl"
[sampling]
n = 1
"""


def told(caplog: pytest.LogCaptureFixture, reason: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if f" are {reason}" in record.getMessage()]


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def traces(count: int = MANY, **fields: Any) -> list[dict[str, Any]]:
    answered = "Adding the two numbers gives the sum.\n\n\\boxed{%d}"
    return [
        {
            "question": f"What is {n} plus {n}?",
            "reference": str(2 * n),
            "response": answered % (2 * n),
            **fields,
        }
        for n in range(count)
    ]


def thoughtless(folder: Path, response: str = "Adding the two numbers gives the sum.\n\n\\boxed{%d}") -> str:
    """A recipe of a teacher whose replies hold no thinking."""
    lines(
        folder / "problems.jsonl",
        [{"question": f"What is {n} plus {n}?", "answer": 2 * n} for n in range(MANY)],
    )
    lines(
        folder / "traces.jsonl",
        [{"question": f"What is {n} plus {n}?", "response": response % (2 * n)} for n in range(MANY)],
    )
    path = folder / "thoughtless.toml"
    path.write_text(RECIPE.format(folder=folder), encoding="utf-8")
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    """The last line that a command says on standard error."""
    assert cli.main(arguments) == code
    return capsys.readouterr().err.splitlines()[-1]


def test_every_reason_has_the_setting_that_decides_it() -> None:
    reasons = {*funnel.LOST_AT, *get_args(Outcome)} - {"correct"}
    assert reasons <= dropped.REMEDIES.keys()


def test_a_reason_of_nearly_all_rows_is_told_once_as_soon_as_there_are_enough(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "distill")
    lookout = Lookout()
    for number in range(19):
        lookout.see("sums", "malformed", "no think block")
        lookout.see("others", "malformed" if number % 5 else None, "no think block")
    assert not told(caplog, "malformed")
    for _ in range(50):
        lookout.see("sums", "malformed", "no think block")
    (line,) = told(caplog, "malformed")
    assert (
        line.startswith("sums: 20 of 20 traces so far are malformed (for example no think block)")
        and "thinking_optional" in line
    )


@pytest.mark.parametrize(("budget", "reason"), [(2000, ["truncated"]), (500, [])])
def test_completions_that_are_cut_are_told_unless_a_larger_budget_follows(
    caplog: pytest.LogCaptureFixture, budget: int, reason: list[str]
) -> None:
    caplog.set_level(logging.INFO, "distill")
    sampling = Sampling(max_tokens=500, adaptive=Adaptive(budgets=(2000,)))
    looks = Looks(Teacher(model="m"), sampling, Screens())
    problem = Problem("p", "sums", "math", "2 + 2?", "4")
    for number in range(30):
        request = Request(f"{number}", problem, number, (Message("user", "2 + 2?"),), "", budget, 0)
        looks.at(request, Completion(f"{number}", "<think>\nI add", finish_reason="length"))
        looks.at(request, Completion(f"{number}", None, finish_reason="error", failure="timeout"))
    assert [one for one in ("truncated", "malformed", "failed") if told(caplog, one)] == reason
    assert all("sampling.max_tokens" in line for line in told(caplog, "truncated"))


def test_what_one_room_has_told_the_next_one_does_not_tell_again(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.showing():
        for _ in range(2):
            lookout = Lookout()
            for _ in range(20):
                lookout.see("sums", "wrong")
    assert capsys.readouterr().err.count("are wrong") == 1


@pytest.mark.usefixtures("prefect_server")
def test_a_teacher_that_never_thinks_is_told_at_once_and_its_empty_dataset_is_a_failure_that_can_be_cut_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    recipe = thoughtless(tmp_path)
    assert cli.main(["dataset", recipe]) == 1
    shown = capsys.readouterr()
    *before, last = shown.err.splitlines()
    assert shown.out == ""
    (early,) = [line for line in before if "are malformed" in line]
    assert early.startswith("sums: 20 of 20 traces so far are malformed (for example no think block)")
    assert before.index(early) < next(
        number for number, line in enumerate(before) if line.startswith("making verdicts")
    )
    assert (
        last.startswith("distill: datasets thoughtless-") and f"{MANY} of {MANY} traces are malformed" in last
    )
    assert "no think block" in last and "thinking_optional" in last and "teacher.prefill" in last

    (made,) = Path(folders.ROOT, "datasets").glob("*/made.json")
    assert json.loads(made.read_text())["kept"] == 0 and str(made.parent) in last
    assert (made.parent / "funnel.json").is_file() and sum(
        map(shards.count, list_shards(f"{made.parent}/candidates"))
    ) == MANY

    assert cli.main(["dataset", recipe]) == 1
    again = capsys.readouterr().err
    assert again.splitlines()[-1] == last and "reused datasets" not in again
    began = time.monotonic()
    assert cli.main(["dataset", recipe, "--set", 'curation.screens.thinking_optional=["math"]']) == 0
    assert time.monotonic() - began < 30
    assert "reused traces" in capsys.readouterr().err


@pytest.mark.usefixtures("prefect_server")
def test_a_reference_that_is_never_met_is_told_while_verdicts_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    recipe = thoughtless(tmp_path, "<think>\nI add the numbers and one more.\n</think>\n\n\\boxed{1%d}")
    assert cli.main(["dataset", recipe]) == 1
    *before, last = capsys.readouterr().err.splitlines()
    (early,) = [line for line in before if "are wrong" in line]
    assert "reference_pattern" in early and "20 of 20" in early
    assert "are wrong" in last


@pytest.mark.usefixtures("prefect_server")
def test_problems_of_which_none_is_usable_end_the_run_before_a_teacher_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    recipe = thoughtless(tmp_path)
    for _ in range(2):
        lines(tmp_path / "problems.jsonl", [{"question": f"What is {n}?", "answer": ""} for n in range(MANY)])
        last = said(capsys, "dataset", recipe)
        assert (
            f"none of {MANY} rows can be used" in last
            and "no_reference" in last
            and "a math problem needs reference" in last
        )
    assert not Path(folders.ROOT, "traces").exists()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (traces(3, kind="alchemy"), ("3 are error", "row 0, kind is 'alchemy'")),
        (traces(3, reference="\\frac{1}{"), ("3 are unparsed_reference", "reference column")),
        (traces(3, kind="open"), ("3 are unverified", "verification.judge")),
        ([], ("has no rows",)),
    ],
)
def test_a_file_of_which_no_row_can_be_judged_is_a_failure_with_its_result_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]], words: tuple[str, ...]
) -> None:
    source, target = lines(tmp_path / "in.jsonl", rows), tmp_path / "out.parquet"
    last = said(capsys, "verify", "--input", source, "--output", str(target))
    assert last.startswith(f"distill: {source}") and all(word in last for word in words), last
    assert shards.count(str(target)) == len(rows)


@pytest.mark.parametrize(
    "rows",
    [traces(3), traces(3, reference="7"), [*traces(2, kind="alchemy"), *traces(1)], traces(3, response="no")],
)
def test_a_file_with_a_row_that_was_judged_is_no_failure(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert (
        cli.main(
            [
                "verify",
                "--input",
                lines(tmp_path / "in.jsonl", rows),
                "--output",
                str(tmp_path / "out.parquet"),
            ]
        )
        == 0
    )


def test_a_file_without_an_example_is_a_failure_and_its_folder_can_be_cut_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, first = lines(tmp_path / "in.jsonl", traces(outcome="correct")), str(tmp_path / "first")
    last = said(capsys, "curate", "--input", source, "--output", first)
    assert (
        f"{MANY} of {MANY} traces are malformed" in last
        and "no think block" in last
        and "thinking_optional" in last
    )
    assert said(capsys, "curate", "--input", source, "--output", first).startswith("distill: ")
    keep = 'curation.screens.thinking_optional=["math"]'
    assert cli.main(["curate", "--input", first, "--output", str(tmp_path / "second"), "--set", keep]) == 0


def test_an_empty_file_has_no_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no rows" in said(
        capsys, "curate", "--input", lines(tmp_path / "in.jsonl", []), "--output", str(tmp_path / "out")
    )


def test_a_reason_of_nearly_all_of_one_source_is_told_where_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thinking = "<think>\nI add the number to itself.\n</think>\n\n\\boxed{4}"
    rows = [
        *traces(source="plain", outcome="correct"),
        *traces(5, source="other", outcome="correct", response=thinking),
    ]
    assert (
        cli.main(["curate", "--input", lines(tmp_path / "in.jsonl", rows), "--output", str(tmp_path / "out")])
        == 0
    )
    assert f"plain: {MANY} of {MANY} traces are malformed" in capsys.readouterr().err


def test_a_policy_that_leaves_most_traces_out_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "distill")
    tallies = {"s": {filters.NOT_SELECTED: funnel.Tally(95), funnel.KEPT: funnel.Tally(5)}}
    dropped.tell_funnel(funnel.Funnel(tallies))
    assert not caplog.records
