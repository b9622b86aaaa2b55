"""The fourth room's flow: columns are measured shard by shard, then one task selects over all of them.

datasets/<name>-<fingerprint>/   candidates/*.parquet  examples/*.parquet  funnel.json  README.md  recipe.json  plots/
"""

from functools import partial
from typing import Any

from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner

from distill import export, funnel, shards
from distill.curate import examples, measure, select
from distill.progress import Meter, say
from distill.recipe import Curation, DatasetRecipe
from distill.records import Candidate
from flows import keys, rooms
from flows.keys import Place

ROWS_FOR_PROCESSES = 50_000
"""Below, the start of worker processes takes longer than they save (2.5 ms for a trace of 27,000 characters)."""
PROCESSES: Any = ProcessPoolTaskRunner()


@flow(name="curate", task_runner=PROCESSES, **rooms.FLOW)
def curate_room(verdicts: Place, recipe: DatasetRecipe) -> Place:
    """Makes or reuses the filtered dataset of finished verdicts."""
    place = keys.dataset(keys.measures(verdicts), recipe)
    if rooms.reused(place, "nothing is sampled, verified or selected"):
        return place
    measured = measured_shards(verdicts, recipe.curation)
    with rooms.making(place) as folder:
        select_shards(measured, folder, recipe)
        kept = export.write_examples(folder, partial(examples, template=recipe.sampling.prompt, system=recipe.sampling.system))
        found = export.describe(folder, recipe.name, recipe.curation, recipe, {"fingerprint": place.fingerprint})
        paths = shards.list_shards(f"{folder}/candidates"), shards.list_shards(f"{folder}/examples")
        rooms.finish(place, [*paths[0], *paths[1]], kept=kept, content=rooms.content(paths[1]))
    rooms.artifact(f"funnel-{recipe.name}", funnel.markdown(found), f"What became of every trace of {place.label}")
    say(f"made {place.label}: {kept:,} examples")
    return place


def measured_shards(verdicts: Place, curation: Curation) -> list[str]:
    """Makes or reuses the measured candidates of finished verdicts, and returns their shards."""
    judged = rooms.needed(verdicts, "distill verify")
    place = keys.measures(verdicts)
    summary = rooms.reused(place, "every column is measured")
    if summary is None:
        sources = rooms.shard_paths(verdicts, judged)
        with rooms.making(place) as folder, Meter("measuring", judged["rows"]) as meter:
            todo = rooms.missing(sources, folder)
            meter.add(judged["rows"] - sum(rooms.count(source) for source, _ in todo))
            if judged["rows"] < ROWS_FOR_PROCESSES:
                for source, target in todo:
                    meter.add(measure_shard(source, target, curation))
            else:
                for future in [measure_shard.submit(source, target, curation) for source, target in todo]:
                    meter.add(future.result())
            summary = rooms.finish(place, shards.list_shards(folder))
    return rooms.shard_paths(place, summary)


@task(name="measure-shard", **rooms.TASK)
def measure_shard(source: str, target: str, curation: Curation) -> int:
    """Measures the quality columns of one shard of candidates."""
    return shards.write(Candidate, measure(rooms.read(Candidate, source), curation), target)


@task(name="select", **rooms.TASK)
def select_shards(sources: list[str], folder: str, recipe: DatasetRecipe) -> None:
    """Decides over all shards which rows are dropped and why, and writes them under their old numbers."""
    questions = export.benchmark_questions(recipe.curation)
    selected = select(export.Rows(sources, rooms.read), recipe.curation, questions, keys.shares(recipe))
    export.write_candidates(selected, [rooms.count(source) for source in sources], folder)
