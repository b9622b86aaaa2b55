"""The flows of curation: the steps of `distill.curate.steps` as tasks, each stage in a folder of the store.

    measures/, matches/   candidates with their columns, and those near a benchmark question; in parallel
    pairs/                near-duplicates among all of them
    datasets/<name>-<fingerprint>/   candidates/ examples/ funnel.json README.md recipe.json plots/

Another threshold or policy needs the last one only. `DISTILL_RUNNER` says where the shards of large runs are
worked on.
"""

import os
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

from distill import contamination, curate, hardware
from distill.contamination import Benchmarks, benchmarks
from distill.curate import dropped, funnel, steps, write
from distill.curate.funnel import Funnel
from distill.curate.steps import Job, Stage, Stages
from distill.progress import say
from distill.recipe.dataset import Curation, DatasetRecipe
from distill.store import shards
from flows import identity, rooms, runners
from flows.identity import Place

ROWS_FOR_RUNNER = 50_000
"""Below, the start of workers takes longer than they save, unless `DISTILL_RUNNER` asks for them."""
ROWS_OF_TASK = 8_192
"""A task has its price: some 20 ms in a thread, 250 ms on a cluster."""
NAMES: dict[Stage, tuple[str, str]] = {
    "measures": ("measure", "every column is measured"),
    "pairs": ("pair", "look-alikes are compared"),
    "matches": ("match", "every trace is compared with the benchmarks"),
}
"""Of each stage the name of its flow, and what is done where it is reused."""

T = TypeVar("T")


@flow(name="curate", **rooms.FLOW)
def curate_room(verdicts: Place, recipe: DatasetRecipe) -> Place:
    """Makes or reuses the filtered dataset of finished verdicts; raises NothingLeftError, each time, when it
    has no example."""
    place, curation = identity.dataset(verdicts, recipe), recipe.curation
    _require_examples(place, recipe)
    if rooms.reused(place, "nothing is sampled, verified or selected"):
        return place
    judged = rooms.needed(verdicts, "distill verify")
    measures, rows = identity.measures(verdicts, curation), judged["rows"]
    places = {
        "measures": measures,
        "pairs": identity.pairs(measures, curation),
        "matches": identity.matches(verdicts, curation),
    }

    def make(stage: Stage, sources: Sequence[str]) -> list[str]:
        room = stage_room.with_options(name=NAMES[stage][0])
        made: list[str] = (room if stage == "pairs" else _on_runner(room, rows))(
            places[stage], stage, list(sources), curation
        )
        return made

    stages = steps.stages(rooms.shard_paths(verdicts, judged), curation, make)
    with rooms.making(place, "nothing is sampled, verified or selected") as folder:
        if folder is None:
            _require_examples(place, recipe)
            return place
        found = _on_runner(cut_room, rows, light=True)(stages, folder, recipe)
        fingerprint, left_out = {"fingerprint": place.fingerprint}, unasked(recipe)
        write.describe(
            folder, recipe.name, curation, curate.measuring(curation), found, recipe, fingerprint, left_out
        )
        parts = {
            part: shards.list_shards(f"{folder}/{part}") for part in ("candidates", "examples", "preferences")
        }
        kept = found.stages()["selected"].rows
        rooms.finish(
            place,
            [path for part in parts.values() for path in part],
            kept=kept,
            content=rooms.content(parts["examples"]),
        )
    rooms.artifact(
        f"funnel-{recipe.name}", funnel.markdown(found), f"What became of every trace of {place.label}"
    )
    if stages.matches:
        text = contamination.markdown(list(write.matches(place.path)), curation.decontamination)
        rooms.artifact(
            f"contamination-{recipe.name}",
            text,
            f"Questions of {place.label} that are close to a benchmark's",
        )
    say(f"made {place.label}: {kept:,} examples")
    dropped.require_examples(found, place.label, place.path, left_out)
    dropped.tell_funnel(found)
    return place


def _require_examples(place: Place, recipe: DatasetRecipe) -> None:
    """Raises NothingLeftError for a dataset that was made before and has no example."""
    if (summary := rooms.made(place)) is not None and not summary["kept"]:
        dropped.require_examples(_funnel(place), place.label, place.path, unasked(recipe))


def _funnel(place: Place) -> Funnel:
    return funnel.from_json(shards.read_text(f"{place.path}/funnel.json"))


def unasked(recipe: DatasetRecipe) -> dict[str, int]:
    """How many problems of a recipe no teacher was asked, by reason."""
    collected = identity.problems(recipe.problems, recipe.verification, recipe.shard_problems)
    summary = rooms.made(identity.compared(collected, recipe.curation))
    return dict(summary["unusable"]) if summary else {}


@flow(name="stage", **rooms.FLOW)
def stage_room(place: Place, stage: Stage, sources: list[str], curation: Curation) -> list[str]:
    """Makes or reuses a stage of curation, and returns its shards."""
    if stage == "matches":
        benchmarks.questions(curation)  # one that cannot be read is told here, once
    summary = rooms.reused(place, NAMES[stage][1])
    if summary is None:
        with rooms.making(place, NAMES[stage][1]) as folder:
            if folder is None:
                return rooms.shard_paths(place, rooms.needed(place, "distill curate"))
            steps.make(stage, sources, folder, curation, in_tasks, rooms.count)
            summary = rooms.finish(place, shards.list_shards(folder))
    return rooms.shard_paths(place, summary)


@flow(name="cut", **rooms.FLOW)
def cut_room(stages: Stages, folder: str, recipe: DatasetRecipe) -> Funnel:
    """Writes the shards of a dataset, and returns its funnel."""
    return steps.cut(stages, folder, recipe.curation, recipe, in_tasks, rooms.count, rooms.read)


@task(name="measure-shards", **rooms.TASK)
def measure_shards(jobs: Sequence[Job], curation: Curation) -> list[int]:
    """Measures the columns of some shards of candidates."""
    return [steps.measure_shard(str(job.source), job.target, curation, rooms.read) for job in jobs]


@task(name="match-shards", **rooms.TASK)
def match_shards(jobs: Sequence[Job], curation: Curation) -> list[int]:
    """Compares some shards of candidates with benchmark questions."""
    known = Benchmarks(benchmarks.questions(curation), curation.decontamination)
    return [steps.match_shard(str(job.source), job.target, curation, rooms.read, known) for job in jobs]


@task(name="pair-shards", **rooms.TASK)
def pair_shards(jobs: Sequence[Job], curation: Curation) -> list[int]:
    """Finds the pairs of near-duplicates over all shards."""
    return [steps.pair_shards(job.source, job.target, curation) for job in jobs]


@task(name="decide", **rooms.TASK)
def decide_shards(jobs: Sequence[Job], curation: Curation, shares: dict[str, float]) -> list[int]:
    """Decides over all shards which rows are dropped and why."""
    return [steps.decide_shards(job.source, job.target, curation, shares, rooms.read) for job in jobs]


@task(name="cut-shards", **rooms.TASK)
def cut_shards(jobs: Sequence[Job], curation: Curation, template: str, system: str | None) -> list[Funnel]:
    """Writes the candidates and examples of some shards."""
    found = []
    for job in jobs:
        with rooms.guarded(str(job.source)):
            found.append(steps.cut_shard(str(job.source), job.target, curation, template, system))
    return found


TASKS: dict[Callable[..., Any], Any] = {
    steps.measure_shard: measure_shards,
    steps.match_shard: match_shards,
    steps.pair_shards: pair_shards,
    steps.decide_shards: decide_shards,
    steps.cut_shard: cut_shards,
}


def in_tasks(step: Callable[..., T], jobs: Sequence[Job], *settings: Any) -> Generator[T, None, None]:
    """Runs a step as Prefect tasks, each over some shards; a step over the whole dataset runs in this
    process."""
    if step in (steps.pair_shards, steps.decide_shards):
        yield from TASKS[step](list(jobs), *settings)
        return
    chunks: list[list[Job]] = [[]]
    for job in jobs:
        chunks[-1].append(job)
        if sum(one.rows for one in chunks[-1]) >= ROWS_OF_TASK:
            chunks.append([])
    for future in [TASKS[step].submit(chunk, *settings) for chunk in chunks if chunk]:
        yield from runners.result(future)


def _on_runner(room: Any, rows: int, light: bool = False) -> Any:
    """A flow with the task runner that a run of so many rows is worth; `light` work is no work for
    processes."""
    asked = os.environ.get(runners.VARIABLE)
    if asked is None and (light or rows < ROWS_FOR_RUNNER):
        return room.with_options(task_runner=ThreadPoolTaskRunner(max_workers=hardware.cores()))
    return room.with_options(task_runner=runners.runner())
