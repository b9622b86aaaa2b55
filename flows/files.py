"""Verify and curate anybody's traces: files in, a file or a dataset folder out, without a store and without Prefect.

Rows may come in any order; `curate` brings siblings together and promises no order of problems. A folder that `curate` made can be
its input, too: what was measured is in it, so another policy or threshold is a matter of seconds. Killed, the same command goes on
where it was.
"""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from distill import curate, hardware
from distill.contamination import Benchmarks, Match, benchmarks, matches
from distill.curate import dropped, funnel, preferences, write
from distill.curate.funnel import Funnel
from distill.duplicates import pairs
from distill.duplicates.pairs import Pair
from distill.files import grouping, traces
from distill.progress import Meter, say
from distill.recipe.dataset import Curation, DatasetRecipe, Verification
from distill.records import Candidate, Verdict
from distill.store import folders, shards
from distill.store.folders import StoreError
from distill.store.remote import filesystem
from distill.store.schema import schema
from distill.text import prompts
from distill.verify import summary
from flows import file_verdicts

WORK = ".work"
"""Folder inside the dataset's: what a killed run goes on from."""
KEY = "key.json"
ROWS_FOR_PROCESSES = 8_192
"""Below, the start of worker processes takes longer than they save."""

UNJUDGED = ("error", "unparsed_reference", "unverified")
"""Outcomes that say nothing about an answer."""

ShardWork = Callable[[str, str, Curation], int]


class UnfinishedError(StoreError):
    """A dataset that is not whole; the message says what to do."""


def verify_file(source: str, target: str, verification: Verification) -> str:
    """Writes each row of a file with its verdict, and returns the summary as text."""
    summaries = file_verdicts.verify_file(source, target, verification)
    return f"{summary.table(summaries)}\n\n{summary.totals(summaries)}"


def require_verdicts(source: str, target: str) -> None:
    """Raises NothingLeftError when no row of a file could be judged: every one is an error, has an unreadable reference and so on.

    Where no row has an answer and the file has no column `response`, the completions stand in a column that nothing reads.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for row in shards.read_rows(target, ["outcome", "detail"]):
        counts[row["outcome"]] += 1
        examples.setdefault(row["outcome"], f"row {counts.total() - 1}, {row['detail']}".rstrip(", "))
    columns = [name for name in traces.outline(target)[0].names if name not in schema(Verdict).names]
    unread = not {"response", "thinking"} & set(columns)
    lost = {one: rows for one, rows in counts.items() if one in UNJUDGED or (one == "no_answer" and unread)}
    remedy = f"completions are read from response, or thinking and answer; the columns are {', '.join(columns)}" if unread else ""
    dropped.require_any(lost, counts.total(), source, examples, remedy)


def require_examples(folder: str) -> None:
    """Raises NothingLeftError when the dataset in a folder has no example."""
    dropped.require_examples(funnel.from_json(shards.read_text(f"{folder}/funnel.json")), folder, folder)


def curate_file(source: str, folder: str, curation: Curation, recipe: DatasetRecipe | None) -> str:
    """Writes a dataset folder from a file of traces, a folder of such files or another dataset folder; returns its funnel as a table."""
    key = _key(_inputs(source), curation, recipe)
    _require_room(source, folder, key)
    with folders.locked(folder):
        work = _work(folder, key)
        if finished(folder):  # killed between the last file and the end
            shutil.rmtree(work)
            return funnel.table(funnel.from_json(shards.read_text(f"{folder}/funnel.json")))
        same = _measured_alike(source, curation)
        measured = shards.list_shards(f"{source}/candidates") if same["measures"] else _measured(source, work, curation)
        _pair(measured, folder, curation, source if same["pairs"] else None)
        _match(measured, folder, curation, source if same["matches"] else None)
        found = _cut(measured, folder, curation, recipe)
        write.describe(folder, recipe.name if recipe else Path(folder).name, curation, curate.measuring(curation), found, recipe)
        shutil.rmtree(work)
    dropped.tell_funnel(found)
    return funnel.table(found)


def finished(folder: str) -> bool:
    """Whether a folder holds a whole dataset: its card is written last."""
    return Path(folder, write.CARD).exists()


def is_dataset(path: str) -> bool:
    """Whether a path is a dataset folder that can be cut again; raises UnfinishedError for one that is not whole."""
    if not Path(path, "candidates").is_dir():
        return False
    if not finished(path) or Path(path, WORK).exists() or not Path(path, write.CURATION).is_file():
        raise UnfinishedError(f"{path} is no finished dataset: run the command that makes it again, or name one of its files")
    return True


def _inputs(source: str) -> list[Any]:
    """Name and state of every file that is read, so that a run never goes on with what has changed; raises OSError when there is none."""
    files, name = filesystem(source)
    if not files.exists(name):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
    folder = f"{name}/candidates" if is_dataset(source) else name
    names = sorted(files.ls(folder, detail=False)) if files.isdir(folder) else [folder]
    return [(one, files.ukey(one)) for one in names if not files.isdir(one)]


def _require_room(source: str, folder: str, key: str) -> None:
    """Raises FileExistsError for a folder with anything in it that a run of this command has not left there to go on from."""
    target = Path(folder)
    if target.exists() and (not target.is_dir() or target.resolve() == Path(source).resolve()):
        raise FileExistsError(f"{folder} cannot be the output; name another folder for --output")
    if finished(folder) and _stored_key(folder) != key:
        raise FileExistsError(f"{folder} holds a dataset already; name another --output, or remove it")
    if target.exists() and _stored_key(folder) is None and any(one.name not in (".lock", WORK) for one in target.iterdir()):
        raise FileExistsError(f"{folder} is not empty; name another --output")


def _stored_key(folder: str) -> str | None:
    """The key of the run that was stopped in a folder."""
    stored = Path(folder, WORK, KEY)
    return stored.read_text(encoding="utf-8") if stored.is_file() else None


def _key(inputs: list[Any], curation: Curation, recipe: DatasetRecipe | None) -> str:
    """All that decides what a run writes: only with the same key it goes on where another one stopped."""
    settings = [curation.identity(), curate.measuring(curation), curate.DECIDES, preferences.VERSION]
    asked = [recipe.name, _prompt(recipe), prompts.identity(_prompt(recipe)[0]), _shares(recipe)] if recipe else []
    return json.dumps([inputs, settings, asked])


def _work(folder: str, key: str) -> str:
    """The folder for work in progress; what a run of other settings has left is removed, and so is what a killed one had half written."""
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
    shards.write_text(f"{work}/{KEY}", key)
    return work


def _measured_alike(source: str, curation: Curation) -> dict[str, bool]:
    """Which of the measures, pairs and matches of a dataset folder are those that these settings would give."""
    wanted, path = curate.measuring(curation), Path(source, write.CURATION)
    stored = json.loads(path.read_text(encoding="utf-8")) if is_dataset(source) else {}
    return {name: all(stored.get(one) == wanted[one] for one in ("measures", name)) for name in wanted}


def _measured(source: str, work: str, curation: Curation) -> list[str]:
    """The shards of measured candidates."""
    if is_dataset(source):
        gathered = shards.list_shards(f"{source}/candidates")
    else:
        with Meter("reading traces", 0) as meter:
            gathered = grouping.gather(meter.over(traces.candidates_from_all(source)), f"{work}/candidates")
    return _each(_measure_shard, "measuring", gathered, f"{work}/measured", curation)


def _pair(measured: Sequence[str], folder: str, curation: Curation, before: str | None) -> None:
    """Writes the pairs of near-duplicates, or takes them over from the dataset that is cut again."""
    target = f"{folder}/{write.PAIRS}"
    if shards.exists(target):
        return
    if before is not None:
        shards.write(Pair, shards.read(Pair, f"{before}/{write.PAIRS}"), target)
        return
    with Meter("comparing look-alikes", 0) as meter:
        shards.write(Pair, meter.over(pairs.find(measured, curation.duplicates)), target)


def _match(measured: Sequence[str], folder: str, curation: Curation, before: str | None) -> None:
    """Writes what is close to a benchmark question, or takes it over from the dataset that is cut again."""
    target = f"{folder}/{write.MATCHES}"
    if not curation.benchmarks or shards.exists(target):
        return
    if before is not None:
        shards.write(Match, write.matches(before), target)
        return
    found = _each(_match_shard, "looking for benchmark questions", measured, f"{folder}/{WORK}/matches", curation)
    write.gather_matches(found, measured, folder)


def _cut(measured: Sequence[str], folder: str, curation: Curation, recipe: DatasetRecipe | None) -> Funnel:
    """Decides over all rows, writes candidates and examples, and returns the funnel."""
    close, near = write.contaminated(folder, curation.decontamination), shards.read(Pair, f"{folder}/{write.PAIRS}")
    with Meter("deciding", sum(shards.count(path) for path in measured)) as meter:
        decisions = curate.decide(meter.over(write.outlines(measured)), curation, near, close, _shares(recipe))
        write.write_decisions(decisions, measured, folder)
    prompt = _prompt(recipe)
    threads = ThreadPoolExecutor(hardware.cores())
    try:
        with Meter("writing shards", len(measured)) as meter:
            return funnel.merge(meter.over(threads.map(lambda path: write.cut_shard(path, folder, curation, *prompt), measured)))
    finally:
        threads.shutdown(cancel_futures=True)


def _prompt(recipe: DatasetRecipe | None) -> tuple[str, str | None]:
    """Template and system prompt that examples are asked with."""
    return (recipe.sampling.prompt, recipe.sampling.system) if recipe else (prompts.BY_KIND, None)


def _shares(recipe: DatasetRecipe | None) -> dict[str, float]:
    """The wanted share of each source that names one."""
    return {one.name: one.share for one in recipe.problems if one.share is not None} if recipe else {}


def _each(work: ShardWork, label: str, sources: Sequence[str], folder: str, curation: Curation) -> list[str]:
    """Does a piece of work for each shard that is not in a folder yet, on all cores, and returns the paths there."""
    targets = [f"{folder}/{Path(source).name}" for source in sources]
    todo = [(source, target) for source, target in zip(sources, targets, strict=True) if not shards.exists(target)]
    rows, left = sum(shards.count(source) for source in sources), sum(shards.count(source) for source, _ in todo)
    with Meter(label, rows, rows - left) as meter:
        if left < ROWS_FOR_PROCESSES:
            for source, target in todo:
                meter.add(work(source, target, curation))
            return targets
        pool = ProcessPoolExecutor(hardware.cores(), get_context("spawn"))
        try:
            for future in as_completed([pool.submit(work, source, target, curation) for source, target in todo]):
                meter.add(future.result())
        except BrokenProcessPool as error:
            raise UnfinishedError("a worker process was killed (out of memory?); the same command goes on where it was") from error
        finally:
            pool.shutdown(cancel_futures=True)
    return targets


def _measure_shard(source: str, target: str, curation: Curation) -> int:
    return shards.write(Candidate, curate.measure(shards.read(Candidate, source), curation), target)


def _match_shard(source: str, target: str, curation: Curation) -> int:
    """Returns the rows that were looked at, not those that were found."""
    traces = (candidate.trace for candidate in shards.read(Candidate, source))
    known = Benchmarks(benchmarks.questions(curation), curation.decontamination)
    shards.write(Match, matches(traces, known), target)
    return shards.count(source)
