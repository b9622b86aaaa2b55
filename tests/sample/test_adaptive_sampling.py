import random
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import verifiers
from distill.engines import STOPPED, Completion, Completions, EngineError
from distill.recipe import Adaptive, Sampling, Teacher, Verification
from distill.records import Problem, Verdict
from distill.sample import Asked, sample
from distill.sample.cancellation import Cancellation, RunStopped, StoppedByHand

TEACHER = Teacher(engine="scripted", model="scripted", completion_usd_per_million=1.0)
VERIFICATION = Verification(workers=1)


def problems(count, kind="math"):
    return [
        Problem(f"{number:016x}", "test", kind, f"What is {number} + 1?", str(number + 1))
        for number in range(count)
    ]


END = object()


class Scripted:
    """Answers draw i of problem p as `outcomes[p][i]` says: right, wrong, failed, or cut below so many
    tokens; in any order."""

    def __init__(self, outcomes, order=None, dies_after=None, in_flight=8):
        self.outcomes, self.order, self.dies_after, self.most = (
            outcomes,
            order or random.Random(0),
            dies_after,
            in_flight,
        )
        self.asked = Counter()

    def complete(self, requests, sampling):
        waiting, flying, more = iter(requests), [], True
        while more or flying:
            while more and len(flying) < self.most and (request := next(waiting, END)) is not None:
                more = request is not END
                flying += [request] if more else []
            if not flying:
                continue
            if self.asked.total() == self.dies_after:
                raise EngineError("the teacher is gone")
            request = flying.pop(self.order.randrange(len(flying)))
            self.asked[int(request.problem.problem_id, 16), request.sample_index, request.max_tokens] += 1
            yield self.answer(request)

    def answer(self, request):
        number = int(request.problem.problem_id, 16)
        outcome = self.outcomes[number][request.sample_index]
        if outcome == "failed":
            return Completion(request.key, None, finish_reason="error", failure="timeout")
        if isinstance(outcome, int) and request.max_tokens < outcome:
            return Completion(
                request.key, "<think>\nhm", finish_reason="length", completion_tokens=request.max_tokens
            )
        said = number + 1 if outcome == "right" or isinstance(outcome, int) else -1
        return Completion(request.key, f"<think>\nhm\n</think>\n\n\\boxed{{{said}}}", completion_tokens=10)


def run(path, asked, sampling, engine, cancellation=None, **more):
    with Completions(path) as completions:
        return list(
            sample(
                asked,
                Asked(TEACHER, sampling, VERIFICATION, **more),
                engine,
                completions,
                cancellation=cancellation,
            )
        )


ADAPTIVE = Sampling(n=1, max_tokens=16, adaptive=Adaptive(enough=2, most=5, budgets=(64,)))
OUTCOMES = [
    ["right", "right", "right", "right", "right"],
    ["wrong", "wrong", "right", "wrong", "right"],
    ["wrong", "wrong", "wrong", "wrong", "wrong"],
    [32, "right", "wrong", "wrong", "right"],
    [99, "failed", "right", "right", "right"],
]


def test_a_problem_stops_when_it_has_enough_and_hard_ones_get_more(tmp_path):
    engine = Scripted(OUTCOMES)
    traces = run(tmp_path / "completions", problems(5), ADAPTIVE, engine)
    drawn = {
        number: sorted(index for problem, index, _ in engine.asked if problem == number)
        for number in range(5)
    }
    assert drawn == {0: [0, 1], 1: [0, 1, 2, 3, 4], 2: [0, 1, 2, 3, 4], 3: [0, 0, 1], 4: [0, 0, 1, 2, 3]}
    assert [(int(t.problem.problem_id, 16), t.sample_index) for t in traces] == [
        (n, i) for n in drawn for i in sorted(set(drawn[n]))
    ]
    assert set(engine.asked.values()) == {1}


def test_a_cut_draw_has_the_text_of_its_larger_budget_and_the_cost_of_both(tmp_path):
    traces = {
        (int(t.problem.problem_id, 16), t.sample_index): t
        for t in run(tmp_path / "j", problems(5), ADAPTIVE, Scripted(OUTCOMES))
    }
    assert (traces[3, 0].finish_reason, traces[3, 0].spent_tokens, traces[3, 0].cost_usd) == (
        "stop",
        26,
        pytest.approx(26e-6),
    )
    assert (traces[4, 0].finish_reason, traces[4, 0].spent_tokens) == ("length", 80)
    assert traces[4, 1].failure == "timeout"


def test_an_unjudged_kind_gets_n_draws_whatever_it_answers(tmp_path):
    traces = run(
        tmp_path / "completions",
        problems(2, "open"),
        ADAPTIVE.model_copy(update={"n": 3}),
        Scripted([["wrong"] * 5] * 2),
    )
    assert [t.sample_index for t in traces] == [0, 1, 2] * 2


def test_verdicts_that_take_a_while_are_waited_for(tmp_path):
    slow = [
        replace(problem, reference=f"\\sqrt{{{4 * (number + 1) ** 2}}}/2")
        for number, problem in enumerate(problems(3))
    ]
    engine = Scripted([["right"] * 5, ["wrong", "right", "right", "right", "right"], ["wrong"] * 5])
    traces = run(tmp_path / "completions", slow, ADAPTIVE, engine)
    assert Counter(int(trace.problem.problem_id, 16) for trace in traces) == {0: 2, 1: 3, 2: 5}


WHOLE = st.lists(
    st.lists(st.sampled_from(["right", "wrong", 32, 99]), min_size=6, max_size=6), min_size=1, max_size=4
)


@settings(deadline=None, max_examples=40)
@given(WHOLE, st.integers(1, 3), st.lists(st.integers(0, 12), max_size=3), st.randoms(use_true_random=False))
def test_whatever_stopped_it_the_rows_are_those_of_an_undisturbed_run(
    tmp_path_factory, outcomes, n, deaths, order
):
    folder, sampling = tmp_path_factory.mktemp("adaptive"), ADAPTIVE.model_copy(update={"n": n})
    undisturbed = run(folder / "undisturbed", problems(len(outcomes)), sampling, Scripted(outcomes))
    asked = Counter()
    for dies_after in [*deaths, None]:
        engine = Scripted(outcomes, order, dies_after)
        try:
            traces = run(folder / "completions", problems(len(outcomes)), sampling, engine)
        except EngineError:
            traces = None
        asked += engine.asked
    assert traces == undisturbed
    assert set(asked.values()) == {1}  # this engine answers one at a time: what it was asked had come back


def test_a_failure_is_asked_again_by_the_next_run_and_not_by_the_same_one(tmp_path):
    outcomes = [["failed", "right"]]
    first = Scripted([["failed", "right", "right"]], dies_after=2, in_flight=1)
    engine = Scripted(outcomes)
    assert [t.failure for t in run(tmp_path / "a", problems(1), Sampling(n=2), engine)] == ["timeout", None]
    assert set(engine.asked.values()) == {1}
    with pytest.raises(EngineError):
        run(tmp_path / "b", problems(1), Sampling(n=3), first)
    well = Scripted([["right", "right", "right"]])
    assert [t.failure for t in run(tmp_path / "b", problems(1), Sampling(n=3), well)] == [None] * 3
    assert set(well.asked) == {(0, 0, 32768), (0, 2, 32768)}


def test_more_draws_and_larger_budgets_ask_only_for_what_is_not_there(tmp_path):
    run(tmp_path / "completions", problems(5), ADAPTIVE, Scripted(OUTCOMES))
    more = ADAPTIVE.model_copy(update={"adaptive": Adaptive(enough=2, most=5, budgets=(64, 128))})
    engine = Scripted(OUTCOMES)
    run(tmp_path / "completions", problems(5), more, engine)
    assert set(engine.asked) == {(4, 0, 128), (4, 1, 16)}  # what was cut at 64, and what had failed
    fixed = Scripted(OUTCOMES)
    run(tmp_path / "completions", problems(5), Sampling(n=2, max_tokens=128), fixed, budgets=[16, 64, 128])
    assert set(fixed.asked) == {
        (4, 1, 128)
    }  # draws that came to their end within 16 or 64 tokens are taken over


@pytest.mark.parametrize(("by_hand", "kind"), [(False, RunStopped), (True, StoppedByHand)])
def test_a_cancelled_run_lets_what_is_in_flight_come_home_and_asks_no_more(tmp_path, by_hand, kind):
    class Pulling(Scripted):
        def answer(self, request):
            cancellation.cancel("enough money was spent", by_hand)
            return super().answer(request)

    cancellation, engine = Cancellation(), None
    engine = Pulling(OUTCOMES, in_flight=3)
    with pytest.raises(kind, match="enough money"):
        run(tmp_path / "completions", problems(5), ADAPTIVE, engine, cancellation)
    assert engine.asked.total() == 3
    with Completions(tmp_path / "completions") as completions:
        assert len(completions) == 3
    rest = Scripted(OUTCOMES)
    assert run(tmp_path / "completions", problems(5), ADAPTIVE, rest) == run(
        tmp_path / "other", problems(5), ADAPTIVE, Scripted(OUTCOMES)
    )
    assert not set(rest.asked) & set(engine.asked)


def test_a_cancellation_that_comes_after_the_last_completion_stops_nothing(tmp_path):
    cancellation = Cancellation()

    class Late(Scripted):
        def complete(self, requests, sampling):
            yield from super().complete(requests, sampling)
            cancellation.cancel("too late")

    assert (
        len(
            run(tmp_path / "completions", problems(2), Sampling(n=2), Late([["right"] * 2] * 2), cancellation)
        )
        == 4
    )


def test_completions_of_other_lists_of_problems_are_taken_over(tmp_path):
    run(tmp_path / "one", problems(3), Sampling(n=2), Scripted([["right"] * 4] * 3))
    engine = Scripted([["right"] * 4] * 5)
    traces = run(tmp_path / "one", problems(5), Sampling(n=2), engine)
    with Completions(tmp_path / "one") as one:
        assert len(one) == one.usage().total.completions == 10
    assert {number for number, _, _ in engine.asked} == {3, 4}
    assert traces == run(tmp_path / "three", problems(5), Sampling(n=2), Scripted([["right"] * 4] * 5))


def test_a_run_cancelled_before_the_start_stops_nothing_that_needs_no_teacher(tmp_path):
    whole = run(
        tmp_path / "completions",
        problems(5),
        ADAPTIVE.model_copy(update={"n": 2}),
        Scripted(OUTCOMES[:2] + OUTCOMES[:2] + OUTCOMES[:1]),
    )
    cancellation = Cancellation()
    cancellation.cancel("nothing is left to spend")
    idle = Scripted([], dies_after=0)
    assert (
        run(tmp_path / "completions", problems(5), ADAPTIVE.model_copy(update={"n": 2}), idle, cancellation)
        == whole
    )
    with pytest.raises(RunStopped, match="nothing is left"):
        run(tmp_path / "completions", problems(6), ADAPTIVE, idle, cancellation)


def test_a_prompt_that_is_not_worth_its_price_is_one_failed_row_and_is_not_asked(tmp_path):
    told = replace(problems(2)[1], question="What is 1 + 1? \\boxed{2}", reference="2")
    engine = Scripted([["right"] * 5] * 2)
    traces = run(tmp_path / "completions", [problems(1)[0], told], Sampling(n=2), engine)
    assert [(t.failure, t.sample_index) for t in traces] == [(None, 0), (None, 1), ("contains_reference", 0)]
    assert {number for number, _, _ in engine.asked} == {0}


@pytest.mark.parametrize("failure", ["content_filter", "prompt_too_long"])
def test_what_no_other_draw_would_mend_is_not_tried_again(tmp_path, failure):
    class Refusing(Scripted):
        def answer(self, request):
            return replace(super().answer(request), content=None, finish_reason="error", failure=failure)

    engine = Refusing([["right"] * 5] * 2)
    assert [t.failure for t in run(tmp_path / "completions", problems(2), ADAPTIVE, engine)] == [failure] * 4
    assert engine.asked.total() == 4


def test_a_completion_without_counted_tokens_is_taken_over_by_a_larger_budget(tmp_path):
    class Uncounted(Scripted):
        def answer(self, request):
            return replace(super().answer(request), completion_tokens=None, finish_reason="end_turn")

    run(tmp_path / "completions", problems(2), Sampling(n=2, max_tokens=16), Uncounted([["right"] * 2] * 2))
    engine = Uncounted([["right"] * 2] * 2)
    assert (
        len(
            run(tmp_path / "completions", problems(2), Sampling(n=2, max_tokens=64), engine, budgets=[16, 64])
        )
        == 4
    )
    assert not engine.asked


def test_a_request_that_was_stopped_is_no_row_and_is_asked_by_the_next_run(tmp_path):
    class Stopping(Scripted):
        def answer(self, request):
            cancellation.cancel("enough")
            return Completion(request.key, None, finish_reason="error", failure=STOPPED)

    cancellation = Cancellation()
    with pytest.raises(RunStopped, match="enough"):
        run(tmp_path / "completions", problems(1), Sampling(n=2), Stopping([["right"] * 2]), cancellation)
    with Completions(tmp_path / "completions") as completions:
        assert len(completions) == 0
    assert [
        t.failure
        for t in run(tmp_path / "completions", problems(1), Sampling(n=2), Scripted([["right"] * 2]))
    ] == [None] * 2


def test_completions_are_kept_while_verdicts_take_their_time(tmp_path, monkeypatch):
    """Nobody waits for a verdict while there is something to be put on disk."""
    pending = []

    def begin(trace, section):
        pending.append(Future())
        return pending[-1]

    class Watching(Scripted):
        def complete(self, requests, sampling):
            for completion in super().complete(requests, sampling):
                yield completion
                if len(pending) == 4:
                    with Completions(tmp_path / "completions") as copy:
                        assert len(copy) == 4
                    for one in pending:
                        one.set_result(Verdict("correct"))

    monkeypatch.setattr(verifiers, "begin", begin)
    assert len(run(tmp_path / "completions", problems(2), ADAPTIVE, Watching([["right"] * 5] * 2))) == 4
