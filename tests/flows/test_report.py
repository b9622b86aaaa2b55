"""The files of a report: earlier ones are kept, and the page needs nothing beside it."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from distill.records import Report, Score
from flows import report

SCORE = Score("m", "student", 200, 4, 0.5, 0.02, 0.46, 0.54, 0.0, 0.0, None, 60.0)
FOUND = Report("tiny", "dataset", "checkpoint", "0" * 12, [SCORE], [], "undecided", {})


def written(place: Path, found: Report) -> None:
    for name in report.FILES:
        (place / name).write_text(json.dumps(asdict(found)), encoding="utf-8")
    os.utime(place / report.JSON, (86_400, 86_400))


def test_a_report_with_other_scores_is_kept_under_its_time(tmp_path: Path) -> None:
    report.keep_earlier(tmp_path, FOUND)
    written(tmp_path, FOUND)
    report.keep_earlier(tmp_path, replace(FOUND, settings={"another": "setting"}))
    assert not (tmp_path / "reports").exists()
    report.keep_earlier(tmp_path, replace(FOUND, scores=[replace(SCORE, pass_at_1=0.6)]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reports"]
    kept = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert kept == [f"reports/1970-01-02T000000Z/{name}" for name in sorted(report.FILES)]


def test_only_charts_that_are_there_are_shown(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "loss.png").write_bytes(b"\x89PNG")
    assert [one.title for one in report.pictures(tmp_path, ("loss", "accuracy"))] == ["Training loss"]
