"""The majority verdict: what most traces of a problem agree on, in place of a reference that is missing.

OpenMathReasoning takes the most common of up to 32 answers so. Answers are equal when the kind's own verifier
finds each correct with the other as the reference. A problem with a reference keeps its verdicts; there the
majority is an opinion that can show a wrong reference. A majority can be wrong, and on hard problems it often
is: that is the recipe's choice.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from distill.recipe import Majority, Verification
from distill.records import Candidate, Outcome, Problem, Trace, Verdict
from distill.verifiers import judge, rules

VERSION = "majority/1"
ANSWERED = ("correct", "wrong", "unparsed_reference")
"""Outcomes of a complete trace whose answer was read; a timeout is left out, it would time out against others
too."""
MAX_CLASSES = 16
"""Distinct answers that others are compared with, most common first: a rarer one beyond them stands alone."""
DETAIL_CHARACTERS = 200

JudgeAnswer = Callable[[Problem, str, Verification], Verdict]


@dataclass(frozen=True, slots=True)
class _Vote:
    """How the traces of a problem are divided."""

    answer: str | None
    """What the majority agrees on, as it is most often spelled; None without a majority."""
    share: float
    """Share of all traces that gave the most common answer."""
    detail: str


def vote(candidates: Iterable[Candidate], section: Verification, wanted: Majority) -> Iterator[Candidate]:
    """The candidates with what the majority of their siblings says; siblings have to be contiguous."""
    for _, group in groupby(candidates, key=lambda one: one.trace.problem.problem_id):
        yield from agree(list(group), wanted, section)


def _by_rules(problem: Problem, answer: str, section: Verification) -> Verdict:
    return judge(Trace(problem, problem.problem_id, 0, None, answer, True, "stop"), section)


def agree(
    siblings: Sequence[Candidate],
    majority: Majority,
    section: Verification,
    judge_answer: JudgeAnswer = _by_rules,
) -> list[Candidate]:
    """A problem's candidates with the majority's opinion, and its verdict where there is no reference;
    `judge_answer` is the verifier of the problem's kind."""
    spellings = [_spelling(one.trace, one.verdict, section) for one in siblings]
    classes = _classes(siblings, spellings, section, judge_answer)
    answers = [None if spelling is None else classes[spelling] for spelling in spellings]
    if not classes:
        return list(siblings)
    winner = _winner(answers, majority)
    return [_voted(one, answer, winner) for one, answer in zip(siblings, answers, strict=True)]


def _spelling(trace: Trace, verdict: Verdict, section: Verification) -> str | None:
    """The answer that a trace votes for, as it spelled it."""
    votes = rules(trace.problem.kind).final_box and verdict.outcome in ANSWERED
    answer = verdict.extracted
    return answer if votes and answer and len(answer) <= section.max_answer_characters else None


def _classes(
    siblings: Sequence[Candidate],
    spellings: Sequence[str | None],
    section: Verification,
    judge_answer: JudgeAnswer,
) -> dict[str, str]:
    """Each spelling with the one that represents its class."""
    first = {
        spelling: one.trace
        for one, spelling in reversed(list(zip(siblings, spellings, strict=True)))
        if spelling is not None
    }

    def accepted(reference: str, spelling: str) -> bool:
        problem = replace(first[spelling].problem, reference=reference)
        return judge_answer(problem, first[spelling].answer, section).outcome == "correct"

    heads: list[str] = []
    classes: dict[str, str] = {}
    for spelling, _ in Counter(spelling for spelling in spellings if spelling is not None).most_common():
        head = next((head for head in heads if accepted(head, spelling) and accepted(spelling, head)), None)
        if head is None and len(heads) < MAX_CLASSES:
            heads.append(spelling)
        classes[spelling] = head or spelling
    return classes


def _winner(answers: Sequence[str | None], majority: Majority) -> _Vote:
    """The most common answer, if enough traces gave it and no other is as common."""
    ranking = Counter(answer for answer in answers if answer is not None).most_common(2)
    answer, count = ranking[0]
    given, share = sum(answer is not None for answer in answers), count / len(answers)
    detail = f"{count} of {len(answers)} traces agree on {answer[:DETAIL_CHARACTERS]}"
    if given < majority.min_answers:
        return _Vote(None, share, f"no majority: {given} answers, {majority.min_answers} are needed")
    if ranking[1:] and ranking[1][1] == count:
        another = ranking[1][0][:DETAIL_CHARACTERS]
        return _Vote(None, share, f"no majority: {detail}, and as many on {another}")
    if share <= majority.min_share:
        return _Vote(None, share, f"no majority: {detail}, more than {majority.min_share:.0%} are needed")
    return _Vote(answer, share, detail)


def _voted(candidate: Candidate, answer: str | None, vote: _Vote) -> Candidate:
    """What the vote makes of one candidate."""
    outcome: Outcome | None = None
    if answer is not None and vote.answer is not None:
        outcome = "correct" if answer == vote.answer else "wrong"
    opinions = replace(
        candidate.opinions, majority_outcome=outcome, majority_answer=vote.answer, majority_share=vote.share
    )
    verdict = candidate.verdict
    if answer is not None and not (candidate.trace.problem.reference or "").strip():
        verdict = replace(verdict, outcome=outcome or "unverified", detail=vote.detail, verifier=VERSION)
    return replace(candidate, verdict=verdict, opinions=opinions)
