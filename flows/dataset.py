"""Collect, sample, verify and curate in one flow: a dataset recipe in, a filtered dataset out."""

from prefect import flow

from distill import verify
from distill.plan.preflight import CannotRun, teacher_ready
from distill.recipe.dataset import DatasetRecipe
from distill.recipe.load import load_dataset
from distill.recipe.section import RecipeError
from distill.store.folders import NotMade
from flows import identity, rooms, stale_runs
from flows.collect import collect_room
from flows.curate import curate_room
from flows.identity import Place
from flows.sample import sample_room
from flows.verify import verify_room


@flow(name="dataset", **rooms.FLOW)
def make_dataset(dataset: str, overrides: list[str] | None = None) -> Place:
    """Makes or reuses the dataset of a recipe's name, with `section.key=value` overrides."""
    with stale_runs.marked():
        return dataset_of(load_dataset(dataset, tuple(overrides or ())))


def dataset_of(recipe: DatasetRecipe) -> Place:
    """Goes through the rooms of a dataset; each one reuses what the store has."""
    verify.require(identity.kinds(recipe.problems), recipe.verification)
    require_teacher(recipe)
    problems = collect_room(recipe.problems, recipe.verification, recipe.shard_problems, recipe.curation)
    kinds, screens = identity.kinds(recipe.problems), recipe.curation.screens
    traces = sample_room(
        problems, identity.teacher(recipe.teacher), recipe.sampling, recipe.verification, kinds, screens
    )
    verdicts = verify_room(traces, recipe.verification, kinds)
    return curate_room(verdicts, recipe)


def require_teacher(recipe: DatasetRecipe) -> None:
    """Raises what keeps the teacher from being asked, unless its traces are there already."""
    try:
        teacher_ready(recipe)
    except (CannotRun, RecipeError):
        if not _sampled(recipe):
            raise


def problems_place(recipe: DatasetRecipe) -> Place:
    """Where a recipe's problems are, or would be."""
    return identity.compared(
        identity.problems(recipe.problems, recipe.verification, recipe.shard_problems), recipe.curation
    )


def traces_place(recipe: DatasetRecipe) -> Place:
    """Where a recipe's traces are, or would be; raises NotMade when its problems are not there."""
    problems = rooms.needed(problems_place(recipe), f"distill collect --dataset {recipe.name}")
    return identity.traces(
        problems["content"],
        identity.teacher(recipe.teacher),
        recipe.sampling,
        recipe.verification,
        identity.kinds(recipe.problems),
    )


def verdicts_place(recipe: DatasetRecipe) -> Place:
    """Where a recipe's verdicts are, or would be; raises NotMade as `traces_place` does."""
    return identity.verdicts(traces_place(recipe), recipe.verification, identity.kinds(recipe.problems))


def dataset_place(recipe: DatasetRecipe) -> Place:
    """Where a recipe's dataset is, or would be; raises NotMade as `traces_place` does."""
    return identity.dataset(verdicts_place(recipe), recipe)


def _sampled(recipe: DatasetRecipe) -> bool:
    try:
        return rooms.made(traces_place(recipe)) is not None
    except NotMade:
        return False
