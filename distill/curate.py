"""Curate: candidates get their measured columns, then the reason why they are not in the dataset, then become examples.

`measure` is local to a shard. `select` reads all shards and is the only place that drops anything; it uses stored columns
and texts only, so another threshold or policy re-cuts the set without a teacher, a verifier or a second measuring.
Both give one row for one row, in order. Whether a kept trace is *true*, the verdict said; nothing here judges again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from distill import contamination, dedup, language, screens, selection, shingles
from distill.normalise import join
from distill.prompts import render
from distill.recipe import Curation
from distill.records import Candidate, Example, Message

VERSION = 1
VERSIONS = {
    "curate": VERSION,
    "screens": screens.VERSION,
    "language": language.VERSION,
    "dedup": dedup.VERSION,
    "contamination": contamination.VERSION,
    "selection": selection.VERSION,
}
"""What decides, for the fingerprint of a dataset."""
UNGRADED = frozenset({"unverified", "unparsed_reference", "timeout", "error"})
"""Outcomes that say nothing about the teacher; they are no part of a pass rate."""
NO_SHARES: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a row is out."""

    reason: str
    detail: str
    duplicate_of: str | None = None


def measure(candidates: Iterable[Candidate], curation: Curation) -> Iterator[Candidate]:
    """One candidate for each, in order, with its columns measured and nothing dropped; siblings have to be contiguous."""
    for _, group in groupby(candidates, key=lambda candidate: candidate.trace.problem.problem_id):
        siblings = list(group)
        rate = pass_rate(siblings)
        yield from (_measured(candidate, rate) for candidate in siblings)


def select(
    candidates: Iterable[Candidate],
    curation: Curation,
    benchmark_questions: Iterable[str] = (),
    shares: Mapping[str, float] = NO_SHARES,
) -> Iterator[Candidate]:
    """One candidate for each, in order, with `dropped`, `detail_dropped` and `duplicate_of` set anew from the columns.

    Goes over `candidates` up to three times: give it a list or an object that reads the shards again each time it is
    iterated over, and memory is some 1.4 kB a row. An iterator can be read only once, so its rows are kept in memory.
    """
    rows = list(candidates) if isinstance(candidates, Iterator) else candidates
    drops = decide(rows, curation, benchmark_questions, shares)
    for row, candidate in enumerate(rows):
        drop = drops.get(row)
        yield replace(
            candidate,
            dropped=drop.reason if drop else None,
            detail_dropped=drop.detail if drop else None,
            duplicate_of=drop.duplicate_of if drop else None,
        )


def decide(
    rows: Iterable[Candidate], curation: Curation, benchmark_questions: Iterable[str] = (), shares: Mapping[str, float] = NO_SHARES
) -> dict[int, Drop]:
    """Row number of each dropped row with its reason; `rows` is iterated over twice at most."""
    drops: dict[int, Drop] = {}
    contaminated: dict[int, contamination.Match] = {}
    choices: dict[int, selection.Choice] = {}
    identities: dict[int, str] = {}
    benchmarks = contamination.Benchmarks(benchmark_questions, curation.decontamination)
    index = dedup.Index(curation.duplicates)
    for row, candidate in enumerate(rows):
        found = screens.reason(candidate, curation.screens, any_outcome=curation.selection.policy == "none")
        if found is not None:
            drops[row] = Drop(*found)
            continue
        match = benchmarks.match(candidate.trace.problem.question)
        if match is not None and match.drop:
            contaminated[row] = match
        index.add(row, candidate.trace, _rank(candidate, row in contaminated))
        identities[row] = candidate.trace.id
        choices[row] = selection.choice(row, candidate, curation.selection)
    drops.update(_duplicates(rows, index, identities))
    for row, match in contaminated.items():
        drops.setdefault(row, Drop(screens.CONTAMINATED, str(match)))
    clean = [item for row, item in choices.items() if row not in drops]
    for row, rule in selection.not_selected(clean, curation.selection, shares).items():
        drops[row] = Drop(screens.NOT_SELECTED, rule)
    return drops


def examples(candidates: Iterable[Candidate], template: str, system: str | None = None) -> Iterator[Example]:
    """A training row for each candidate that is not dropped, asked as the teacher was asked."""
    for candidate in candidates:
        if candidate.dropped is None:
            yield _example(candidate, list(render(candidate.trace.problem, template, system)))


def pass_rate(siblings: Iterable[Candidate]) -> float | None:
    """The share of correct ones among a problem's graded traces; None when none was graded. A cut trace is not correct."""
    graded = [one for one in siblings if one.verdict.outcome not in UNGRADED and screens.failed(one.trace) is None]
    if not graded:
        return None
    return sum(one.verdict.outcome == "correct" and screens.truncated(one.trace) is None for one in graded) / len(graded)


def _measured(candidate: Candidate, rate: float | None) -> Candidate:
    trace, problem = candidate.trace, candidate.trace.problem
    thinking = trace.thinking or ""
    in_thinking = language.measure(thinking, problem.language, problem.question)
    in_answer = language.measure(trace.answer, problem.language, problem.question)
    return replace(
        candidate,
        language_share=in_thinking.share,
        answer_language_share=in_answer.share,
        language_spans=[*language.spans("thinking", thinking, in_thinking), *language.spans("answer", trace.answer, in_answer)],
        repetition=None if trace.thinking is None else screens.repetition(thinking),
        pass_rate=rate,
    )


def _rank(candidate: Candidate, contaminated: bool) -> int:
    """Which of two copies stays: a contaminated one, so that its copies go with it, then a correct one."""
    return 2 * (not contaminated) + (candidate.verdict.outcome != "correct")


def _duplicates(rows: Iterable[Candidate], index: dedup.Index, identities: Mapping[int, str]) -> dict[int, Drop]:
    exact = index.exact()
    suspects = index.suspects(exact)
    drops = {row: Drop(screens.EXACT_DUPLICATE, "same text", identities[stays]) for row, stays in exact.items()}
    with dedup.shingles_of((candidate.trace for candidate in rows) if suspects else (), suspects, index.section) as found:
        for row, stays in index.near(found).items():
            alike = shingles.jaccard(found[row], found[stays])
            drops[row] = Drop(screens.NEAR_DUPLICATE, f"Jaccard similarity {alike:.2f}", identities[stays])
    return drops


def _example(candidate: Candidate, prompt: list[Message]) -> Example:
    trace, problem = candidate.trace, candidate.trace.problem
    completion = [Message("assistant", join(trace.thinking, trace.answer))]
    return Example(
        id=trace.id,
        problem_id=problem.problem_id,
        source=problem.source,
        kind=problem.kind,
        language=problem.language,
        prompt=prompt,
        completion=completion,
        messages=prompt + completion,
        prompt_tokens=trace.prompt_tokens,
        completion_tokens=None if trace.thinking_tokens is trace.answer_tokens is None else screens.completion_tokens(trace),
        pass_rate=candidate.pass_rate,
        teacher=trace.teacher,
        licence=problem.licence,
    )
