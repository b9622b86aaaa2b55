"""Selection: which of the clean, unique traces become examples, as pure functions of a few stored numbers for
each trace.

A choice among siblings is by sample index, by length or by how different they are, and a choice among
problems by a seeded hash of the trace's id. None depends on the order in which shards were made; traces of
another problem never change a choice among siblings, and few of the seeded ones. Texts never come here, and
nobody here knows whether a trace is true.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from heapq import nsmallest
from sys import intern

import numpy as np

from distill.curate.filters import completion_tokens
from distill.recipe import Selection
from distill.records import Outline

VERSION = 2

Group = str | None
"""A source with a wanted share, or None for all others together."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the selection has to know of one clean trace: some 200 bytes, and 160 more for `diverse`."""

    row: int
    problem_id: str
    source: str
    sample_index: int
    tokens: int
    draw: int
    """Seeded hash of the trace's id, below 2**60."""
    minhash: bytes | None
    unfit: str | None
    """The rule that leaves the trace out whatever others there are."""


def choice(row: int, outline: Outline, section: Selection) -> Choice:
    """The numbers of one trace that a choice is made from."""
    seeded = blake2b(f"{section.seed} {outline.id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    tokens = completion_tokens(outline)
    return Choice(
        row,
        intern(outline.problem_id),
        intern(outline.source),
        outline.sample_index,
        tokens,
        int.from_bytes(seeded) >> 4,
        outline.measures.minhash if section.policy == "diverse" else None,
        _unfit(outline.measures.pass_rate, tokens, section),
    )


def not_selected(
    choices: Collection[Choice], section: Selection, shares: Mapping[str, float]
) -> dict[int, str]:
    """Row number of each trace that is left out, with the rule that left it out.

    `shares` are wanted shares of sources in what is kept (`ProblemSource.share`); a source without one fills
    the rest.
    """
    left_out = {item.row: item.unfit for item in choices if item.unfit is not None}
    left = [item for item in choices if item.unfit is None]
    limit = section.per_problem or (1 if section.policy == "shortest" else None)
    if limit is not None:
        kind = {"shortest": "the shortest ", "diverse": "the most different "}.get(section.policy, "")
        left = list(_of_each_problem(left, limit, section.policy))
        taken = {item.row for item in left}
        rule = f"{kind}{limit} of its problem are taken"
        left_out.update(
            {item.row: rule for item in choices if item.row not in taken and item.row not in left_out}
        )
    members: dict[Group, list[Choice]] = {}
    for item in left:
        members.setdefault(_group(item, shares), []).append(item)
    for group, most in quotas(left, shares, section.max_examples).items():
        if most < len(members[group]):
            kept = {
                item.row for item in nsmallest(most, members[group], key=lambda item: (item.draw, item.row))
            }
            rule = f"a seeded choice of {most}" + (f" from source {group!r}" if group is not None else "")
            left_out.update({item.row: rule for item in members[group] if item.row not in kept})
    return left_out


def quotas(choices: Iterable[Choice], shares: Mapping[str, float], most: int | None) -> dict[Group, int]:
    """How many rows each source with a share may keep, and under None all others together; never more than
    `most` in all.

    The total is the largest at which no source with a share has to be larger than it is; sources without one
    give way.
    """
    counts = Counter(_group(item, shares) for item in choices)
    wanted: dict[Group, float] = {group: shares[group] for group in sorted(shares) if group in counts}
    if None in counts:
        wanted[None] = max(0.0, 1.0 - sum(wanted.values()))
    whole = sum(wanted.values()) or 1.0
    total = round(
        min((counts[group] * whole / share for group, share in wanted.items() if share > 0), default=0.0)
    )
    total = total if most is None else min(total, most)
    exact = {group: total * share / whole for group, share in wanted.items()}
    limits = {group: math.floor(rows) for group, rows in exact.items()}
    nearest = sorted(exact, key=lambda group: limits[group] - exact[group])
    for group in nearest[: total - sum(limits.values())]:
        limits[group] += 1
    return {group: min(counts[group], rows) for group, rows in limits.items()}


def _unfit(pass_rate: float | None, tokens: int, section: Selection) -> str | None:
    """The rule of the pass-rate window or of the length budget that a trace breaks; without a pass rate it
    breaks none."""
    if pass_rate is None:
        return None
    if not section.min_pass_rate <= pass_rate <= section.max_pass_rate:
        return f"pass rate {pass_rate:.3g} is outside {section.min_pass_rate:g} to {section.max_pass_rate:g}"
    if section.easy_tokens is None or section.hard_tokens is None:
        return None
    budget = round(section.hard_tokens + (section.easy_tokens - section.hard_tokens) * pass_rate)
    return (
        f"{tokens} tokens, the budget at pass rate {pass_rate:.3g} is {budget}" if tokens > budget else None
    )


def _of_each_problem(choices: Iterable[Choice], limit: int, policy: str) -> Iterator[Choice]:
    """The first `limit` of each problem in the policy's order."""
    siblings: dict[str, list[Choice]] = {}
    for item in choices:
        siblings.setdefault(item.problem_id, []).append(item)
    first: Callable[[list[Choice], int], list[Choice]] = (
        _most_different if policy == "diverse" else partial(_first, by_length=policy == "shortest")
    )
    for group in siblings.values():
        yield from group if len(group) <= limit else first(group, limit)


def _first(siblings: list[Choice], limit: int, by_length: bool) -> list[Choice]:
    return sorted(siblings, key=lambda item: (item.tokens if by_length else 0, item.sample_index, item.row))[
        :limit
    ]


def _most_different(siblings: list[Choice], limit: int) -> list[Choice]:
    """The first sample and, one after another, the one least alike any taken before (Gonzalez 1985); one
    without words comes last."""
    ordered = _first(siblings, len(siblings), by_length=False)
    worded = [item for item in ordered if item.minhash is not None]
    if not worded:
        return ordered[:limit]
    prints = np.frombuffer(b"".join(item.minhash or b"" for item in worded), dtype=np.uint8).reshape(
        len(worded), -1
    )
    taken, closest = [0], np.zeros(len(worded), dtype=np.int64)
    for _ in range(min(limit, len(worded)) - 1):
        closest = np.maximum(closest, (prints == prints[taken[-1]]).sum(axis=1))
        closest[taken[-1]] = prints.shape[1] + 1
        taken.append(int(closest.argmin()))
    chosen = [worded[position] for position in taken]
    return chosen + [item for item in ordered if item.minhash is None][: limit - len(chosen)]


def _group(item: Choice, shares: Mapping[str, float]) -> Group:
    return item.source if item.source in shares else None
