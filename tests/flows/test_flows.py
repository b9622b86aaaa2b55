import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from distill.engines import Completions
from distill.plan.preflight import CannotRun
from distill.recipe import DatasetRecipe, RecipeError, load_dataset
from distill.records import Candidate, Example, Problem, Trace
from distill.store import Damaged, NotMade, folders, list_shards, shards

PROJECT = Path(__file__).parents[2]
SMALL = ("problems.0.limit=30", "shard_problems=8", "sampling.n=2")


def recipe(*overrides: str) -> DatasetRecipe:
    return load_dataset("dry-run", (*SMALL, *overrides))


def made(root: str, stage: str) -> list[dict[str, Any]]:
    """The summaries of a stage's finished folders, oldest first."""
    found = sorted(Path(root, stage).glob("*/made.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text(encoding="utf-8")) | {"folder": str(path.parent)} for path in found]


def written(root: str) -> dict[str, int]:
    """When every shard of a store was written."""
    return {str(path): path.stat().st_mtime_ns for path in Path(root).rglob("*.parquet")}


def make(*overrides: str) -> str:
    """Runs the dataset flow and returns the dataset's folder."""
    from flows.loop import make_dataset

    return str(make_dataset("dry-run", [*SMALL, *overrides]).path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Path:
    """A store with one finished dataset, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "ROOT", str(folder))
        make()
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path) -> str:
    """A store of one test's own, with a finished dataset in it."""
    shutil.copytree(finished, tmp_path / "store")
    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    return folders.ROOT


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: str) -> str:
    """A store of one test's own with nothing in it."""
    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    return folders.ROOT


def test_every_row_is_there_and_siblings_stay_together(root: str) -> None:
    folder = make()
    (traces,) = made(root, "traces")
    candidates = [[*shards.read(Candidate, path)] for path in list_shards(f"{folder}/candidates")]
    examples = [row for path in list_shards(f"{folder}/examples") for row in shards.read(Example, path)]
    asked = [row for path in list_shards(traces["folder"]) for row in shards.read(Trace, path)]
    assert [len(shard) for shard in candidates] == [16, 16, 16, 12]
    assert [row.trace for shard in candidates for row in shard] == asked
    for shard in candidates:
        groups = [
            (key, [*rows]) for key, rows in groupby(shard, key=lambda row: row.trace.problem.problem_id)
        ]
        assert len({key for key, _ in groups}) == len(groups)
        assert all([row.trace.sample_index for row in rows] == [0, 1] for _, rows in groups)
    assert [row.id for row in examples] == [
        row.trace.id for shard in candidates for row in shard if row.dropped is None
    ]
    assert {"README.md", "funnel.json", "recipe.json", "key.json", "made.json"} <= set(os.listdir(folder))


def test_what_is_there_is_reused(root: str) -> None:
    before = written(root)
    assert make() == made(root, "datasets")[0]["folder"]
    assert written(root) == before


def test_another_policy_cuts_the_same_traces_anew(root: str) -> None:
    before = written(root)
    make("curation.selection.policy=none")
    assert len(made(root, "datasets")) == 2
    after = written(root)
    assert all(after[path] == when for path, when in before.items())
    assert {Path(path).relative_to(root).parts[0] for path in after.keys() - before.keys()} == {"datasets"}


def test_more_samples_ask_for_the_new_ones_and_for_what_could_not_be_had(root: str) -> None:
    (traces,) = made(root, "traces")
    failed = sum(
        row.failure is not None for path in list_shards(traces["folder"]) for row in shards.read(Trace, path)
    )
    make("sampling.n=3")
    assert [summary["calls"] for summary in made(root, "traces")] == [60, 30 + failed]
    assert failed > 0


def test_other_lists_of_problems_take_over_what_is_there(root: str) -> None:
    make("shard_problems=7", "problems.0.limit=25")
    first, second = made(root, "traces")
    rows = [
        [row for path in list_shards(one["folder"]) for row in shards.read(Trace, path)]
        for one in (first, second)
    ]
    assert rows[0][: len(rows[1])] == rows[1] and len(rows[1]) == 50
    assert second["calls"] == sum(row.failure is not None for row in rows[1])
    assert second["spent"]["all_runs"]["completions"] == first["calls"] + second["calls"]


def test_adaptive_sampling_makes_a_dataset_and_another_verifier_setting_another_one(root: str) -> None:
    make("sampling.n=1", "sampling.adaptive={enough=2,most=6}")
    make("sampling.n=1", "sampling.adaptive={enough=2,most=6}", "verification.max_answer_characters=100")
    _, adaptive, other = made(root, "traces")
    rows = [row for path in list_shards(adaptive["folder"]) for row in shards.read(Trace, path)]
    drawn = Counter(row.problem.problem_id for row in rows)
    assert min(drawn.values()) == 2 < max(drawn.values()) <= 6
    assert other["rows"] == adaptive["rows"] and other["calls"] <= sum(
        row.failure is not None for row in rows
    )


def test_a_teacher_that_cannot_be_asked_is_told_before_problems_are_collected(empty: str) -> None:
    from flows.identity import Folders
    from flows.loop import dataset_of

    with pytest.raises(CannotRun, match="DISTILL_TEST_NO_SUCH_KEY"):
        dataset_of(
            Folders.of(recipe("teacher.engine=server", "teacher.api_key_env=DISTILL_TEST_NO_SUCH_KEY"))
        )
    assert not Path(empty).exists()


def test_traces_that_are_there_need_no_teacher_that_can_be_asked(root: str) -> None:
    before = written(root)
    make("sampling.budget_usd=1")
    assert written(root) == before
    with pytest.raises(RecipeError, match="needs the teacher's prices"):
        make("sampling.budget_usd=1", "sampling.n=1")


def test_worker_processes_measure_what_this_process_does(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import curate

    (before,) = made(root, "datasets")
    for stage in ("measures", "datasets"):
        shutil.rmtree(Path(root, stage))
    monkeypatch.setattr(curate, "ROWS_FOR_RUNNER", 0)
    make()
    assert made(root, "datasets")[0]["content"] == before["content"]


def test_a_larger_budget_asks_only_for_what_did_not_come_to_its_end(root: str) -> None:
    (traces,) = made(root, "traces")
    rows = [row for path in list_shards(traces["folder"]) for row in shards.read(Trace, path)]
    make("sampling.max_tokens=2048")
    unfinished = sum(row.finish_reason != "stop" or row.failure is not None for row in rows)
    assert 0 < unfinished < len(rows)
    assert made(root, "traces")[1]["calls"] == unfinished


def test_a_judge_is_asked_once_whatever_is_judged_anew_and_disagreements_are_listed(
    root: str, judge_url: str
) -> None:
    def asked() -> int:
        with urllib.request.urlopen(judge_url.replace("/v1", "/log")) as response:
            return len(json.load(response))

    judge = f'verification.judge={{second_opinion=1.0, model={{model="judge", urls=["{judge_url}"]}}}}'
    before = asked()
    make(judge)
    calls = asked() - before
    folder = Path(made(root, "verdicts")[-1]["folder"])
    (summary,) = json.loads((folder / "summary.json").read_text())
    assert calls == sum(summary["judge"].values()) > 10
    listed = (folder / "disagreements.jsonl").read_text().splitlines()
    assert len(listed) == summary["judge"]["differs"] > 0
    make(judge, "verification.timeout_seconds=4")
    assert len(made(root, "verdicts")) == 3
    assert asked() - before == calls


def test_a_damaged_shard_is_set_aside_and_made_anew_alone(root: str) -> None:
    (traces,) = made(root, "traces")
    victim = Path(traces["folder"], "00001.parquet")
    whole = victim.read_bytes()
    for stage in ("verdicts", "measures", "datasets"):
        for path in Path(root, stage).glob("*/made.json"):
            path.unlink()
    for path in Path(root, "verdicts").glob("*/00001.parquet"):
        path.unlink()
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Damaged, match="set aside"):
        make()
    assert not victim.exists()
    before = written(root)
    make()
    assert victim.read_bytes() == whole
    assert made(root, "traces")[0]["calls"] == 0
    assert all(when == before.get(path, when) for path, when in written(root).items())


def test_a_second_run_waits_for_the_first_one_and_makes_nothing_twice(empty: str) -> None:
    more = ("problems.0.limit=60", "sampling.n=4")
    command = [sys.executable, "-m", "distill", "dataset", "dry-run"]
    command += [part for override in (*SMALL, *more) for part in ("--set", override)]
    environment = {**os.environ, "DISTILL_STORE": empty}
    runs = [
        subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0] * 3, said
    assert len({out.splitlines()[-1] for out, _ in said}) == 1
    for stage in ("problems", "traces", "verdicts", "measures", "pairs", "datasets"):
        assert sum(f"made {stage}" in err for _, err in said) <= 1
        assert sum(f"reused {stage}" in err for _, err in said) >= 2
    assert any(f"waiting for process {run.pid}, which makes" in err for run in runs for _, err in said)


def test_a_stage_whose_upstream_is_missing_names_the_command_that_makes_it(empty: str) -> None:
    from flows.identity import Folders

    with pytest.raises(NotMade, match="distill collect --dataset dry-run"):
        _ = Folders.of(recipe()).traces


def test_where_and_how_fast_a_stage_runs_is_no_part_of_its_key(root: str) -> None:
    from flows.identity import Folders

    def of(*overrides: str) -> Folders:
        return Folders.of(recipe(*overrides))

    same = of("teacher.concurrency=3", "teacher.max_retries=1", "verification.workers=1")
    assert same.dataset == of().dataset
    assert of("curation.duplicates.near=false").traces == of().traces
    assert of("problems.0.limit=9").compared != of().compared


def test_another_way_of_judging_asks_no_teacher(root: str) -> None:
    make("verification.timeout_seconds=9")
    assert {stage: len(made(root, stage)) for stage in ("problems", "traces", "verdicts")} == {
        "problems": 2,
        "traces": 1,
        "verdicts": 2,
    }


def test_the_flow_run_is_known_to_prefect_with_its_funnel(empty: str) -> None:
    from prefect import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    make("sampling.seed=77")
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=5)
        assert {run.state_name for run in runs} == {"Completed"}
        artifacts = client.request("POST", "/artifacts/filter", json={}).json()
    assert any(
        artifact["key"] == "funnel-dry-run" and "selected" in artifact["data"] for artifact in artifacts
    )


def test_runs_of_dead_processes_are_marked_as_crashed(prefect_server: str) -> None:
    from prefect import flow, get_client, tags
    from prefect.client.schemas.objects import StateType
    from prefect.states import Running

    from flows import runners

    @flow(persist_result=False)
    def nothing() -> None: ...

    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with get_client(sync_client=True) as client:
        dead = runners.tag().replace(str(os.getpid()), str(gone.pid))
        ids = {}
        for name in (dead, runners.tag()):
            with tags(name):
                ids[name] = client.create_flow_run(nothing, state=Running(), tags=[name]).id
        assert runners.bury() == 1
        states = {name: client.read_flow_run(run).state_type for name, run in ids.items()}
        assert states == {dead: StateType.CRASHED, runners.tag(): StateType.RUNNING}
        client.delete_flow_run(ids[runners.tag()])


def test_a_killed_run_goes_on_and_pays_for_nothing_twice(empty: str, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    more = ("problems.0.limit=600", "shard_problems=200", "sampling.n=4")
    command = [sys.executable, "-m", "distill", "dataset", "dry-run"]
    command += [part for override in (*SMALL, *more) for part in ("--set", override)]
    environment = {**os.environ, "DISTILL_STORE": str(killed)}
    run = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with run:
        deadline = time.monotonic() + 60
        while (
            sum(path.stat().st_size for path in killed.rglob("completions.sqlite*")) < 300_000
            and time.monotonic() < deadline
        ):
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
    with Completions(next(killed.rglob("completions.sqlite"))) as completions:
        paid = len(completions) - completions.usage().total.failures
    assert 0 < paid < 2400, "the run was killed too early or too late"
    for path in list_shards(str(next(killed.glob("traces/*")))):
        assert len(list(shards.read(Trace, path))) == 800
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    undisturbed = make(*more)
    assert made(str(killed), "traces")[0]["calls"] == made(empty, "traces")[0]["calls"] - paid
    folder = Path(done.stdout.splitlines()[-1])
    assert folder.name == Path(undisturbed).name
    assert made(str(killed), "datasets")[0]["content"] == made(empty, "datasets")[0]["content"]
    assert not list(killed.rglob("*.tmp"))


def test_the_store_can_be_elsewhere(monkeypatch: pytest.MonkeyPatch, prefect_server: str) -> None:
    monkeypatch.setattr(folders, "ROOT", f"memory://{uuid4().hex}")
    folder = make()
    assert folder.startswith("memory://")
    assert sum(shards.count(path) for path in list_shards(f"{folder}/candidates")) == 60
    assert make() == folder


def test_problems_keep_their_order_and_their_reasons(root: str) -> None:
    (problems,) = made(root, "problems")
    rows = [row for path in list_shards(problems["folder"]) for row in shards.read(Problem, path)]
    assert len(rows) == problems["rows"] == 30
    assert problems["unusable"] == {}


def test_a_report_shows_the_charts_of_student_and_dataset(tmp_path: Path) -> None:
    from flows.report import drawn

    student, dataset = tmp_path / "students" / "s", tmp_path / "datasets" / "d"
    for path in (
        student / "plots" / "loss.png",
        dataset / "plots" / "funnel.png",
        dataset / "plots" / "notes.txt",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert drawn(student, dataset) == ["plots/loss.png", "../../datasets/d/plots/funnel.png"]
    assert drawn(student, Path("s3://bucket/datasets/d")) == ["plots/loss.png"]
