"""Preferences: pairs of a chosen and a rejected completion of one problem, for preference training such as DPO.

A pair comes from stored rows alone and from one problem's traces alone. The rows have TRL's conversational columns `prompt`,
`chosen` and `rejected`; what else they have says how the pair came about. A wrong completion is one that a verifier calls wrong:
the step where it goes wrong is not looked for. Where wrong traces are kept as examples (policy `none`), there are no wrong ones to reject.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from distill.normalise import join
from distill.prompts import render
from distill.recipe_curation import Preferences
from distill.records import Candidate, Message, Trace
from distill.screens import NOT_SELECTED, completion_tokens
from distill.store import digest

VERSION = 1
NEAR_COPY = 0.7
"""Pairs at least so alike (Jaccard) teach little but a lower probability of what they share (Pal et al. 2024, DPO-Positive)."""
LONGER = 1.5
"""A long completion has at least so many times the tokens of the short one that is preferred to it."""


@dataclass(frozen=True, slots=True)
class Preference:
    """One row for preference training; no student's chat template is in it."""

    id: str
    problem_id: str
    source: str
    kind: str
    language: str
    prompt: list[Message]
    chosen: list[Message]
    """One assistant message, as in `Example.completion`."""
    rejected: list[Message]
    chosen_id: str
    """Id of the example."""
    rejected_id: str
    """Id of the candidate."""
    rule: str
    """`"wrong"` or `"long"`: what is worse about the rejected one."""
    chosen_tokens: int
    rejected_tokens: int
    margin_tokens: int
    """How much longer the rejected completion is; negative where it is shorter."""
    similarity: float | None
    """Estimated Jaccard similarity of the two completions' words."""
    pass_rate: float | None
    teacher: str
    licence: str


def preferences(candidates: Iterable[Candidate], section: Preferences, template: str, system: str | None = None) -> Iterator[Preference]:
    """The pairs of curated candidates, problem by problem, asked as the teacher was asked; siblings have to be contiguous."""
    for _, group in groupby(candidates, key=lambda candidate: candidate.trace.problem.problem_id):
        siblings = list(group)
        found = _short_and_long(siblings) if section.rejected == "long" else _right_and_wrong(siblings)
        for chosen, rejected in _disjoint(found, section.per_problem):
            yield _preference(chosen, rejected, section.rejected, list(render(chosen.trace.problem, template, system)))


def similarity(one: Candidate, other: Candidate) -> float | None:
    """Estimated Jaccard similarity of two measured candidates: the share of equal bytes of their signatures."""
    first, second = one.measures.minhash, other.measures.minhash
    if first is None or second is None:
        return None
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def _right_and_wrong(siblings: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Each example with each finished, well-formed wrong trace, those of nearly equal length first: no student shall learn lengths."""
    wrong = [one for one in siblings if one.dropped == "wrong"]
    pairs = [(chosen, rejected) for chosen in siblings if _is_good(chosen) for rejected in wrong]
    return sorted(pairs, key=lambda pair: (abs(math.log(_ratio(*pair))), *_ids(*pair)))


def _short_and_long(siblings: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Each example with each accepted trace that is much longer, the largest differences first."""
    longer = [one for one in siblings if _is_good(one, not_selected=True)]
    pairs = [(chosen, rejected) for chosen in siblings if _is_good(chosen) for rejected in longer if _ratio(chosen, rejected) >= LONGER]
    return sorted(pairs, key=lambda pair: (-_ratio(*pair), *_ids(*pair)))


def _disjoint(pairs: Iterable[tuple[Candidate, Candidate]], limit: int) -> Iterator[tuple[Candidate, Candidate]]:
    """The first pairs that are no near-copies, with no trace in two of them."""
    used: set[str] = set()
    for chosen, rejected in pairs:
        if len(used) == 2 * limit:
            return
        together = set(_ids(chosen, rejected))
        if not used & together and (similarity(chosen, rejected) or 0.0) < NEAR_COPY:
            used |= together
            yield chosen, rejected


def _is_good(candidate: Candidate, not_selected: bool = False) -> bool:
    """Whether a trace is an example that nothing calls wrong; with `not_selected`, or would have been one."""
    accepted = candidate.verdict.outcome in ("correct", "unverified") or candidate.opinions.majority_outcome == "correct"
    return accepted and (candidate.dropped is None or (not_selected and candidate.dropped == NOT_SELECTED))


def _ratio(chosen: Candidate, rejected: Candidate) -> float:
    """Tokens of the rejected completion over those of the chosen one."""
    return max(1, completion_tokens(rejected.trace)) / max(1, completion_tokens(chosen.trace))


def _ids(chosen: Candidate, rejected: Candidate) -> tuple[str, str]:
    return chosen.trace.id, rejected.trace.id


def _preference(chosen: Candidate, rejected: Candidate, rule: str, prompt: list[Message]) -> Preference:
    trace, problem = chosen.trace, chosen.trace.problem
    tokens = completion_tokens(trace), completion_tokens(rejected.trace)
    return Preference(
        id=digest(f"{trace.id}/{rejected.trace.id}")[:16],
        problem_id=problem.problem_id,
        source=problem.source,
        kind=problem.kind,
        language=problem.language,
        prompt=prompt,
        chosen=_turn(trace),
        rejected=_turn(rejected.trace),
        chosen_id=trace.id,
        rejected_id=rejected.trace.id,
        rule=rule,
        chosen_tokens=tokens[0],
        rejected_tokens=tokens[1],
        margin_tokens=tokens[1] - tokens[0],
        similarity=similarity(chosen, rejected),
        pass_rate=chosen.measures.pass_rate,
        teacher=trace.teacher,
        licence=problem.licence,
    )


def _turn(trace: Trace) -> list[Message]:
    return [Message("assistant", join(trace.thinking, trace.answer))]
