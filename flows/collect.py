"""The flow of collecting: problem sources into numbered shards, with those marked that should not be asked.

problems/<sources>-<fingerprint>/   every row, with what is wrong with it alone: rows are checked once
compared/<sources>-<fingerprint>/   rows, benchmark questions and near-duplicates marked; contamination.json
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, groupby, islice
from operator import itemgetter

from prefect import flow, task

from distill import contamination
from distill.collect import Row, apart, collect, marked, question_key
from distill.contamination import Benchmarks, Match, benchmarks
from distill.curate import dropped
from distill.files.readers import read_rows
from distill.progress import Meter, say
from distill.recipe.dataset import Curation, ProblemSource, Verification
from distill.records import Problem
from distill.store import Folder, checked, exists, list_shards, shards, write_text
from flows import runners
from flows.identity import Folders

MATCHES = "contamination.json"


@flow(name="collect", **runners.FLOW)
def collect_stage(folders: Folders) -> Folder:
    """Makes or reuses the problems of some sources; for a dataset, those that its curation keeps from being
    asked are marked."""
    made, found = folders.problems, folders.compared
    with made.making("every problem is there") as todo:
        if todo:
            collect_shards(folders.sources, folders.verification, made, folders.shard_problems)
            _finish(made)
    if found != made:
        with found.making("every problem is compared") as todo:
            if todo:
                mark_shards(made.shards(), found, folders.curation)
                _finish(found)
    summary = found.needed("distill collect")
    unusable: dict[str, int] = summary["unusable"]
    reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in unusable.items()) or "none"
    say(f"{summary['rows']:,} problems in {len(summary['shards'])} shards, unusable: {reasons}")
    if sum(unusable.values()) == summary["rows"]:
        reason = max(unusable, key=lambda one: unusable[one], default="")
        dropped.require_any(unusable, summary["rows"], found.label, {reason: _example(found, reason)})
    return found


@task(name="collect-shards", **runners.TASK)
def collect_shards(
    sources: tuple[ProblemSource, ...], verification: Verification, folder: Folder, shard_problems: int
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
            target = f"{folder.path}/{number:05}.parquet"
            if exists(target):
                _remember(target, seen)
            else:
                shards.write(Problem, meter.over(_problems(chunk, verification, seen)), target)


@task(name="mark-problems", **runners.TASK)
def mark_shards(sources: list[str], folder: Folder, curation: Curation) -> None:
    """Compares the problems with benchmarks and with each other, and writes the shards that are missing with
    what was found."""

    def problems() -> Iterator[Problem]:
        return (problem for source in sources for problem in checked.read(Problem, source))

    section, matches = curation.decontamination, list[Match]()
    if section.problems and curation.benchmarks:
        matches = list(
            contamination.of_problems(problems(), Benchmarks(benchmarks.questions(curation), section))
        )
        runners.artifact(
            f"contamination-{folder.path.rsplit('/', 1)[1]}",
            contamination.markdown(matches, section),
            "Problems close to a benchmark's",
        )
    marks = apart(
        problems(),
        (match for match in matches if contamination.drops(match, section)),
        curation.duplicates.problems,
    )
    write_text(
        f"{folder.path}/{MATCHES}",
        json.dumps(contamination.report(matches, section), indent=1, ensure_ascii=False),
    )
    firsts = dict(
        zip(sources, accumulate((checked.count(source) for source in sources), initial=0), strict=False)
    )
    for source, target in folder.lacks(sources):
        shards.write(Problem, marked(checked.read(Problem, source), marks, firsts[source]), target)


def _finish(folder: Folder) -> None:
    """Closes a folder of problems, with the number of those that should not be asked by reason."""
    paths = list_shards(folder.path)
    counts = Counter(row["unusable"] for path in paths for row in checked.read_rows(path, ["unusable"]))
    unusable = {reason: rows for reason, rows in counts.items() if reason}
    folder.finish(paths, content=paths, unusable=unusable)


def _example(folder: Folder, reason: str) -> str:
    """What is wrong with the first problem that has a reason."""
    columns = ["problem_id", "unusable", "detail_unusable"]
    for path in folder.shards():
        for row in checked.read_rows(path, columns):
            if row["unusable"] == reason:
                return f"{row['problem_id']}, {row['detail_unusable']}"
    return ""


def _problems(
    chunk: Sequence[tuple[ProblemSource, Row]], verification: Verification, seen: dict[bytes, str]
) -> Iterator[Problem]:
    for source, rows in groupby(chunk, key=itemgetter(0)):
        yield from collect([row for _, row in rows], source, verification, seen)


def _remember(shard: str, seen: dict[bytes, str]) -> None:
    """Notes the questions of a shard that is there, so that a later row that repeats one is found."""
    for problem in checked.read(Problem, shard):
        if problem.unusable is None:
            seen[question_key(problem.question)] = problem.problem_id
