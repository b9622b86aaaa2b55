"""The last room's flow: base, student and teacher walk through sampling and verification on held-out
problems.

Each model's traces and verdicts lie in folders of their own under `evaluations/`, so that the base's and the
teacher's are made once for all students. The report is written beside the student: report.json, report.md,
plots/pass_at_1.png.
"""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from prefect import flow, task

from distill import evaluate, hardware, plots, verifiers
from distill.curate import funnel
from distill.evaluate import Measured, report
from distill.progress import say
from distill.recipe.dataset import Base, DatasetRecipe, Evaluation, Sampling, StudentRecipe, Teacher
from distill.records import Candidate, Report, Role
from distill.store import folders, shards
from distill.train import prepare
from flows import identity, rooms
from flows.collect import collect_room
from flows.identity import Model, Place
from flows.sample import sample_room
from flows.verify import verify_room

WITHIN = "evaluations/"
LIBRARIES = ("torch", "transformers", "trl", "vllm", "math-verify")


@flow(name="evaluate", **rooms.FLOW)
def evaluate_room(
    student: Place, dataset: Place, recipe: StudentRecipe, dataset_recipe: DatasetRecipe
) -> str:
    """Scores base, student and teacher on held-out problems, and returns the path of report.json."""
    rooms.needed(student, f"distill train --student {recipe.name}")
    evaluation = recipe.evaluation
    kinds = identity.kinds(evaluation.problems)
    verifiers.require(kinds, evaluation.verification)
    problems = collect_room(evaluation.problems, evaluation.verification, evaluation.shard_problems)
    scored = []
    for role, asked in models(student, recipe, dataset_recipe):
        traces = sample_room(problems, asked, sampling(evaluation), evaluation.verification, kinds)
        verdicts = verify_room(traces, evaluation.verification, kinds)
        summary = rooms.needed(verdicts, f"distill evaluate --student {recipe.name}")
        scored.append(score(rooms.shard_paths(verdicts, summary), asked.name, role))
    found = evaluate.assemble(
        scored,
        evaluation,
        student=recipe.name,
        dataset=dataset.path,
        checkpoint=f"{student.path}/model",
        fingerprint=student.fingerprint,
        recorded=surroundings(),
    )
    return write_report(found, student.path, dataset.path)


def ask_teacher(evaluation: Evaluation, teacher: Teacher) -> None:
    """Samples the teacher on the held-out problems ahead of its evaluation, while it is loaded."""
    problems = collect_room(evaluation.problems, evaluation.verification, evaluation.shard_problems)
    sample_room(
        problems,
        identity.teacher(teacher, WITHIN),
        sampling(evaluation),
        evaluation.verification,
        identity.kinds(evaluation.problems),
    )


def models(student: Place, recipe: StudentRecipe, dataset_recipe: DatasetRecipe) -> list[tuple[Role, Model]]:
    """The models to score: the untrained base with the student's template, the student, and the teacher where
    it can be asked."""
    base = identity.prepared_base(recipe.base)
    prepare_base(recipe.base, base)
    found: list[tuple[Role, Model]] = [
        (
            "base",
            Model(
                opened(base.path, recipe.evaluation), f"{base.name}-base", WITHIN, {"base": base.fingerprint}
            ),
        ),
        (
            "student",
            Model(
                opened(student.path, recipe.evaluation), recipe.name, WITHIN, {"student": student.fingerprint}
            ),
        ),
    ]
    if recipe.evaluation.teacher and dataset_recipe.teacher.engine != "replay":
        found.append(("teacher", identity.teacher(dataset_recipe.teacher, WITHIN)))
    return found


@task(name="prepare-base", **rooms.TASK)
def prepare_base(base: Base, place: Place) -> None:
    """Makes the folder of the untrained base, when it is not there."""
    with rooms.making(place) as folder:
        assert folder is not None  # it has no summary
        here = rooms.local(folder).absolute()
        prepare(base, str(here / "model"), str(here / "prepare.log"))


@task(name="score", **rooms.TASK)
def score(verdicts: list[str], name: str, role: Role) -> Measured:
    """Counts one model's candidates."""
    return evaluate.measure(
        (candidate for path in verdicts for candidate in rooms.read(Candidate, path)), name, role
    )


def opened(folder: str, evaluation: Evaluation) -> Teacher:
    """A model folder of the store as an engine to sample."""
    model = str(rooms.local(folder).absolute() / "model")
    return Teacher(
        engine=evaluation.engine, model=model, dtype=evaluation.dtype, concurrency=evaluation.concurrency
    )


def sampling(evaluation: Evaluation) -> Sampling:
    """How completions are drawn in an evaluation."""
    same = ("n", "temperature", "top_p", "max_tokens", "seed", "prompt")
    return Sampling(**{name: getattr(evaluation, name) for name in same})


def surroundings() -> dict[str, Any]:
    """What a reader needs to judge whether two reports compare: versions and hardware."""
    versions = {name: _version(name) for name in LIBRARIES}
    gpus = sorted({gpu.name for gpu in hardware.gpus()})
    return {
        "versions": {name: version for name, version in versions.items() if version},
        "hardware": gpus or [platform.machine()],
    }


def write_report(found: Report, student: str, dataset: str) -> str:
    """Writes report.json, report.md and the chart beside the student, and puts the tables on the run's
    page."""
    path = f"{student}/report.json"
    yields = funnel.markdown(funnel.from_json(shards.read_text(f"{dataset}/funnel.json")))
    text = report.markdown(found, yields, {"student": student, "dataset": dataset})
    if plots.available():
        plots.pass_at_1(found.scores, f"{student}/plots/pass_at_1.png")
    shards.write_text(
        f"{student}/report.md",
        "\n".join([text, *(f"![{Path(path).stem}]({path})\n" for path in pictures(student, dataset))]),
    )
    folders.write_record(path, found)
    rooms.artifact(
        f"report-{found.student}", text, f"Base, student and teacher of {found.student} on held-out problems"
    )
    say(f"evaluated {found.student}: {report.decision(found)}")
    return path


def pictures(student: str, dataset: str) -> list[str]:
    """Paths of a student's and its dataset's charts, as seen from the student's folder on this machine."""
    found = [path for folder in (student, dataset) for path in sorted(Path(folder).glob("plots/*.png"))]
    return [os.path.relpath(path, student) for path in found]


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
