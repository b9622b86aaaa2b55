"""Preferences: pairs of a chosen and a rejected completion of one problem, for preference training such as
DPO.

A pair comes from stored rows alone and from one problem's traces alone, which are in memory together. The
rows have TRL's conversational columns `prompt`, `chosen` and `rejected`; what else they have says how the
pair came about. A wrong completion is one that a verifier calls wrong and that has no other fault: it would
be an example if its answer were right. The step where it goes wrong is not looked for. Where wrong traces are
kept as examples (policy `none`), there are no wrong ones to reject.
"""

import heapq
import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, takewhile
from typing import NamedTuple

from distill.curate.filters import NOT_SELECTED, completion_tokens, reason
from distill.recipe import Preferences, Screens, Selection
from distill.records import Candidate, Message, Outline, Trace
from distill.store import digest
from distill.text import prompts, thinking

VERSION = 2
NEAR_COPY = 0.7
"""Pairs at least so alike (Jaccard) teach little but a lower probability of what they share (Pal et al. 2024,
DPO-Positive)."""
LONGER = 1.5
"""A long completion has at least so many times the tokens of the short one that is preferred to it."""
PARTNERS = 32
"""Traces that a chosen one is compared with, beyond those that other pairs may have taken: 20,000 siblings
would make 10**8 pairs."""
ANY_ANSWER = Selection(policy="none")


class Sized(NamedTuple):
    """A trace with what puts it in order among its siblings."""

    tokens: int
    """Of its completion; 1 at least."""
    id: str
    candidate: Candidate


Pair = tuple[Sized, Sized]
"""A chosen and a rejected trace."""


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


def preferences(
    candidates: Iterable[Candidate],
    section: Preferences,
    screens: Screens,
    template: str,
    system: str | None = None,
    contaminated: Collection[str] = (),
) -> Iterator[Preference]:
    """The pairs of curated candidates, problem by problem, asked as the teacher was asked; siblings have to
    be contiguous.

    `contaminated` are the ids of traces that are too close to a benchmark, whatever they were dropped for:
    they are in no pair.
    """
    most = PARTNERS + 2 * section.per_problem
    for _, group in groupby(candidates, key=lambda candidate: candidate.trace.problem.problem_id):
        siblings = [one for one in group if one.trace.id not in contaminated]
        chosen = [_sized(one) for one in siblings if _is_good(one)]
        if not chosen:
            continue
        if section.rejected == "long":
            found = _short_and_long(
                chosen, [_sized(one) for one in siblings if _is_good(one, not_selected=True)], most
            )
        else:
            found = _right_and_wrong(
                chosen,
                [
                    _sized(one)
                    for one in siblings
                    # no screen would drop it if its answer were accepted
                    if one.dropped == "wrong" and reason(outline(one), screens, ANY_ANSWER) is None
                ],
                most,
            )
        for one, other in _disjoint(found, section.per_problem):
            yield _preference(
                one,
                other,
                section.rejected,
                list(prompts.render(one.candidate.trace.problem, template, system)),
            )


def similarity(one: Candidate, other: Candidate) -> float | None:
    """Estimated Jaccard similarity of two measured candidates: the share of equal bytes of their
    signatures."""
    first, second = one.measures.minhash, other.measures.minhash
    if first is None or second is None:
        return None
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def outline(candidate: Candidate) -> Outline:
    """A candidate without its texts, as it would be read from its shard."""
    trace, verdict, problem = candidate.trace, candidate.verdict, candidate.trace.problem
    return Outline(
        id=trace.id,
        problem_id=problem.problem_id,
        source=problem.source,
        kind=problem.kind,
        language=problem.language,
        sample_index=trace.sample_index,
        finish_reason=trace.finish_reason,
        think_closed=trace.think_closed,
        outcome=verdict.outcome,
        extracted=verdict.extracted,
        detail=verdict.detail,
        majority_outcome=candidate.opinions.majority_outcome,
        failure=trace.failure,
        prompt_tokens=trace.prompt_tokens,
        thinking_tokens=trace.thinking_tokens,
        answer_tokens=trace.answer_tokens,
        cost_usd=trace.cost_usd,
        measures=candidate.measures,
    )


def _right_and_wrong(chosen: Iterable[Sized], wrong: Collection[Sized], most: int) -> Iterator[Pair]:
    """Each example with the `most` wrong traces nearest in length, nearly equal ones first: no student shall
    learn lengths."""
    longer = sorted(wrong, key=lambda one: (one.tokens, one.id))
    shorter = sorted(wrong, key=lambda one: (-one.tokens, one.id))

    def order(pair: Pair) -> tuple[float, str, str]:
        return abs(math.log(_ratio(*pair))), pair[0].id, pair[1].id

    def nearest(one: Sized) -> Iterator[Pair]:
        first = bisect_left(longer, one.tokens, key=lambda other: other.tokens)
        sides = (_from(one, longer, first), _from(one, shorter, len(shorter) - first))
        return islice(heapq.merge(*sides, key=order), most)

    return heapq.merge(*map(nearest, chosen), key=order)


def _short_and_long(chosen: Iterable[Sized], accepted: Iterable[Sized], most: int) -> Iterator[Pair]:
    """Each example with those of the `most` longest accepted traces that are much longer, the largest
    differences first."""
    longest = sorted(accepted, key=lambda one: (-one.tokens, one.id))[:most]

    def order(pair: Pair) -> tuple[float, str, str]:
        return -_ratio(*pair), pair[0].id, pair[1].id

    def longer(one: Sized) -> Iterator[Pair]:
        return takewhile(lambda pair: _ratio(*pair) >= LONGER, _from(one, longest))

    return heapq.merge(*map(longer, chosen), key=order)


def _from(one: Sized, others: Sequence[Sized], first: int = 0) -> Iterator[Pair]:
    return ((one, others[position]) for position in range(first, len(others)))


def _disjoint(pairs: Iterable[Pair], limit: int) -> Iterator[Pair]:
    """The first pairs that are no near-copies, with no trace in two of them."""
    used: set[str] = set()
    for one, other in pairs:
        if (
            one.id in used
            or other.id in used
            or (similarity(one.candidate, other.candidate) or 0.0) >= NEAR_COPY
        ):
            continue
        used |= {one.id, other.id}
        yield one, other
        if len(used) >= 2 * limit:
            return


def _is_good(candidate: Candidate, not_selected: bool = False) -> bool:
    """Whether a trace is an example that nothing calls wrong; with `not_selected`, or would have been one."""
    accepted = (
        candidate.verdict.outcome in ("correct", "unverified")
        or candidate.opinions.majority_outcome == "correct"
    )
    return accepted and (candidate.dropped is None or (not_selected and candidate.dropped == NOT_SELECTED))


def _sized(candidate: Candidate) -> Sized:
    return Sized(max(1, completion_tokens(candidate.trace)), candidate.trace.id, candidate)


def _ratio(one: Sized, other: Sized) -> float:
    return other.tokens / one.tokens


def _preference(one: Sized, other: Sized, rule: str, prompt: list[Message]) -> Preference:
    chosen, rejected = one.candidate, other.candidate
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
    return [Message("assistant", thinking.join(trace.thinking, trace.answer))]
