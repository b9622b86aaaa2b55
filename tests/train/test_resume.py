"""A training whose child is killed at any moment goes on by itself, and ends with the weights and the curve of
one that is not disturbed."""

import hashlib
import os
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distill import train
from distill.recipe import Training
from distill.records import Checkpoint, Example
from distill.store import shards
from distill.train import checkpoint, metrics, sft, worker
from tests.train.test_train import QUICK, STUDENT, example

TRAINING = QUICK.model_copy(update={"epochs": 2.0, "checkpoint_steps": 3})
"""20 steps over 40 rows."""
STEPS = list(range(1, 21))


def rows(folder: Path, count: int = 40) -> list[str]:
    folder.mkdir(exist_ok=True)
    examples = [example(number, words=number % 5) for number in range(count)]
    shards.write(Example, examples, f"{folder}/rows.parquet")
    return [f"{folder}/rows.parquet"]


def in_process(folder: Path, training: Training, say: Any = lambda *_, **__: None) -> dict[str, Any]:
    """What the child of a training does, without its imports."""
    return worker.train(STUDENT.base, training, rows(folder), folder / "model", say)


class Killer:
    """Gets a training's progress, and kills its child at the steps that are given."""

    def __init__(self, steps: list[int]) -> None:
        self.steps, self.told = steps, list[Mapping[str, Any]]()

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.told.append(event)
        if self.steps and "loss" in event and not event["resumed"] and event["step"] >= self.steps[0]:
            self.steps.pop(0)
            for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
                for pid in child.read_text().split():
                    if "distill.train.worker" in Path(f"/proc/{pid}/cmdline").read_text():
                        os.kill(int(pid), signal.SIGKILL)

    def starts(self) -> list[int]:
        """The step that each process began with."""
        return [event["started"] for event in self.told if "started" in event]


def trained(folder: Path, killer: Killer) -> Checkpoint:
    return train.train(STUDENT.base, TRAINING, rows(folder), f"{folder}/model", f"{folder}/train.log", killer)


def curve(folder: Path) -> list[tuple[int, float, float, float]]:
    """Step, loss, rate and norm of each line; speeds and memory are measurements."""
    names = ("step", "loss", "learning_rate", "grad_norm")
    return [tuple(line[name] for name in names) for line in metrics.read(folder / metrics.FILE)]  # type: ignore[misc]


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def test_two_kills_change_neither_weights_nor_curve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    whole, killed, rng = tmp_path / "whole", tmp_path / "killed", random.Random(0)
    in_process(whole, TRAINING)
    killer = Killer([rng.randrange(4, 10), rng.randrange(11, 18)])
    (killed / "checkpoints" / "checkpoint-99999").mkdir(parents=True)  # torn: passed over
    made = trained(killed, killer)
    assert (made.steps, made.rows_trained) == (20, 40)
    first, second, third = killer.starts()
    assert first == 0 < second < third and not killer.steps
    assert caplog.text.count("training goes on from step") == 2
    assert digest(killed) == digest(whole)
    assert curve(killed) == curve(whole) and [line[0] for line in curve(whole)] == STEPS
    logged = [event["step"] for event in killer.told if "loss" in event]
    assert set(logged) == set(STEPS), "a resumed process tells what was logged before the kill"


def test_a_crash_before_the_first_checkpoint_is_not_tried_again(tmp_path: Path) -> None:
    killer = Killer([1])
    with pytest.raises(train.Crashed, match="ended with code -9"):
        trained(tmp_path, killer)
    assert killer.starts() == [0]


def test_minutes_make_checkpoints_too_and_the_last_two_are_kept(tmp_path: Path) -> None:
    rare, seen = {"checkpoint_steps": 1000, "epochs": 0.5}, list[tuple[int, int]]()

    def say(kind: str, **values: Any) -> None:
        if kind == "progress":
            found = list((tmp_path / "checkpoints").glob("checkpoint-*"))
            seen.append((checkpoint.reached(tmp_path / "checkpoints"), len(found)))

    in_process(tmp_path, TRAINING.model_copy(update={**rare, "checkpoint_minutes": 1e-9}), say)
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 2), (4, 2)], "the checkpoint of the step before is there"
    seen.clear()
    in_process(tmp_path, TRAINING.model_copy(update={**rare, "checkpoint_minutes": None}), say)
    assert {at for at, _ in seen} == {0}
    assert not (tmp_path / "checkpoints").exists()


def test_trackers_are_named_to_transformers_with_the_students_name_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = TRAINING.model_copy(update={"report_to": ("tensorboard", "wandb")})
    told = sft._arguments(asked, tmp_path / "tiny" / "checkpoints", 40, sft.Cut(4, 1, 1, False))
    assert (told.report_to, told.run_name, told.project) == (["tensorboard", "wandb"], "tiny", "distill")
    assert sft._arguments(TRAINING, tmp_path, 40, sft.Cut(4, 1, 1, False)).report_to == []
    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_RUN_ID", "WANDB_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    worker._name_the_run(tmp_path / "tiny")
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tiny" / "tensorboard")
    assert os.environ["WANDB_RUN_ID"] == "tiny" and os.environ["WANDB_DIR"] == str(tmp_path / "tiny")
