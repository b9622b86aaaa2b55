"""Many shards, one engine, one budget: the room's parts as the flow puts them together, without Prefect."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import sampling_run
from sampling_run import ADAPTIVE, FIXED, STORE, Run, count, events, plan
from teacher_questions import log, serving

from distill.engines import Completion, Completions, Usage
from distill.progress import Meter
from distill.recipe import Adaptive, Sampling, Screens, Teacher, Verification
from distill.records import Problem
from distill.sample import Asked, Budget, Cancellation, RunStopped, sample, traces
from flows.sample import LazyEngine, Looks, Watch

SHARDS = 40


@pytest.mark.parametrize("concurrency", [1, 3, 64])
@pytest.mark.parametrize("adaptive", [None, Adaptive(enough=2, most=4)])
def test_more_shards_than_slots_come_to_the_budget_and_stop(tmp_path, concurrency, adaptive):
    def shard(number):
        try:
            return len(
                list(
                    sample(
                        problems[2 * number : 2 * number + 2], asked, engine, completions, watch, cancellation
                    )
                )
            )
        except RunStopped:
            return None

    problems = [
        Problem(f"{number:016x}", "test", "math", f"What is {number}?", str(number))
        for number in range(2 * SHARDS)
    ]
    with serving() as url, ExitStack() as stack, Meter("sampling", len(problems)) as meter:
        teacher = Teacher(model="teacher", urls=(url,), concurrency=concurrency)
        sampling = Sampling(
            n=2, max_tokens=20, adaptive=adaptive, budget_tokens=100 * 27
        )  # a completion is 27 tokens
        cancellation = Cancellation()
        budget = Budget(teacher, sampling, Usage(), cancellation)
        asked, engine, watch = (
            Asked(teacher, sampling, Verification(workers=1)),
            LazyEngine(teacher, stack, cancellation),
            Watch(meter, budget),
        )
        with ThreadPoolExecutor(SHARDS) as pool, Completions(tmp_path / "completions.sqlite") as completions:
            rows = list(pool.map(shard, range(SHARDS)))
        assert len(log(url)["requests"]) == budget.spent().completions
    assert cancellation.reason is not None and None in rows
    assert (
        95 * 27 <= budget.spent().tokens() <= 105 * 27
    )  # at first a completion is taken to cost `max_tokens`, without its prompt


def test_traces_without_thinking_are_counted_by_source_ready_responses_too(caplog):
    caplog.set_level("INFO", "distill")
    teacher = Teacher(model="teacher")
    texts = ["<think>a</think>b", "b", "<think>\n\n</think>b"]
    sources = {
        name: [Problem(f"{name}{n}", name, "math", "What?", "b", response=texts[n % 3]) for n in range(30)]
        for name in ("mine", "asked")
    }
    rows = [trace for problem in sources["mine"] for trace in traces.ready(problem, problem.response)]
    for number, problem in enumerate(sources["asked"]):
        failure = "timeout" if number > 5 else None
        rows.append(
            traces.of_tries(
                problem, [Completion(problem.problem_id, texts[0], failure=failure)], teacher, 0, 0
            )
        )
    looks = Looks(teacher, Sampling(), Screens())
    assert list(looks.over(rows)) == rows
    looks.tell()
    (line,) = caplog.messages
    assert line.startswith("without thinking: 20 of 30 traces of mine (") and "thinking_optional" in line


def test_ready_responses_that_nearly_all_lack_thinking_are_told_as_they_pass(caplog):
    caplog.set_level("INFO", "distill")
    looks = Looks(Teacher(model="teacher"), Sampling(), Screens())
    rows = [next(traces.ready(Problem(f"{n}", "mine", "math", "What?", "b"), "b")) for n in range(40)]
    list(looks.over(rows))
    assert [line.split(":")[0] for line in caplog.messages] == ["mine"]
    assert "20 of 20 traces so far are malformed (for example no think block)" in caplog.text


@pytest.mark.parametrize("sampling", [FIXED, ADAPTIVE])
@pytest.mark.parametrize("other", [{}, {"problems": 40, "shard_problems": 5}])
def test_two_processes_that_share_problems_ask_for_each_completion_once(tmp_path, sampling, other):
    plan(tmp_path / "server", "shared", latency_ms=20)
    with sampling_run.serving(tmp_path / "server") as base:
        runs = [Run((f"{base}/shared/v1",), sampling, **more) for more in ({}, other)]
        processes = [
            run.start(tmp_path / f"{number}", completions=tmp_path / STORE) for number, run in enumerate(runs)
        ]
        said = [process.communicate(timeout=60)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
        alone = Run((f"{base}/alone/v1",), sampling, **other)
        plan(tmp_path / "server", "alone")
        process = alone.start(tmp_path / "alone")
        assert process.communicate(timeout=60)[1] == "" and process.returncode == 0
    asked = count(events(tmp_path / "server", "shared"), "received")
    assert set(asked.values()) == {1}
    assert asked == count(
        events(tmp_path / "server", "alone"), "received"
    )  # the larger list of problems holds the smaller one
    assert sampling_run.rows(tmp_path / "1") == sampling_run.rows(tmp_path / "alone")
