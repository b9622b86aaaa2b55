"""What verifiers said about many traces: a summary for each source and kind, and the answers on which
opinions differ.

A parse failure is an answer or a reference that the verifier could not read; it is no claim about the answer.
Opinions differ where two of the verifier, the judge and the majority of a problem's traces say both correct
and wrong.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from distill.files import traces as rows_of_files
from distill.progress import percent, say
from distill.records import Opinions
from distill.store import paths, schema, write_text
from distill.text import aligned, grid, inert

Row = Mapping[str, Any]
COUNTED = ("source", "kind", "outcome", "verifier", "verify_seconds", "judge_outcome", "majority_outcome")
"""Columns of a row of verdicts that `summarise` looks at; absent ones count as not there."""
SHOWN = "id problem_id source kind question reference answer outcome verifier detail extracted".split()  # noqa: SIM905
OPINIONS = tuple(name for name, _ in schema.columns(Opinions))
PARSE_FAILURES = ("unparsed_answer", "unparsed_reference")
RATES = "correct,wrong,no answer,unparsed,timeout,error,unverified".split(",")  # noqa: SIM905
HEADINGS = ("source", "kind", "traces", *RATES, "ms each")
NUMBERS = range(2, len(HEADINGS))
LONGEST_TEXT = 2_000


@dataclass(slots=True)
class Summary:
    """Verdicts of one source and kind."""

    source: str
    kind: str
    traces: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    verifiers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """Spent on verifying, over all workers."""
    judge: Counter[str] = field(default_factory=Counter)
    """`agrees`, `differs` and `error`, of the answers that the judge saw and another decided."""
    majority: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Counts one row."""
        outcome = row["outcome"]
        self.traces += 1
        self.outcomes[outcome] += 1
        self.verifiers[row.get("verifier") or "none"] += 1
        self.seconds += row.get("verify_seconds") or 0.0
        for who, counts in (("judge_outcome", self.judge), ("majority_outcome", self.majority)):
            if (opinion := row.get(who)) is not None:
                counts["error" if opinion == "error" else "agrees" if opinion == outcome else "differs"] += 1

    def share(self, *outcomes: str) -> float:
        """Share of the traces with one of some outcomes, 0 to 1."""
        return sum(self.outcomes[outcome] for outcome in outcomes) / max(1, self.traces)


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """A summary for each source and kind, in order of their names."""
    found: dict[tuple[str, str], Summary] = {}
    for row in rows:
        key = (row.get("source") or "file", row.get("kind") or rows_of_files.DEFAULT_KIND)
        found.setdefault(key, Summary(*key)).add(row)
    return [found[key] for key in sorted(found)]


def to_json(summaries: Iterable[Summary]) -> str:
    """Summaries as JSON text, with their rates written out."""
    return json.dumps([_plain(one) for one in summaries], indent=1, ensure_ascii=False)


def table(summaries: list[Summary]) -> str:
    """Summaries as aligned text, shares in percent of the traces."""
    lines = [HEADINGS, *(_cells(one) for one in summaries)]
    return inert("\n".join([aligned(lines, NUMBERS), *_opinions(summaries)]), keep="\n")


def totals(summaries: Iterable[Summary]) -> str:
    """How many traces had which outcome, in one line."""
    counts: Counter[str] = sum((one.outcomes for one in summaries), Counter())
    return ", ".join(f"{count:,} {outcome}" for outcome, count in counts.most_common()) or "no rows"


def markdown(summaries: list[Summary]) -> str:
    """Summaries as Markdown."""
    rows = grid([HEADINGS, *(_cells(one) for one in summaries)], NUMBERS)
    return "\n".join([*rows, "", *(f"- {line}" for line in _opinions(summaries))])


def write(
    read: Callable[[list[str] | None], Iterable[Row]], summary: str, disagreements: str
) -> list[Summary]:
    """Writes the summary of rows of verdicts and, where there are second opinions, the list of
    disagreements; returns the summary.

    `read` gives the rows anew each time, with the named columns or (None) all of them.
    """
    summaries = summarise(read(list(COUNTED)))
    write_text(summary, to_json(summaries))
    if any(one.judge or one.majority for one in summaries):
        count = write_disagreements(read(None), disagreements)
        say(f"{count:,} answers on which opinions differ: {disagreements}")
    return summaries


def disagreements(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """The rows on which opinions differ, with what a person needs to decide them; long texts without their
    beginning."""
    for row in rows:
        said = {row["outcome"], row.get("judge_outcome"), row.get("majority_outcome")}
        if {"correct", "wrong"} <= said:
            answer = row.get("answer") or row.get("response")
            yield {name: _short(row.get(name)) for name in (*SHOWN, *OPINIONS)} | {"answer": _short(answer)}


def write_disagreements(rows: Iterable[Row], path: str) -> int:
    """Writes the rows on which opinions differ as JSON Lines, and returns how many."""
    count = 0
    with paths.replacing(path) as file:
        for row in disagreements(rows):
            file.write(json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n")
            count += 1
    return count


def _plain(one: Summary) -> dict[str, Any]:
    said: dict[str, Any] = {"source": one.source, "kind": one.kind, "traces": one.traces}
    said |= {"yield": one.share("correct"), "parse_failure_rate": one.share(*PARSE_FAILURES)}
    said |= {"timeout_rate": one.share("timeout"), "verify_seconds": one.seconds}
    said |= {"outcomes": one.outcomes, "verifiers": one.verifiers}
    return said | {"judge": one.judge, "majority": one.majority}


def _cells(one: Summary) -> tuple[str, ...]:
    rest = ("correct",), ("wrong",), ("no_answer",), PARSE_FAILURES, ("timeout",), ("error",), ("unverified",)
    shares = [percent(one.share(*outcomes)) if one.share(*outcomes) else "-" for outcomes in rest]
    each = f"{1000 * one.seconds / max(1, one.traces):.2f}"
    return (one.source, one.kind, f"{one.traces:,}", *shares, each)


def _opinions(summaries: Iterable[Summary]) -> list[str]:
    """A line for each summary with second opinions."""
    lines: list[str] = []
    for one in summaries:
        parts = [
            f"{name} {counts['agrees']:,} times the same, {counts['differs']:,} times not"
            + (f", {counts['error']:,} unusable" * bool(counts["error"]))
            for name, counts in (("judge", one.judge), ("majority", one.majority))
            if counts
        ]
        lines += [f"{one.source}, {one.kind}: {'; '.join(parts)}"] if parts else []
    return lines


def _short(value: Any) -> Any:
    return f"... {value[-LONGEST_TEXT:]}" if isinstance(value, str) and len(value) > LONGEST_TEXT else value
