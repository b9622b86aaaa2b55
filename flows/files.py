"""File mode of verify and curate: files in, a file or a dataset folder out, without a store and without
Prefect.

`verify_file` gives each row of a file its verdict, one for one and in order; a row that is no trace is an
`error` row with its cause. Work in progress lies beside the result (`<output>.parts`). `curate_file` takes
rows in any order, brings siblings together and promises no order of problems. A folder that it made can be
its input, too: what was measured is in it, so another cut takes seconds. A run that was killed goes on where
it was, and asks no judge twice, as long as file, settings and verifiers are the same.
"""

import errno
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from distill import curate
from distill.curate import dropped, funnel, preferences, steps, write
from distill.engines import Completions
from distill.files import grouping, readers, traces
from distill.progress import Meter, say
from distill.recipe import Curation, DatasetRecipe, RecipeError, Verification
from distill.records import Opinions, Trace, Verdict
from distill.store import exists, folders, list_shards, paths, read_text, remove, schema, shards, write_text
from distill.text import endings, prompts
from distill.verifiers import KINDS
from distill.verify import summary, verify, versions

ROWS_OF_PART = 2048
"""What a kill costs `verify_file` at most, in rows."""
WORK = ".work"
"""Folder inside the dataset's: what a killed run of `curate_file` goes on from."""
KEY = "key.json"
UNJUDGED = ("error", "unparsed_reference", "unverified")
"""Outcomes that say nothing about an answer."""


class Judged(NamedTuple):
    """A row of a file with what was said about it."""

    row: readers.Row
    verdict: Verdict
    opinions: Opinions


def verify_file(source: str, target: str, section: Verification) -> list[summary.Summary]:
    """Writes each row of a file with its verdict, goes on where a killed run of the same kind stopped, and
    sums up."""
    columns, total = traces.outline(source)
    wanted, parts = _wanted(columns, section), f"{target}.parts"
    if section.majority:
        if "problem_id" not in columns.names:
            traces.require_question(source)
        _require_siblings_together(source)
    with folders.locked(parts) if "://" not in target else nullcontext():
        done = _finished(parts, _verifying_key(source, section))
        before = sum(shards.count(path) for path in done)
        if before:
            say(f"going on after {before:,} rows that are judged already")
        with Meter("verifying", total, before) as meter, _replies(parts, section) as replies:
            rows = meter.over(_rows(judged(source, section, before, replies), columns, wanted))
            while part := list(islice(rows, ROWS_OF_PART)):
                path = f"{parts}/{len(done):06}.parquet"
                shards.write_rows(wanted, part, path)
                done.append(path)
        shards.write_tables(wanted, (table for path in done for table in shards.read_tables(path)), target)
        if "://" not in target:
            shutil.rmtree(parts)
    stem = target.removesuffix(".parquet")
    return summary.write(
        partial(shards.read_rows, target), f"{stem}.summary.json", f"{stem}.disagreements.jsonl"
    )


def judged(
    path: str, section: Verification, skip: int = 0, replies: Completions | None = None
) -> Iterator[Judged]:
    """Each row of a file after the first `skip` with its verdict and the opinions of others, one for one and
    in order."""
    waiting: deque[tuple[readers.Row, Trace | str]] = deque()

    def good() -> Iterator[Trace]:
        for row, found in islice(
            traces.traces_from(path, untold=endings.Untold(f"{path} has the")), skip, None
        ):
            waiting.append((row, found))
            if isinstance(found, Trace):
                yield found

    for candidate in verify(good(), section, replies):
        yield from _errors(waiting)
        yield Judged(waiting.popleft()[0], candidate.verdict, candidate.opinions)
    yield from _errors(waiting)


def _errors(waiting: deque[tuple[readers.Row, Trace | str]]) -> Iterator[Judged]:
    """Takes the unusable rows off the front."""
    while waiting and isinstance(cause := waiting[0][1], str):
        yield Judged(waiting.popleft()[0], Verdict("error", None, cause), Opinions())


def _wanted(columns: pa.Schema, section: Verification) -> pa.Schema:
    """The columns of the file with those of verdicts, and of opinions where anybody gives one; a column of
    that name is replaced."""
    opinions = schema.schema(Opinions) if section.judge or section.majority else ()
    added = {field.name: field for field in (*schema.schema(Verdict), *opinions)}
    return pa.schema([added.pop(field.name, field) for field in columns] + list(added.values()))


def _rows(judgements: Iterable[Judged], columns: pa.Schema, wanted: pa.Schema) -> Iterator[dict[str, Any]]:
    for row, verdict, opinions in judgements:
        given = {field.name: traces.stored(row.get(field.name), field.type) for field in columns}
        said = schema.to_row(verdict) | schema.to_row(opinions)
        yield given | {
            name: traces.stored(value, wanted.field(name).type)
            for name, value in said.items()
            if name in wanted.names
        }


def _verifying_key(source: str, section: Verification) -> str:
    """What a part must have been made from to be gone on with."""
    files, name = paths.filesystem(source)
    key = {
        "input": files.ukey(name),
        "verification": section.identity(),
        "verifiers": versions([kind for kind, rules in KINDS.items() if rules.judge], section),
        "rows": ROWS_OF_PART,
    }
    return json.dumps(key, sort_keys=True)


def _finished(parts: str, key: str) -> list[str]:
    """The parts of an earlier run with the same key; those of another run are removed."""
    stored = f"{parts}/key.json"
    if exists(stored) and read_text(stored) == key:
        return list_shards(parts)
    for path in list_shards(parts):
        remove(path)
    write_text(stored, key)
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


def _require_siblings_together(source: str) -> None:
    """Raises RecipeError when traces of a problem are scattered over the file: a majority needs them side by
    side."""
    seen: set[str] = set()
    before = ""
    for number, (_, found) in enumerate(traces.traces_from(source)):
        problem = found.problem.problem_id if isinstance(found, Trace) else before
        if problem != before and problem in seen:
            raise RecipeError(
                f"verification.majority: row {number} of {source} belongs to a problem seen before; sort the "
                "file by problem_id"
            )
        seen.add(problem)
        before = problem


def require_verdicts(source: str, target: str) -> None:
    """Raises NothingLeftError when no row of a file could be judged: every one is an error, has an unreadable
    reference and so on.

    Where no row has an answer and the file has no column `response`, the completions stand in a column that
    nothing reads.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for row in shards.read_rows(target, ["outcome", "detail"]):
        counts[row["outcome"]] += 1
        examples.setdefault(row["outcome"], f"row {counts.total() - 1}, {row['detail']}".rstrip(", "))
    columns = [name for name in traces.outline(target)[0].names if name not in schema.schema(Verdict).names]
    unread = not {"response", "thinking"} & set(columns)
    lost = {one: rows for one, rows in counts.items() if one in UNJUDGED or (one == "no_answer" and unread)}
    remedy = (
        f"completions are read from response, or thinking and answer; the columns are {', '.join(columns)}"
        if unread
        else ""
    )
    dropped.require_any(lost, counts.total(), source, examples, remedy)


def require_examples(folder: str) -> None:
    """Raises NothingLeftError when the dataset in a folder has no example."""
    dropped.require_examples(funnel.from_json(read_text(f"{folder}/funnel.json")), folder, folder)


def curate_file(source: str, folder: str, curation: Curation, recipe: DatasetRecipe | None) -> str:
    """Writes a dataset folder from a file of traces, a folder of such files or another dataset folder;
    returns its funnel as a table."""
    key = _key(_inputs(source), curation, recipe)
    _require_free(source, folder, key)
    with folders.locked(folder):
        work = _work(folder, key)
        if finished(folder):  # killed between the last file and the end
            shutil.rmtree(work)
            return funnel.table(funnel.from_json(read_text(f"{folder}/funnel.json")))
        stages = steps.stages(_candidates(source, work), curation, partial(_made, source, work, curation))
        about = write.About(recipe.name if recipe else Path(folder).name, curation, recipe)
        found = steps.cut(stages, folder, about, steps.on_cores)
        shutil.rmtree(work)
    dropped.tell_funnel(found)
    return funnel.table(found)


def finished(folder: str) -> bool:
    """Whether a folder holds a whole dataset: its card is written last."""
    return Path(folder, write.CARD).exists()


def is_dataset(path: str) -> bool:
    """Whether a path is a dataset folder that can be cut again; raises UnfinishedError for one that is not
    whole."""
    if not Path(path, "candidates").is_dir():
        return False
    if not finished(path) or Path(path, WORK).exists() or not Path(path, write.CURATION).is_file():
        raise steps.UnfinishedError(
            f"{path} is no finished dataset: run the command that makes it again, or name one of its files"
        )
    return True


def _inputs(source: str) -> list[Any]:
    """Name and state of every file that is read, so that a run never goes on with what has changed; raises
    OSError when there is none."""
    files, name = paths.filesystem(source)
    if not files.exists(name):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
    folder = f"{name}/candidates" if is_dataset(source) else name
    names = sorted(files.ls(folder, detail=False)) if files.isdir(folder) else [folder]
    return [(one, files.ukey(one)) for one in names if not files.isdir(one)]


def _require_free(source: str, folder: str, key: str) -> None:
    """Raises FileExistsError for a folder with anything in it that a run of this command has not left there
    to go on from."""
    target = Path(folder)
    if target.exists() and (not target.is_dir() or target.resolve() == Path(source).resolve()):
        raise FileExistsError(f"{folder} cannot be the output; name another folder for --output")
    if finished(folder) and _stored_key(folder) != key:
        raise FileExistsError(f"{folder} holds a dataset already; name another --output, or remove it")
    if (
        target.exists()
        and _stored_key(folder) is None
        and any(one.name not in (".lock", WORK) for one in target.iterdir())
    ):
        raise FileExistsError(f"{folder} is not empty; name another --output")


def _stored_key(folder: str) -> str | None:
    """The key of the run that was stopped in a folder."""
    stored = Path(folder, WORK, KEY)
    return stored.read_text(encoding="utf-8") if stored.is_file() else None


def _key(inputs: list[Any], curation: Curation, recipe: DatasetRecipe | None) -> str:
    """All that decides what a run writes: only with the same key it goes on where another one stopped."""
    settings = [curation.identity(), curate.measuring(curation), curate.DECIDES, preferences.VERSION]
    asked = (
        [recipe.name, steps.prompt(recipe), prompts.identity(recipe.sampling.prompt), steps.shares(recipe)]
        if recipe
        else []
    )
    return json.dumps([inputs, settings, asked])


def _work(folder: str, key: str) -> str:
    """The folder for work in progress; what a run of other settings has left is removed, and so is what a
    killed one had half written."""
    work = f"{folder}/{WORK}"
    if _stored_key(folder) == key:
        say("going on where the last run was stopped")
        for torn in Path(folder).rglob(".*.tmp"):
            torn.unlink()
        return work
    for one in Path(folder).iterdir():
        if one.is_dir():
            shutil.rmtree(one)
        elif one.name != ".lock":
            one.unlink()
    write_text(f"{work}/{KEY}", key)
    return work


def _candidates(source: str, work: str) -> list[str]:
    """The shards of candidates: those of a dataset folder, or what is gathered from files."""
    if is_dataset(source):
        return list_shards(f"{source}/candidates")
    with Meter("reading traces", 0) as meter:
        return grouping.gather(meter.over(traces.candidates_from_all(source)), f"{work}/candidates")


def _made(
    source: str, work: str, curation: Curation, stage: steps.Stage, sources: Sequence[str]
) -> list[str]:
    """The shards of a stage: taken over from a dataset folder where these settings would give the same, else
    made."""
    found = steps.taken_over(stage, sources, source, curation) if is_dataset(source) else None
    if found is not None:
        return found
    target = f"{work}/{'measured' if stage == 'measures' else stage}"
    return steps.make(stage, sources, target, curation, steps.on_cores)
