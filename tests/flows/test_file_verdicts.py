import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distill import verifiers
from distill.recipe import Majority, RecipeError, Verification
from flows import files
from flows.files import ROWS_OF_PART

SECTION = Verification(workers=1)
PROJECT = Path(__file__).parents[2]
COLUMNS = ("id", "outcome", "extracted", "detail", "verifier")


def rows(count: int) -> str:
    answers = (r"\boxed{5}", r"\boxed{6}", "none", rf"\boxed{{x+{'1'}}}")
    return "\n".join(
        json.dumps(
            {
                "id": str(n),
                "problem_id": str(n // 4),
                "question": "2 + 3?",
                "reference": "5",
                "response": answers[n % 4],
            }
        )
        for n in range(count)
    )


def verdicts(path: Path) -> list[dict[str, object]]:
    return pq.read_table(path, columns=list(COLUMNS)).to_pylist()


def test_a_run_that_was_killed_goes_on_after_its_last_part_and_ends_as_if_it_had_not_been(tmp_path):
    source, target, undisturbed = tmp_path / "in.jsonl", tmp_path / "out.parquet", tmp_path / "whole.parquet"
    source.write_text(rows(12 * ROWS_OF_PART + 5))
    command = [sys.executable, "-m", "distill", "verify", "--input", str(source), "--output"]
    run = subprocess.Popen(
        [*command, str(target)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PROJECT
    )
    second = tmp_path / "out.parquet.parts" / "000001.parquet"
    while not second.exists() and run.poll() is None:
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert second.exists()
    assert not target.exists()
    before = second.stat().st_mtime_ns, second.stat().st_ino
    again = subprocess.Popen(
        [*command, str(target)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    )
    while second.exists() and again.poll() is None:
        assert (second.stat().st_mtime_ns, second.stat().st_ino) == before
        break
    said, progress = again.communicate()
    assert again.returncode == 0
    assert "going on after" in progress
    assert said.splitlines()[-1] == str(target)
    files.verify_file(str(source), str(undisturbed), SECTION)
    assert verdicts(target) == verdicts(undisturbed)
    assert not second.parent.exists()


def test_parts_of_another_input_or_other_settings_are_not_gone_on_with(tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    source.write_text(rows(8))
    parts = tmp_path / "out.parquet.parts"
    for key in (
        "another",
        files._verifying_key(str(source), SECTION.model_copy(update={"timeout_seconds": 1.0})),
    ):
        parts.mkdir()
        (parts / "key.json").write_text(key)
        (parts / "000000.parquet").write_bytes(b"never read")
        files.verify_file(str(source), str(target), SECTION)
        assert len(verdicts(target)) == 8


def test_the_summary_lies_beside_the_verdicts_by_source_and_kind(tmp_path):
    (tmp_path / "in.jsonl").write_text(
        rows(8) + "\n" + json.dumps({"source": "quiz", "kind": "choice", "reference": "A", "response": "A"})
    )
    found = files.verify_file(str(tmp_path / "in.jsonl"), str(tmp_path / "out.parquet"), SECTION)
    summary = json.loads((tmp_path / "out.summary.json").read_text())
    assert [(one["source"], one["kind"], one["traces"]) for one in summary] == [
        ("file", "math", 8),
        ("quiz", "choice", 1),
    ]
    assert summary[0]["outcomes"] == {"correct": 2, "wrong": 4, "no_answer": 2} == dict(found[0].outcomes)
    assert summary[0]["yield"] == 0.25
    assert summary[0]["verifiers"] == {verifiers.KINDS["math"].version: 8}
    assert not (tmp_path / "out.disagreements.jsonl").exists()


def test_a_majority_over_scattered_siblings_is_refused_before_anything_is_judged(tmp_path):
    lines = [
        json.dumps({"problem_id": name, "question": "x", "response": r"\boxed{1}"})
        for name in ("a", "b", "a")
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    with pytest.raises(RecipeError, match="row 2"):
        files.verify_file(
            str(tmp_path / "in.jsonl"), str(tmp_path / "out.parquet"), Verification(majority=Majority())
        )
