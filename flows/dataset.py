"""Collect, sample, verify and curate in one flow: a dataset recipe in, a filtered dataset out."""

from prefect import flow

from distill import verify
from distill.plan.preflight import CannotRun, teacher_ready
from distill.recipe import RecipeError, load_dataset
from distill.store import Folder, NotMade
from flows import runners, stale_runs
from flows.collect import collect_stage
from flows.curate import curate_stage
from flows.identity import Folders
from flows.sample import sample_stage
from flows.verify import verify_stage


@flow(name="dataset", **runners.FLOW)
def make_dataset(dataset: str, overrides: list[str] | None = None) -> Folder:
    """Makes or reuses the dataset of a recipe's name, with `section.key=value` overrides."""
    with stale_runs.marked():
        return dataset_of(Folders.of(load_dataset(dataset, tuple(overrides or ()))))


def dataset_of(folders: Folders) -> Folder:
    """Goes through the stages of a dataset; each one reuses what the store has."""
    verify.require(folders.kinds, folders.verification)
    require_teacher(folders)
    collect_stage(folders)
    sample_stage(folders)
    verify_stage(folders)
    return curate_stage(folders)


def require_teacher(folders: Folders) -> None:
    """Raises what keeps the teacher from being asked, unless its traces are there already."""
    assert folders.recipe is not None
    try:
        teacher_ready(folders.recipe)
    except (CannotRun, RecipeError):
        try:
            sampled = folders.traces.done() is not None
        except NotMade:
            sampled = False
        if not sampled:
            raise
