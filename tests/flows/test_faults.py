"""What a teacher can do wrong, scheduled by `fault_server.py`, and what must hold afterwards whatever it was.

Every completion exactly once, rows equal to those of an undisturbed run, nothing paid for twice but what was
in flight or came back unusable, and no readable file that is not whole.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sampling_run import (
    ADAPTIVE,
    FIXED,
    MONEY,
    Run,
    completion_tokens,
    count,
    events,
    paid_twice,
    plan,
    rows,
    serving,
)

from distill.engines import EngineError
from distill.recipe import Verification
from distill.records import Trace
from distill.store import list_shards
from distill.store.shards import read
from distill.verify import verify

KEY = "sk-canary-5f1d7a3b9c"
SAMPLINGS = {"fixed": FIXED, "adaptive": ADAPTIVE}


@dataclass(frozen=True, slots=True)
class Stage:
    """A fault server, and a folder for what is made in one test."""

    server: Path
    base: str
    folder: Path

    def run(
        self,
        name: str,
        *rules: dict[str, Any],
        sampling: str = "fixed",
        teacher: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Run:
        """A run against the server under a name of this test's own, with the faults that are planned for
        it."""
        plan(self.server, f"{self.folder.name}-{name}", *rules, **settings)
        return Run((f"{self.base}/{self.folder.name}-{name}/v1",), SAMPLINGS[sampling], teacher or {})

    def log(self, *names: str) -> list[dict[str, Any]]:
        return events(self.server, *(f"{self.folder.name}-{name}" for name in names))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("server")
    with serving(folder) as base:
        yield folder, base


@pytest.fixture
def stage(server: tuple[Path, str], tmp_path: Path) -> Stage:
    return Stage(*server, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(server: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of runs that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for sampling in SAMPLINGS:
        Stage(*server, folder).run(sampling, sampling=sampling).go(folder / sampling)
    return {sampling: folder / sampling for sampling in SAMPLINGS}


def same(folder: Path, other: Path, without: tuple[str, ...] = ()) -> bool:
    """Whether two runs have the same shards; all bytes are compared where no column is left out."""
    if without:
        return rows(folder, without) == rows(other, without)
    return [Path(path).read_bytes() for path in list_shards(f"{folder}/traces")] == [
        Path(path).read_bytes() for path in list_shards(f"{other}/traces")
    ]


def faults(entries: list[dict[str, Any]]) -> int:
    return sum(entry["event"] == "received" and entry["fault"] is not None for entry in entries)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_an_undisturbed_run_asks_each_completion_once_and_counts_what_it_cost(stage, undisturbed, sampling):
    run = stage.run("again", sampling=sampling)
    run.go(stage.folder)
    log = stage.log("again")
    assert same(stage.folder, undisturbed[sampling])
    assert not paid_twice(log) and set(count(log, "received")) == run.kept(stage.folder)
    found = rows(stage.folder)
    assert len({(row["problem_id"], row["sample_index"]) for row in found}) == len(found)
    assert sum(row["spent_tokens"] for row in found) == completion_tokens(log)
    run.go(stage.folder)
    assert stage.log("again") == log


REFUSALS = ("status-500", "status-503", "busy", "error", "html", "nothing")
SPOILT = ("garbled", "nochoices", "null", "empty", "cut")
COUNTED = ("nochoices", "null", "empty")
"""Replies that are of no use and say what they cost."""
SLOW = ("hang", "drip")


@pytest.mark.parametrize("fault", REFUSALS + SPOILT + SLOW)
def test_a_fault_that_passes_leaves_no_mark(stage, undisturbed, fault):
    run = stage.run(
        "faulty",
        {"fault": fault, "share": 0.3, "tries": 2},
        teacher={"timeout_seconds": 0.4 if fault in SLOW else 5.0},
    )
    run.go(stage.folder)
    log = stage.log("faulty")
    assert faults(log) > 10
    assert same(stage.folder, undisturbed["fixed"], MONEY if fault in SPOILT else ())
    assert paid_twice(log).total() <= sum(
        entry["event"] == "paid" and entry["fault"] is not None for entry in log
    )
    if fault in COUNTED:
        assert sum(row["spent_tokens"] for row in rows(stage.folder)) == completion_tokens(log)


def test_all_faults_together_leave_no_mark_on_an_adaptive_run(stage, undisturbed):
    rules = [{"fault": fault, "share": 0.05, "tries": 1} for fault in REFUSALS + SPOILT + SLOW]
    run = stage.run("faulty", *rules, sampling="adaptive", teacher={"timeout_seconds": 0.5})
    run.go(stage.folder)
    assert faults(stage.log("faulty")) > 30
    assert same(stage.folder, undisturbed["adaptive"], MONEY)


@pytest.mark.parametrize(("fault", "seconds"), [("busy-1", 1.0), ("busydate-2", 1.0)])
def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(stage, undisturbed, fault, seconds):
    run = stage.run("busy", {"fault": fault, "first": 10, "last": 10})
    run.go(stage.folder)
    log = stage.log("busy")
    last = max(entry["at"] for entry in log if entry.get("fault"))
    after = [entry["at"] - last for entry in log if entry["event"] == "received" and entry["at"] > last + 0.1]
    assert len(after) > 20
    assert min(after) > seconds * 0.9
    assert same(stage.folder, undisturbed["fixed"])


@pytest.mark.parametrize("fault", ["status-503", "busy", "error"])
def test_an_outage_is_waited_for_with_few_questions_and_no_loss(stage, undisturbed, fault):
    run = stage.run("out", {"fault": fault, "start": 0.03, "end": 0.8}, teacher={"max_retries": 3})
    run.go(stage.folder)
    assert 0 < faults(stage.log("out")) < 60
    assert same(stage.folder, undisturbed["fixed"])


def test_a_server_that_ends_and_comes_back_is_waited_for(stage, undisturbed):
    run = stage.run("ends", {"fault": "exit-0.8", "first": 30, "last": 30}, teacher={"max_retries": 3})
    run.go(stage.folder)
    assert same(stage.folder, undisturbed["fixed"], MONEY)
    assert paid_twice(stage.log("ends")).total() <= 8


def test_other_servers_take_over_when_one_ends_for_good_and_one_was_never_there(stage, undisturbed, tmp_path):
    run = stage.run("stays")
    plan(tmp_path / "server", "ends", {"fault": "exit-600", "first": 4})
    with serving(tmp_path / "server") as base:
        replace(run, urls=(*run.urls, f"{base}/ends/v1", "http://nobody.invalid:9/v1")).go(stage.folder)
    assert same(stage.folder, undisturbed["fixed"], MONEY)
    log = events(tmp_path / "server", "ends")
    assert faults(log)
    assert paid_twice(log + stage.log("stays")).total() <= 8


STOPS = {
    "status-401": "key was refused",
    "status-402": "credit",
    "status-403": "may not use",
    "status-404": "no such model",
    "status-503": "again",
    "busy": "again",
    "hang": "again",
    "html": "again",
    "exit-600": "again",
}


@pytest.mark.parametrize("fault", STOPS)
def test_a_teacher_that_is_gone_stops_the_run_with_its_cause_and_another_one_goes_on(
    stage, undisturbed, fault, monkeypatch, tmp_path
):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    settings = {"api_key_env": "TEACHER_KEY", "timeout_seconds": 0.3, "patience_seconds": 0.7}
    plan(tmp_path / "server", "goes", {"fault": fault, "first": 25}, key=KEY)
    run = stage.run("stays", key=KEY, teacher=settings)
    began = time.monotonic()
    with serving(tmp_path / "server") as base, pytest.raises(EngineError, match=STOPS[fault]) as stopped:
        replace(run, urls=(f"{base}/goes/v1",)).go(stage.folder)
    before = events(tmp_path / "server", "goes")
    assert time.monotonic() - began < 12
    assert KEY not in str(stopped.value)
    assert len(count(before, "received")) < 45
    run.go(stage.folder)
    assert same(stage.folder, undisturbed["fixed"], MONEY)
    assert paid_twice(before + stage.log("stays")).total() <= 8


@pytest.mark.parametrize("url", ["http://nobody.invalid:9/v1", "http://127.0.0.1:9/v1"])
def test_a_server_that_was_never_there_is_an_error_soon(tmp_path, url):
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"run the same command again|run it again"):
        Run((url,), teacher={"patience_seconds": 0.5}).go(tmp_path)
    assert time.monotonic() - began < 10
    assert rows(tmp_path) == []


@pytest.mark.parametrize("fault", [*SPOILT, "html", "status-500", "hang"])
def test_a_completion_that_cannot_be_had_is_a_failed_row_and_no_other_changes(stage, undisturbed, fault):
    run = stage.run(
        "faulty",
        {"fault": fault, "share": 0.2},
        teacher={"max_retries": 2, "timeout_seconds": 0.3 if fault == "hang" else 5.0},
    )
    run.go(stage.folder)
    found = rows(stage.folder)
    failed = [row for row in found if row["failure"] is not None]
    sound = {row["id"]: row for row in rows(undisturbed["fixed"])}
    refused = {
        entry["id"] for entry in stage.log("faulty") if entry["event"] == "received" and entry["fault"]
    }
    assert [row["id"] for row in found] == list(sound)
    assert 3 < len(failed) == len(refused)
    assert 3 <= max(count(stage.log("faulty"), "received").values()) <= 8
    assert all(row == sound[row["id"]] for row in found if row["failure"] is None)
    assert {outcome(stage.folder, row) for row in failed} == {"no_answer"}


def test_failed_completions_are_asked_again_by_the_run_that_goes_on(stage, undisturbed):
    run = stage.run(
        "faulty",
        {"fault": "status-401", "first": 50},
        {"fault": "garbled", "share": 0.3},
        teacher={"max_retries": 1},
    )
    with pytest.raises(EngineError):
        replace(run, shard_problems=24).go(stage.folder)
    assert any(entry.get("fault") == "garbled" for entry in stage.log("faulty"))
    replace(stage.run("sound"), shard_problems=24).go(stage.folder)
    assert same(stage.folder, undisturbed["fixed"], MONEY)


def test_a_completion_that_was_cut_is_not_accepted_even_with_a_box_in_it(stage):
    stage.run("cut", {"fault": "length", "share": 0.5}).go(stage.folder)
    found = [
        row for row in rows(stage.folder) if row["finish_reason"] == "length" and "boxed" in row["answer"]
    ]
    assert len(found) > 5
    assert {outcome(stage.folder, row) for row in found} == {"no_answer"}


def outcome(folder: Path, row: dict[str, Any]) -> str:
    """What the verifier says about a row."""
    traces = [
        trace
        for path in list_shards(f"{folder}/traces")
        for trace in read(Trace, path)
        if trace.id == row["id"]
    ]
    return next(verify(traces, Verification(workers=1))).verdict.outcome


def test_a_reply_of_another_model_is_told_and_recorded_or_stops_the_run(stage, undisturbed, caplog):
    run = stage.run("other", {"fault": "model", "first": 20})
    replace(run, teacher={"reply_model": "teacher"})
    run.go(stage.folder)
    assert {row["teacher"] for row in rows(stage.folder)} == {"teacher", "another-model"}
    assert "another-model" in caplog.text
    with pytest.raises(EngineError, match="another-model"):
        replace(stage.run("stops", {"fault": "model", "first": 20}), teacher={"reply_model": "teacher"}).go(
            stage.folder / "stops"
        )
    assert "another-model" not in {row["teacher"] for row in rows(stage.folder / "stops")}


@pytest.mark.parametrize("fault", ["choices", "slow-0.3"])
def test_odd_replies_that_can_be_used_are_used_and_not_asked_again(stage, undisturbed, fault):
    stage.run("odd", {"fault": fault, "share": 0.5}).go(stage.folder)
    assert same(stage.folder, undisturbed["fixed"])
    assert not paid_twice(stage.log("odd"))


def test_replies_without_usage_have_no_counts_and_no_made_up_cost(stage, undisturbed):
    stage.run("odd", {"fault": "nousage"}).go(stage.folder)
    counts = tuple(
        name for name in rows(undisturbed["fixed"])[0] if name.endswith("_tokens") or name == "cost_usd"
    )
    assert same(stage.folder, undisturbed["fixed"], counts)
    assert {row[name] for row in rows(stage.folder) for name in counts} == {None}
