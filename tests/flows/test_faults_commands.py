"""The sampling command while somebody stops it, starts it twice, changes its recipe, or takes its disk or its
money away.

The teacher is `fault_server.py`. Where a signal is sent the command has a process of its own, and the run
that goes on is in this one.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import interruptible
import pytest
from sampling_run import completion_tokens, count, events, paid_twice, plan, serving

from distill.store import folders, shards
from flows import cli, server

PROJECT = Path(__file__).parents[2]
KEY = "sk-canary-5f1d7a3b9c"
PROBLEMS = 24
RECIPE = """
description = "Sums, asked of a teacher that fails on schedule."
shard_problems = 8

[[problems]]
name = "sums"
path = "{path}"

[teacher]
model = "teacher"
concurrency = 8
timeout_seconds = 20.0
patience_seconds = 5.0
api_key_env = "TEACHER_KEY"
prompt_usd_per_million = 1.0
completion_usd_per_million = 4.0

[sampling]
n = 2
max_tokens = 60
"""
ADAPTIVE = ("sampling.adaptive.enough=2", "sampling.adaptive.most=6", "sampling.adaptive.budgets=[90,400]")


@dataclass(frozen=True, slots=True)
class Desk:
    """A recipe, a store with its problems collected, and a fault server."""

    server: Path
    base: str
    folder: Path

    def plan(self, name: str, *rules: dict[str, Any], **settings: Any) -> str:
        """Plans the faults of a name, and gives the override that has it asked."""
        plan(self.server, f"{self.folder.name}-{name}", *rules, **settings)
        return f'teacher.urls=["{self.base}/{self.folder.name}-{name}/v1"]'

    def log(self, *names: str) -> list[dict[str, Any]]:
        return events(self.server, *(f"{self.folder.name}-{name}" for name in names))

    def arguments(self, stage: str, *overrides: str) -> list[str]:
        return [
            stage,
            "--dataset",
            str(self.server.parent / "sums.toml"),
            *(part for one in overrides for part in ("--set", one)),
        ]

    def sample(self, *overrides: str) -> int:
        """Runs the command in this process, and gives its exit code."""
        return cli.main(self.arguments("sample", *overrides))

    def start(self, *overrides: str) -> "subprocess.Popen[str]":
        """Runs the command in a process of its own."""
        environment = os.environ | {"DISTILL_STORE": folders.ROOT}
        arguments = ("-m", "distill", *self.arguments("sample", *overrides))
        return interruptible.python(
            *arguments,
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self, name: str, requests: int) -> None:
        """Waits until so many requests have arrived."""
        deadline = time.monotonic() + 60
        while count(self.log(name), "received").total() < requests:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Iterator[tuple[Path, str]]:
    """A recipe beside a server, and a store that holds its problems."""
    folder = tmp_path_factory.mktemp("desk")
    questions = [
        {"question": f"What is {number} + {3 * number}?", "answer": str(4 * number)}
        for number in range(PROBLEMS)
    ]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    (folder / "sums.toml").write_text(RECIPE.format(path=folder / "sums.jsonl"))
    with serving(folder / "server") as base, pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "ROOT", str(folder / "store"))
        patch.setenv("TEACHER_KEY", KEY)
        patch.setattr(
            server, "running", lambda: nullcontext(prefect_server)
        )  # for a process that ends, it leaves sockets open
        assert cli.main(Desk(folder / "server", base, folder).arguments("collect")) == 0
        yield folder, base


@pytest.fixture
def desk(collected: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    shutil.copytree(collected[0] / "store", tmp_path / "store")
    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    return Desk(collected[0] / "server", collected[1], tmp_path)


def rows(folder: str = "*") -> list[dict[str, Any]]:
    """The rows of all traces of the store, in order."""
    found = sorted(Path(folders.ROOT, "traces").glob(f"{folder}/*.parquet"))
    return [row for path in found for row in shards.read_rows(str(path))]


def made() -> list[dict[str, Any]]:
    """The summaries of finished traces, oldest first."""
    found = sorted(Path(folders.ROOT, "traces").glob("*/made.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text()) for path in found]


@pytest.fixture(scope="module")
def undisturbed(
    collected: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """The rows of an adaptive run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(collected[0] / "store", folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "ROOT", str(folder / "store"))
        desk = Desk(collected[0] / "server", collected[1], folder)
        assert desk.sample(desk.plan("sound"), *ADAPTIVE) == 0
        return rows()


def test_the_first_interrupt_finishes_what_is_in_flight_and_pays_for_nothing_twice(desk, undisturbed):
    url = desk.plan("interrupted", latency_ms=150, key=KEY)
    process = desk.start(url, *ADAPTIVE)
    desk.wait("interrupted", 20)
    assert KEY.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert (
        "finishing what is in flight" in said
        and "same command goes on" in said.splitlines()[-1]
        and "Traceback" not in said
    )
    log = desk.log("interrupted")
    assert count(log, "received") == count(log, "delivered")
    assert len(count(log, "received")) < 100
    assert desk.sample(desk.plan("after"), *ADAPTIVE) == 0
    assert rows() == undisturbed
    assert not paid_twice(log + desk.log("after"))
    assert made()[0]["spent"]["all_runs"]["completion_tokens"] == completion_tokens(log + desk.log("after"))
    assert made()[0]["spent"]["this_run"]["completion_tokens"] == completion_tokens(desk.log("after"))


def test_the_second_interrupt_stops_at_once_and_loses_what_is_in_flight_only(desk, undisturbed):
    url = desk.plan("interrupted", {"fault": "slow-30", "first": 15})
    process = desk.start(url, *ADAPTIVE)
    desk.wait("interrupted", 22)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    began = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("distill: ") and "Traceback" not in said
    assert desk.sample(desk.plan("after"), *ADAPTIVE) == 0
    assert rows() == undisturbed
    received = count(desk.log("interrupted", "after"), "received")
    assert received.total() - len(received) <= 8


def test_a_second_run_waits_for_the_first_one_and_a_terminated_one_leaves_no_lock(desk, undisturbed):
    url = desk.plan("terminated", latency_ms=1500)
    process = desk.start(url, *ADAPTIVE)
    desk.wait("terminated", 20)
    second = desk.start(desk.plan("second"), *ADAPTIVE)
    assert next(
        line for line in second.stderr if f"waiting for process {process.pid}, which makes traces" in line
    )
    assert not desk.log("second")
    process.terminate()
    began = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 143
    assert "Traceback" not in said
    _, said = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert rows() == undisturbed
    assert paid_twice(desk.log("terminated", "second")).total() <= 8


@pytest.mark.parametrize(
    ("cap", "more"), [("sampling.budget_tokens=3000", 10**7), ("sampling.budget_usd=0.008", 50)]
)
def test_a_budget_that_is_used_up_stops_the_run_with_everything_saved(desk, undisturbed, capsys, cap, more):
    url = desk.plan("capped")
    assert desk.sample(url, *ADAPTIVE, cap) == 1
    name = cap.partition("=")[0]
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{name} has no room left" in said and f"raise {name}" in said
    log = desk.log("capped")
    assert 20 < len(count(log, "received")) < 80
    assert count(log, "received") == count(log, "delivered")
    assert desk.sample(url, *ADAPTIVE, cap) == 1
    assert len(desk.log("capped")) == len(log)
    assert desk.sample(url, *ADAPTIVE, f"{name}={more}") == 0
    assert rows() == undisturbed
    assert not paid_twice(desk.log("capped"))


def test_what_is_asked_after_a_change_of_the_recipe_is_what_is_missing(desk):
    assert desk.sample(desk.plan("first"), "sampling.budget_tokens=1500") == 1
    assert desk.sample(desk.plan("elsewhere"), "teacher.concurrency=3") == 0
    asked = count(desk.log("first", "elsewhere"), "received")
    assert len(asked) == asked.total() == 2 * PROBLEMS
    cut = [row["id"] for row in rows() if row["finish_reason"] == "length"]
    whole = {
        (row["problem_id"], row["sample_index"]): row["answer"]
        for row in rows()
        if row["finish_reason"] == "stop"
    }

    assert desk.sample(desk.plan("more"), "sampling.n=3") == 0
    assert count(desk.log("more"), "received").total() == PROBLEMS
    assert desk.sample(desk.plan("longer"), "sampling.max_tokens=400") == 0
    assert 0 < count(desk.log("longer"), "received").total() == len(cut)
    longer = {
        (row["problem_id"], row["sample_index"]): row["answer"] for row in rows() if len(row["id"]) == 16
    }
    assert whole.items() <= longer.items()

    before = {row["id"] for row in rows()}
    assert desk.sample(desk.plan("hotter"), "sampling.temperature=1.0") == 0
    assert count(desk.log("hotter"), "received").total() == 2 * PROBLEMS
    assert len({row["id"] for row in rows()} - before) == 2 * PROBLEMS
    assert [len(row["shards"]) for row in made()] == [3] * 4


def test_a_teacher_that_gives_one_text_for_all_samples_is_told_and_recorded(desk, capsys):
    assert desk.sample(desk.plan("same", {"fault": "same"})) == 0
    assert "same text" in capsys.readouterr().err
    assert made()[0]["spent"]["problems_with_one_text"] == PROBLEMS


def test_a_refused_key_is_written_nowhere(desk, capsys):
    assert desk.sample(desk.plan("locked", key="sk-another")) == 1
    assert "key was refused" in capsys.readouterr().err
    assert desk.sample(desk.plan("open", key=KEY)) == 0
    assert KEY not in capsys.readouterr().err
    places = [Path(os.environ["DISTILL_STORE"]), Path(folders.ROOT)]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files) and any(
        path.name == "completions.sqlite" for path in files
    )
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in str(rows())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("a file system can only be mounted by root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_store_that_cannot_be_written_is_refused_before_anything_is_paid_for(
    desk, small_disk, monkeypatch, capsys
):
    shutil.copytree(folders.ROOT, small_disk / "store")
    monkeypatch.setattr(folders, "ROOT", str(small_disk / "store"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert desk.sample(desk.plan("never")) == 1
    said = capsys.readouterr().err
    assert "Read-only file system" in said and "Traceback" not in said
    assert not desk.log("never")


def test_a_full_disk_ends_the_run_with_its_cause_and_costs_what_was_in_flight(
    desk, undisturbed, small_disk, monkeypatch, capsys
):
    shutil.copytree(folders.ROOT, small_disk / "store")
    monkeypatch.setattr(folders, "ROOT", str(small_disk / "store"))
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "ballast").write_bytes(bytes(free - 65_536))
    assert desk.sample(desk.plan("full"), *ADAPTIVE) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said.splitlines()[-1] and "Traceback" not in said
    (small_disk / "ballast").unlink()
    assert desk.sample(desk.plan("freed"), *ADAPTIVE) == 0
    assert rows() == undisturbed
    assert paid_twice(desk.log("full", "freed")).total() <= 3 * 8  # each of three shards finds out by itself
