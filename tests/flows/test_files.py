"""A file of traces becomes a dataset folder: killed anywhere it goes on, and a folder is cut again to what a
new run would give."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import interruptible
import pytest

from distill.curate import steps, write
from distill.curate.steps import UnfinishedError
from distill.duplicates import Pair
from distill.files import grouping
from distill.recipe import Curation, RecipeError, Selection, load_dataset, load_made
from distill.store import checked, list_shards, shards
from flows import files
from flows.cli import main

PROJECT = Path(__file__).parents[2]
TEXT = "so the sum of both is then we add one more box and count all of them again until nothing is left on any shelf here"
WORDS = TEXT.split()
BENCHMARK = "A farmer has 12 red hens and 17 white hens in one yard. Each hen lays 3 eggs a week. How many eggs are there?"


IN_PROCESSES = """
import sys

from distill.curate import steps
from distill.files import grouping
from flows.cli import main

if __name__ == "__main__":
    grouping.SHARD_ROWS, steps.ROWS_FOR_PROCESSES = 4, 0
    sys.exit(main(sys.argv[1:]))
"""


def rows(problems: int, seed: int = 0) -> list[dict[str, object]]:
    dice = random.Random(seed)
    found: list[dict[str, object]] = []
    for problem in range(problems):
        question = (
            BENCHMARK
            if problem == 3
            else f"What is {problem} and {problem + 7}, said a {dice.choice(WORDS)} box?"
        )
        for sample in range(4):
            text = " ".join(dice.choice(WORDS) for _ in range(60))
            if sample == 3 and problem % 3 == 0:
                text = str(found[-1]["thinking"]) + " again"
            found.append(
                {
                    "id": f"{problem}-{sample}",
                    "problem_id": f"p{problem}",
                    "question": question,
                    "reference": "7",
                    "thinking": text
                    if sample or problem % 5
                    else "然后再检查一遍结果是否正确，我们先把这两个数相加。" + text,
                    "answer": "It is \\boxed{7}.",
                    "outcome": "wrong" if sample == 1 else "correct",
                    "extracted": "8" if sample == 1 else "7",
                    "finish_reason": "length" if problem % 7 == 6 and sample == 2 else "stop",
                    "thinking_tokens": 50 + sample * 10,
                    "answer_tokens": 5,
                    "site": {"page": problem},
                }
            )
    return found


def source(folder: Path, problems: int = 30, scattered: bool = False) -> str:
    lines = rows(problems)
    if scattered:
        lines.sort(key=lambda row: str(row["id"]).partition("-")[2])
    path = folder / "traces.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def curation(folder: Path, **sections: object) -> Curation:
    (folder / "held-out.jsonl").write_text(json.dumps({"question": BENCHMARK}) + "\n", encoding="utf-8")
    held_out = {"name": "held-out", "path": str(folder / "held-out.jsonl")}
    return Curation.model_validate({"benchmarks": [held_out], **sections})


def written(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.parquet"))
        if ".work" not in path.parts
    }


def dropped(folder: Path) -> dict[str, str | None]:
    return {
        row["id"]: row["dropped"]
        for path in list_shards(f"{folder}/candidates")
        for row in shards.read_rows(path)
    }


def test_every_row_has_its_reason_and_its_columns(tmp_path: Path) -> None:
    table = files.curate_file(source(tmp_path), str(tmp_path / "out"), curation(tmp_path), None)
    found = dropped(tmp_path / "out")
    assert len(found) == 120 and "contaminated" in table
    assert {found["3-0"], found["0-0"], found["1-1"], found["9-3"], found["6-2"], found["1-0"]} == {
        "contaminated",
        "mixed_language",
        "wrong",
        "near_duplicate",
        "truncated",
        None,
    }
    paths = list_shards(str(tmp_path / "out" / "candidates"))
    extra = {row["id"]: row["extra"] for path in paths for row in shards.read_rows(path)}
    assert json.loads(extra["1-3"]) == {"site": {"page": 1}}
    report = json.loads((tmp_path / "out" / "contamination.json").read_text(encoding="utf-8"))
    assert BENCHMARK in json.dumps(report) and (tmp_path / "out" / "README.md").exists()
    assert not (tmp_path / "out" / files.WORK).exists() and not (tmp_path / "out" / write.DECISIONS).exists()


def test_another_cut_is_what_a_new_run_would_give(tmp_path: Path) -> None:
    lines, plain = source(tmp_path), curation(tmp_path)
    changed = {
        "selection": {"policy": "shortest", "per_problem": 1},
        "screens": {"min_language_share": None},
        "duplicates": {"threshold": 0.9},
    }
    files.curate_file(lines, str(tmp_path / "first"), plain, None)
    files.curate_file(str(tmp_path / "first"), str(tmp_path / "again"), curation(tmp_path, **changed), None)
    files.curate_file(lines, str(tmp_path / "new"), curation(tmp_path, **changed), None)
    assert written(tmp_path / "again") == written(tmp_path / "new") != written(tmp_path / "first")


def test_what_was_measured_otherwise_is_measured_again(tmp_path: Path) -> None:
    lines, other = source(tmp_path), {"shingle_words": 2, "threshold": 0.5}
    files.curate_file(lines, str(tmp_path / "first"), curation(tmp_path), None)
    files.curate_file(
        str(tmp_path / "first"), str(tmp_path / "again"), curation(tmp_path, duplicates=other), None
    )
    files.curate_file(lines, str(tmp_path / "new"), curation(tmp_path, duplicates=other), None)
    assert written(tmp_path / "again") == written(tmp_path / "new")
    near = [list(shards.read(Pair, f"{tmp_path}/{name}/{write.PAIRS}")) for name in ("first", "new")]
    assert near[1] != near[0]


def test_scattered_rows_and_worker_processes_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = curation(tmp_path)
    files.curate_file(source(tmp_path), str(tmp_path / "first"), plain, None)
    monkeypatch.setattr(steps, "ROWS_FOR_PROCESSES", 0)
    files.curate_file(source(tmp_path, scattered=True), str(tmp_path / "second"), plain, None)
    assert dropped(tmp_path / "first") == dropped(tmp_path / "second")


def test_the_map_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of a flow get several shards in one call, and set damaged ones aside."""
    monkeypatch.setattr(grouping, "SHARD_ROWS", 16)
    files.curate_file(source(tmp_path), str(tmp_path / "first"), curation(tmp_path), None)

    def as_tasks(step: Any, jobs: Sequence[steps.Job], *settings: Any) -> Iterator[Any]:
        half = len(jobs) // 2
        for some in [jobs] if step in steps.WHOLE else [jobs[:half], jobs[half:]]:
            yield from step(some, *settings, reader=checked)

    monkeypatch.setattr(steps, "on_cores", as_tasks)
    files.curate_file(source(tmp_path), str(tmp_path / "second"), curation(tmp_path), None)
    assert len(list_shards(str(tmp_path / "second" / "candidates"))) > 2
    assert written(tmp_path / "first") == written(tmp_path / "second")


def test_a_folder_of_files_is_one_input_and_a_finished_output_is_left_alone(tmp_path: Path) -> None:
    lines = Path(source(tmp_path)).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "parts").mkdir()
    for number in range(4):
        (tmp_path / "parts" / f"{number}.jsonl").write_text(
            "".join(lines[30 * number : 30 * number + 30]), encoding="utf-8"
        )
    files.curate_file(str(tmp_path / "parts"), str(tmp_path / "first"), curation(tmp_path), None)
    files.curate_file(source(tmp_path), str(tmp_path / "second"), curation(tmp_path), None)
    assert written(tmp_path / "first") == written(tmp_path / "second")
    with pytest.raises(FileExistsError, match="holds a dataset already"):
        files.curate_file(source(tmp_path), str(tmp_path / "first"), curation(tmp_path), None)


def test_a_benchmark_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    held_out = {"name": "held-out", "path": str(tmp_path / "missing.jsonl")}
    with pytest.raises((RecipeError, OSError), match="missing"):
        files.curate_file(
            source(tmp_path), str(tmp_path / "out"), Curation.model_validate({"benchmarks": [held_out]}), None
        )


def test_killed_anywhere_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    lines, dice = source(tmp_path, problems=120), random.Random(1)
    files.curate_file(lines, str(tmp_path / "whole"), curation(tmp_path), None)
    setting = json.dumps([{"name": "held-out", "path": str(tmp_path / "held-out.jsonl")}]).replace('":', '"=')
    program = (
        "import sys; from distill.files import grouping; grouping.SHARD_ROWS = 4096; "
        "from flows.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-c",
        program,
        "curate",
        "--input",
        lines,
        "--output",
        str(out),
        "--set",
        f"curation.benchmarks={setting}",
    ]
    kills = 0
    while not (out / "README.md").exists():
        child = subprocess.Popen(
            command, cwd=PROJECT, env=dict(os.environ), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        if kills < 4:
            time.sleep(dice.uniform(0.8, 2.0))
            child.send_signal(signal.SIGKILL)
            kills += 1
        assert child.wait() in (0, -signal.SIGKILL)
    assert written(out) == written(tmp_path / "whole")


def test_nothing_of_the_users_is_removed(tmp_path: Path) -> None:
    lines = source(tmp_path)
    own = tmp_path / "own"
    (own / "examples").mkdir(parents=True)
    (own / "examples" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="not empty"):
        files.curate_file(lines, str(own), curation(tmp_path), None)
    parts = tmp_path / "parts"
    parts.mkdir()
    Path(lines).rename(parts / "traces.jsonl")
    with pytest.raises(FileExistsError, match="cannot be the output"):
        files.curate_file(str(parts), str(parts), curation(tmp_path), None)
    assert (own / "examples" / "mine.txt").exists() and (parts / "traces.jsonl").exists()


def test_a_changed_benchmark_is_compared_again(tmp_path: Path) -> None:
    held_out = curation(tmp_path)
    files.curate_file(source(tmp_path), str(tmp_path / "first"), held_out, None)
    question = str(rows(30)[44]["question"])
    (tmp_path / "held-out.jsonl").write_text(json.dumps({"question": question}) + "\n", encoding="utf-8")
    files.curate_file(str(tmp_path / "first"), str(tmp_path / "again"), held_out, None)
    found = dropped(tmp_path / "again")
    assert found["11-0"] == "contaminated" and found["3-0"] is None


def test_a_run_of_other_settings_does_not_go_on_with_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = source(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(write, "describe", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            files.curate_file(
                lines, str(tmp_path / "out"), curation(tmp_path, selection={"policy": "none"}), None
            )
    with pytest.raises(UnfinishedError, match="no finished dataset"):
        files.curate_file(str(tmp_path / "out"), str(tmp_path / "again"), curation(tmp_path), None)
    files.curate_file(lines, str(tmp_path / "out"), curation(tmp_path), None)
    files.curate_file(lines, str(tmp_path / "new"), curation(tmp_path), None)
    assert written(tmp_path / "out") == written(tmp_path / "new")


def test_another_cut_keeps_the_settings_that_are_not_named(tmp_path: Path) -> None:
    recipe = load_dataset("tiny").model_copy(
        update={"curation": curation(tmp_path, screens={"min_language_share": None})}
    )
    files.curate_file(source(tmp_path), str(tmp_path / "first"), recipe.curation, recipe)
    cut, made = load_made(str(tmp_path / "first"), ("curation.selection.policy=shortest",))
    assert cut == recipe.curation.model_copy(update={"selection": Selection(policy="shortest")})
    assert made is not None and made.sampling == recipe.sampling and made.curation == cut
    paired, _ = load_made(str(tmp_path / "first"), ("curation.preferences.rejected=long",))
    assert paired.preferences is not None and paired.preferences.rejected == "long"
    with pytest.raises(RecipeError, match="only section is curation"):
        load_made(str(tmp_path / "first"), ("sampling.n=2",))


def test_an_empty_file_is_an_empty_dataset(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    assert "no trace was kept" in files.curate_file(
        str(tmp_path / "empty.jsonl"), str(tmp_path / "out"), Curation(), None
    )


def test_worker_processes_stop_at_once(tmp_path: Path) -> None:
    lines = source(tmp_path, problems=600)
    script = tmp_path / "run.py"
    script.write_text(IN_PROCESSES, encoding="utf-8")
    command = [str(script), "curate", "--input", lines, "--output", str(tmp_path / "out")]
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    child = interruptible.python(*command, env={**os.environ, "PYTHONPATH": str(PROJECT)}, **quiet)
    measured = tmp_path / "out" / files.WORK / "measured"
    while len(list(measured.glob("*.parquet"))) < 3:
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 130
    assert len(list(measured.glob("*.parquet"))) < 500


@pytest.mark.parametrize("folder", [False, True])
def test_a_file_without_a_question_column_is_not_curated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: bool
) -> None:
    given = tmp_path / "given" / "rows.jsonl"
    given.parent.mkdir()
    rows = [
        {"wording": f"What is {number} plus 7?", "reference": "9", "response": "<think>x</think>9"}
        for number in range(3)
    ]
    given.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = given.parent if folder else given
    assert main(["curate", "--input", str(source), "--output", str(tmp_path / "out")]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("distill:"))
    assert (
        "no column question: rename the one that holds it (the columns are wording, reference, response)"
        in line
    )


def test_answers_of_a_file_without_a_question_column_are_verified(tmp_path: Path) -> None:
    given = tmp_path / "rows.jsonl"
    given.write_text('{"reference": "9", "response": "<think>x</think>\\\\boxed{9}"}\n', encoding="utf-8")
    assert main(["verify", "--input", str(given), "--output", str(tmp_path / "out.parquet")]) == 0
    assert [row["outcome"] for row in shards.read_rows(str(tmp_path / "out.parquet"))] == ["correct"]
