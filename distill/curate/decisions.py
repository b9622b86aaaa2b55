"""Curate: candidates are measured, then it is decided which of them become examples.

`measure` looks at texts and is local to a shard. `decide` goes over the measured columns of all shards and
looks at no text, so another threshold or policy re-cuts a dataset in seconds, without a teacher, a verifier
or a second measuring. Both give one row for one row, in order. Whether a kept trace is *true*, the verdict
said; nothing here judges again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from distill import contamination, duplicates
from distill.curate import filters, measures, selection
from distill.duplicates import Pair, pairs
from distill.files import readers
from distill.recipe import Curation, Duplicates
from distill.records import Candidate, Measures, Outline
from distill.text import shingles
from distill.verifiers import row_errors

VERSION = 3
MEASURES = {"curate": VERSION, **measures.VERSIONS}
"""What measures, for the fingerprint of measured candidates."""
DECIDES = {
    "curate": VERSION,
    "screens": filters.VERSION,
    "dedup": duplicates.VERSION,
    "selection": selection.VERSION,
}
"""What decides, for the fingerprint of a dataset."""
UNGRADED = frozenset({"unverified", "unparsed_reference", "timeout", "error"})
"""Outcomes that say nothing about the teacher; they are no part of a pass rate."""
NO_SHARES: Mapping[str, float] = {}
NO_MATCHES: Mapping[int, contamination.Match] = {}


def measuring(curation: Curation) -> dict[str, Any]:
    """What decides the measured columns, the pairs of near-duplicates and the matches with benchmarks: all
    else is cut anew in seconds."""
    duplicates, benchmarks = curation.duplicates, [readers.identity(source) for source in curation.benchmarks]
    compared = {
        name: value
        for name, value in curation.decontamination.identity().items()
        if name not in ("problems", "drop_other_digits")
    }
    return {
        "measures": MEASURES | {"shingle_words": duplicates.shingle_words},
        "pairs": {"pairs": pairs.VERSION, "floor": pairs.floor(duplicates)},
        "matches": {"contamination": contamination.VERSION, "benchmarks": benchmarks, **compared},
    }


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one candidate: the last columns of its row."""

    duplicate_of: str | None = None
    dropped: str | None = None
    detail_dropped: str | None = None


KEPT = Decision()


def measure(candidates: Iterable[Candidate], curation: Curation) -> Iterator[Candidate]:
    """One candidate for each, in order, with its columns measured and nothing dropped; siblings have to be
    contiguous.

    One that cannot be measured has no columns and an `error` for its verdict, with which no policy keeps it.
    """
    batch: list[Candidate] = []
    rates: list[float | None] = []
    characters = 0
    for _, group in groupby(candidates, key=lambda candidate: candidate.trace.problem.problem_id):
        siblings = list(group)
        batch += siblings
        rates += [pass_rate(siblings)] * len(siblings)
        characters += sum(len(one.trace.thinking or "") + len(one.trace.answer) for one in siblings)
        if len(batch) >= shingles.BATCH_TEXTS or characters >= shingles.BATCH_CHARACTERS:
            yield from _measured(batch, rates, curation)
            batch, rates, characters = [], [], 0
    yield from _measured(batch, rates, curation)


def decide(
    outlines: Iterable[Outline],
    curation: Curation,
    near: Iterable[Pair] = (),
    matches: Mapping[int, contamination.Match] = NO_MATCHES,
    shares: Mapping[str, float] = NO_SHARES,
) -> Iterator[Decision]:
    """A decision for each outline, in order; goes over them once and holds some 300 bytes of each.

    `near` are the pairs of near-duplicates among all rows, `matches` what is too close to a benchmark, by row
    number, and `shares` those that sources should have of what is kept.
    """
    drops: dict[int, Decision] = {}
    choices: list[selection.Choice] = []
    ids: list[str | None] = []
    index = duplicates.Index(curation.duplicates)
    for row, outline in enumerate(outlines):
        found = filters.reason(outline, curation.screens, curation.selection)
        if found is not None:
            drops[row] = Decision(None, *found)
            ids.append(None)
            continue
        # of two copies a contaminated one stays, so that its copies go with it, then a correct one
        index.add(row, outline, 2 * (row not in matches) + (outline.outcome != "correct"))
        ids.append(outline.id)
        choices.append(selection.choice(row, outline, curation.selection))
    for row, copy in index.copies(near).items():
        reason, detail = filters.EXACT_DUPLICATE, "same text"
        if copy.similarity is not None:
            reason, detail = filters.NEAR_DUPLICATE, f"Jaccard similarity {copy.similarity:.2f}"
        drops[row] = Decision(ids[copy.stays], reason, detail)
    for row, match in matches.items():
        drops.setdefault(row, Decision(None, filters.CONTAMINATED, str(match)))
    clean = [choice for choice in choices if choice.row not in drops]
    for row, rule in selection.not_selected(clean, curation.selection, shares).items():
        drops[row] = Decision(None, filters.NOT_SELECTED, rule)
    for row in range(len(ids)):
        yield drops.get(row, KEPT)


def pass_rate(siblings: Iterable[Candidate]) -> float | None:
    """The share of correct ones among a problem's graded traces; None when none was graded. A cut trace is
    not correct."""
    graded = [
        one for one in siblings if one.verdict.outcome not in UNGRADED and filters.failed(one.trace) is None
    ]
    if not graded:
        return None
    return sum(
        one.verdict.outcome == "correct" and filters.truncated(one.trace) is None for one in graded
    ) / len(graded)


def _measured(
    candidates: list[Candidate], rates: list[float | None], curation: Curation
) -> Iterator[Candidate]:
    found = _columns(candidates, curation.duplicates)
    for candidate, one, rate in zip(candidates, found, rates, strict=True):
        if isinstance(one, str):
            was = candidate.verdict.outcome
            failed = replace(
                candidate.verdict,
                outcome="error",
                detail=f"{one} (while it was measured; the verdict was {was})",
            )
            yield replace(candidate, verdict=failed, measures=Measures(pass_rate=rate))
        else:
            yield replace(candidate, measures=replace(one, pass_rate=rate))


def _columns(candidates: list[Candidate], section: Duplicates) -> list[Measures | str]:
    """The boundary of a row that is measured: its columns, or what measuring it raised."""
    try:
        return [*measures.measure([candidate.trace for candidate in candidates], section)]
    except Exception as error:
        detail = row_errors.told(error, candidates[0].trace.id)
    return (
        [detail]
        if len(candidates) == 1
        else [one for candidate in candidates for one in _columns([candidate], section)]
    )
