"""The flow of evaluation: base, student and teacher walk through sampling and verification on held-out
problems.

Each model's traces and verdicts lie in folders of their own under `evaluations/`, so that the base's and the
teacher's are made once for all students. `flows.report` writes the report beside the student.
"""

import json
import platform
from dataclasses import replace
from importlib import metadata
from typing import Any, NamedTuple

from prefect import flow, task

from distill import evaluate, hardware, verify
from distill.engines import ENGINES, vllm
from distill.evaluate import Measured, Planned
from distill.plan import serving
from distill.progress import say
from distill.recipe import Base, Evaluation, Opened, RecipeError, StudentRecipe, Teacher
from distill.records import Candidate, Role
from distill.store import Folder, NotMade, catalogue, checked, read_text, write_text
from distill.train import prepare, student_template
from flows import report, runners
from flows.collect import collect_stage
from flows.identity import Folders, Model, prepared_base
from flows.sample import sample_stage
from flows.verify import verify_stage


class Scored(NamedTuple):
    """One model of an evaluation, and what it is there for."""

    role: Role
    model: Model


LIBRARIES = ("torch", "transformers", "trl", "vllm", "math-verify")


@flow(name="evaluate", **runners.FLOW)
def evaluate_stage(folders: Folders, recipe: StudentRecipe) -> str:
    """Scores base, student and teacher on held-out problems, and returns the path of report.json."""
    student, evaluation = folders.student(recipe), recipe.evaluation
    student.needed(f"distill train --student {recipe.name}")
    collect_suites(evaluation, folders.model)
    tell_not_screened(evaluation, folders)
    scored, judged = list[Measured](), dict[str, report.Judged]()
    with vllm.kept():  # a model that we serve is loaded once for all suites
        for role, model in models(student, recipe, folders.model):
            verdicts = list[str]()
            for suite in evaluation.asked_of_teacher if role == "teacher" else evaluation.suites:
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
        reference=evaluation.published,
    )
    return report.write(found, recipe, student, folders.dataset, judged)


def collect_suites(evaluation: Evaluation, model: Model) -> None:
    """Makes or reuses the problems of all suites, before anything is paid for, and says what they can see;
    raises RecipeError that names one that cannot be reached."""
    planned = list[Planned]()
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
        rows = held_out.problems.needed("distill evaluate")["rows"]
        planned.append(Planned(suite.name, rows, suite.n, suite not in evaluation.regressions))
    say(f"evaluation: {evaluate.power(planned)}", once="power of the suites")


def tell_not_screened(evaluation: Evaluation, folders: Folders) -> None:
    """Says which suites the dataset did not keep out: a score on them may be one of memory."""
    assert folders.recipe is not None, "a student's dataset has a recipe"
    kept_out = {(one.path, one.split) for one in folders.curation.benchmarks}
    names = {one.name for one in folders.curation.benchmarks}
    seen = [
        suite.name
        for suite in evaluation.suites
        if suite.name not in names and not {(one.path, one.split) for one in suite.problems} <= kept_out
    ]
    if seen:
        say(f"not kept out of {folders.recipe.name}: {', '.join(seen)} (curation.benchmarks keeps them out)")


def ask_teacher(evaluation: Evaluation, teacher: Model) -> None:
    """Samples the teacher on the held-out problems ahead of its evaluation, while it is loaded."""
    for suite in evaluation.asked_of_teacher:
        sample_stage(Folders.held_out(evaluation, suite, teacher))


def models(student: Folder, recipe: StudentRecipe, teacher: Model) -> list[Scored]:
    """The models to score: the untrained base with the student's template and with its own, a student that
    was promoted before, the student, and the teacher where it can be asked."""
    base, section = prepared_base(recipe.base), recipe.evaluation
    prepare_base(recipe.base, base)
    plain = Model(opened("base", _weights(base), recipe), f"{base.name}-base", {"base": base.fingerprint})
    found = [Scored("base", plain)]
    template = student_template.own(recipe.base) if section.base_chat else None
    if template is not None and template.strip() != student_template.read(recipe.base.chat_template).strip():
        found = both_templates(plain, recipe, base, template)
    if (before := previous_student(student, recipe)) is not None:
        found.append(Scored("previous", before))
    mine = Model(opened("student", _weights(student), recipe), recipe.name, {"student": student.fingerprint})
    found.append(Scored("student", mine))
    if section.teacher and not ENGINES[teacher.teacher.engine].stored:
        found.append(Scored("teacher", teacher))
    return found


def both_templates(base: Model, recipe: StudentRecipe, folder: Folder, template: str) -> list[Scored]:
    """The base with the student's template and with its own: of one start where requests may bring a
    template, else of a folder each."""
    role: Opened = "base-chat"
    if base.teacher.engine == "vllm" and role not in recipe.evaluation.servers:
        options = (*base.teacher.serve_options, "--trust-request-chat-template")
        served = base.teacher.model_copy(update={"serve_options": options})
        asked = served.model_copy(update={"extra_body": {"chat_template": template}})
        chat = Model(asked, f"{base.name}-chat", base.weights)
        return [Scored("base", replace(base, teacher=served)), Scored(role, chat)]
    file = folder.local().absolute() / "own.jinja"
    write_text(str(file), template)
    own = recipe.base.model_copy(update={"chat_template": str(file)})
    made = prepared_base(own)
    prepare_base(own, made)
    chat = Model(opened(role, _weights(made), recipe), f"{base.name}-chat", {"base": made.fingerprint})
    return [Scored("base", base), Scored(role, chat)]


def previous_student(student: Folder, recipe: StudentRecipe) -> Model | None:
    """The student that was promoted before; raises NotMade where the recipe names one that is not there."""
    named = recipe.evaluation.previous
    found = None if named == "" else catalogue.promoted(named or recipe.name, student.path)
    if found is None:
        if named:
            raise NotMade(
                f"evaluation.previous: no student of the name {named} was promoted; leave it out, or name a "
                "folder of `distill students`"
            )
        return None
    folder = student.local().absolute().with_name(found.rsplit("/", 1)[1])
    made = json.loads(read_text(str(folder / "checkpoint.json")))
    base = Base.model_validate(json.loads(read_text(str(folder / "recipe.json")))["base"])
    teacher = opened("previous", str(folder / "model"), recipe.model_copy(update={"base": base}))
    return Model(teacher, made["student"], {"student": made["fingerprint"]})


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


def _weights(folder: Folder) -> str:
    """The model in a folder of the store."""
    return str(folder.local().absolute() / "model")


def opened(role: Opened, model: str, recipe: StudentRecipe) -> Teacher:
    """A model as an engine to sample: behind servers that run already where the recipe names some."""
    gpus = hardware.gpus()
    teacher = serving.student_engine(recipe, model, hardware.here(gpus), len(gpus))
    server = recipe.evaluation.servers.get(role)
    return teacher if server is None else teacher.model_copy(update={"engine": "server", **dict(server)})


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
