"""What most rows are lost to: the dominating reason, one example, and the setting that decides it.

A `Lookout` counts rows as they come and tells a reason once, when nearly all rows of a source have it.
Nothing is decided here, and a mixture of reasons is not told: the funnel has it.
"""

import threading
from collections import Counter
from collections.abc import Mapping

from distill.curate import filters
from distill.curate.funnel import KEPT, Funnel
from distill.progress import say
from distill.store import StoreError

SHARE = 0.9
LEAST_ROWS = 20
MOST_ROWS = 1_000
"""Rows of a source after which a lookout stops: what is lost later is in the funnel."""
EXAMPLE_CHARACTERS = 160

ALLOW = "curation.screens.thinking_optional keeps the problem's kind without thinking"
REMEDIES = {
    filters.FAILED: "see what the teacher's server said; sampling.again asks for them once more",
    filters.TRUNCATED: "raise sampling.max_tokens: only what was cut is asked again",
    filters.MALFORMED: (
        "make the teacher think (its reasoning settings in teacher.extra_body, or teacher.prefill), "
        f"name the tags of its thinking (teacher.think_tags), or {ALLOW}"
    ),
    filters.REFUSAL: "see sampling.system and sampling.prompt; curation.screens.drop_refusals keeps them",
    filters.ANSWER_LEAK: "see the source's question column; curation.screens.drop_answer_leaks keeps them",
    filters.MISMATCH: "curation.screens.drop_mismatches keeps them",
    filters.REPETITION: "see sampling.temperature; curation.screens.max_repetition and drop_loops decide it",
    filters.MIXED_LANGUAGE: (
        "see the source's language; curation.screens.min_language_share and max_lone_words decide it"
    ),
    filters.TOO_SHORT: "curation.screens.min_completion_tokens decides it",
    filters.TOO_LONG: "curation.screens.max_completion_tokens decides it",
    filters.LONG_PARAGRAPH: "curation.screens.drop_long_paragraphs decides it",
    filters.CODE_IN_THINKING: "curation.screens.drop_code_in_thinking decides it",
    filters.EXACT_DUPLICATE: "curation.duplicates.exact decides it",
    filters.NEAR_DUPLICATE: "curation.duplicates decides it",
    filters.CONTAMINATED: "curation.benchmarks and curation.decontamination decide it",
    filters.NOT_SELECTED: "curation.selection decides it",
    "wrong": (
        "compare the example with its reference: the source's reference column and reference_pattern "
        "decide what is right"
    ),
    "no_answer": (
        "see that sampling.prompt asks for the answer's form, and that the answer stands after the thinking"
    ),
    "unparsed_answer": (
        "see that sampling.prompt asks for the answer's form; verification.judge can read what a rule cannot"
    ),
    "unparsed_reference": "see the source's reference column, reference_pattern and tests",
    "timeout": "verification's time limits decide it",
    "error": "see the cause: it is in the row, or on this machine",
    "unverified": "nothing judges this kind: set verification.judge, or curation.selection.keep_unverified",
    "bad_row": "see the source's columns: question, reference, tests, response",
    "empty": "name the column that has the question in the source's question",
    "no_reference": "see the source's reference column, reference_pattern and tests",
    "reference_fails": "see the source's kind, reference column, reference_pattern and tests",
}
"""By reason: the setting that decides it. Reasons are those of dropped traces, the outcomes of verdicts, and
those of unusable problems."""
USUAL = (filters.EXACT_DUPLICATE, filters.NEAR_DUPLICATE, filters.CONTAMINATED, filters.NOT_SELECTED)
"""A policy may leave most traces out for these."""


class NothingLeftError(StoreError):
    """A stage left no row that the next one could use; the message names what they were lost
    to."""


class Lookout:
    """Counts rows by source and reason, and tells once what nearly all rows of a source are lost to; for
    several threads."""

    def __init__(self, rows: str = "traces") -> None:
        """`rows` says what is counted."""
        self._rows = rows
        self._lock = threading.Lock()
        self._seen: dict[str, Counter[str | None]] = {}
        self._told: set[tuple[str, str]] = set()

    def wants(self, source: str) -> bool:
        """Whether rows of a source are still to be looked at."""
        return self._seen.get(source, Counter()).total() < MOST_ROWS

    def see(self, source: str, reason: str | None, example: str = "") -> None:
        """Counts one row with the reason that it is lost to, or None; `example` is its id or detail."""
        with self._lock:
            seen = self._seen.setdefault(source, Counter())
            seen[reason] += 1
            rows, found = seen.total(), seen[reason]
            if reason is None or (source, reason) in self._told or not dominates(found, rows):
                return
            self._told.add((source, reason))
        tell(source, reason, found, f"{rows:,} {self._rows} so far", example)


def dominates(count: int, rows: int) -> bool:
    """Whether a reason is that of nearly all rows, of as many as it takes to say so."""
    return rows >= LEAST_ROWS and count >= SHARE * rows


def tell(source: str, reason: str, count: int, rows: str, example: str) -> None:
    """Says what nearly all rows of a source are lost to: once in a run, whichever stage finds it first."""
    say(f"{source}: {count:,} of {rows} are {lost(reason, example)}", once=f"{source}/{reason}")


def lost(reason: str, example: str, remedy: str = "") -> str:
    """A reason with an example and what decides it."""
    example = " ".join(example.split())[:EXAMPLE_CHARACTERS]
    return (
        f"{reason}{f' (for example {example})' if example else ''}: "
        f"{remedy or REMEDIES.get(reason, 'see the rows')}"
    )


def tell_funnel(found: Funnel) -> None:
    """Tells each source that lost nearly all of its traces to one reason, those that a policy may leave out
    apart."""
    for source, tallies in found.tallies.items():
        rows = sum(tally.rows for reason, tally in tallies.items() if reason != filters.FAILED)
        for reason, tally in tallies.items():
            if reason not in (KEPT, filters.FAILED, *USUAL) and dominates(tally.rows, rows):
                tell(source, reason, tally.rows, f"{rows:,} traces", _example(found, reason))


def require_examples(found: Funnel, label: str, path: str, unasked: Mapping[str, int] | None = None) -> None:
    """Raises NothingLeftError for the funnel of a dataset that has no example."""
    asked = found.stages()["asked"].rows
    counts = {reason: tally.rows for reason, tally in found.reasons().items()}
    if counts.get(KEPT):
        return
    if not counts:
        why = f", and of the problems {counted(unasked)}" if unasked else ""
        raise NothingLeftError(f"{label} has no examples: there are no rows, no trace came in{why}")
    reason = max(counts, key=lambda one: counts[one])
    others = counted({other: rows for other, rows in counts.items() if other != reason})
    raise NothingLeftError(
        f"{label} has no examples: {counts[reason]:,} of {asked:,} traces are "
        f"{lost(reason, _example(found, reason))}"
        f"{f'; the others: {others}' if others else ''}; every row is kept in {path}, and other settings cut "
        "it again in seconds"
    )


def counted(reasons: Mapping[str, int]) -> str:
    """Reasons with their rows, the most frequent first."""
    return ", ".join(
        f"{rows:,} {reason}" for reason, rows in sorted(reasons.items(), key=lambda item: -item[1])
    )


def require_any(
    lost_to: Mapping[str, int], rows: int, label: str, examples: Mapping[str, str], remedy: str = ""
) -> None:
    """Raises NothingLeftError where there are no rows, or all are lost; `remedy` says more than the reason's
    own."""
    if rows == 0:
        raise NothingLeftError(f"{label} has no rows")
    if sum(lost_to.values()) == rows:
        reason = max(lost_to, key=lambda one: lost_to[one])
        told = lost(reason, examples.get(reason, ""), remedy)
        raise NothingLeftError(f"{label}: none of {rows:,} rows can be used; {lost_to[reason]:,} are {told}")


def _example(found: Funnel, reason: str) -> str:
    rejects = found.rejects.get(reason)
    return f"{rejects[0].id}, {rejects[0].detail}".rstrip(", ") if rejects else ""
