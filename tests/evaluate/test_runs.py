"""Runs beside one another: paired on what they share, corrected for all that is shown; and stored answers
judged again."""

from pathlib import Path
from typing import Any

import pytest

from distill.evaluate import measure
from distill.evaluate.runs import Regraded, differences, table
from distill.evaluate.tally import Tally
from distill.recipe import Verification
from distill.records import Candidate, Problem, Report, Trace, Verdict
from distill.store import Folder, folders, shards
from distill.verify import verify
from flows import cli


def answered(source: str, *answers: str, reference: str = "5", verdicts: str = "") -> list[Candidate]:
    """A candidate for each answer, of a problem of its own; verdicts: c for correct, else wrong."""
    found = []
    for number, answer in enumerate(answers):
        problem = Problem(f"{source}{number}", source, "math", f"How much is {number}?", reference)
        trace = Trace(problem, f"{source}-{number}", 0, "I think.", f"\\boxed{{{answer}}}", True, "stop")
        right = verdicts[number] == "c" if verdicts else answer == reference
        found.append(Candidate(trace, Verdict("correct" if right else "wrong", answer, verifier="math/0")))
    return found


def tallied(*parts: list[Candidate]) -> dict[str, Tally]:
    return dict(measure((one for part in parts for one in part), "m", "student").sources)


def test_runs_are_compared_on_the_benchmarks_and_problems_that_they_share() -> None:
    runs = {
        "one": tallied(answered("a", *"5" * 20), answered("b", *"57" * 10)),
        "two": tallied(answered("a", *"7" * 30), answered("c", *"5" * 20)),
        "three": tallied(answered("a", *"7" * 20), answered("b", *"57" * 10)),
    }
    found = differences(runs)
    assert [(one.first, one.second, one.source) for one in found] == [
        ("two", "one", "a"),
        ("three", "one", "a"),
        ("three", "one", "b"),
        ("three", "two", "a"),
    ]
    assert found[0].found.problems == 20 and found[0].found.difference == -1
    assert all(one.p_adjusted >= one.found.p_value for one in found)
    text = table(runs)
    assert "two - one on a: -100.0" in text and "one is better beyond chance" in text
    assert "three - one on b: +0.0" in text and "no difference beyond chance" in text
    assert "share no benchmark" in table({"one": runs["one"], "two": tallied(answered("z", "5"))})


def test_changed_verdicts_are_counted_and_shown() -> None:
    before = answered("a", "5", "7", "10/2", verdicts="ccw")
    found = Regraded()
    found.add_all(before, verify((one.trace for one in before), Verification()))
    assert found.changed == {("correct", "wrong"): 1, ("wrong", "correct"): 1}
    text = found.table()
    assert "3 stored answers judged again (math/0 -> math/" in text and "2 changed" in text
    assert "a-1" in text and "a-2" in text and "a-0" not in text
    assert "0 changed" in Regraded().table()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with two evaluated students; the second one's verdicts are of an older verifier."""
    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    made = {"one": answered("a", *"5" * 12), "two": answered("a", *"7" * 12, verdicts="c" + "w" * 11)}
    for name, candidates in made.items():
        fingerprint = f"{name[0]}" * 12
        key: dict[str, Any] = {
            "verification": Verification().identity(),
            "verifiers": {"math": "math/0"},
            "traces": {
                "problems": "content",
                "teacher": {"model": {"student": fingerprint}},
                "sampling": {"n": 1, "temperature": 0.6 if name == "one" else 0.7},
            },
        }
        folder = Folder("evaluations/verdicts", name, key)
        with folder.making("") as todo:
            assert todo
            shards.write(Candidate, candidates, f"{folder.path}/0000.parquet")
            folder.finish([f"{folder.path}/0000.parquet"])
        report = Report(name, "d", "c", fingerprint, [], [], "undecided", {})
        folders.write_record(f"{folders.ROOT}/students/{name}-{fingerprint}/report.json", report)
    return tmp_path


def test_students_of_the_store_are_compared_and_regraded(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "one", "two"]) == 0
    text = capsys.readouterr().out
    assert "two-tttttttttttt - one-oooooooooooo on a: -91.7" in text
    assert "temperature (0.6 -> 0.7)" in text
    assert cli.main(["compare", "one", "one"]) == 2
    assert cli.main(["compare", "one", "none"]) == 1
    capsys.readouterr()
    assert cli.main(["regrade", "two"]) == 0
    *text_lines, last = capsys.readouterr().out.splitlines()
    assert last.endswith("students/two-tttttttttttt/report.json")
    assert any("12 stored answers judged again" in line and "1 changed" in line for line in text_lines)
