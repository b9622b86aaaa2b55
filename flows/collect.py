"""The first room's flow: problem sources into numbered shards of problems."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from prefect import flow, task

from distill import shards
from distill.collect import collect
from distill.progress import Meter, say
from distill.recipe import ProblemSource, Verification
from distill.records import Problem
from distill.sources import read_rows
from flows import keys, rooms
from flows.keys import Place


@flow(name="collect", **rooms.FLOW)
def collect_room(sources: tuple[ProblemSource, ...], verification: Verification, shard_problems: int) -> Place:
    """Makes or reuses the problems of some sources."""
    place = keys.problems(sources, verification, shard_problems)
    summary = rooms.reused(place, "every problem is there")
    if summary is None:
        with rooms.making(place) as folder:
            counts = collect_shards(sources, verification, folder, shard_problems)
            unusable = {reason: count for reason, count in counts.items() if reason != "usable"}
            summary = rooms.finish(place, shards.list_shards(folder), digest=True, unusable=unusable)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary["unusable"].items()) or "none"
    say(f"{summary['rows']:,} problems in {len(summary['shards'])} shards, unusable: {reasons}")
    return place


@task(name="collect-shards", **rooms.TASK)
def collect_shards(sources: tuple[ProblemSource, ...], verification: Verification, folder: str, shard_problems: int) -> dict[str, int]:
    """Writes the shards that are missing and counts usable problems and reasons; all rows are read, to find duplicates."""
    counts: Counter[str] = Counter()
    with Meter("collecting problems", sum(source.limit or 0 for source in sources if all(s.limit for s in sources))) as meter:
        problems = _problems(sources, verification, counts, meter)
        number = 0
        while shard := list(islice(problems, shard_problems)):
            target = f"{folder}/{number:05}.parquet"
            if not shards.exists(target):
                shards.write(Problem, shard, target)
            number += 1
    return dict(counts)


def _problems(sources: Sequence[ProblemSource], verification: Verification, counts: Counter[str], meter: Meter) -> Iterator[Problem]:
    seen: dict[bytes, str] = {}
    for source in sources:
        for problem in collect(read_rows(source), source, verification, seen):
            counts[problem.unusable or "usable"] += 1
            meter.add()
            yield problem
