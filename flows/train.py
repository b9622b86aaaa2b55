"""The fifth room's flow: one task that trains a student in a child process. A student whose weights are not
finite is not reused.

students/<name>-<fingerprint>/   model/  checkpoint.json  recipe.json  train.log  plots/loss.png
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, task

import flows
from distill import plots
from distill.progress import Meter, say
from distill.recipe.dataset import Base, StudentRecipe, Training
from distill.records import Checkpoint
from distill.store import folders, shards
from distill.store.folders import NotMade
from distill.train import train, weights
from flows import identity, rooms
from flows.identity import Place


@flow(name="train", **rooms.FLOW)
def train_room(dataset: Place, recipe: StudentRecipe) -> Place:
    """Makes or reuses the student of a finished dataset."""
    curated = rooms.needed(dataset, f"distill dataset {dataset.name}")
    place = identity.student(curated["content"], recipe)
    _refuse_not_finite(place)
    if rooms.reused(place, "nothing is trained"):
        return place
    if curated["kept"] == 0:
        raise NotMade(
            f"{dataset.label} has no example to train on: see {dataset.path}/README.md for what was dropped "
            "and why"
        )
    with rooms.making(place, "nothing is trained") as folder:
        if folder is None:
            return place
        shards.write_text(f"{folder}/recipe.json", recipe.model_dump_json(indent=1))
        examples = rooms.shard_paths(dataset, curated, "examples/")
        done, losses = train_student(
            recipe.base, recipe.training, examples, str(rooms.local(folder)), recipe.name, dataset.path
        )
        checkpoint = replace(
            done, student=recipe.name, dataset=dataset.path.rsplit("/", 1)[1], fingerprint=place.fingerprint
        )
        folders.write_record(f"{folder}/checkpoint.json", checkpoint)
        if plots.available() and losses:
            plots.loss(list(losses), list(losses.values()), f"{folder}/plots/loss.png")
        rooms.finish(place, [], finite=True)
    trained = (
        f"{checkpoint.rows_trained:,} rows, {checkpoint.steps:,} steps, loss {checkpoint.final_loss:.3f}"
    )
    say(f"made {place.label}: {trained}{left_out(checkpoint)}")
    return place


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


@task(name="train", **rooms.TASK)
def train_student(
    base: Base, training: Training, examples: list[str], folder: str, name: str, dataset: str
) -> tuple[Checkpoint, dict[int, float]]:
    """Trains a student into `folder`/model, and returns its checkpoint and the loss at each step that was
    reported.

    The token ids of a dataset lie in the store's `encoded/`, for every student with the same tokenizer and
    template; they can be removed at any time.
    """
    losses: dict[int, float] = {}
    with Meter(f"training {name}", 0) as meter:

        def progress(event: Mapping[str, Any]) -> None:
            losses[event["step"]] = event["loss"]
            meter.total = event["steps"]
            if not event["resumed"]:
                meter.reach(event["step"], f"loss {event['loss']:.3f}")

        examples = [str(Path(path).absolute()) for path in examples]
        encoded = str(flows.LOCAL / "encoded" / dataset.rsplit("/", 1)[1])
        checkpoint = train(
            base, training, examples, f"{folder}/model", f"{folder}/train.log", progress, encoded
        )
        meter.reach(checkpoint.steps, f"loss {checkpoint.final_loss:.3f}")
    return checkpoint, losses


def _refuse_not_finite(place: Place) -> None:
    """Sets a made student aside whose weights are not all finite, with what was sampled from it, so that it
    is trained anew.

    Students of this version were checked before they were saved; an older one is read once.
    """
    summary = rooms.made(place)
    if summary is None or summary.get("finite"):
        return
    wrong = weights.not_finite(rooms.local(place.path) / "model")
    if wrong is None:
        rooms.finish(place, [], finite=True)
        return
    evaluated = [
        key.parent
        for key in Path(folders.ROOT).glob("evaluations/*/*/key.json")
        if place.fingerprint in key.read_text("utf-8")
    ]
    for path in (*evaluated, rooms.local(place.path)):
        path.rename(f"{path}.damaged")
    say(f"set aside {place.path}.damaged: the student's weights are not finite ({wrong})")
