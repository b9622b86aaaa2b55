"""Looks things up in the store: datasets, students, reports and single traces.

Reads only. What it lists is what has been finished; a folder in the making is left out.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from distill.records import Comparison, Promotion, Report, Score
from distill.store import folders, schema
from distill.store.keys import NotMade, slug
from distill.store.paths import exists, filesystem, list_shards, read_text

STAGES_OF_TRACES = (
    "datasets/*/candidates",
    "measures/*",
    "verdicts/*",
    "evaluations/verdicts/*",
    "traces/*",
    "evaluations/traces/*",
)
"""Where a trace may lie, those with the most columns first."""


def datasets() -> list[dict[str, Any]]:
    """Every finished dataset: folder, examples, traces, and what its recipe says."""
    found = []
    for folder in _folders("datasets", "made.json"):
        made = json.loads(read_text(f"{folder}/made.json"))
        recipe = json.loads(read_text(f"{folder}/recipe.json"))
        traces = sum(rows for name, rows in made["shards"].items() if name.startswith("candidates/"))
        found.append(
            {
                "path": folder,
                "examples": made["kept"],
                "traces": traces,
                "teacher": recipe["teacher"]["model"],
            }
        )
    return found


def students() -> list[dict[str, Any]]:
    """Every trained student: folder, dataset, rows, and the scores of its last report."""
    found = []
    for folder in _folders("students", "checkpoint.json"):
        checkpoint = json.loads(read_text(f"{folder}/checkpoint.json"))
        row = {
            "path": folder,
            "dataset": checkpoint["dataset"],
            "rows": checkpoint["rows_trained"],
            "decision": "not evaluated",
        }
        if exists(f"{folder}/report.json"):
            report = load_report(f"{folder}/report.json")
            decision = ", worse on ".join([report.decision, *report.lost_on])
            row["decision"] = report.promotion.verdict if report.promotion else decision
            row |= {one.role: one.pass_at_1 for one in report.scores if one.source == "all"}
        found.append(row)
    return found


def load_report(path: str) -> Report:
    """The report of a report.json."""
    values = json.loads(read_text(path))
    values["scores"] = [schema.from_row(Score, score) for score in values["scores"]]
    values["comparisons"] = [schema.from_row(Comparison, comparison) for comparison in values["comparisons"]]
    if values.get("promotion"):
        values["promotion"] = schema.from_row(Promotion, values["promotion"])
    return Report(**values)


def report_path(run: str) -> str:
    """The report.json of a path, a folder of the store, or the newest student of a name; raises NotMade when
    there is none."""
    for path in (run, f"{run.rstrip('/')}/report.json", f"{folders.ROOT}/students/{run}/report.json"):
        if path.endswith("report.json") and exists(path):
            return path
    known = [
        folder
        for folder in _folders("students", "report.json")
        if folder.rsplit("/", 1)[1].rpartition("-")[0] == slug(run)
    ]
    if known:
        return max((f"{folder}/report.json" for folder in known), key=_modified)
    there = ", ".join(folder.rsplit("/", 1)[1] for folder in _folders("students", "report.json"))
    raise NotMade(f"no report of {run!r}; there are: {there or 'none yet (run `distill run` first)'}")


def rows_of(what: str) -> list[str]:
    """The Parquet files with rows to look at: a file, a folder, the newest dataset of a name, or a student's
    answers on held-out problems; raises NotMade when there are none."""
    if what.endswith(".parquet") and exists(what):
        return [what]
    made = _folders("datasets", "made.json")
    named = [one for one in made if what in ((name := one.rsplit("/", 1)[1]), name.rpartition("-")[0])]
    newest = max(named, key=lambda folder: _modified(f"{folder}/made.json"), default=what)
    for folder in (f"{newest}/candidates", newest):
        if found := list_shards(folder):
            return found
    try:
        student = load_report(report_path(what)).fingerprint
    except NotMade as error:
        known = ", ".join(folder.rsplit("/", 1)[1] for folder in made)
        raise NotMade(
            f"no rows in {what!r}: name a Parquet file, a folder of them, an evaluated student or a dataset "
            f"({known or 'none yet'})"
        ) from error
    return [shard for found in verdicts(student) for shard in found.shards]


def promoted(name: str, but: str) -> str | None:
    """The folder of the student of a name that was promoted last, other than `but`; or the folder of that
    name, promoted or not. None where there is none."""
    found = []
    for folder in _folders("students", "report.json"):
        own = folder.rsplit("/", 1)[1]
        if folder.rstrip("/") == but.rstrip("/"):
            continue
        if own == name:
            return folder
        promotion = json.loads(read_text(f"{folder}/report.json")).get("promotion") or {}
        if own.rpartition("-")[0] == slug(name) and promotion.get("verdict") == "promote":
            found.append(folder)
    return max(found, key=lambda folder: _modified(f"{folder}/report.json"), default=None)


class Verdicts(NamedTuple):
    """A finished folder of verdicts on a student's answers."""

    shards: list[str]
    key: dict[str, Any]


def verdicts(student: str) -> list[Verdicts]:
    """The verdicts on the held-out answers of the student with a fingerprint, the newest of each set of
    problems; raises NotMade when there are none."""
    newest = dict[str, tuple[float, Verdicts]]()
    for folder in _folders("evaluations/verdicts", "made.json"):
        key = json.loads(read_text(f"{folder}/key.json"))
        names = json.loads(read_text(f"{folder}/made.json"))["shards"]
        asked, when = key["traces"], _modified(f"{folder}/made.json")
        known = newest.get(asked["problems"])
        if asked["teacher"]["model"] == {"student": student} and (known is None or known[0] < when):
            newest[asked["problems"]] = when, Verdicts([f"{folder}/{name}" for name in sorted(names)], key)
    if not newest:
        raise NotMade(f"no verdicts on answers of the student {student}: run `distill evaluate` first")
    return [found for _, found in sorted(newest.values(), key=lambda one: one[0])]


def trace(identifier: str) -> tuple[str, dict[str, Any]]:
    """(shard, row) of the trace whose id is, or starts with, an identifier; raises NotMade when no shard has
    it."""
    for pattern in STAGES_OF_TRACES:
        for path in _glob(f"{folders.ROOT}/{pattern}/*.parquet"):
            if row := _row(path, identifier):
                return path, row
    raise NotMade(
        f"no trace {identifier!r} in {folders.ROOT}; ids are in the `id` column of candidates and in the "
        "dataset card"
    )


def _row(path: str, identifier: str) -> dict[str, Any] | None:
    """The first row of a shard with an id; text columns are read only when the shard has it."""
    files, name = filesystem(path)
    with files.open(name, "rb") as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            ids = parquet.read_row_group(group, columns=["id"])["id"]
            at = pc.index(pc.starts_with(ids, pattern=identifier), True).as_py()
            if at >= 0:
                row: dict[str, Any] = parquet.read_row_group(group).slice(at, 1).to_pylist()[0]
                return row
    return None


def _folders(stage: str, finished_by: str) -> list[str]:
    return [path.rsplit("/", 1)[0] for path in _glob(f"{folders.ROOT}/{stage}/*/{finished_by}")]


def _glob(pattern: str) -> Iterator[str]:
    files, name = filesystem(pattern)
    for path in sorted(files.glob(name)):
        yield files.unstrip_protocol(path) if "://" in pattern else path


def _modified(path: str) -> float:
    files, name = filesystem(path)
    return float(files.modified(name).timestamp())
