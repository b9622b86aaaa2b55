"""The first room's flow: problem sources into numbered shards of problems."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, groupby, islice
from operator import itemgetter

from prefect import flow, task

from distill import shards
from distill.collect import Row, collect, question_key
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
    """Writes the shards that are missing, and counts usable problems and reasons over all of them.

    One task for all: duplicates are found in order. A row is a problem, so a shard that is there says how many rows to pass over.
    """
    counts: Counter[str] = Counter()
    seen: dict[bytes, str] = {}
    rows = ((source, row) for source in sources for row in read_rows(source))
    with Meter("collecting problems", sum(source.limit or 0 for source in sources) if all(one.limit for one in sources) else 0) as meter:
        for number in count():
            chunk = list(islice(rows, shard_problems))
            if not chunk:
                return dict(counts)
            target = f"{folder}/{number:05}.parquet"
            if shards.exists(target):
                _remember(target, seen)
            else:
                shards.write(Problem, meter.over(_problems(chunk, verification, seen)), target)
            for problem in rooms.read(Problem, target):
                counts[problem.unusable or "usable"] += 1
    raise AssertionError("rows have an end")


def _problems(chunk: Sequence[tuple[ProblemSource, Row]], verification: Verification, seen: dict[bytes, str]) -> Iterator[Problem]:
    for source, rows in groupby(chunk, key=itemgetter(0)):
        yield from collect([row for _, row in rows], source, verification, seen)


def _remember(shard: str, seen: dict[bytes, str]) -> None:
    """Notes the questions of a shard that is there, so that a later row that repeats one is found."""
    for problem in rooms.read(Problem, shard):
        if problem.unusable is None:
            seen[question_key(problem.question)] = problem.problem_id
