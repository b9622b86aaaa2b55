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

from distill import contamination, hardware
from distill.contamination import benchmarks
from distill.curate import dropped, funnel, steps, write
from distill.progress import say
from distill.recipe import Curation
from distill.store import Folder, checked, list_shards, read_text
from flows import runners
from flows.identity import Folders

ROWS_FOR_RUNNER = 50_000
"""Below, the start of workers takes longer than they save, unless `DISTILL_RUNNER` asks for them."""
ROWS_OF_TASK = 8_192
"""A task has its price: some 20 ms in a thread, 250 ms on a cluster."""
NAMES: dict[steps.Stage, tuple[str, str]] = {
    "measures": ("measure", "every column is measured"),
    "pairs": ("pair", "look-alikes are compared"),
    "matches": ("match", "every trace is compared with the benchmarks"),
}
"""Of each stage the name of its flow, and what is done where it is reused."""

T = TypeVar("T")


@flow(name="curate", **runners.FLOW)
def curate_stage(folders: Folders) -> Folder:
    """Makes or reuses the filtered dataset of finished verdicts; raises NothingLeftError, each time, when it
    has no example."""
    dataset, todo = folders.dataset, False
    summary = dataset.done()
    # before the dataset is held: a run with other thresholds shares them
    stages = _stages(folders) if summary is None else None
    if summary is None or summary["kept"]:
        with dataset.making("nothing is sampled, verified or selected") as todo:
            if todo:
                assert stages is not None
                _curated(stages, folders)
    found = funnel.from_json(read_text(f"{dataset.path}/funnel.json"))
    dropped.require_examples(found, dataset.label, dataset.path, unasked(folders))
    if todo:
        dropped.tell_funnel(found)
    return dataset


def _stages(folders: Folders) -> steps.Stages:
    """Makes or reuses what the dataset is cut from."""
    rows = folders.verdicts.needed("distill verify")["rows"]

    def make(stage: steps.Stage, sources: Sequence[str]) -> list[str]:
        run = make_stage.with_options(name=NAMES[stage][0])
        target = {"measures": folders.measures, "pairs": folders.pairs, "matches": folders.matches}[stage]
        made: list[str] = (run if stage == "pairs" else _on_runner(run, rows))(
            target, stage, list(sources), folders.curation
        )
        return made

    return steps.stages(folders.verdicts.shards(), folders.curation, make)


def _curated(stages: steps.Stages, folders: Folders) -> None:
    """Makes the dataset, and says so."""
    recipe, dataset = folders.recipe, folders.dataset
    assert recipe is not None
    about = write.About(recipe.name, recipe.curation, recipe, dataset.fingerprint, unasked(folders))
    rows = folders.verdicts.needed("distill verify")["rows"]
    found: funnel.Funnel = _on_runner(cut_dataset, rows, light=True)(stages, dataset.path, about)
    parts = [list_shards(f"{dataset.path}/{part}") for part in ("candidates", "examples", "preferences")]
    kept = found.stages()["selected"].rows
    dataset.finish([path for part in parts for path in part], content=parts[1], kept=kept)
    what = f"What became of every trace of {dataset.label}"
    runners.artifact(f"funnel-{recipe.name}", funnel.markdown(found), what)
    if stages.matches:
        text = contamination.markdown(list(write.matches(dataset.path)), recipe.curation.decontamination)
        what = f"Questions of {dataset.label} that are close to a benchmark's"
        runners.artifact(f"contamination-{recipe.name}", text, what)
    say(f"made {dataset.label}: {kept:,} examples")


def unasked(folders: Folders) -> dict[str, int]:
    """How many problems no teacher was asked, by reason."""
    summary = folders.compared.done()
    return dict(summary["unusable"]) if summary else {}


@flow(name="stage", **runners.FLOW)
def make_stage(folder: Folder, stage: steps.Stage, sources: list[str], curation: Curation) -> list[str]:
    """Makes or reuses what a dataset is cut from, and returns its shards."""
    if stage == "matches":
        benchmarks.questions(curation)  # one that cannot be read is told here, once
    with folder.making(NAMES[stage][1]) as todo:
        if todo:
            steps.make(stage, sources, folder.path, curation, in_tasks, checked)
            folder.finish(list_shards(folder.path))
    return folder.shards()


@flow(name="cut", **runners.FLOW)
def cut_dataset(stages: steps.Stages, folder: str, about: write.About) -> funnel.Funnel:
    """Writes a dataset, and returns its funnel."""
    return steps.cut(stages, folder, about, in_tasks, checked)


@task(**runners.TASK)
def run_step(step: Callable[..., list[T]], jobs: Sequence[steps.Job], *settings: Any) -> list[T]:
    """Runs a step over some shards; a damaged one is set aside."""
    return step(jobs, *settings, reader=checked)


def in_tasks(
    step: Callable[..., list[T]], jobs: Sequence[steps.Job], *settings: Any
) -> Generator[T, None, None]:
    """The `Map` of flows: Prefect tasks, each over some shards; a step over the whole dataset runs in this
    process."""
    run = run_step.with_options(name=step.__name__.replace("_", "-"))
    if step in steps.WHOLE:
        yield from run(step, jobs, *settings)
        return
    chunks: list[list[steps.Job]] = [[]]
    for job in jobs:
        chunks[-1].append(job)
        if sum(one.rows for one in chunks[-1]) >= ROWS_OF_TASK:
            chunks.append([])
    for future in [run.submit(step, chunk, *settings) for chunk in chunks if chunk]:
        yield from runners.result(future)


def _on_runner(run: Any, rows: int, light: bool = False) -> Any:
    """A flow with the task runner that a run of so many rows is worth; `light` work is no work for
    processes."""
    asked = os.environ.get(runners.VARIABLE)
    if asked is None and (light or rows < ROWS_FOR_RUNNER):
        return run.with_options(task_runner=ThreadPoolTaskRunner(max_workers=hardware.cores()))
    return run.with_options(task_runner=runners.runner())
