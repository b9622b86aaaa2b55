"""Verify and curate anybody's traces: files in, a file or a dataset folder out, without a store and without Prefect.

Rows may come in any order; `curate` keeps siblings together and leaves problems in the order in which they first appear. A folder that
`curate` made can be its input, too: what was measured is in it, so another policy or threshold is a matter of seconds. Killed, the
same command goes on where it was.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from distill import (
    benchmark_sets,
    curate,
    export,
    file_verdicts,
    files,
    funnel,
    hardware,
    pairs,
    prompts,
    shards,
    siblings,
    store,
    verdict_summary,
)
from distill.contamination import Benchmarks, Match, matches
from distill.funnel import Funnel
from distill.pairs import Pair
from distill.progress import Meter, say
from distill.recipe import Curation, DatasetRecipe, Verification
from distill.records import Candidate

WORK = ".work"
"""Folder inside the dataset's: what a killed run goes on from."""
ROWS_FOR_PROCESSES = 8_192
"""Below, the start of worker processes takes longer than they save."""

ShardWork = Callable[[str, str, Curation], int]


def verify_file(source: str, target: str, verification: Verification) -> str:
    """Writes each row of a file with its verdict, and returns the summary as text."""
    summaries = file_verdicts.verify_file(source, target, verification)
    return f"{verdict_summary.table(summaries)}\n\n{verdict_summary.totals(summaries)}"


def curate_file(source: str, folder: str, curation: Curation, recipe: DatasetRecipe | None) -> str:
    """Writes a dataset folder from a file of traces, a folder of such files or another dataset folder; returns its funnel as a table."""
    if finished(folder):
        raise FileExistsError(f"{folder} holds a dataset already; name another --output, or remove it")
    with store.locked(folder):
        work = _work(source, folder, curation)
        same = _measured_alike(source, curation)
        measured = shards.list_shards(f"{source}/candidates") if same["measures"] else _measured(source, work, curation)
        _pair(measured, folder, curation, source if same["pairs"] else None)
        _match(measured, folder, curation, source if same["matches"] else None)
        found = _cut(measured, folder, curation, recipe)
        shards.write_text(f"{folder}/{export.MEASURED}", json.dumps(curate.measuring(curation), indent=1))
        export.describe(folder, recipe.name if recipe else Path(folder).name, curation, found, recipe)
        shutil.rmtree(work)
    return funnel.table(found)


def finished(folder: str) -> bool:
    """Whether a folder holds a whole dataset: its card is written last."""
    return Path(folder, export.CARD).exists()


def _work(source: str, folder: str, curation: Curation) -> str:
    """The folder for work in progress; what a run of other settings left in it is removed."""
    work = Path(folder, WORK)
    stat = Path(source).stat()
    key = json.dumps([str(Path(source).absolute()), stat.st_size, stat.st_mtime_ns, curate.DECIDES, curation.identity()])
    if not (work / "key.json").exists() or (work / "key.json").read_text(encoding="utf-8") != key:
        for name in (WORK, *export.PARTS):
            shutil.rmtree(Path(folder, name), ignore_errors=True)
        for name in (export.PAIRS, export.MATCHES):
            Path(folder, name).unlink(missing_ok=True)
        shards.write_text(str(work / "key.json"), key)
    elif shards.list_shards(f"{work}/candidates"):
        say("going on where the last run was stopped")
    return str(work)


def _measured_alike(source: str, curation: Curation) -> dict[str, bool]:
    """Which of the measures, pairs and matches of a dataset folder are those that these settings would give."""
    wanted, path = curate.measuring(curation), Path(source, export.MEASURED)
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: all(stored.get(one) == wanted[one] for one in ("measures", name)) for name in wanted}


def _measured(source: str, work: str, curation: Curation) -> list[str]:
    """The shards of measured candidates."""
    with Meter("reading traces", 0) as meter:
        gathered = siblings.gather(meter.over(files.candidates_from_all(source)), f"{work}/candidates")
    return _each(_measure_shard, "measuring", gathered, f"{work}/measured", curation)


def _pair(measured: Sequence[str], folder: str, curation: Curation, before: str | None) -> None:
    """Writes the pairs of near-duplicates, or takes them over from the dataset that is cut again."""
    target = f"{folder}/{export.PAIRS}"
    if before is not None:
        shutil.copyfile(f"{before}/{export.PAIRS}", target)
    elif not shards.exists(target):
        with Meter("comparing look-alikes", 0) as meter:
            shards.write(Pair, meter.over(pairs.find(measured, curation.duplicates)), target)


def _match(measured: Sequence[str], folder: str, curation: Curation, before: str | None) -> None:
    """Writes what is close to a benchmark question, or takes it over from the dataset that is cut again."""
    target = f"{folder}/{export.MATCHES}"
    if not curation.benchmarks or shards.exists(target):
        return
    if before is not None:
        shutil.copyfile(f"{before}/{export.MATCHES}", target)
        return
    found = _each(_match_shard, "looking for benchmark questions", measured, f"{folder}/{WORK}/matches", curation)
    export.gather_matches(found, measured, folder)


def _cut(measured: Sequence[str], folder: str, curation: Curation, recipe: DatasetRecipe | None) -> Funnel:
    """Decides over all rows, writes candidates and examples, and returns the funnel."""
    shares = {one.name: one.share for one in recipe.problems if one.share is not None} if recipe else {}
    close = export.contaminated(folder, curation.decontamination)
    near = shards.read(Pair, f"{folder}/{export.PAIRS}")
    with Meter("deciding", sum(shards.count(path) for path in measured)) as meter:
        decisions = curate.decide(meter.over(export.outlines(measured)), curation, near, close, shares)
        export.write_decisions(curate.Decision, decisions, measured, folder)
    sampling = recipe.sampling if recipe else None
    template, system = (sampling.prompt, sampling.system) if sampling else (prompts.BY_KIND, None)
    with ThreadPoolExecutor(hardware.cores()) as threads, Meter("writing shards", len(measured)) as meter:
        found = list(meter.over(threads.map(lambda path: export.cut_shard(path, folder, curation, template, system), measured)))
    return funnel.merge(found)


def _each(work: ShardWork, label: str, sources: Sequence[str], folder: str, curation: Curation) -> list[str]:
    """Does a piece of work for each shard that is not in a folder yet, on all cores, and returns the paths there."""
    targets = [f"{folder}/{Path(source).name}" for source in sources]
    todo = [(source, target) for source, target in zip(sources, targets, strict=True) if not shards.exists(target)]
    rows = sum(shards.count(source) for source in sources)
    left = sum(shards.count(source) for source, _ in todo)
    with Meter(label, rows, rows - left) as meter:
        if left < ROWS_FOR_PROCESSES:
            for source, target in todo:
                meter.add(work(source, target, curation))
        else:
            with ProcessPoolExecutor(hardware.cores(), get_context("spawn")) as pool:
                for future in as_completed([pool.submit(work, source, target, curation) for source, target in todo]):
                    meter.add(future.result())
    return targets


def _measure_shard(source: str, target: str, curation: Curation) -> int:
    return shards.write(Candidate, curate.measure(shards.read(Candidate, source), curation), target)


def _match_shard(source: str, target: str, curation: Curation) -> int:
    """Returns the rows that were looked at, not those that were found."""
    traces = (candidate.trace for candidate in shards.read(Candidate, source))
    known = Benchmarks(benchmark_sets.questions(curation), curation.decontamination)
    shards.write(Match, matches(traces, known), target)
    return shards.count(source)
