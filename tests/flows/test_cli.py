import json
import os
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import pytest

from distill.recipe.load import names
from distill.store import folders
from flows import cli

PROJECT = Path(__file__).parents[2]
COMMANDS = (
    "run",
    "dataset",
    "plan",
    "collect",
    "sample",
    "verify",
    "curate",
    "train",
    "evaluate",
    "datasets",
    "teachers",
    "students",
    "report",
    "compare",
    "regrade",
    "trace",
)
SERVICE = ("serve", "schedule")
SMALL = ("problems.0.limit=20", "shard_problems=10", "sampling.n=2", "sampling.seed=5")
ROWS = [
    {
        "id": "a",
        "problem_id": "1",
        "kind": "math",
        "question": "What is 1 + 1?",
        "reference": "2",
        "response": "<think>\nIt is 2.\n</think>\n\n\\boxed{2}",
    },
    {
        "id": "b",
        "problem_id": "2",
        "kind": "math",
        "question": "What is 2 + 2?",
        "reference": "4",
        "response": "<think>\nIs it 5?\n</think>\n\n\\boxed{5}",
    },
    {
        "id": "c",
        "problem_id": "1",
        "kind": "math",
        "question": "What is 1 + 1?",
        "reference": "2",
        "response": "<think>\nOne and one",
        "mine": 7,
    },
    {"id": "d", "problem_id": "3", "kind": "alchemy", "question": "?", "reference": None, "response": "gold"},
]


def ran(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """A finished command in a process of its own."""
    command = [sys.executable, "-m", "distill", *arguments]
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def failed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """What a command that fails here says on standard error: one line, and nothing on standard output."""
    assert cli.main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("distill: ")
    return captured.err


def sets(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return str(path)


def test_help_names_every_command_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {command} " in text for command in COMMANDS + SERVICE)
    assert "examples:" in text


def test_help_answers_at_once() -> None:
    started = time.monotonic()
    ran("--help")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("command", COMMANDS + SERVICE)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--student", "nobody"), "there are: "),
        (("dataset", "nothing"), "there are: "),
        (("dataset", "dry-run", "--set", "sampling.m=1"), "sampling.m"),
        (("dataset", "dry-run", "--set", "sampling"), "section.key=value"),
        (("dataset", "dry-run", "--set", "problems.7.limit=1"), "7 is no number"),
        (("run", "--set", "nothing.at=all"), "no section 'nothing'"),
        (("plan", "--gpu", "abacus"), "abacus"),
        (("verify", "--input", "only.jsonl"), "--output"),
        (
            ("verify", "--input", "a.jsonl", "--output", "b.parquet", "--set", "sampling.n=2"),
            "verification, curation",
        ),
    ],
)
def test_wrong_usage_and_wrong_recipes_exit_with_2(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in failed(capsys, *arguments, code=2)


def test_wrong_options_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nonsense"], ["run", "--stud", "tiny-qwen2"], []):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "nobody"), "no report of 'nobody'"),
        (("trace", "ffff"), "no trace 'ffff'"),
        (("verify", "--input", "absent.jsonl", "--output", "out.parquet"), "absent.jsonl"),
        (("verify", "--input", "pyproject.toml", "--output", "out.parquet"), "cannot tell the format"),
        (("run", "--student", "llama-3.3-70b"), "llama-3.3-70b"),
        (("serve", "--host", "0.0.0.0"), "PREFECT_SERVER_API_AUTH_STRING"),
    ],
)
def test_what_cannot_be_done_exits_with_1(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in failed(capsys, *arguments, code=1)


def test_look_ups_name_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    for family in ("datasets", "students"):
        assert cli.main([family]) == 0
        text = capsys.readouterr().out
        assert all(name in text for name in names(family))


def test_verify_adds_its_columns_to_anybodys_rows(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    output = str(tmp_path / "out.parquet")
    assert cli.main(["verify", "--input", rows, "--output", output]) == 0
    found = pq.read_table(output).to_pylist()
    assert [row["id"] for row in found] == ["a", "b", "c", "d"]
    assert [row["outcome"] for row in found] == ["correct", "wrong", "no_answer", "error"]
    assert [row["mine"] for row in found] == [None, None, 7, None]
    assert "1 correct" in capsys.readouterr().out


def test_curate_makes_a_dataset_of_verified_rows(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    verified, output = str(tmp_path / "out.parquet"), tmp_path / "dataset"
    assert cli.main(["verify", "--input", rows, "--output", verified]) == 0
    assert cli.main(["curate", "--input", verified, "--output", str(output)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(output)
    candidates = pq.read_table(output / "candidates").to_pylist()
    assert {row["id"]: row["dropped"] for row in candidates} == {
        "a": None,
        "b": "wrong",
        "c": "truncated",
        "d": "failed",
    }
    assert sorted(name for name, _ in groupby(row["problem_id"] for row in candidates)) == ["1", "2", "3"]
    assert [row["id"] for row in pq.read_table(output / "examples").to_pylist()] == ["a"]
    assert {path.name for path in output.iterdir()} >= {"candidates", "examples", "funnel.json", "README.md"}
    assert "holds a dataset already" in failed(
        capsys, "curate", "--input", verified, "--output", str(output), code=1
    )


def test_the_last_line_of_dataset_is_its_path_and_progress_is_not_on_standard_output(
    prefect_server: str,
) -> None:
    first = ran("dataset", "dry-run", *sets(*SMALL))
    path = Path(first.stdout.splitlines()[-1])
    assert (path / "README.md").is_file()
    assert path.is_relative_to(folders.ROOT)
    assert "making traces" in first.stderr
    assert "teacher calls" not in first.stdout
    for line in first.stderr.splitlines():
        assert "Traceback" not in line
        assert "| INFO" not in line


def test_a_trace_is_found_by_the_start_of_its_id(
    prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    path = Path(ran("dataset", "dry-run", *sets(*SMALL)).stdout.splitlines()[-1])
    row = pq.read_table(path / "candidates").to_pylist()[3]
    assert cli.main(["trace", row["id"][:10]]) == 0
    text = capsys.readouterr().out
    assert row["id"] in text
    assert row["question"] in text
    assert str(path) in text


def test_stages_can_be_gone_through_one_by_one(prefect_server: str, tmp_path: Path) -> None:
    options = ["--dataset", "dry-run", *sets(*SMALL)]
    environment = {"DISTILL_STORE": str(tmp_path)}
    assert (
        "run `distill collect --dataset dry-run` first"
        in ran("sample", *options, code=1, **environment).stderr
    )
    for stage, folder in (
        ("collect", "compared"),
        ("sample", "traces"),
        ("verify", "verdicts"),
        ("curate", "datasets"),
    ):
        assert Path(ran(stage, *options, **environment).stdout.strip()).parent == tmp_path / folder
    assert "distill train" in ran("evaluate", *options, code=1, **environment).stderr


def test_a_server_that_is_named_and_not_there_is_said_so() -> None:
    done = ran("dataset", "dry-run", code=1, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert "no Prefect server answers at http://127.0.0.1:9/api" in done.stderr
