"""Evaluate: the figures are those of the definitions, the intervals cover, and nothing without a verdict is
called wrong."""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.evaluate import assemble, compare, decide, measure, pass_rates, score
from distill.evaluate.report import table
from distill.recipe import Evaluation, ProblemSource
from distill.records import Candidate, Comparison, Problem, Score, Trace, Verdict
from distill.text.language import share

OUTCOMES = (
    "correct",
    "wrong",
    "no_answer",
    "unparsed_answer",
    "unparsed_reference",
    "timeout",
    "error",
    "unverified",
)
THINKING = "First we add two and three, which makes five. 然后我们再检查一遍这个结果。"
EVALUATION = Evaluation(
    problems=(ProblemSource(name="seed", path="data/seed/heldout.jsonl"),), n=2, max_tokens=64
)


def candidate(
    problem: int, outcome: str, finish: str = "stop", source: str = "seed", tokens: int | None = 10
) -> Candidate:
    asked = Problem(f"{problem:016x}", source, "math", f"question {problem}", "1")
    trace = Trace(
        asked, f"{problem}", 0, THINKING, "answer", True, finish, thinking_tokens=tokens, answer_tokens=tokens
    )
    return Candidate(trace, Verdict(outcome, verifier="math/1"))


def candidates(samples: Sequence[str], source: str = "seed", first: int = 0) -> list[Candidate]:
    """One problem for each word of letters: c correct, w wrong, e verifier error, t timeout, n no answer, u
    bad reference."""
    names = {
        "c": "correct",
        "w": "wrong",
        "e": "error",
        "t": "timeout",
        "n": "no_answer",
        "u": "unparsed_reference",
    }
    return [
        candidate(first + number, names[letter], source=source)
        for number, word in enumerate(samples)
        for letter in word
    ]


def rates(*values: float) -> dict[str, float]:
    return {str(number): value for number, value in enumerate(values)}


def test_pass_at_1_is_the_mean_over_problems_of_the_mean_over_samples() -> None:
    found = score(candidates(["cc", "cw", "ww", "cccw"]), "model", "student")
    assert found.pass_at_1 == pytest.approx((1 + 0.5 + 0 + 0.75) / 4)
    assert (found.problems, found.samples_per_problem, found.model, found.role) == (4, 4, "model", "student")
    assert pass_rates(candidates(["cw", "c"])) == {f"{0:016x}": 0.5, f"{1:016x}": 1.0}


def test_both_standard_errors_are_those_of_their_definitions() -> None:
    found = score(candidates(["cc", "cw", "ww", "cw"]), "model", "student")
    assert found.standard_error == pytest.approx(math.sqrt(((0.5**2) * 2 / 3) / 4))
    assert found.sampling_error == pytest.approx(math.sqrt(2 * 0.25) / 4)
    assert score(candidates(["c", "w"]), "model", "student").sampling_error is None


def test_what_a_verifier_or_a_server_spoiled_is_left_out_counted_and_bounded() -> None:
    rows = [*candidates(["ce", "cu", "wn", "ee"]), candidate(0, "no_answer", finish="error")]
    found = score(rows, "model", "student")
    assert found.pass_at_1 == pytest.approx((1 + 1 + 0) / 3)
    assert (found.problems, found.left_out) == (3, 5)
    assert found.pass_at_1_strict == pytest.approx((1 / 3 + 1 / 2 + 0 + 0) / 4)
    assert found.no_answer == pytest.approx(1 / 9)


def test_a_timeout_and_a_cut_completion_are_not_correct_and_are_counted() -> None:
    rows = [*candidates(["ct", "cc"]), candidate(2, "no_answer", finish="length"), candidate(2, "correct")]
    found = score(rows, "model", "student")
    assert (found.pass_at_1, found.timeouts, found.left_out) == (pytest.approx(2 / 3), 1, 0)
    assert found.truncated == pytest.approx(1 / 6)
    assert found.mean_completion_tokens == 20 and found.language_share == pytest.approx(
        share(THINKING, "en", "")
    )
    assert found.language_share is not None and 0.3 < found.language_share < 0.8


def test_an_evaluation_without_a_verdict_claims_nothing() -> None:
    for rows in ([], candidates(["ee"])):
        found = score(rows, "model", "student")
        assert (found.problems, found.low, found.high) == (0, 0.0, 1.0)
        json.dumps(asdict(found), allow_nan=False)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(OUTCOMES), st.sampled_from(["stop", "length", "error"])),
        max_size=60,
    )
)
def test_any_candidates_give_a_score_within_its_interval(rows: list[tuple[int, str, str]]) -> None:
    found = score((candidate(*row) for row in rows), "model", "student")
    assert 0 <= found.low <= found.pass_at_1 <= found.high <= 1
    assert found.pass_at_1_strict is None or found.pass_at_1_strict <= 1
    assert found.standard_error >= 0 and 0 <= found.truncated <= 1 and 0 <= found.no_answer <= 1
    json.dumps(asdict(found), allow_nan=False)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=40))
def test_the_interval_mirrors_when_right_and_wrong_change_places(correct: list[int]) -> None:
    def interval(counts: list[int]) -> Score:
        return score(candidates(["c" * count + "w" * (4 - count) for count in counts]), "model", "student")

    found, mirrored = interval(correct), interval([4 - count for count in correct])
    assert (mirrored.low, mirrored.high) == (pytest.approx(1 - found.high), pytest.approx(1 - found.low))


def test_a_difference_is_taken_over_the_problems_that_both_have() -> None:
    found = compare("student", rates(1, 1, 0.5) | {"mine": 0.0}, "base", rates(0, 0.5, 0.5) | {"yours": 1.0})
    assert (found.better, found.than, found.problems) == ("student", "base", 3)
    assert found.difference == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(0.5 / math.sqrt(3))


@given(
    st.lists(st.tuples(st.sampled_from([0, 0.25, 0.5, 1]), st.sampled_from([0, 0.25, 0.5, 1])), max_size=30)
)
def test_a_comparison_and_its_opposite_mirror_each_other(pairs: list[tuple[float, float]]) -> None:
    mine, yours = rates(*(pair[0] for pair in pairs)), rates(*(pair[1] for pair in pairs))
    there, back = compare("a", mine, "b", yours), compare("b", yours, "a", mine)
    assert -1 <= there.low <= there.difference <= there.high <= 1
    assert (back.difference, back.low, back.high) == tuple(
        pytest.approx(-value) for value in (there.difference, there.high, there.low)
    )
    assert {decide(there), decide(back)} in ({"undecided"}, {"better", "not_better"})


@pytest.mark.parametrize(
    ("mine", "yours", "decision"),
    [
        ([1.0] * 40 + [0.0] * 10, [0.5] * 40 + [0.0] * 10, "better"),
        ([0.0] * 40 + [1.0] * 10, [0.5] * 40 + [1.0] * 10, "not_better"),
        ([1.0, 0.0] * 20, [0.0, 1.0] * 20, "undecided"),
        ([0.0] * 50, [0.0] * 50, "undecided"),
        ([1.0] * 50, [0.0] * 50, "better"),
        ([0.0] * 50, [1.0] * 50, "not_better"),
        ([1.0] * 5, [0.0] * 5, "undecided"),
        ([1.0, 0.9, 1.0], [0.0, 0.0, 0.0], "undecided"),
        ([], [], "undecided"),
    ],
)
def test_the_decision_needs_the_whole_interval_and_enough_problems(
    mine: list[float], yours: list[float], decision: str
) -> None:
    assert decide(compare("student", rates(*mine), "base", rates(*yours))) == decision


def test_equal_models_are_called_different_about_5_times_of_100() -> None:
    rng, different = random.Random(2), 0
    for _ in range(400):
        chances = [rng.betavariate(0.5, 0.5) for _ in range(30)]
        first, second = (
            [sum(rng.random() < chance for _ in range(4)) / 4 for chance in chances] for _ in range(2)
        )
        different += decide(compare("a", rates(*first), "b", rates(*second))) != "undecided"
    assert different / 400 <= 0.08


def walk(**recorded: Any) -> Any:
    def rows(easy: str, hard: str) -> Iterator[Candidate]:
        yield from candidates([easy] * 10, "easy")
        yield from candidates([hard] * 10, "hard", first=100)

    measured = [
        measure(rows("cc", "cw"), "R1", "teacher"),
        measure(rows("wn", "ww"), "Qwen", "base"),
        measure(rows("cc", "ww"), "mine", "student"),
    ]
    return assemble(
        measured, EVALUATION, student="mine", dataset="d", checkpoint="c", fingerprint="f", recorded=recorded
    )


def test_a_report_has_base_student_and_teacher_overall_and_by_source() -> None:
    report = walk(template="abc")
    assert [(one.role, one.source) for one in report.scores[:3]] == [
        ("base", "all"),
        ("student", "all"),
        ("teacher", "all"),
    ]
    assert {(one.role, one.source): one.pass_at_1 for one in report.scores}[("student", "easy")] == 1.0
    assert len(report.scores) == 9
    overall = [(one.better, one.than) for one in report.comparisons if one.source == "all"]
    assert overall == [("student", "base"), ("teacher", "base"), ("student", "teacher")]
    assert report.decision == "better"


def test_a_report_records_what_its_figures_depend_on() -> None:
    settings = walk(template="abc", versions={"vllm": "1"}).settings
    wanted = {
        "metric": "pass@1",
        "k": 1,
        "n": 2,
        "temperature": 0.6,
        "top_p": 0.95,
        "max_tokens": 64,
        "seed": 1,
        "prompt": "math",
    }
    assert wanted | {"dtype": "auto", "engine": "vllm", "template": "abc", "verifiers": ["math/1"]} == {
        name: settings[name] for name in [*wanted, "dtype", "engine", "template", "verifiers"]
    }
    assert settings["outcomes"]["base"] == {"no_answer": 10, "wrong": 30}
    json.dumps(asdict(walk()), allow_nan=False)


def test_without_a_base_there_is_no_decision() -> None:
    report = assemble(
        [measure(candidates(["c"] * 20), "m", "student")],
        EVALUATION,
        student="s",
        dataset="d",
        checkpoint="c",
        fingerprint="f",
        recorded={},
    )
    assert (report.decision, report.comparisons) == ("undecided", [])
    assert decide(None) == "undecided"
    assert decide(Comparison("student", "base", 0.1, 0.0, 0.05, 0.2, 5)) == "undecided"


def test_maj_at_k_takes_the_most_common_answer_and_shares_a_tie() -> None:
    def answers(number: int, *given: str | None) -> list[Candidate]:
        rows = [
            candidate(number, "correct" if one == "5" else "wrong" if one else "no_answer") for one in given
        ]
        return [
            replace(row, verdict=replace(row.verdict, extracted=one))
            for row, one in zip(rows, given, strict=True)
        ]

    rows = [
        *answers(0, "5", "5", "7"),
        *answers(1, "7", " 7", "5"),
        *answers(2, "5", "7", None),
        *answers(3, None, None, None),
        *answers(4, "5", "7", "8"),
    ]
    found = score(rows, "model", "student")
    assert found.majority == pytest.approx((1 + 0 + 1 / 2 + 0 + 1 / 3) / 5) and found.majority_k == 3
    assert found.pass_at_1 == pytest.approx((2 + 1 + 1 + 0 + 1) / 15)
    code = [
        replace(row, trace=replace(row.trace, problem=replace(row.trace.problem, kind="code")))
        for row in rows
    ]
    assert score(code, "model", "student").majority is None


def test_pass_at_k_is_given_for_the_powers_of_two_that_the_samples_allow() -> None:
    found = score(candidates(["cwww", "wwww"]), "model", "student")
    assert found.pass_at_k == [pytest.approx(1 / 8), pytest.approx(1 / 4), pytest.approx(1 / 2)]
    assert score(candidates(["c"]), "model", "student").pass_at_k == [1.0]


def test_tokens_of_a_correct_answer_are_all_tokens_over_the_correct_ones() -> None:
    found = score(candidates(["cw", "ww"]), "model", "student")
    assert (found.mean_thinking_tokens, found.tokens_per_correct) == (10, 80)
    assert score(candidates(["ww"]), "model", "student").tokens_per_correct is None
    assert found.language_mixing == 1.0  # half of each thinking is Chinese


def test_counts_of_one_role_s_benchmarks_go_together_and_roles_have_an_order() -> None:
    parts = [
        measure(candidates(["c"] * 8, "hard"), "mine", "student"),
        measure(candidates(["cw"] * 8, "easy", first=50), "mine", "student"),
        measure(candidates(["w"] * 8, "hard"), "old", "previous"),
        measure(candidates(["w"] * 8, "hard"), "Qwen", "base-chat"),
        measure(candidates(["ww"] * 8, "easy", first=50), "Qwen", "base"),
        measure(candidates(["w"] * 8, "hard"), "Qwen", "base"),
    ]
    report = assemble(
        parts,
        EVALUATION,
        student="s",
        dataset="d",
        checkpoint="c",
        fingerprint="f",
        recorded={},
        regressions={"easy"},
        reference={"hard": 0.839},
    )
    assert [one.role for one in report.scores if one.source == "all"] == [
        "base",
        "base-chat",
        "previous",
        "student",
    ]
    hard = {one.role: one.pass_at_1 for one in report.scores if one.source == "hard"}
    assert hard == {"base": 0, "base-chat": 0, "previous": 0, "student": 1, "reference": 0.839}
    pairs = {(one.better, one.than): one for one in report.comparisons if one.source == "hard"}
    assert set(pairs) == {("student", "base"), ("student", "base-chat"), ("student", "previous")}
    assert pairs["student", "base"].p_adjusted is not None
    (easy,) = [one for one in report.comparisons if one.source == "easy"]
    assert easy.regression and easy.p_adjusted is None
    assert report.promotion is not None
    assert {one.against for one in report.promotion.rulings if one.rule == "gain"} == {"base", "previous"}
    assert "published" in table(report) and "83.9 %" in table(report)


def test_tallies_hold_no_text() -> None:
    found = measure(candidates(["cw", "nt"]), "m", "student").tallies["all"]
    for votes in found.votes.values():
        assert all(isinstance(answer, int) for answer in votes)
    assert "question" not in str(found) and THINKING not in str(found)
