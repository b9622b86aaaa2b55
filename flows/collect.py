"""The flow of collecting: problem sources into numbered shards, with those marked that should not be asked.

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
from distill.files import readers
from distill.progress import Meter, say
from distill.recipe import Curation, ProblemSource, Verification
from distill.records import Problem
from distill.store import Folder, checked, exists, list_shards, shards, write_text
from flows import runners
from flows.identity import Folders

MATCHES = "contamination.json"
SAID = ["problem_id", "source", "unusable", "detail_unusable"]
"""Columns that say which problems should not be asked, and why."""
EXAMPLE_CHARACTERS = 300
REMEDIES = {
    "too_long": "a teacher has no room left to think; shorten the questions",
    "needs_image": "a text model cannot see it; another source has what is asked in words",
    "exact_duplicate": "an earlier problem of these sources asks the same",
    "near_duplicate": "curation.duplicates.problems decides it",
}
"""Of reasons that mean something else for traces."""


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
    reasons = dropped.counted(unusable) or "none"
    say(f"{summary['rows']:,} problems in {len(summary['shards'])} shards, unusable: {reasons}")
    _require_usable(found, summary)
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
    rows = ((source, row) for source in sources for row in readers.read_rows(source))
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
    """Closes a folder of problems. Its summary counts those that should not be asked by reason, and by source
    with an example of each reason."""
    paths = list_shards(folder.path)
    unusable, sources = Counter[str](), dict[str, dict[str, Any]]()
    for row in (row for path in paths for row in checked.read_rows(path, SAID)):
        source = sources.setdefault(row["source"], {"rows": 0, "unusable": Counter(), "examples": {}})
        source["rows"] += 1
        if reason := row["unusable"]:
            unusable[reason] += 1
            source["unusable"][reason] += 1
            example = f"{row['problem_id']}, {row['detail_unusable']}"[:EXAMPLE_CHARACTERS]
            source["examples"].setdefault(reason, example)
    folder.finish(paths, content=paths, unusable=unusable, sources=sources)


def _require_usable(folder: Folder, summary: dict[str, Any]) -> None:
    """Says each reason of unusable problems with an example; raises NothingLeftError where no problem of a
    source can be used, unless other texts are the main cause."""
    sources: dict[str, dict[str, Any]] = summary["sources"]
    examples = {
        reason: f"{name}: {example}" if len(sources) > 1 else example
        for name, source in reversed(sources.items())
        for reason, example in source["examples"].items()
    }
    dropped.require_any(summary["unusable"], summary["rows"], folder.label, examples)
    for reason, rows in summary["unusable"].items():
        say(f"{rows:,} problems are {dropped.lost(reason, examples[reason], REMEDIES.get(reason, ''))}")
    for name, source in sources.items():
        if max(source["unusable"], key=source["unusable"].get, default=None) not in dropped.USUAL:
            label = f"{folder.label}, problem source {name!r}"
            dropped.require_any(source["unusable"], source["rows"], label, source["examples"])


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
