"""The budget's sums do not depend on order or threads, its caps hold, and what a server made of the settings
is told."""

import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import progress
from distill.engines import Completion, Usage, cost_usd, usage_of
from distill.progress import dollars
from distill.recipe import RecipeError, Sampling, Teacher
from distill.records import Problem, Trace
from distill.sample.budget import UNCOUNTED_ALLOWED, Budget
from distill.sample.cancellation import Cancellation
from distill.sample.observed import COMPARED_PROBLEMS

PRICED = Teacher(
    model="m", prompt_usd_per_million=1.0, cached_prompt_usd_per_million=0.25, completion_usd_per_million=4.0
)
NOTHING = Usage()
COUNTS = st.integers(0, 10**6)


@st.composite
def completions(draw: st.DrawFn) -> Completion:
    prompt, counted, failed = draw(COUNTS), draw(st.booleans()), draw(st.booleans())
    return Completion(
        "key",
        None if failed else "text",
        prompt_tokens=prompt if counted else None,
        completion_tokens=draw(COUNTS) if counted else None,
        cached_prompt_tokens=draw(st.integers(0, prompt)) if counted else None,
        lost_prompt_tokens=draw(COUNTS),
        lost_completion_tokens=draw(COUNTS),
        model=draw(st.sampled_from("ab")),
        failure="timeout" if failed else None,
    )


def budget(
    teacher: Teacher = PRICED, before: Usage = NOTHING, **sampling: object
) -> tuple[Budget, Cancellation]:
    cancellation = Cancellation()
    return Budget(
        teacher, Sampling.model_validate({"max_tokens": 1000} | sampling), before, cancellation
    ), cancellation


def trace(problem: int, index: int, text: str) -> Trace:
    return Trace(
        Problem(f"p{problem}", "s", "math", "q", "1"), f"{problem}-{index}", index, None, text, False, "stop"
    )


@given(st.lists(completions(), max_size=20), st.randoms())
@settings(max_examples=60, deadline=None)
def test_totals_are_the_sum_in_any_order(made: list[Completion], order: Random) -> None:
    before = Usage(3, 1, 100, 10, 1000, 0, 7, 1)
    whole = Usage(
        **{
            name: sum(getattr(part, name) for part in (before, *map(usage_of, made)))
            for name in asdict(before)
        }
    )
    order.shuffle(made)
    found, _ = budget(before=before)
    for completion in made:
        found.asks()
        found.add(completion)
    assert found.spent() == whole
    summary = found.summary()
    assert summary["all_runs"]["cost_usd"] == pytest.approx(cost_usd(whole, PRICED))
    assert summary["this_run"]["completions"] == len(made) == summary["all_runs"]["completions"] - 3
    assert sum(summary["models"].values()) == sum(completion.failure is None for completion in made)


def test_money_counts_cached_prompts_at_their_price_and_lost_replies_as_well() -> None:
    completion = Completion(
        "k",
        "x",
        prompt_tokens=1000,
        cached_prompt_tokens=800,
        completion_tokens=50,
        lost_completion_tokens=50,
    )
    assert cost_usd(usage_of(completion), PRICED) == pytest.approx((200 * 1 + 800 * 0.25 + 100 * 4) / 1e6)
    assert cost_usd(
        usage_of(completion), PRICED.model_copy(update={"cached_prompt_usd_per_million": None})
    ) == pytest.approx(1400e-6)
    assert cost_usd(usage_of(completion), Teacher(model="m")) is None


def test_threads_lose_no_count() -> None:
    found, _ = budget(budget_tokens=10**12)
    completion = Completion("k", "x", prompt_tokens=2, completion_tokens=3)

    def work() -> None:
        for _ in range(500):
            found.asks()
            found.add(completion)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.spent() == Usage(completions=4000, prompt_tokens=8000, completion_tokens=12000)


def spend(lengths: list[int], cap: int, concurrency: int) -> tuple[int, Cancellation, int]:
    """Tokens of all that was admitted, the cancellation, and what was in flight at the last admission; the
    oldest comes first."""
    found, cancellation = budget(budget_tokens=cap)
    waiting, flying, last = list(lengths), list[int](), 0
    while flying or (waiting and cancellation.reason is None):
        if waiting and len(flying) < concurrency and found.asks():
            flying.append(waiting.pop())
            last = sum(flying)
        elif flying:
            found.add(Completion("k", "x", prompt_tokens=0, completion_tokens=flying.pop(0)))
    return found.spent().tokens(), cancellation, last


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=300), st.integers(1, 60_000), st.integers(1, 32))
@settings(max_examples=100, deadline=None)
def test_a_cap_is_passed_by_no_more_than_what_was_in_flight(
    lengths: list[int], cap: int, concurrency: int
) -> None:
    spent, cancellation, last = spend(lengths, cap, concurrency)
    assert spent <= cap + last
    assert spent == sum(lengths) or cancellation.reason is not None


@given(st.integers(1, 1000), st.integers(1, 300), st.integers(1, 60_000), st.integers(1, 32))
@settings(max_examples=100, deadline=None)
def test_equal_completions_never_pass_the_cap_and_use_nearly_all_of_it(
    length: int, count: int, cap: int, concurrency: int
) -> None:
    spent, cancellation, _ = spend([length] * count, cap, concurrency)
    assert spent <= cap
    assert cancellation.reason is None or cap - spent <= length + 8 * 1000 / (spent / length + 8)


def test_room_comes_back_when_a_completion_was_cheaper_than_feared() -> None:
    found, cancellation = budget(budget_tokens=1500)
    assert found.asks() and not found.asks() and cancellation.reason is None
    found.add(Completion("k", "x", prompt_tokens=0, completion_tokens=100))
    assert found.asks() and cancellation.reason is None


def test_what_is_used_up_says_so_and_what_to_do() -> None:
    found, cancellation = budget(budget_usd=0.1)
    while found.asks():
        found.add(Completion("k", "x", prompt_tokens=0, completion_tokens=1000))
    assert cancellation.reason is not None
    assert cancellation.reason.startswith(
        "sampling.budget_usd has no room left: $0.10 of $0.10 spent, and one more completion costs about "
        "$0.004. "
    )
    assert "raise sampling.budget_usd" in cancellation.reason


def test_a_cap_that_is_used_up_stops_before_the_first_request() -> None:
    found, cancellation = budget(before=Usage(completions=10, completion_tokens=1000), budget_tokens=1000)
    assert cancellation.reason is None  # a run that needs nothing is not stopped
    assert not found.asks()
    assert cancellation.reason is not None and "1,000 tokens of 1,000 tokens" in cancellation.reason
    assert budget(before=Usage(completions=10, completion_tokens=1000), budget_tokens=1600)[0].asks()
    assert budget(before=Usage(completions=10, completion_tokens=1000))[0].asks()


def test_a_cap_in_money_needs_both_prices() -> None:
    for teacher in (Teacher(model="m"), Teacher(model="m", completion_usd_per_million=2.0)):
        with pytest.raises(RecipeError, match=r"teacher\.prompt_usd_per_million"):
            budget(teacher, budget_usd=5.0)
    assert budget(Teacher(model="m"), budget_tokens=5000)[0].asks()


def test_a_cap_that_nobody_counts_for_stops_the_run() -> None:
    for capped in (True, False):
        found, cancellation = budget(**({"budget_tokens": 10**9} if capped else {}))
        for _ in range(UNCOUNTED_ALLOWED):
            assert cancellation.reason is None
            found.asks()
            found.add(Completion("k", "x"))
        assert (cancellation.reason is not None and "`usage`" in cancellation.reason) == capped


def test_uncounted_completions_are_taken_to_cost_what_others_do() -> None:
    found, cancellation = budget(budget_tokens=1000, max_tokens=100)
    for completion in [
        Completion("k", "x", prompt_tokens=0, completion_tokens=100),
        Completion("k", "x"),
    ] * 5:
        found.asks()
        found.add(completion)
    assert cancellation.reason is not None and "1,000 tokens of 1,000 tokens" in cancellation.reason
    assert found.spent().tokens() == 500


def test_failures_do_not_make_the_next_completion_look_cheap() -> None:
    found, cancellation = budget(budget_tokens=1500)
    for completion in [
        *[Completion("k", None, failure="timeout")] * 1000,
        Completion("k", "x", completion_tokens=600),
    ]:
        found.asks()
        found.add(completion)
    assert cancellation.reason is not None
    assert "1,000 failed" in found.note()


def test_the_note_says_what_there_is_to_say() -> None:
    spent = Usage(completions=9, completion_tokens=12_300_000)
    assert (
        budget(before=spent, budget_usd=60.0, budget_tokens=10**8)[0].note()
        == "$49.20 of $60, 12.3 M of 100 M tokens"
    )
    assert budget(before=spent)[0].note() == "$49.20"
    assert budget(Teacher(model="m"), before=spent)[0].note() == ""
    assert [dollars(value) for value in (0, 0.0034, 0.5, 3.2, 50, 12_345.6)] == [
        "$0",
        "$0.0034",
        "$0.50",
        "$3.20",
        "$50",
        "$12,345.60",
    ]


def test_the_summary_tells_asked_from_honoured() -> None:
    found, _ = budget(
        PRICED.model_copy(update={"ignores": ("seed",)}),
        temperature=0.7,
        max_tokens=100,
        adaptive={"budgets": [200]},
    )
    for tokens, model, fingerprint in [(150, "one", "fp1"), (201, "one", None), (5, "two", "fp1")]:
        found.asks()
        found.add(Completion("k", "x", completion_tokens=tokens, model=model, system_fingerprint=fingerprint))
    summary = found.summary()
    assert (
        summary["asked"]["temperature"] == 0.7
        and "top_k" not in summary["asked"]
        and summary["not_sent"] == ["seed"]
    )
    assert (summary["models"], summary["system_fingerprints"]) == ({"one": 2, "two": 1}, {"fp1": 2})
    assert summary["longer_than_asked"] == 1


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What was said while the test ran."""
    said: list[str] = []

    class Kept(progress.logging.Handler):
        def emit(self, record: progress.logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Kept()
    progress.LOGGER.addHandler(handler)
    yield said
    progress.LOGGER.removeHandler(handler)


@pytest.mark.parametrize(("alike", "warns"), [(1.0, True), (0.6, True), (0.4, False)])
def test_siblings_with_one_text_are_told_once(alike: float, warns: bool, lines: list[str]) -> None:
    found, _ = budget()
    count = 5 * COMPARED_PROBLEMS
    rows = [
        trace(number, index, "same" if number % 10 >= 10 - 10 * alike else f"text {index}")
        for number in range(count)
        for index in range(3)
    ]
    assert list(found.observed.over(rows)) == rows
    assert found.summary()["problems_compared"] == count
    assert found.summary()["problems_with_one_text"] == alike * count
    assert (sum("same text" in line for line in lines) == 1) == warns


def test_too_few_problems_single_draws_failures_and_replayed_traces_are_not_compared(
    lines: list[str],
) -> None:
    found, _ = budget()
    list(
        found.observed.over(
            trace(number, index, "same") for number in range(COMPARED_PROBLEMS - 1) for index in range(2)
        )
    )
    list(found.observed.over(trace(number, 0, "same") for number in range(100)))
    list(
        found.observed.over(
            replace(trace(number, index, ""), failure="timeout")
            for number in range(100)
            for index in range(2)
        )
    )
    replayed, _ = budget(Teacher(model="m", engine="replay"))
    list(replayed.observed.over(trace(number, index, "same") for number in range(100) for index in range(2)))
    assert (
        found.summary()["problems_compared"] == COMPARED_PROBLEMS - 1
        and replayed.summary()["problems_compared"] == 0
    )
    assert lines == []
