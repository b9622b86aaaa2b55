"""The first room's flow: problem sources into numbered shards of problems, and those that should not be asked
marked.

problems/<sources>-<fingerprint>/   every row, with what is wrong with it alone: rows are checked once
compared/<sources>-<fingerprint>/   rows, benchmark questions and near-duplicates marked; contamination.json
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, groupby, islice
from operator import itemgetter
from typing import Any

from prefect import flow, task

from distill import contamination
from distill.collect import Row, apart, collect, marked, question_key
from distill.contamination import Benchmarks, Match, benchmarks
from distill.curate import dropped
from distill.files.readers import read_rows
from distill.progress import Meter, say
from distill.recipe.dataset import Curation, ProblemSource, Verification
from distill.records import Problem
from distill.store import shards
from flows import identity, rooms
from flows.identity import Place

MATCHES = "contamination.json"


@flow(name="collect", **rooms.FLOW)
def collect_room(
    sources: tuple[ProblemSource, ...],
    verification: Verification,
    shard_problems: int,
    curation: Curation | None = None,
) -> Place:
    """Makes or reuses the problems of some sources; for a dataset, those that its curation keeps from being
    asked are marked."""
    place = identity.problems(sources, verification, shard_problems)
    summary = rooms.reused(place, "every problem is there")
    if summary is None:
        with rooms.making(place, "every problem is there") as folder:
            if folder is not None:
                collect_shards(sources, verification, folder, shard_problems)
            summary = _finish(place) if folder is not None else rooms.needed(place, "distill collect")
    if curation is not None and (compared := identity.compared(place, curation)) != place:
        collected, place, summary = (
            rooms.shard_paths(place, summary),
            compared,
            rooms.reused(compared, "every problem is compared"),
        )
        if summary is None:
            with rooms.making(place, "every problem is compared") as folder:
                if folder is not None:
                    mark_shards(collected, folder, curation)
                summary = _finish(place) if folder is not None else rooms.needed(place, "distill collect")
    reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in summary["unusable"].items()) or "none"
    say(f"{summary['rows']:,} problems in {len(summary['shards'])} shards, unusable: {reasons}")
    if sum(summary["unusable"].values()) == summary["rows"]:
        reason = max(summary["unusable"], key=lambda one: summary["unusable"][one], default="")
        dropped.require_any(
            summary["unusable"], summary["rows"], place.label, {reason: _example(place, reason)}
        )
    return place


@task(name="collect-shards", **rooms.TASK)
def collect_shards(
    sources: tuple[ProblemSource, ...], verification: Verification, folder: str, shard_problems: int
) -> None:
    """Writes the shards that are missing.

    One task for all: duplicates are found in order. A row is a problem, so a shard that is there says how
    many rows to pass over.
    """
    seen: dict[bytes, str] = {}
    rows = ((source, row) for source in sources for row in read_rows(source))
    with Meter(
        "collecting problems",
        sum(source.limit or 0 for source in sources) if all(one.limit for one in sources) else 0,
    ) as meter:
        for number in count():
            chunk = list(islice(rows, shard_problems))
            if not chunk:
                return
            target = f"{folder}/{number:05}.parquet"
            if shards.exists(target):
                _remember(target, seen)
            else:
                shards.write(Problem, meter.over(_problems(chunk, verification, seen)), target)


@task(name="mark-problems", **rooms.TASK)
def mark_shards(sources: list[str], folder: str, curation: Curation) -> None:
    """Compares the problems with benchmarks and with each other, and writes the shards that are missing with
    what was found."""

    def problems() -> Iterator[Problem]:
        return (problem for source in sources for problem in rooms.read(Problem, source))

    section, matches = curation.decontamination, list[Match]()
    if section.problems and curation.benchmarks:
        matches = list(
            contamination.of_problems(problems(), Benchmarks(benchmarks.questions(curation), section))
        )
        rooms.artifact(
            f"contamination-{folder.rsplit('/', 1)[1]}",
            contamination.markdown(matches, section),
            "Problems close to a benchmark's",
        )
    marks = apart(
        problems(),
        (match for match in matches if contamination.drops(match, section)),
        curation.duplicates.problems,
    )
    shards.write_text(
        f"{folder}/{MATCHES}",
        json.dumps(contamination.report(matches, section), indent=1, ensure_ascii=False),
    )
    firsts = dict(
        zip(sources, accumulate((rooms.count(source) for source in sources), initial=0), strict=False)
    )
    for source, target in rooms.missing(sources, folder):
        shards.write(Problem, marked(rooms.read(Problem, source), marks, firsts[source]), target)


def _finish(place: Place) -> dict[str, Any]:
    """Closes a folder of problems, with the number of those that should not be asked by reason."""
    paths = shards.list_shards(place.path)
    counts = Counter(row["unusable"] for path in paths for row in rooms.read_rows(path, ["unusable"]))
    return rooms.finish(
        place, paths, digest=True, unusable={reason: rows for reason, rows in counts.items() if reason}
    )


def _example(place: Place, reason: str) -> str:
    """What is wrong with the first problem that has a reason."""
    columns = ["problem_id", "unusable", "detail_unusable"]
    rows = (row for path in shards.list_shards(place.path) for row in rooms.read_rows(path, columns))
    return next(
        (f"{row['problem_id']}, {row['detail_unusable']}" for row in rows if row["unusable"] == reason), ""
    )


def _problems(
    chunk: Sequence[tuple[ProblemSource, Row]], verification: Verification, seen: dict[bytes, str]
) -> Iterator[Problem]:
    for source, rows in groupby(chunk, key=itemgetter(0)):
        yield from collect([row for _, row in rows], source, verification, seen)


def _remember(shard: str, seen: dict[bytes, str]) -> None:
    """Notes the questions of a shard that is there, so that a later row that repeats one is found."""
    for problem in rooms.read(Problem, shard):
        if problem.unusable is None:
            seen[question_key(problem.question)] = problem.problem_id
