"""The flow of evaluation: base, student and teacher walk through sampling and verification on held-out
problems.

Each model's traces and verdicts lie in folders of their own under `evaluations/`, so that the base's and the
teacher's are made once for all students. `flows.report` writes the report beside the student.
"""

import platform
from importlib import metadata
from typing import Any

from prefect import flow, task

from distill import evaluate, hardware, verify
from distill.engines import ENGINES
from distill.engines.vllm import kept
from distill.evaluate import Measured
from distill.recipe import Base, Evaluation, RecipeError, StudentRecipe, Teacher
from distill.records import Candidate, Role
from distill.store import Folder, checked
from distill.train import prepare
from flows import report, runners
from flows.collect import collect_stage
from flows.identity import Folders, Model, prepared_base
from flows.sample import sample_stage
from flows.verify import verify_stage

LIBRARIES = ("torch", "transformers", "trl", "vllm", "math-verify")


@flow(name="evaluate", **runners.FLOW)
def evaluate_stage(folders: Folders, recipe: StudentRecipe) -> str:
    """Scores base, student and teacher on held-out problems, and returns the path of report.json."""
    student, evaluation = folders.student(recipe), recipe.evaluation
    student.needed(f"distill train --student {recipe.name}")
    collect_suites(evaluation, folders.model)
    scored, judged = list[Measured](), dict[str, report.Judged]()
    for role, model in models(student, recipe, folders.model):
        verdicts = list[str]()
        with kept():  # a model that we serve is loaded once for all suites
            for suite in evaluation.suites if role != "teacher" else evaluation.asked_of_teacher:
                held_out = Folders.held_out(evaluation, suite, model)
                sample_stage(held_out)
                verdicts += verify_stage(held_out).shards()
        scored.append(score(verdicts, model.name, role))
        if role in ("base", "student"):
            judged[role] = report.Judged(scored[-1].tallies["all"].pass_rates(), verdicts)
    found = evaluate.assemble(
        scored,
        evaluation,
        student=recipe.name,
        dataset=folders.dataset.path,
        checkpoint=f"{student.path}/model",
        fingerprint=student.fingerprint,
        recorded=surroundings(),
        rules=evaluation.decision,
        regressions={source.name for suite in evaluation.regressions for source in suite.problems},
    )
    return report.write(found, recipe, student, folders.dataset, judged)


def collect_suites(evaluation: Evaluation, model: Model) -> None:
    """Makes or reuses the problems of all suites, before anything is paid for; raises RecipeError that names
    one that cannot be reached."""
    for suite in evaluation.suites:
        held_out = Folders.held_out(evaluation, suite, model)
        verify.require(held_out.kinds, evaluation.verification)
        try:
            collect_stage(held_out)
        except RecipeError as error:
            raise RecipeError(
                f"evaluation: the suite {suite.name} cannot be had: {error}; or leave it out of "
                "evaluation.targets or evaluation.regressions, or name a file of yours: "
                f'{{ like = "{suite.name}", path = "FILE.jsonl" }}'
            ) from error


def ask_teacher(evaluation: Evaluation, teacher: Model) -> None:
    """Samples the teacher on the held-out problems ahead of its evaluation, while it is loaded."""
    for suite in evaluation.asked_of_teacher:
        sample_stage(Folders.held_out(evaluation, suite, teacher))


def models(student: Folder, recipe: StudentRecipe, teacher: Model) -> list[tuple[Role, Model]]:
    """The models to score: the untrained base with the student's template, the student, and the teacher where
    it can be asked."""
    base = prepared_base(recipe.base)
    prepare_base(recipe.base, base)
    found: list[tuple[Role, Model]] = [
        ("base", Model(_opened(base, recipe.evaluation), f"{base.name}-base", {"base": base.fingerprint})),
        (
            "student",
            Model(_opened(student, recipe.evaluation), recipe.name, {"student": student.fingerprint}),
        ),
    ]
    if recipe.evaluation.teacher and not ENGINES[teacher.teacher.engine].stored:
        found.append(("teacher", teacher))
    return found


@task(name="prepare-base", **runners.TASK)
def prepare_base(base: Base, folder: Folder) -> None:
    """Makes the folder of the untrained base, when it is not there."""
    with folder.held():
        here = folder.local().absolute()
        prepare(base, str(here / "model"), str(here / "prepare.log"))


@task(name="score", **runners.TASK)
def score(verdicts: list[str], name: str, role: Role) -> Measured:
    """Counts one model's candidates."""
    return evaluate.measure(
        (candidate for path in verdicts for candidate in checked.read(Candidate, path)), name, role
    )


def _opened(folder: Folder, evaluation: Evaluation) -> Teacher:
    """A model folder of the store as an engine to sample."""
    model = str(folder.local().absolute() / "model")
    return Teacher(
        engine=evaluation.engine, model=model, dtype=evaluation.dtype, concurrency=evaluation.concurrency
    )


def surroundings() -> dict[str, Any]:
    """What a reader needs to judge whether two reports compare: versions and hardware."""
    versions = {name: _version(name) for name in LIBRARIES}
    gpus = sorted({gpu.name for gpu in hardware.gpus()})
    return {
        "versions": {name: version for name, version in versions.items() if version},
        "hardware": gpus or [platform.machine()],
    }


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
