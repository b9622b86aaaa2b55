"""Verdicts on anybody's traces: each row of a file with its verdict, one for one and in order, in a Parquet file.

A row that is no trace is an `error` row with its cause. Work in progress lies in a folder beside the result (`<output>.parts`): a run
that was killed goes on after the last finished part, and asks the judge nothing twice, as long as the file, the settings and
the verifiers are the same. The summary of all verdicts and the list of disagreements are written beside the result.
"""

import json
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from distill import verifiers
from distill.engines.completions import Completions
from distill.files import traces
from distill.files.traces import Row
from distill.progress import Meter, say
from distill.recipe.dataset import Verification
from distill.recipe.section import RecipeError
from distill.records import Opinions, Trace, Verdict
from distill.store import folders, shards
from distill.store.schema import schema, to_row
from distill.text import endings
from distill.verify import summary
from distill.verify.summary import Summary

ROWS_OF_PART = 2048
"""What a kill costs at most, in rows."""

Judged = tuple[Row, Verdict, Opinions]


def verify_file(source: str, target: str, section: Verification) -> list[Summary]:
    """Writes each row of a file with its verdict, goes on where a killed run of the same kind stopped, and sums up."""
    columns, total = traces.outline(source)
    wanted, parts = _wanted(columns, section), f"{target}.parts"
    if section.majority:
        _require_siblings_together(source)
    with folders.locked(parts) if "://" not in target else nullcontext():
        done = _finished(parts, _key(source, section))
        before = sum(shards.count(path) for path in done)
        if before:
            say(f"going on after {before:,} rows that are judged already")
        with Meter("verifying", total, before) as meter, _replies(parts, section) as replies:
            rows = meter.over(_rows(judged(source, section, before, replies), columns, wanted))
            while part := list(islice(rows, ROWS_OF_PART)):
                path = f"{parts}/{len(done):06}.parquet"
                shards.write_rows(wanted, part, path)
                done.append(path)
        shards.write_tables(wanted, _tables(done), target)
        if "://" not in target:
            shutil.rmtree(parts)
    return _summed_up(target)


def judged(path: str, section: Verification, skip: int = 0, replies: Completions | None = None) -> Iterator[Judged]:
    """Each row of a file after the first `skip` with its verdict and the opinions of others, one for one and in order."""
    waiting: deque[tuple[Row, Trace | str]] = deque()

    def good() -> Iterator[Trace]:
        for row, found in islice(traces.traces_from(path, untold=endings.Untold(f"{path} has the")), skip, None):
            waiting.append((row, found))
            if isinstance(found, Trace):
                yield found

    for _, verdict, opinions in verifiers.judge_all(good(), section, replies):
        yield from _errors(waiting)
        yield waiting.popleft()[0], verdict, opinions
    yield from _errors(waiting)


def _errors(waiting: deque[tuple[Row, Trace | str]]) -> Iterator[Judged]:
    """Takes the unusable rows off the front."""
    while waiting and isinstance(cause := waiting[0][1], str):
        yield waiting.popleft()[0], Verdict("error", None, cause), Opinions()


def _wanted(columns: pa.Schema, section: Verification) -> pa.Schema:
    """The columns of the file with those of verdicts, and of opinions where anybody gives one; a column of that name is replaced."""
    opinions = schema(Opinions) if section.judge or section.majority else ()
    added = {field.name: field for field in (*schema(Verdict), *opinions)}
    return pa.schema([added.pop(field.name, field) for field in columns] + list(added.values()))


def _rows(judgements: Iterable[Judged], columns: pa.Schema, wanted: pa.Schema) -> Iterator[dict[str, Any]]:
    for row, verdict, opinions in judgements:
        given = {field.name: traces.stored(row.get(field.name), field.type) for field in columns}
        said = to_row(verdict) | to_row(opinions)
        yield given | {name: traces.stored(value, wanted.field(name).type) for name, value in said.items() if name in wanted.names}


def _key(source: str, section: Verification) -> str:
    """What a part must have been made from to be gone on with."""
    filesystem, name = fsspec.core.url_to_fs(source)
    key = {
        "input": filesystem.ukey(name),
        "verification": section.identity(),
        "verifiers": verifiers.versions(verifiers.RULES, section),
        "rows": ROWS_OF_PART,
    }
    return json.dumps(key, sort_keys=True)


def _finished(parts: str, key: str) -> list[str]:
    """The parts of an earlier run with the same key; those of another run are removed."""
    stored = f"{parts}/key.json"
    if shards.exists(stored) and shards.read_text(stored) == key:
        return shards.list_shards(parts)
    for path in shards.list_shards(parts):
        filesystem, name = fsspec.core.url_to_fs(path)
        filesystem.rm(name)
    shards.write_text(stored, key)
    return []


@contextmanager
def _replies(parts: str, section: Verification) -> Iterator[Completions | None]:
    """What the judge has replied, for a result on this machine; None without a judge."""
    if section.judge is None or "://" in parts:
        yield None
        return
    with Completions(Path(parts) / "judge.sqlite") as replies:
        replies.adopt(Path(parts) / "judge.journal")  # of an older version's run
        yield replies


def _tables(paths: Iterable[str]) -> Iterator[pa.Table]:
    for path in paths:
        with fsspec.open(path, "rb") as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group)


def _summed_up(target: str) -> list[Summary]:
    """The summary of a finished file, written beside it."""
    stem = target.removesuffix(".parquet")
    return summary.write(partial(shards.read_rows, target), f"{stem}.summary.json", f"{stem}.disagreements.jsonl")


def _require_siblings_together(source: str) -> None:
    """Raises RecipeError when traces of a problem are scattered over the file: a majority needs them side by side."""
    seen: set[str] = set()
    before = ""
    for number, (_, found) in enumerate(traces.traces_from(source)):
        problem = found.problem.problem_id if isinstance(found, Trace) else before
        if problem != before and problem in seen:
            raise RecipeError(
                f"verification.majority: row {number} of {source} belongs to a problem seen before; sort the file by problem_id"
            )
        seen.add(problem)
        before = problem
