"""The whole loop in one flow: dataset, student, report."""

from prefect import flow

from distill.engines import ENGINES
from distill.engines.vllm import kept
from distill.recipe import load_both
from distill.train import student_template
from flows import runners, stale_runs
from flows.dataset import dataset_of
from flows.evaluate import ask_teacher, collect_suites, evaluate_stage
from flows.identity import Folders
from flows.train import train_stage


@flow(name="distill", **runners.FLOW)
def distill(
    student: str = "tiny-qwen2", dataset: str | None = None, overrides: list[str] | None = None
) -> str:
    """Makes or reuses the dataset, the student and its report, and returns the path of report.json."""
    recipe, dataset_recipe = load_both(student, dataset, tuple(overrides or ()))
    # also for runs that are started without the command line
    student_template.check(recipe.base, dataset_recipe.sampling.system)
    folders = Folders.of(dataset_recipe)
    with stale_runs.marked():
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
    with stale_runs.marked():
        collect_suites(recipe.evaluation, folders.model)
        train_stage(folders, recipe)
        return evaluate_stage(folders, recipe)
