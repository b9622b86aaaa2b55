"""Report and plots: the figures with their errors are there, and no outside text does anything but be
read."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill import plots
from distill.evaluate.report import markdown, table, teacher_share
from distill.recipe.dataset import CONFIGS
from distill.records import Comparison, Report, Score
from distill.store import folders
from flows import cli

HOSTILE = "<script>alert(1)</script> | a\u202eb\x1b[31m\x00 [x](javascript:alert(1)) `code` ![i](http://e.example/i.png)\n# head"


def score(role: str, rate: float, source: str = "all") -> Score:
    name = {"base": "Qwen/Qwen2.5-0.5B", "teacher": "DeepSeek-R1"}.get(role, "小模型")
    return Score(
        name,
        role,
        300,
        4,
        rate,
        0.021,
        rate - 0.05,
        min(1.0, rate + 0.05),
        0.125,
        0.25,
        0.9,
        312.4,
        source,
        0.012,
    )


def report(
    scores: Iterable[Score] = (score("base", 0.1), score("student", 0.744), score("teacher", 0.8)),
) -> Report:
    difference = Comparison("student", "base", 0.644, 0.02, 0.604, 0.684, 300)
    settings = {
        "metric": "pass@1",
        "k": 1,
        "estimator": "mean of n = 4 samples",
        "temperature": 0.6,
        "verifiers": ["math/1"],
    }
    return Report("mine", "d", "c", "f", list(scores), [difference], "better", settings)


def test_table_and_markdown_state_metric_interval_errors_samples_and_losses() -> None:
    for text in (table(report()), markdown(report())):
        for part in (
            "pass@1 (k = 1)",
            "74.4 %",
            "69.4 % to 79.4 %",
            "2.1 (1.2)",
            "300 x 4",
            "12.5 %",
            "25.0 %",
            "312",
        ):
            assert part in text
        assert "student - base: +64.4 (+60.4 to +68.4), standard error 2.0, 300 problems" in text
        assert "the student reaches 93 % of the teacher's pass@1" in text
        assert "temperature 0.6" in text and "graded by math/1" in text
        assert "the student is better than its base" in text


def differences(*found: tuple[str, float, int]) -> Report:
    """A report of a student that is better over all, with (source, high end of the interval, problems)."""
    lost = [Comparison("student", "base", -0.2, 0.05, -0.3, high, count, name) for name, high, count in found]
    return replace(report(), comparisons=[*report().comparisons, *lost])


def test_a_gain_over_all_problems_hides_no_loss_on_a_benchmark() -> None:
    found = differences(("hard", -0.1, 100), ("easy", 0.01, 100), ("few", -0.1, 5), ("aime", -0.01, 30))
    assert found.decision == "better" and found.lost_on == ["hard", "aime"]
    for text in (table(found), markdown(found)):
        (line,) = [line for line in text.splitlines() if "the student is better than its base" in line]
        assert "worse than its base on hard, aime" in line
    assert "worse" not in table(report())
    beaten = Comparison("teacher", "base", -0.2, 0.05, -0.3, -0.1, 100, "hard")
    assert replace(report(), comparisons=[beaten]).lost_on == []


def test_the_share_of_the_teacher_needs_a_teacher_that_solves_something() -> None:
    assert teacher_share(report([score("base", 0.1), score("student", 0.7)])) == ""
    assert teacher_share(report([score("student", 0.7), replace(score("teacher", 0.0), low=0.0)])) == ""


def test_a_teacher_that_was_not_asked_everything_is_compared_source_by_source() -> None:
    whole = [score("student", 0.5), score("student", 0.6, "a"), score("student", 0.2, "b")]
    found = report([*whole, score("teacher", 0.8), score("teacher", 0.8, "a")])
    assert teacher_share(found) == "the student reaches 75 % on a of the teacher's pass@1"


def test_completions_left_out_and_timeouts_are_stated_with_the_worst_case() -> None:
    spoiled = replace(score("student", 0.7), left_out=12, timeouts=3, pass_at_1_strict=0.65)
    for text in (table(report([spoiled])), markdown(report([spoiled]))):
        assert "left out: 12 (pass@1 if all of them were wrong: 65.0 %)" in text
        assert "counted as not correct: 3" in text


def test_columns_line_up_with_names_in_wide_characters() -> None:
    header, rule, *rows = table(report()).split("\n\n")[0].split("\n")
    assert len(header) == len(rule)
    assert [len(row) + sum("\u4e00" <= character <= "\u9fff" for character in row) for row in rows] == [
        len(header)
    ] * 3


def test_markdown_holds_funnel_notes_paths_and_every_setting() -> None:
    text = markdown(report(), "| stage | rows |\n| --- | --- |", {"report": "data/report.json"}, ["dry run"])
    assert "## Funnel\n\n| stage | rows |" in text
    assert "- dry run" in text and "| report | data/report.json |" in text and "| temperature | 0.6 |" in text


def test_hostile_names_notes_and_settings_render_inert() -> None:
    hostile = replace(
        report([replace(score("student", 0.7), model=HOSTILE, source=HOSTILE)]),
        student=HOSTILE,
        settings={HOSTILE: HOSTILE},
    )
    text = markdown(hostile, "", {HOSTILE: HOSTILE}, [HOSTILE])
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e]", text + table(hostile))
    assert not re.search(r"<script|\]\(|!\[|://|`", text)
    assert (
        len(
            {
                line.count("|")
                for line in text.splitlines()
                if "mine" not in line and line.startswith("| ") and "script" in line
            }
        )
        == 2
    )
    assert len(table(hostile).split("\n\n")[0].split("\n")) == 3


def every_plot(folder: Path, suffix: str) -> list[Path]:
    counts = {"asked": 8000, "wrong $x": 2100, "混合": 0, "kept": 5225}
    plots.funnel(counts, f"{folder}/funnel{suffix}")
    plots.pass_at_1([score("base", 0.1), score("student", 0.7, "a$b$")], f"{folder}/pass{suffix}")
    tokens = {"correct": [100, 200, 1000], "wrong": [300], "timeout": []}
    counted = {outcome: plots.LENGTHS.count(np.array(values)) for outcome, values in tokens.items()}
    plots.completion_lengths(counted, f"{folder}/lengths{suffix}", 1024)
    plots.loss(list(range(120)), [2.0 - step / 100 for step in range(120)], f"{folder}/loss{suffix}")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_plots_are_written_whole_and_the_same_each_time(tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = every_plot(tmp_path / "one", suffix), every_plot(tmp_path / "two", suffix)
    assert len(first) == 4
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes().startswith(magic) and one.read_bytes() == two.read_bytes()


def test_plots_of_nothing_are_drawn_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plots.funnel({}, f"{tmp_path}/funnel.png")
    plots.pass_at_1([], f"{tmp_path}/pass.png")
    plots.completion_lengths({}, f"{tmp_path}/lengths.png")
    plots.loss([], [], f"{tmp_path}/loss.png")
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("named", [None, "of-mine"])
def test_a_report_is_found_by_its_students_file_folder_and_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str | None
) -> None:
    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    recipe = tmp_path / "mine.toml"
    text = (CONFIGS / "students" / "tiny-qwen2.toml").read_text(encoding="utf-8")
    recipe.write_text((f'name = "{named}"\n' if named else "") + text, encoding="utf-8")
    folder = tmp_path / "store" / "students" / f"{named or 'mine'}-0123456789ab"
    folders.write_record(f"{folder}/report.json", report())
    for run in (recipe, folder, folder.name, folder / "report.json", named or "mine"):
        assert cli.main(["report", str(run)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"{folder}/report.json"
    assert cli.main(["report", str(tmp_path / "other.toml")]) == 2
