from dataclasses import replace

import pytest

from distill import verifiers
from distill.recipe import Majority, Verification
from distill.records import Candidate, Problem, Trace, Verdict
from distill.verify.majority import MAX_CLASSES, VERSION, agree

SECTION = Verification(workers=1)
MAJORITY = Majority()


def siblings(answers, reference=None, kind="math"):
    """Traces with these boxed answers as the rule verifier leaves them; None is a trace without an answer."""
    problem = Problem(
        "p", "s", kind, "Which?\nA) one\nB) two\nC) three" if kind == "choice" else "q", reference
    )
    traces = [
        Trace(problem, str(n), n, "so", "no idea" if answer is None else rf"\boxed{{{answer}}}", True, "stop")
        for n, answer in enumerate(answers)
    ]
    verdicts = [verifiers.judge(trace, SECTION) for trace in traces]
    return list(map(Candidate, traces, verdicts))


def outcomes(answers, majority=MAJORITY, **fields):
    return [one.verdict.outcome for one in agree(siblings(answers, **fields), majority, SECTION)]


def test_equal_answers_are_one_whatever_their_spelling_and_the_most_common_one_is_correct():
    judged = agree(siblings([r"\frac{1}{2}", "0.5", "1/2", r"\frac{1}{2}", "2", None]), MAJORITY, SECTION)
    verdicts = [one.verdict for one in judged]
    assert [verdict.outcome for verdict in verdicts] == ["correct"] * 4 + ["wrong", "no_answer"]
    assert {verdict.verifier for verdict in verdicts[:5]} == {VERSION}
    assert {verdict.detail for verdict in verdicts[:5]} == {r"4 of 6 traces agree on \frac{1}{2}"}
    assert verdicts[1].extracted == "0.5"
    assert {one.opinions.majority_answer for one in judged} == {r"\frac{1}{2}"}
    assert {one.opinions.majority_share for one in judged} == {4 / 6}
    assert [one.opinions.majority_outcome for one in judged] == ["correct"] * 4 + ["wrong", None]


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        (["1"] * 3, "3 answers, 4 are needed"),
        (["1"] * 3 + [None] * 5, "3 answers, 4 are needed"),
        (["1"] * 4 + ["2", "3", "4", "5"], "4 of 8 traces agree on 1, more than 50% are needed"),
        (["1"] * 4 + [None] * 4, "4 of 8 traces agree on 1, more than 50% are needed"),
    ],
)
def test_without_a_majority_the_answers_are_unverified_and_say_why(answers, cause):
    judged = agree(siblings(answers), MAJORITY, SECTION)
    for answer, one in zip(answers, judged, strict=True):
        verdict, opinions = one.verdict, one.opinions
        assert verdict.outcome == ("no_answer" if answer is None else "unverified")
        assert answer is None or cause in verdict.detail
        assert (opinions.majority_outcome, opinions.majority_answer) == (None, None)


def test_a_tie_is_no_majority_however_low_the_share_asked_for():
    low = Majority(min_share=0.2)
    assert outcomes(["1", "1", "2", "2", "3"], low) == ["unverified"] * 5
    assert outcomes(["1", "1", "2", "2", "2"], low) == ["wrong"] * 2 + ["correct"] * 3


def test_a_problem_with_a_reference_keeps_its_verdicts_and_gets_opinions():
    before = siblings(["7", "7", "7", "7", "5"], reference="5")
    judged = agree(before, MAJORITY, SECTION)
    assert [one.verdict for one in judged] == [one.verdict for one in before]
    assert [one.verdict.outcome for one in judged] == ["wrong"] * 4 + ["correct"]
    assert [one.opinions.majority_outcome for one in judged] == ["correct"] * 4 + ["wrong"]


@pytest.mark.parametrize(
    "change", [{"failure": "null_content"}, {"think_closed": False}, {"finish_reason": "length"}]
)
def test_an_incomplete_trace_has_no_vote_and_stays_what_it_is(change):
    traces = [one.trace for one in siblings(["1"] * 5)]
    cut = [replace(trace, **change) for trace in traces[:2]] + traces[2:]
    judged = agree([Candidate(trace, verifiers.judge(trace, SECTION)) for trace in cut], MAJORITY, SECTION)
    assert [one.verdict.outcome for one in judged] == ["no_answer"] * 2 + ["unverified"] * 3
    assert {one.opinions.majority_outcome for one in judged} == {None}


def test_answers_are_equal_only_when_each_is_accepted_for_the_other():
    assert outcomes([r"\frac{1}{3}"] * 4 + ["0.333", "x"]) == ["correct"] * 4 + ["wrong"] * 2

    def lenient(problem, answer, section):
        return Verdict("correct" if problem.reference == "about 1" else "wrong")

    judged = agree(siblings(["about 1"] * 3 + ["1"] * 3), MAJORITY, SECTION, lenient)
    assert {one.verdict.outcome for one in judged} == {"unverified"}


@pytest.mark.parametrize(
    ("kind", "answers"),
    [("choice", ["C", "(C)", r"\text{C}", "C. 42", "B"]), ("logic", ["Yes", "yes", '"yes"', "YES.", "no"])],
)
def test_choices_and_short_texts_are_compared_by_their_own_verifier(kind, answers):
    assert outcomes(answers, kind=kind) == ["correct"] * 4 + ["wrong"]


def test_kinds_without_one_answer_and_problems_without_answers_are_left_alone():
    problem = Problem("p", "s", "open", "q", None)
    rows = [
        Candidate(Trace(problem, str(n), n, None, "a poem", True, "stop"), Verdict("unverified"))
        for n in range(5)
    ]
    assert agree(rows, MAJORITY, SECTION) == rows
    nothing = siblings([None] * 4)
    assert agree(nothing, MAJORITY, SECTION) == nothing


def test_comparisons_are_bounded_when_every_answer_differs():
    asked = []

    def never(problem, answer, section):
        asked.append((problem.reference, answer))
        return Verdict("wrong")

    judged = agree(siblings([str(n) for n in range(100)]), MAJORITY, SECTION, never)
    assert len(asked) <= 100 * MAX_CLASSES
    assert {one.verdict.outcome for one in judged} == {"unverified"}
