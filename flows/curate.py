"""The fourth room's flows: columns are measured shard by shard, one task decides over all of them, and shards are written again.

    measures/, matches/   candidates with their columns, and those close to a benchmark question: texts are read here, in parallel
    pairs/                near-duplicates among all of them
    datasets/<name>-<fingerprint>/   candidates/*.parquet  examples/*.parquet  funnel.json  README.md  recipe.json  plots/ ...

Another threshold or policy needs the last one only. `DISTILL_RUNNER` says where the shards of large runs are worked on.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

from distill import contamination, curate, hardware
from distill.contamination import Benchmarks, Match, benchmarks
from distill.curate import dropped, funnel, write
from distill.curate.funnel import Funnel
from distill.duplicates import pairs
from distill.duplicates.pairs import Pair
from distill.progress import Meter, say
from distill.recipe.dataset import Curation, DatasetRecipe
from distill.records import Candidate
from distill.store import shards
from flows import identity, rooms, runners
from flows.identity import Place

ROWS_FOR_RUNNER = 50_000
"""Below, the start of workers takes longer than they save, unless `DISTILL_RUNNER` asks for them."""
ROWS_OF_TASK = 8_192
"""A task has its price: some 20 ms in a thread, 250 ms on a cluster."""
PAIRS = "00000.parquet"

Todo = list[tuple[str, str]]


@flow(name="curate", **rooms.FLOW)
def curate_room(verdicts: Place, recipe: DatasetRecipe) -> Place:
    """Makes or reuses the filtered dataset of finished verdicts; raises NothingLeftError, each time, when it has no example."""
    place, curation = identity.dataset(verdicts, recipe), recipe.curation
    if (summary := rooms.made(place)) is not None and not summary["kept"]:
        dropped.require_examples(_funnel(place), place.label, place.path, unasked(recipe))
    if rooms.reused(place, "nothing is sampled, verified or selected"):
        return place
    judged = rooms.needed(verdicts, "distill verify")
    rows, sources = judged["rows"], rooms.shard_paths(verdicts, judged)
    measured = _on_runner(measure_room, rows)(identity.measures(verdicts, curation), sources, curation)
    near = pair_room(identity.pairs(identity.measures(verdicts, curation), curation), measured, curation)
    matched = _on_runner(match_room, rows)(identity.matches(verdicts, curation), sources, curation) if curation.benchmarks else []
    with rooms.making(place, "nothing is sampled, verified or selected") as folder:
        if folder is None:
            return place
        if not shards.exists(f"{folder}/{write.PAIRS}"):
            shards.write(Pair, rooms.read(Pair, near), f"{folder}/{write.PAIRS}")
        if matched and not shards.exists(f"{folder}/{write.MATCHES}"):
            write.gather_matches(matched, measured, folder)
        decide_shards(measured, folder, recipe)
        found = _on_runner(cut_room, rows, light=True)(measured, folder, recipe)
        fingerprint, left_out = {"fingerprint": place.fingerprint}, unasked(recipe)
        write.describe(folder, recipe.name, curation, curate.measuring(curation), found, recipe, fingerprint, left_out)
        parts = {part: shards.list_shards(f"{folder}/{part}") for part in ("candidates", "examples", "preferences")}
        kept = found.stages()["selected"].rows
        rooms.finish(place, [path for part in parts.values() for path in part], kept=kept, content=rooms.content(parts["examples"]))
    rooms.artifact(f"funnel-{recipe.name}", funnel.markdown(found), f"What became of every trace of {place.label}")
    if matched:
        text = contamination.markdown(list(write.matches(place.path)), curation.decontamination)
        rooms.artifact(f"contamination-{recipe.name}", text, f"Questions of {place.label} that are close to a benchmark's")
    say(f"made {place.label}: {kept:,} examples")
    dropped.require_examples(found, place.label, place.path, left_out)
    dropped.tell_funnel(found)
    return place


def _funnel(place: Place) -> Funnel:
    return funnel.from_json(shards.read_text(f"{place.path}/funnel.json"))


def unasked(recipe: DatasetRecipe) -> dict[str, int]:
    """How many problems of a recipe no teacher was asked, by reason."""
    collected = identity.problems(recipe.problems, recipe.verification, recipe.shard_problems)
    summary = rooms.made(identity.compared(collected, recipe.curation))
    return dict(summary["unusable"]) if summary else {}


@flow(name="measure", **rooms.FLOW)
def measure_room(place: Place, sources: list[str], curation: Curation) -> list[str]:
    """Makes or reuses the measured candidates of judged ones, and returns their shards."""
    return _each(measure_shards, "measuring", "every column is measured", place, sources, curation)


@flow(name="match", **rooms.FLOW)
def match_room(place: Place, sources: list[str], curation: Curation) -> list[str]:
    """Makes or reuses the list of candidates that are close to a benchmark question, a shard of them for each of the candidates'."""
    benchmarks.questions(curation)  # one that cannot be read is told here, once
    return _each(match_shards, "looking for benchmark questions", "every trace is compared with the benchmarks", place, sources, curation)


@flow(name="pair", **rooms.FLOW)
def pair_room(place: Place, measured: list[str], curation: Curation) -> str:
    """Makes or reuses the pairs of near-duplicates among measured candidates, and returns their one shard."""
    if rooms.reused(place, "look-alikes are compared") is None:
        with rooms.making(place, "look-alikes are compared") as folder:
            if folder is not None:
                pair_shards(measured, f"{folder}/{PAIRS}", curation)
                rooms.finish(place, [f"{folder}/{PAIRS}"])
    return f"{place.path}/{PAIRS}"


@flow(name="cut", **rooms.FLOW)
def cut_room(measured: list[str], folder: str, recipe: DatasetRecipe) -> Funnel:
    """Writes the shards of a dataset, and returns its funnel."""
    with Meter("writing", sum(rooms.count(path) for path in measured)) as meter:
        todo = [(path, path) for path in measured]
        return funnel.merge(funnel.from_json(found) for found in _done(cut_shards, todo, meter, folder, recipe))


@task(name="measure-shards", **rooms.TASK)
def measure_shards(todo: Todo, curation: Curation) -> int:
    """Measures the columns of some shards of candidates."""
    return sum(shards.write(Candidate, curate.measure(rooms.read(Candidate, source), curation), target) for source, target in todo)


@task(name="match-shards", **rooms.TASK)
def match_shards(todo: Todo, curation: Curation) -> int:
    """Compares some shards of candidates with benchmark questions; returns how many candidates were looked at."""
    known = Benchmarks(benchmarks.questions(curation), curation.decontamination)
    for source, target in todo:
        traces = (candidate.trace for candidate in rooms.read(Candidate, source))
        shards.write(Match, contamination.matches(traces, known), target)
    return sum(shards.count(source) for source, _ in todo)


@task(name="pair-shards", **rooms.TASK)
def pair_shards(sources: list[str], target: str, curation: Curation) -> int:
    """Finds the pairs of near-duplicates over all shards."""
    return shards.write(Pair, pairs.find(sources, curation.duplicates), target)


@task(name="decide", **rooms.TASK)
def decide_shards(measured: list[str], folder: str, recipe: DatasetRecipe) -> None:
    """Decides over all shards which rows are dropped and why."""
    curation = recipe.curation
    with Meter("deciding", sum(rooms.count(path) for path in measured)) as meter:
        outlines = meter.over(write.outlines(measured, rooms.read))
        near, close = shards.read(Pair, f"{folder}/{write.PAIRS}"), write.contaminated(folder, curation.decontamination)
        write.write_decisions(curate.decide(outlines, curation, near, close, identity.shares(recipe)), measured, folder)


@task(name="cut-shards", **rooms.TASK)
def cut_shards(todo: Todo, folder: str, recipe: DatasetRecipe) -> str:
    """Writes the candidates and examples of some shards, and returns their funnel as JSON."""
    how = (folder, recipe.curation, recipe.sampling.prompt, recipe.sampling.system)
    found = []
    for source, _ in todo:
        with rooms.guarded(source):
            found.append(write.cut_shard(source, *how))
    return funnel.to_json(funnel.merge(found))


def _each(work: Any, label: str, done: str, place: Place, sources: Sequence[str], curation: Curation) -> list[str]:
    """Makes or reuses a folder with one shard for each source, and returns its shards."""
    summary = rooms.reused(place, done)
    if summary is None:
        with rooms.making(place, done) as folder:
            if folder is None:
                return rooms.shard_paths(place, rooms.needed(place, "distill curate"))
            todo = rooms.missing(sources, folder)
            rows = sum(rooms.count(source) for source in sources)
            left = sum(rooms.count(source) for source, _ in todo)
            with Meter(label, rows, rows - left) as meter:
                sum(_done(work, todo, meter, curation))
            summary = rooms.finish(place, shards.list_shards(folder))
    return rooms.shard_paths(place, summary)


def _on_runner(room: Any, rows: int, light: bool = False) -> Any:
    """A room's flow with the task runner that a run of so many rows is worth; `light` work is no work for processes."""
    asked = os.environ.get(runners.VARIABLE)
    if asked is None and (light or rows < ROWS_FOR_RUNNER):
        return room.with_options(task_runner=ThreadPoolTaskRunner(max_workers=hardware.cores()))
    return room.with_options(task_runner=runners.runner())


def _done(work: Any, todo: Todo, meter: Meter, *settings: Any) -> Iterator[Any]:
    """The results of a task over some shards at a time, in order."""
    chunks: list[tuple[Todo, int]] = [([], 0)]
    for source, target in todo:
        chunk, rows = chunks[-1]
        chunk.append((source, target))
        chunks[-1] = (chunk, rows + rooms.count(source))
        if chunks[-1][1] >= ROWS_OF_TASK:
            chunks.append(([], 0))
    for future, rows in [(work.submit(chunk, *settings), rows) for chunk, rows in chunks if chunk]:
        yield runners.result(future)
        meter.add(rows)
