"""The whole loop in one flow: dataset, student, report; and its two halves as flows of their own."""

from prefect import flow

from distill import verify
from distill.engines import ENGINES
from distill.engines.vllm import kept
from distill.plan.preflight import CannotRun, teacher_ready
from distill.recipe import RecipeError, load_both, load_dataset
from distill.store import Folder, NotMade
from distill.train import student_template
from flows import runners
from flows.collect import collect_stage
from flows.curate import curate_stage
from flows.evaluate import ask_teacher, collect_suites, evaluate_stage
from flows.identity import Folders
from flows.sample import sample_stage
from flows.train import train_stage
from flows.verify import verify_stage


@flow(name="distill", **runners.FLOW)
def distill(
    student: str = "tiny-qwen2", dataset: str | None = None, overrides: list[str] | None = None
) -> str:
    """Makes or reuses the dataset, the student and its report, and returns the path of report.json."""
    recipe, dataset_recipe = load_both(student, dataset, tuple(overrides or ()))
    # also for runs that are started without the command line
    student_template.check(recipe.base, dataset_recipe.sampling.system)
    folders = Folders.of(dataset_recipe)
    with runners.marked():
        collect_suites(recipe.evaluation, folders.model)
        with kept():  # a teacher that we serve is loaded once, and its GPUs are free again for the training
            dataset_of(folders)
            if ENGINES[dataset_recipe.teacher.engine].starts_servers and recipe.evaluation.teacher:
                ask_teacher(recipe.evaluation, folders.model)
        train_stage(folders, recipe)
        return evaluate_stage(folders, recipe)


@flow(name="student", **runners.FLOW)
def make_student(
    student: str = "tiny-qwen2", dataset: str | None = None, overrides: list[str] | None = None
) -> str:
    """Trains and scores a student on a dataset that is there already; samples no training data."""
    recipe, dataset_recipe = load_both(student, dataset, tuple(overrides or ()))
    folders = Folders.of(dataset_recipe)
    folders.dataset.needed(f"distill dataset {dataset_recipe.name}")
    with runners.marked():
        collect_suites(recipe.evaluation, folders.model)
        train_stage(folders, recipe)
        return evaluate_stage(folders, recipe)


@flow(name="dataset", **runners.FLOW)
def make_dataset(dataset: str, overrides: list[str] | None = None) -> Folder:
    """Makes or reuses the dataset of a recipe's name, with `section.key=value` overrides."""
    with runners.marked():
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
