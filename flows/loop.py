"""The whole loop in one flow: dataset, student, report."""

from prefect import flow

from distill.engines import ENGINES
from distill.engines.vllm import kept
from distill.recipe.dataset import DatasetRecipe, StudentRecipe
from distill.recipe.load import load_both
from distill.train import student_template
from flows import identity, rooms, stale_runs
from flows.dataset import dataset_of, dataset_place
from flows.evaluate import ask_teacher, evaluate_room
from flows.identity import Place
from flows.train import train_room


@flow(name="distill", **rooms.FLOW)
def distill(
    student: str = "tiny-qwen2", dataset: str | None = None, overrides: list[str] | None = None
) -> str:
    """Makes or reuses the dataset, the student and its report, and returns the path of report.json."""
    recipe, dataset_recipe = load_both(student, dataset, tuple(overrides or ()))
    student_template.check(
        recipe.base, dataset_recipe.sampling.system
    )  # also for runs that are started without the command line
    with stale_runs.marked():
        with kept():  # a teacher that we serve is loaded once, and its GPUs are free again for the training
            made = dataset_of(dataset_recipe)
            if ENGINES[dataset_recipe.teacher.engine].starts_servers and recipe.evaluation.teacher:
                ask_teacher(recipe.evaluation, dataset_recipe.teacher)
        trained = train_room(made, recipe)
        return evaluate_room(trained, made, recipe, dataset_recipe)


@flow(name="student", **rooms.FLOW)
def make_student(
    student: str = "tiny-qwen2", dataset: str | None = None, overrides: list[str] | None = None
) -> str:
    """Trains and scores a student on a dataset that is there already; samples no training data."""
    recipe, dataset_recipe = load_both(student, dataset, tuple(overrides or ()))
    made = dataset_place(dataset_recipe)
    with stale_runs.marked():
        return evaluate_room(train_room(made, recipe), made, recipe, dataset_recipe)


def student_place(recipe: StudentRecipe, dataset_recipe: DatasetRecipe) -> tuple[Place, Place]:
    """Where a student and its dataset are, or would be; raises NotMade when the dataset is not there."""
    made = dataset_place(dataset_recipe)
    curated = rooms.needed(made, f"distill dataset {made.name}")
    return identity.student(curated["content"], recipe), made
