"""Selection: which of the clean, unique traces become examples, as pure functions of a few numbers for each trace.

Every choice is by sample index, by length or by a seeded hash of the trace's id, so it does not depend on the order in
which shards were made, and adding traces moves few of the old choices. Texts never come here.
"""

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from distill.recipe import Selection
from distill.records import Candidate
from distill.screens import completion_tokens

VERSION = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """What the selection has to know of one clean trace."""

    row: int
    problem_id: str
    source: str
    sample_index: int
    tokens: int
    pass_rate: float | None
    draw: int
    """Seeded hash of the trace's id."""


def choice(row: int, candidate: Candidate, section: Selection) -> Choice:
    """The numbers of one candidate that a choice is made from."""
    trace = candidate.trace
    draw = int.from_bytes(blake2b(f"{section.seed} {trace.id}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    problem = trace.problem
    return Choice(row, problem.problem_id, problem.source, trace.sample_index, completion_tokens(trace), candidate.pass_rate, draw)


def not_selected(choices: Collection[Choice], section: Selection, shares: Mapping[str, float]) -> dict[int, str]:
    """Row number of each trace that is left out, with the rule that left it out.

    `shares` are wanted shares of sources in what is kept (`ProblemSource.share`); a source without one fills the rest.
    """
    left_out: dict[int, str] = {}
    for item in choices:
        if (rate := item.pass_rate) is not None and not section.min_pass_rate <= rate <= section.max_pass_rate:
            left_out[item.row] = f"pass rate {rate:.3g} is outside {section.min_pass_rate:g} to {section.max_pass_rate:g}"
    per_problem = section.per_problem if section.policy != "shortest" else section.per_problem or 1
    if per_problem is not None:
        rule = f"{'the shortest ' if section.policy == 'shortest' else ''}{per_problem} of its problem are taken"
        left_out.update(dict.fromkeys(_beyond(per_problem, _left(choices, left_out), section.policy == "shortest"), rule))
    for group, limit in quotas(_left(choices, left_out), shares, section.max_examples).items():
        members = [item for item in _left(choices, left_out) if (item.source if item.source in shares else None) == group]
        kept = {item.row for item in heapq.nsmallest(limit, members, key=lambda item: (item.draw, item.row))}
        rule = f"a seeded choice of {limit}" + (f" from source {group!r}" if group is not None else "")
        left_out.update({item.row: rule for item in members if item.row not in kept})
    return left_out


def quotas(choices: Collection[Choice], shares: Mapping[str, float], most: int | None) -> dict[str | None, int]:
    """How many rows each source with a share may keep, and under None all others together.

    The total is the largest at which no source with a share has to be larger than it is; sources without one give way.
    """
    counts: dict[str | None, int] = {}
    for item in choices:
        group = item.source if item.source in shares else None
        counts[group] = counts.get(group, 0) + 1
    wanted: dict[str | None, float] = {group: shares[group] for group in counts if group is not None}
    if None in counts:
        wanted[None] = max(0.0, 1.0 - sum(wanted.values()))
    whole = sum(wanted.values()) or 1.0
    total = min((counts[group] * whole / share for group, share in wanted.items() if share > 0), default=0.0)
    if most is not None:
        total = min(total, most)
    return {group: min(counts[group], round(total * share / whole)) for group, share in wanted.items()}


def _beyond(limit: int, choices: Iterable[Choice], shortest: bool) -> list[int]:
    """Rows of a problem after its first `limit`, by length or by sample index."""
    siblings: dict[str, list[Choice]] = {}
    for item in choices:
        siblings.setdefault(item.problem_id, []).append(item)
    return [item.row for group in siblings.values() for item in sorted(group, key=lambda item: _order(item, shortest))[limit:]]


def _order(item: Choice, shortest: bool) -> tuple[int, int, int]:
    return (item.tokens if shortest else 0, item.sample_index, item.row)


def _left(choices: Iterable[Choice], left_out: Mapping[int, str]) -> list[Choice]:
    return [item for item in choices if item.row not in left_out]
