"""The flow of training: one task that trains a student in a child process. A student whose weights are not
finite is not reused.

students/<name>-<fingerprint>/   model/  README.md  checkpoint.json  metrics.jsonl  recipe.json  train.log
                                 plots/loss.png
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, task

from distill import hardware, plots
from distill.progress import Meter, say
from distill.recipe import Base, StudentRecipe, Training
from distill.records import Checkpoint
from distill.store import (
    Folder,
    NotMade,
    exists,
    folders,
    read_text,
    set_aside,
    write_record,
    write_text,
)
from distill.train import Host, guards, metrics, model_card, tokens, train
from flows import runners
from flows.identity import WITHIN, Folders


@flow(name="train", **runners.FLOW)
def train_stage(folders: Folders, recipe: StudentRecipe) -> Folder:
    """Makes or reuses the student of a finished dataset."""
    dataset, student = folders.dataset, folders.student(recipe)
    if Host.here().rank:
        return _joined(student, dataset, recipe)
    _refuse_not_finite(student)
    if not dataset.needed("distill curate")["kept"]:
        raise NotMade(
            f"{dataset.label} has no example to train on: see {dataset.path}/README.md for what was dropped "
            "and why"
        )
    with student.making("nothing is trained") as todo:
        if todo:
            say(f"made {student.label}: {_trained(student, dataset, recipe)}")
    return student


def _joined(student: Folder, dataset: Folder, recipe: StudentRecipe) -> Folder:
    """Trains along with the first host, which holds the lock of the student and writes it, unless it is made.

    The store lies in a folder that all hosts share.
    """
    if student.done() is None:
        _train(student, dataset, recipe, f"train-{Host.here().rank}.log")
    return student


def _train(student: Folder, dataset: Folder, recipe: StudentRecipe, log: str) -> Checkpoint:
    """Trains the student on the GPUs of this host, and of those that it shares the training with."""
    gpus = hardware.gpus()
    count = max(1, len(gpus)) * Host.here().hosts
    training = hardware.memory.fitted(recipe, hardware.here(gpus), count).training
    folder = str(student.local())
    examples = [str(Path(path).absolute()) for path in dataset.shards("examples/")]
    return train_student(recipe.base, training, examples, folder, recipe.name, dataset.path, log)


def _trained(student: Folder, dataset: Folder, recipe: StudentRecipe) -> str:
    """Trains the student, closes its folder, and says how it went."""
    folder = str(student.local())
    write_text(f"{folder}/recipe.json", recipe.model_dump_json(indent=1))
    done = _train(student, dataset, recipe, "train.log")
    named = dataset.path.rsplit("/", 1)[1]
    checkpoint = replace(done, student=recipe.name, dataset=named, fingerprint=student.fingerprint)
    write_record(f"{folder}/checkpoint.json", checkpoint)
    lines = metrics.read(Path(folder, metrics.FILE))
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    if plots.available() and losses:
        plots.loss(list(losses), list(losses.values()), f"{folder}/plots/loss.png")
    made_by = f"{dataset.path}/recipe.json"
    model_card.write(
        Path(folder),
        recipe,
        checkpoint,
        dataset.fingerprint,
        json.loads(read_text(made_by)) if exists(made_by) else None,
        lines,
    )
    student.finish([], finite=True)
    steps = f"{checkpoint.steps:,} steps, loss {checkpoint.final_loss:.3f}"
    return f"{checkpoint.rows_trained:,} rows, {steps}{left_out(checkpoint)}"


def left_out(checkpoint: Checkpoint) -> str:
    """The end of the line about a student: how many rows it was not trained on, and why."""
    said = (
        f"; {checkpoint.rows_too_long:,} rows are longer than training.max_length"
        if checkpoint.rows_too_long
        else ""
    )
    if checkpoint.rows_unrenderable:
        said += (
            f"; {checkpoint.rows_unrenderable:,} rows cannot be rendered and are left out "
            f"({'; '.join(checkpoint.unrenderable)})"
        )
    return said


@task(name="train", **runners.TASK)
def train_student(
    base: Base, training: Training, examples: list[str], folder: str, name: str, dataset: str, log: str
) -> Checkpoint:
    """Trains a student into `folder`/model, and returns its checkpoint.

    The token ids of a dataset lie in the store's `encoded/`, for every student with the same tokenizer and
    template; they are removed when no training has used them for `tokens.KEPT_DAYS` days.
    """
    tokens.prune(folders.LOCAL / "encoded")
    meters: dict[str, Meter] = {}
    with ExitStack() as shown:

        def meter(work: str, total: int) -> Meter:
            if work not in meters:
                shown.close()
                meters[work] = shown.enter_context(Meter(f"{work} {name}", total))
            meters[work].expect(total)
            return meters[work]

        def progress(event: Mapping[str, Any]) -> None:
            if "encoded" in event:
                meter("encoding", event["of"]).reach(event["encoded"])
            elif "started" in event:
                found = meter("training", event["of"])
                found.found(max(0, event["started"] - found.done))
            elif "loss" in event and not event["resumed"]:
                found = meter("training", event["steps"])
                note = f"loss {event['loss']:.3f}"
                note += f", MFU {100 * event['mfu']:.1f} %" if event["mfu"] else ""
                found.add(max(0, event["step"] - found.done), event["tokens"], note)

        encoded = str(folders.LOCAL / "encoded" / dataset.rsplit("/", 1)[1])
        checkpoint = train(base, training, examples, f"{folder}/model", f"{folder}/{log}", progress, encoded)
        meter("training", checkpoint.steps).reach(checkpoint.steps, f"loss {checkpoint.final_loss:.3f}")
    return checkpoint


def _refuse_not_finite(student: Folder) -> None:
    """Sets a made student aside whose weights are not all finite, with what was sampled from it, so that it
    is trained anew.

    Students of this version were checked before they were saved; an older one is read once. Another run may
    wait for any of these folders: each is renamed under its lock.
    """

    def unread() -> bool:
        return not (student.done() or {"finite": True}).get("finite")

    if not unread():
        return
    with student.held():
        if not unread():  # another run has read it meanwhile
            return
        wrong = guards.not_finite(student.local() / "model")
        if wrong is None:
            student.finish([], finite=True)
            return
        for key in Path(folders.ROOT).glob(f"{WITHIN}*/*/key.json"):
            if student.fingerprint in key.read_text("utf-8"):
                set_aside(str(key.parent))
        student.local().rename(f"{student.path}.damaged")
    say(f"set aside {student.path}.damaged: the student's weights are not finite ({wrong})")
