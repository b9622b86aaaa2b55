"""Counts over the completions of one model on one set of problems: everything that figures are made of, and
no text.

What a server, a verifier or a bad reference spoiled is left out and counted, never called wrong; a completion
whose verification timed out counts as not correct.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from distill.evaluate.statistics import mean
from distill.records import Candidate
from distill.text import language
from distill.verifiers import rules

NO_COMPLETION = "no_completion"
UNJUDGED = frozenset({"error", "unparsed_reference", "unverified", NO_COMPLETION})
MIXED = 0.9
"""A completion whose thinking has a smaller share of its problem's language mixes languages: the default of
`curation.screens.min_language_share`."""
CORRECT = 0
"""The vote of every correct answer: all of them equal the reference."""


@dataclass(slots=True)
class Tally:
    """Counts over completions; those of two sets of problems are added with `add_all`."""

    correct: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    """Problem id to completions with a verdict."""
    asked: Counter[str] = field(default_factory=Counter)
    votes: dict[str, Counter[int]] = field(default_factory=dict)
    """Problem id to how often each answer was given, by its hash; only of kinds with one short answer."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Completions by outcome, and `no_completion` for those that the engine failed to give."""
    verifiers: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    truncated: int = 0
    measured: int = 0
    """Completions whose tokens are known."""
    thinking_tokens: int = 0
    tokens: int = 0
    worded: int = 0
    """Completions whose thinking has words to tell a language by."""
    mixed: int = 0
    language: float = 0.0
    """Sum of their shares in the problem's language."""

    def add(self, candidate: Candidate) -> None:
        """Counts one completion."""
        trace, verdict = candidate.trace, candidate.verdict
        problem = trace.problem.problem_id
        outcome = NO_COMPLETION if trace.finish_reason == "error" else verdict.outcome
        judged = outcome not in UNJUDGED
        self.asked[problem] += 1
        self.judged[problem] += judged
        self.correct[problem] += judged and outcome == "correct"
        self.outcomes[outcome] += 1
        self.verifiers[verdict.verifier] += 1
        self.left_out += not judged
        self.truncated += trace.finish_reason == "length"
        if trace.thinking_tokens is not None or trace.answer_tokens is not None:
            self.measured += 1
            self.thinking_tokens += trace.thinking_tokens or 0
            self.tokens += (trace.thinking_tokens or 0) + (trace.answer_tokens or 0)
        if judged and rules(trace.problem.kind).final_box:
            given = self.votes.setdefault(problem, Counter())
            if outcome == "correct":
                given[CORRECT] += 1
            elif verdict.extracted:
                given[_hash(verdict.extracted)] += 1
        share = language.share(trace.thinking or "", trace.problem.language, trace.problem.question)
        if share is not None:
            self.worded += 1
            self.mixed += share < MIXED
            self.language += share

    def add_all(self, other: "Tally") -> None:
        """Adds the counts of another set of problems."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, Counter):
                mine.update(theirs)  # keeps zeros: a problem without a correct completion stays one
            elif isinstance(mine, dict):
                for problem, given in theirs.items():
                    mine.setdefault(problem, Counter()).update(given)
            else:
                setattr(self, one.name, mine + theirs)

    def pass_rates(self) -> dict[str, float]:
        """Share of correct completions for each problem that has one with a verdict."""
        return {problem: self.correct[problem] / judged for problem, judged in self.judged.items() if judged}

    def counts(self) -> list[tuple[int, int]]:
        """(correct, judged) of each problem that has a completion with a verdict."""
        return [(self.correct[problem], judged) for problem, judged in self.judged.items() if judged]

    def majority(self) -> float | None:
        """maj@k over all samples of each problem; None where no problem has short answers.

        Among answers that are equally common one is drawn. Correct answers are one answer however they are
        spelled; wrong ones are told apart by their spelling without white space, which favours the correct.
        A problem without any answer is not solved.
        """
        return mean([_consensus(given) for given in self.votes.values()])


def tally(candidates: Iterable[Candidate]) -> Tally:
    """The counts of candidates."""
    found = Tally()
    for candidate in candidates:
        found.add(candidate)
    return found


def _consensus(given: Counter[int]) -> float:
    """Chance that the most common answer is correct."""
    most = max(given.values(), default=0)
    if given[CORRECT] < most or not most:
        return 0.0
    return 1 / sum(count == most for count in given.values())


def _hash(answer: str) -> int:
    spelled = "".join(answer.split()).encode("utf-8", "surrogatepass")
    return 1 + int.from_bytes(hashlib.blake2b(spelled, digest_size=7).digest(), "big")
