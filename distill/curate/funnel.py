"""The funnel: what became of every trace that was asked for, counted from candidates by source and reason.

    asked > returned > finished > correct > clean > unique > selected

A `Funnel` holds tallies by (source, reason) and a few rejects to look at; stages are derived from them, so
funnels of shards add up. `finished` means a closed think block with an answer after it. `correct` means that
the outcome was accepted: under the policy "none" any outcome is. Tokens are completion tokens, estimated
where none were reported; those asked for hold what was spent on tries that were cut or lost as well, the
later stages hold the traces themselves.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from distill.curate import filters
from distill.curate.examples import completion_tokens
from distill.progress import amount, dollars
from distill.text import aligned, grid

STAGES = ("asked", "returned", "finished", "correct", "clean", "unique", "selected")
KEPT = "kept"
LOST_AT = {
    filters.FAILED: "returned",
    filters.TRUNCATED: "finished",
    filters.MALFORMED: "finished",
    filters.REFUSAL: "clean",
    filters.ANSWER_LEAK: "clean",
    filters.MISMATCH: "clean",
    filters.REPETITION: "clean",
    filters.MIXED_LANGUAGE: "clean",
    filters.TOO_SHORT: "clean",
    filters.TOO_LONG: "clean",
    filters.LONG_PARAGRAPH: "clean",
    filters.CODE_IN_THINKING: "clean",
    filters.EXACT_DUPLICATE: "unique",
    filters.NEAR_DUPLICATE: "unique",
    filters.CONTAMINATED: "selected",
    filters.NOT_SELECTED: "selected",
}
"""The first stage that a row with this reason does not reach; the reasons that are outcomes are lost at
`correct`."""
SAMPLES = 3
EXCERPT_CHARACTERS = 160
_TEXT = pa.large_string()
_NARROW = pa.schema(
    [
        ("source", _TEXT),
        ("reason", _TEXT),
        ("problem", _TEXT),
        ("tokens", pa.int64()),
        ("cost_usd", pa.float64()),
        ("spent_tokens", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("cached_prompt_tokens", pa.int64()),
    ]
)
_SUMMED = _NARROW.names[3:]
_SHOWN = ["id", "question", "detail_dropped", "thinking", "answer"]


@dataclass(slots=True)
class Tally:
    """Rows, completion tokens and cost of one kind of row."""

    rows: int = 0
    problems: int = 0
    """Problems with at least one such row."""
    tokens: int = 0
    cost_usd: float | None = None
    """None when no row has a cost."""
    spent_tokens: int = 0
    """Completion tokens that the rows have cost, tries that were cut or lost among them."""
    prompt_tokens: int = 0
    cached_prompt_tokens: int | None = None
    """None when no row says how much of its prompt came from the server's cache."""

    def add(self, other: "Tally") -> None:
        """Takes in the counts of another tally."""
        self.rows += other.rows
        self.problems += other.problems
        self.tokens += other.tokens
        self.spent_tokens += other.spent_tokens
        self.prompt_tokens += other.prompt_tokens
        if other.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + other.cost_usd
        if other.cached_prompt_tokens is not None:
            self.cached_prompt_tokens = (self.cached_prompt_tokens or 0) + other.cached_prompt_tokens


@dataclass(frozen=True, slots=True)
class Reject:
    """One dropped row to look at."""

    id: str
    question: str
    detail: str
    excerpt: str
    """The end of the thinking, or of the answer where there was none."""


@dataclass(frozen=True, slots=True)
class Funnel:
    """Tallies by source and reason (`"kept"` for what stayed), problems asked by source, and sample rejects
    by reason."""

    tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, list[Reject]] = field(default_factory=dict)
    draws: dict[int, int] = field(default_factory=dict)
    """How many problems have so many traces: more than one number where some were asked further than
    others."""

    def stages(self, source: str | None = None) -> dict[str, Tally]:
        """Rows and tokens that reached each stage, of one source or of all; `problems` counts only at `asked`
        and `selected`."""
        reached = {stage: Tally() for stage in STAGES}
        for reason, tally in self.reasons(source).items():
            last = len(STAGES) if reason == KEPT else STAGES.index(LOST_AT.get(reason, "correct"))
            for stage in STAGES[:last]:
                reached[stage].add(
                    replace(
                        tally, problems=0, tokens=tally.spent_tokens if stage == "asked" else tally.tokens
                    )
                )
        reached["asked"].problems = (
            sum(self.problems.values()) if source is None else self.problems.get(source, 0)
        )
        reached["selected"].problems = self.reasons(source).get(KEPT, Tally()).problems
        return reached

    def reasons(self, source: str | None = None) -> dict[str, Tally]:
        """The tally of each reason and of `"kept"`, of one source or of all, in the order of the stages."""
        summed: dict[str, Tally] = {}
        for name, tallies in self.tallies.items():
            if source in (None, name):
                for reason, tally in tallies.items():
                    summed.setdefault(reason, Tally()).add(tally)
        return dict(
            sorted(
                summed.items(),
                key=lambda item: (item[0] == KEPT, STAGES.index(LOST_AT.get(item[0], "correct")), item[0]),
            )
        )

    def per_kept(self) -> tuple[float | None, float | None]:
        """(completion tokens, US dollars) spent on all traces for each one that was kept; None for nothing
        kept or no price."""
        return self._spent_per(self.stages()["selected"].rows)

    def per_covered(self) -> tuple[float | None, float | None]:
        """(completion tokens, US dollars) spent on all traces for each problem with a kept one; None as
        above."""
        return self._spent_per(self.stages()["selected"].problems)

    def _spent_per(self, count: int) -> tuple[float | None, float | None]:
        asked = self.stages()["asked"]
        return (
            (asked.tokens / count, None if asked.cost_usd is None else asked.cost_usd / count)
            if count
            else (None, None)
        )


def funnel(tables: Iterable[pa.Table]) -> Funnel:
    """The funnel of the candidates of one shard, or of several as long as no problem is in two of them."""
    found = Funnel()
    narrow = [_NARROW.empty_table()]
    for table in tables:
        reasons, tokens = pc.fill_null(table["dropped"], KEPT), completion_tokens(table)
        spent = pc.coalesce(_column(table, "spent_tokens"), tokens)
        given = [_column(table, name) for name in ("prompt_tokens", "cached_prompt_tokens")]
        narrow.append(
            pa.table(
                [table["source"], reasons, table["problem_id"], tokens, table["cost_usd"], spent, *given],
                schema=_NARROW,
            )
        )
        _sample(table, reasons, found.rejects)
    rows = pa.concat_tables(narrow)
    totals = [*((name, "sum") for name in _SUMMED), ("problem", "count_distinct"), ([], "count_all")]
    for row in rows.group_by(["source", "reason"], use_threads=False).aggregate(totals).to_pylist():
        sums = {name: row[f"{name}_sum"] for name in _SUMMED} | {
            "prompt_tokens": row["prompt_tokens_sum"] or 0
        }
        found.tallies.setdefault(row["source"], {})[row["reason"]] = Tally(
            row["count_all"], row["problem_count_distinct"], **sums
        )
    for row in (
        rows.group_by(["source", "problem"], use_threads=False).aggregate([([], "count_all")]).to_pylist()
    ):
        found.problems[row["source"]] = found.problems.get(row["source"], 0) + 1
        found.draws[row["count_all"]] = found.draws.get(row["count_all"], 0) + 1
    return found


def merge(funnels: Iterable[Funnel]) -> Funnel:
    """The funnel of several shards, or of several datasets."""
    whole = Funnel()
    for part in funnels:
        for source, tallies in part.tallies.items():
            for reason, tally in tallies.items():
                whole.tallies.setdefault(source, {}).setdefault(reason, Tally()).add(tally)
        for source, count in part.problems.items():
            whole.problems[source] = whole.problems.get(source, 0) + count
        for draws, count in part.draws.items():
            whole.draws[draws] = whole.draws.get(draws, 0) + count
        for reason, rejects in part.rejects.items():
            whole.rejects[reason] = (whole.rejects.get(reason, []) + rejects)[:SAMPLES]
    return whole


def to_json(found: Funnel) -> str:
    """The funnel as JSON: the derived stages for people and programs, the tallies to read it back."""
    (tokens, cost), (tokens_covered, cost_covered) = found.per_kept(), found.per_covered()
    derived = {
        "stages": {stage: asdict(tally) for stage, tally in found.stages().items()},
        "reasons": {reason: asdict(tally) for reason, tally in found.reasons().items()},
        "tokens_per_kept": tokens,
        "cost_usd_per_kept": cost,
        "tokens_per_problem_covered": tokens_covered,
        "cost_usd_per_problem_covered": cost_covered,
    }
    return json.dumps({**derived, **asdict(found)}, indent=1, ensure_ascii=False)


def from_json(text: str) -> Funnel:
    """The funnel that `to_json` wrote, or did before it told tokens spent and draws."""
    value = json.loads(text)
    return Funnel(
        {
            source: {
                reason: Tally(**{"spent_tokens": tally["tokens"], **tally})
                for reason, tally in tallies.items()
            }
            for source, tallies in value["tallies"].items()
        },
        value["problems"],
        {reason: [Reject(**reject) for reject in rejects] for reason, rejects in value["rejects"].items()},
        {int(draws): count for draws, count in value.get("draws", {}).items()},
    )


def table(found: Funnel) -> str:
    """The funnel as aligned text for a terminal."""
    parts = [aligned(rows, numbers, rule=False) for rows, numbers in tables(found)]
    return "\n\n".join([*parts, spent(found)])


def markdown(found: Funnel) -> str:
    """The funnel as Markdown tables, for dataset cards and run pages."""
    parts = ["\n".join(grid(rows, shown=lambda text: text.replace("|", "\\|"))) for rows, _ in tables(found)]
    return "\n\n".join([*parts, spent(found)])


def tables(found: Funnel) -> list[tuple[list[list[str]], range]]:
    """The tables that have rows, each with its columns of numbers."""
    tables = [
        (_stage_rows(found), range(1, 4)),
        (_reason_rows(found), range(1, 3)),
        (_source_rows(found), range(1, 9)),
    ]
    return [one for one in tables if len(one[0]) > 1]


def _stage_rows(found: Funnel) -> list[list[str]]:
    stages = found.stages()
    asked = stages["asked"].rows or 1
    rows = [["stage", "traces", "of asked", "tokens"]]
    return rows + [
        [stage, f"{tally.rows:,}", f"{tally.rows / asked:.1%}", amount(tally.tokens)]
        for stage, tally in stages.items()
    ]


def _reason_rows(found: Funnel) -> list[list[str]]:
    reasons = {reason: tally for reason, tally in found.reasons().items() if reason != KEPT}
    asked = found.stages()["asked"].rows or 1
    rows = [["dropped", "traces", "of asked", "for example"]]
    for reason, tally in reasons.items():
        detail = " ".join(found.rejects[reason][0].detail.split()) if found.rejects.get(reason) else ""
        rows.append([reason, f"{tally.rows:,}", f"{tally.rows / asked:.1%}", detail[:70]])
    return rows


def _source_rows(found: Funnel) -> list[list[str]]:
    """One line for each source, when there are several."""
    if len(found.tallies) < 2:
        return []
    rows = [["source", "problems", *STAGES]]
    for source in sorted(found.tallies):
        stages = found.stages(source)
        rows.append(
            [source, f"{found.problems.get(source, 0):,}", *(f"{stages[stage].rows:,}" for stage in STAGES)]
        )
    return rows


def spent(found: Funnel) -> str:
    """What was spent for what came of it, in sentences."""
    stages = found.stages()
    kept, asked = stages["selected"], stages["asked"]
    line = f"{kept.problems:,} of {asked.problems:,} problems have a kept trace"
    if not kept.rows:
        return f"{line}; no trace was kept{_draws(found)}{_money(asked)}"
    line += (
        f"; a kept trace has {amount(round(kept.tokens / kept.rows))} tokens and took "
        f"{_each(found.per_kept())} of all that were sampled"
    )
    return f"{line}, a problem with one took {_each(found.per_covered())}{_draws(found)}{_money(asked)}"


def _each(spent: tuple[float | None, float | None]) -> str:
    tokens, cost = spent
    return amount(round(tokens or 0)) + ("" if cost is None else f" ({dollars(cost)})")


def _draws(found: Funnel) -> str:
    """How many traces a problem has, where that differs."""
    if len(found.draws) < 2:
        return ""
    problems, most = sum(found.draws.values()), max(found.draws)
    mean = sum(draws * count for draws, count in found.draws.items()) / problems
    early = 1 - found.draws[most] / problems
    return (
        f"; {mean:.3g} traces a problem, from {min(found.draws)} to {most}: {early:.1%} of the problems "
        f"took fewer than {most}"
    )


def _money(asked: Tally) -> str:
    """What it cost in all, and how much of the prompts the server had in its cache."""
    cost = "" if asked.cost_usd is None else f"; all together cost {dollars(asked.cost_usd)}"
    if asked.cached_prompt_tokens is None or not asked.prompt_tokens:
        return cost
    return (
        f"{cost}; {asked.cached_prompt_tokens / asked.prompt_tokens:.1%} of "
        f"{amount(asked.prompt_tokens)} prompt tokens came from the cache"
    )


def _sample(table: pa.Table, reasons: pa.ChunkedArray, rejects: dict[str, list[Reject]]) -> None:
    """Adds the first rows of each reason that has too few samples yet."""
    for reason in pc.unique(reasons).to_pylist():
        if reason != KEPT and len(samples := rejects.setdefault(reason, [])) < SAMPLES:
            rows = pc.indices_nonzero(pc.equal(reasons, reason))[: SAMPLES - len(samples)]
            samples += [
                _reject(table.slice(row, 1).select(_SHOWN).to_pylist()[0]) for row in rows.to_pylist()
            ]


def _reject(row: Mapping[str, Any]) -> Reject:
    question, detail = (
        row["question"][:EXCERPT_CHARACTERS],
        (row["detail_dropped"] or "")[:EXCERPT_CHARACTERS],
    )
    return Reject(row["id"], question, detail, (row["thinking"] or row["answer"])[-EXCERPT_CHARACTERS:])


def _column(table: pa.Table, name: str) -> pa.Array:
    """A column of counts, all null in candidates that were made before there was one."""
    return (
        table[name].combine_chunks() if name in table.column_names else pa.nulls(table.num_rows, pa.int64())
    )
