import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import get_args

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import records
from distill.collect import collect
from distill.curate import decide, measure
from distill.engines import Completion, Completions, EngineError, scripted
from distill.engines.scripted import ScriptedEngine
from distill.files.readers import read_rows
from distill.recipe import Adaptive, Curation, ProblemSource, RecipeError, Sampling, Teacher, Verification
from distill.records import Candidate, Kind, Outline, Problem, Trace
from distill.sample import Asked, sample
from distill.sample.keys import SamplingKeys
from distill.store import shards
from distill.text import prompts
from distill.verify import verify

TEACHER = Teacher(engine="scripted", model="scripted")


class Watched:
    """The scripted engine, counting what it is asked and answering in another order; it may die after so
    many."""

    def __init__(self, shuffle=None, dies_after=None):
        self.engine = ScriptedEngine(TEACHER)
        self.asked = Counter()
        self.shuffle = shuffle
        self.dies_after = dies_after

    def complete(self, requests, sampling):
        in_flight, waiting = [], iter(requests)
        while True:
            while (request := next(waiting, None)) is not None:
                in_flight.append(request)
            if not in_flight:  # nothing is judged here, and nothing is waited for
                return
            if self.asked.total() == self.dies_after:
                raise EngineError("the teacher is gone")
            request = in_flight.pop(self.shuffle.randrange(len(in_flight)) if self.shuffle is not None else 0)
            self.asked[request.key] += 1
            yield from self.engine.complete([request], sampling)


def problems(count, unusable=()):
    return [
        Problem(
            f"{number:016x}",
            "test",
            "math",
            f"What is {number} + 1?",
            str(number + 1),
            unusable="empty" if number in unusable else None,
        )
        for number in range(count)
    ]


def run(path, asked, sampling, engine):
    with Completions(path) as completions:
        return list(sample(asked, Asked(TEACHER, sampling), engine, completions))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_n_traces_for_each_usable_problem_whatever_stopped_it_before(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("sample")
    unusable = data.draw(st.sets(st.integers(0, 7)))
    asked, sampling = problems(8, unusable), Sampling(n=data.draw(st.integers(1, 5)))
    shuffle = data.draw(st.randoms(use_true_random=False))
    undisturbed = run(folder / "undisturbed", asked, sampling, Watched())
    for _ in range(data.draw(st.integers(1, 3))):
        engine = Watched(shuffle, dies_after=data.draw(st.integers(0, 20)))
        try:
            run(folder / "completions", asked, sampling, engine)
        except EngineError:
            size = (folder / "completions").stat().st_size
            os.truncate(folder / "completions", data.draw(st.integers(max(0, size - 300), size)))
    with Completions(folder / "completions") as completions:
        known = {
            trace.id for trace in undisturbed if (one := completions.get(trace.id)) and one.failure is None
        }
    last = Watched(shuffle)
    traces = run(folder / "completions", asked, sampling, last)
    assert traces == undisturbed
    assert [(t.problem.problem_id, t.sample_index) for t in traces] == [
        (problem.problem_id, index)
        for problem in asked
        if problem.unusable is None
        for index in range(sampling.n)
    ]
    assert last.asked == Counter({trace.id: 1 for trace in undisturbed if trace.id not in known})


KILLED = """
import os, signal, sys
from distill.engines.scripted import ScriptedEngine
from distill.engines import Completions
from distill.sample import Asked, sample
sys.path.insert(0, sys.argv[1])
from test_sample import TEACHER, problems
from distill.recipe import Sampling
class Killing:
    seen = 0
    def asks(self): return True
    def settled(self): pass
    def took(self, completion):
        self.seen += 1
        if self.seen == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
list(sample(problems(9), Asked(TEACHER, Sampling(n=4)), ScriptedEngine(TEACHER), Completions(sys.argv[2]), Killing()))
"""


def test_a_kill_loses_no_completion_that_had_arrived(tmp_path):
    here = os.path.dirname(__file__)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, here, tmp_path / "completions", "17"],
        cwd=os.path.dirname(os.path.dirname(here)),
    )
    assert killed.returncode == -signal.SIGKILL
    engine = Watched()
    traces = run(tmp_path / "completions", problems(9), Sampling(n=4), engine)
    assert engine.asked.total() == 36 - 17
    assert traces == run(tmp_path / "other", problems(9), Sampling(n=4), Watched())


def test_more_samples_ask_only_for_the_new_ones(tmp_path):
    few = run(tmp_path / "completions", problems(3), Sampling(n=2), Watched())
    engine = Watched()
    many = run(tmp_path / "completions", problems(3), Sampling(n=5), engine)
    assert engine.asked.total() == 9
    assert [trace for trace in many if trace.sample_index < 2] == few


class Seen:
    """A watch that notes what it is told."""

    def __init__(self, notes):
        self.notes = notes

    def asks(self):
        self.notes.append("asked")
        return True

    def took(self, completion):
        self.notes.append(completion.key)

    def settled(self):
        self.notes.append("settled")


def test_a_finished_journal_asks_nothing_and_calls_back_nothing(tmp_path):
    run(tmp_path / "completions", problems(3), Sampling(n=2), Watched())
    seen = []
    with Completions(tmp_path / "completions") as completions:
        list(
            sample(problems(3), Asked(TEACHER, Sampling(n=2)), Watched(dies_after=0), completions, Seen(seen))
        )
    assert seen == ["settled"] * 3


def test_every_new_completion_is_shown_as_it_arrives(tmp_path):
    seen = []
    with Completions(tmp_path / "completions") as completions:
        traces = sample(problems(3), Asked(TEACHER, Sampling(n=2)), Watched(), completions, Seen(seen))
        assert {trace.id for trace in traces} == set(seen) - {"asked", "settled"}
    assert Counter(seen)["asked"] == 6 and Counter(seen)["settled"] == 3


def test_an_engine_that_loses_a_request_is_an_error(tmp_path):
    class Forgetful:
        def complete(self, requests, sampling):
            next(requests)
            yield from ScriptedEngine(TEACHER).complete(iter(lambda: next(requests), None), sampling)

    with pytest.raises(EngineError, match="returned nothing"):
        run(tmp_path / "completions", problems(2), Sampling(n=2), Forgetful())


def test_a_failed_completion_is_a_trace_with_its_failure_and_fits_a_shard(tmp_path):
    class Failing:
        def complete(self, requests, sampling):
            for request in filter(None, requests):
                yield Completion(
                    request.key, None, finish_reason="error", model="m \ud800", failure="null_content"
                )

    traces = run(tmp_path / "completions", problems(2), Sampling(n=2), Failing())
    assert {(t.failure, t.thinking, t.answer, t.finish_reason) for t in traces} == {
        ("null_content", None, "", "error")
    }
    assert shards.write(Trace, traces, str(tmp_path / "t.parquet")) == 4
    assert list(shards.read(records.Trace, str(tmp_path / "t.parquet"))) == traces


def trace_id(problem, teacher, sampling, index):
    return SamplingKeys(teacher, sampling).key(problem, index, sampling.max_tokens)


def test_the_sampling_key_holds_all_that_changes_a_completion_and_nothing_else():
    problem, sampling = problems(1)[0], Sampling()
    key = trace_id(problem, TEACHER, sampling, 0)
    assert key == "03eec3be341c4797"  # journals of older versions hold it: another one is paid for again
    same = [
        trace_id(replace(problem, source="other", licence="MIT"), TEACHER, sampling, 0),
        trace_id(
            problem,
            TEACHER.model_copy(update={"licence": "MIT", "urls": ("http://a/v1",), "concurrency": 1}),
            sampling,
            0,
        ),
        trace_id(
            problem,
            TEACHER,
            sampling.model_copy(update={"n": 64, "adaptive": Adaptive(), "budget_usd": 1.0}),
            0,
        ),
    ]
    assert same == [key] * 3
    other = [
        trace_id(problems(2)[1], TEACHER, sampling, 0),
        trace_id(problem, TEACHER, sampling, 1),
        trace_id(problem, TEACHER.model_copy(update={"model": "x"}), sampling, 0),
        trace_id(problem, TEACHER.model_copy(update={"prefill": "<think>\n"}), sampling, 0),
        *(
            trace_id(problem, TEACHER, sampling.model_copy(update=change), 0)
            for change in (
                {"temperature": 1.0},
                {"top_p": 1.0},
                {"seed": 1},
                {"prompt": "open"},
                {"system": "Be kind."},
                {"max_tokens": 9},
                {"top_k": 5},
            )
        ),
    ]
    assert len({key, *other}) == 1 + len(other)


def test_a_draw_keeps_its_seed_when_its_budget_grows():
    problem = problems(1)[0]
    seeds = {SamplingKeys(TEACHER, Sampling(max_tokens=budget)).seed(problem, 0) for budget in (10, 20)}
    assert len(seeds) == 1
    assert 0 <= seeds.pop() < 2**31
    draws = SamplingKeys(TEACHER, Sampling())
    assert draws.seed(problem, 0) != draws.seed(problem, 1)


@pytest.mark.parametrize(
    ("kind", "language", "reference"),
    [("math", "en", "42"), ("math", "zh", "\\frac{1}{2}"), ("choice", "en", "B")],
)
def test_every_known_failure_ends_with_its_reason(tmp_path, kind, language, reference):
    class Showing:
        def complete(self, requests, sampling):
            for request, name in zip(requests, names, strict=True):
                yield scripted.write(request, name, sampling)

    names = ["right", *scripted.FAILURES]
    asked = [Problem("0" * 16, "test", kind, "What is it? A) one B) two", reference, language=language)]
    candidates = measure(
        verify(run(tmp_path / "j", asked, Sampling(n=len(names)), Showing()), Verification(workers=1)),
        Curation(),
    )
    shards.write(Candidate, candidates, str(tmp_path / "measured.parquet"))
    decisions = decide(shards.read(Outline, str(tmp_path / "measured.parquet")), Curation())
    dropped = {name: decision.dropped for name, decision in zip(names, decisions, strict=True)}
    assert dropped == {"right": None, **scripted.FAILURES}


def ready(number, text):
    return replace(problems(number + 1)[number], kind="open", source="essays", response=text)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(["asked", "ready", "unusable", "unusable and ready"]), max_size=8),
    st.integers(1, 4),
)
def test_a_ready_response_is_the_one_trace_of_its_problem_and_costs_nothing(tmp_path_factory, what, n):
    rows = problems(
        len(what), unusable={number for number, name in enumerate(what) if name.startswith("unusable")}
    )
    rows = [
        replace(row, response="Hello.") if name.endswith("ready") else row
        for row, name in zip(rows, what, strict=True)
    ]
    engine, path = Watched(), tmp_path_factory.mktemp("ready") / "completions"
    traces = run(path, rows, Sampling(n=n), engine)
    sizes = {"asked": n, "ready": 1}
    assert Counter(trace.problem.problem_id for trace in traces) == Counter(
        {row.problem_id: sizes.get(name, 0) for row, name in zip(rows, what, strict=True) if name in sizes}
    )
    assert engine.asked.total() == n * what.count("asked")
    with Completions(path) as completions:
        assert not any(completions.get(trace.id) for trace in traces if trace.teacher.startswith("ready:"))
    again = Watched()
    assert run(path, rows, Sampling(n=n), again) == traces
    assert set(again.asked) == {trace.id for trace in traces if trace.failure}


def test_a_ready_response_keeps_its_thinking_and_is_not_stored_twice(tmp_path):
    texts = ["<think>\nA greeting.\n</think>\n\nHello.", "Hello.", "<think>\nnever closed"]
    rows = [ready(number, text) for number, text in enumerate(texts)]
    first, second, third = run(tmp_path / "completions", rows, Sampling(n=4), Watched(dies_after=0))
    assert (first.thinking, first.answer, second.thinking, second.answer) == (
        "A greeting.",
        "Hello.",
        None,
        "Hello.",
    )
    assert (first.think_closed, third.think_closed, third.answer) == (True, False, "")
    assert {trace.problem.response for trace in (first, second, third)} == {None}
    assert first.problem == replace(rows[0], response=None)
    assert (first.teacher, first.finish_reason, first.sample_index) == ("ready:essays", "stop", 0)
    assert (
        first.prompt_tokens,
        first.thinking_tokens,
        first.answer_tokens,
        first.cost_usd,
        first.seed,
        first.failure,
    ) == (None,) * 6


def test_a_ready_response_keeps_its_identity_whatever_is_sampled(tmp_path):
    (one,) = run(tmp_path / "one", [ready(0, "Hello.")], Sampling(n=1), Watched())
    (other,) = run(
        tmp_path / "other",
        [replace(ready(0, "Hello."), licence="MIT")],
        Sampling(n=8, temperature=1.0, seed=3),
        Watched(),
    )
    (changed,) = run(tmp_path / "changed", [ready(0, "Good day.")], Sampling(n=1), Watched())
    assert one.id == other.id != changed.id and len(one.id) == 16


SAID = [
    ("Hello \ud800 there\x00", "Hello \ufffd there\ufffd", None),
    ([{"role": "user", "content": "Greet me."}, {"role": "assistant", "content": "Hello."}], "Hello.", None),
    (
        [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "Hello."},
        ],
        "Hello.",
        None,
    ),
    ([], None, "empty"),
    ([{"role": "user", "content": "Greet me."}, {"role": "assistant", "content": None}], None, "empty"),
    (" \n", None, "empty"),
    (None, None, "empty"),
    (7, None, "bad_row"),
]


@pytest.mark.parametrize(("said", "response", "unusable"), SAID)
def test_a_ready_response_is_read_from_its_column(said, response, unusable):
    source = ProblemSource(name="essays", path="x.jsonl", kind="open", reference="", response="messages")
    (problem,) = collect([{"question": "Greet me.", "messages": said}], source, Verification(workers=1))
    (asked,) = collect(
        [{"question": "Greet me."}], source.model_copy(update={"response": None}), Verification(workers=1)
    )
    assert (problem.response, problem.unusable) == (response, unusable)
    assert problem.problem_id == asked.problem_id and asked.response is None


def test_a_source_without_the_column_of_responses_is_an_error(tmp_path):
    shards.write_rows(
        pa.schema([("question", pa.string())]), [{"question": "Greet me."}], str(tmp_path / "rows.parquet")
    )
    source = ProblemSource(
        name="essays", path=str(tmp_path / "rows.parquet"), kind="open", reference="", response="messages"
    )
    with pytest.raises(RecipeError, match="no column messages"):
        list(read_rows(source))


def test_the_math_prompt_is_the_readmes_wording_in_the_users_turn():
    (message,) = prompts.render(problems(1)[0], "math", None)
    instruction = "Please reason step by step, and put your final answer within \\boxed{}."
    assert (message.role, message.content) == ("user", f"What is 0 + 1?\n{instruction}")
    assert [m.role for m in prompts.render(problems(1)[0], "math", "Be kind.")] == ["system", "user"]


@given(st.text())
def test_a_question_is_put_in_as_it_is(question):
    question = f"{{question}} {{0}} %s {question} \\1"
    for template in prompts.names():
        (message,) = prompts.render(replace(problems(1)[0], question=question), template)
        assert message.content.startswith(question)


def test_problems_of_many_kinds_are_asked_each_in_its_own_way():
    asked = {kind: prompts.render(replace(problems(1)[0], kind=kind), "by_kind") for kind in get_args(Kind)}
    assert asked == {kind: prompts.render(problems(1)[0], kind) for kind in get_args(Kind)}
    assert prompts.identity("by_kind") not in {prompts.identity(name) for name in prompts.names()}


def test_templates_have_identities_of_their_own():
    assert prompts.names() == ["choice", "code", "logic", "math", "open", "sql"]
    assert prompts.identity("math") != prompts.identity("code")
    with pytest.raises(RecipeError, match="choice, code, logic, math, open, sql"):
        prompts.identity("../math")
