"""Rows dealt over passes and GPUs: each row once an epoch, the same steps on any number of GPUs, and the same
gradient."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.recipe import load
from distill.records import Example, Message
from distill.store import shards
from distill.train import batches, worker

ROOT = Path(__file__).parents[2]
LENGTHS = np.random.default_rng(0).lognormal(np.log(5000), 0.8, 3000).clip(16, 32_768).astype(np.int64)


@given(st.lists(st.integers(1, 32_768), min_size=1, max_size=80), st.integers(1, 16))
def test_every_row_is_dealt_once_and_no_pass_is_empty_that_could_have_a_row(
    lengths: list[int], passes: int
) -> None:
    dealt = batches.deal(lengths, passes)
    assert sorted(row for rows in dealt for row in rows) == list(range(len(lengths)))
    assert sum(bool(rows) for rows in dealt) == min(passes, len(lengths))
    tokens = [sum(lengths[row] for row in rows) for rows in dealt]
    assert max(tokens) <= max(max(lengths), 4 / 3 * (sum(lengths) / passes + max(lengths)))


@pytest.mark.parametrize("world", [1, 2, 8])
def test_an_epoch_has_each_row_once_in_the_same_steps_on_any_number_of_gpus(world: int) -> None:
    passes = batches.passes_of_a_step(LENGTHS, 64, world, 32_768, seed=3)
    ranks = [batches.sampler(LENGTHS, 64, world, rank, passes, seed=3) for rank in range(world)]
    for epoch in (0, 1):
        for rank in ranks:
            rank.set_epoch(epoch)
        seen = [list(rank) for rank in ranks]
        assert {len(one) for one in seen} == {len(ranks[0])}
        steps = [
            {row for rank in seen for rows in rank[at : at + passes] for row in rows}
            for at in range(0, len(seen[0]), passes)
        ]
        assert steps == [
            set(step.tolist()) for step in batches.steps_of(len(LENGTHS), 64, 3, epoch, passes * world)
        ]
        assert sum(len(rows) for rank in seen for rows in rank) == len(LENGTHS)


def test_eight_gpus_are_busy_on_lengths_like_those_of_r1() -> None:
    passes = batches.passes_of_a_step(LENGTHS, 64, 8, 32_768, seed=0)
    ranks = [list(batches.sampler(LENGTHS, 64, 8, rank, passes, seed=0)) for rank in range(8)]
    tokens = np.array([[sum(LENGTHS[row] for row in rows) for rows in rank] for rank in ranks])
    assert (tokens.sum(0) / (8 * tokens.max(0))).mean() > 0.85, "rows in the order of the draw: 0.36"


def test_fewer_rows_than_gpus_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="3 rows are too few for 4 GPUs: train on fewer"):
        batches.passes_of_a_step(np.array([5, 6, 7]), 8, 4, 100, seed=0)


def example(number: int) -> Example:
    """A row whose thinking has 0 to 40 words more than it needs."""
    prompt = [Message("user", f"What is {number} + 1?")]
    said = [
        Message("assistant", f"<think>\n{'So. ' * (number % 9 * 5)}\n</think>\n\n\\boxed{{{number + 1}}}")
    ]
    name = str(number)
    return Example(
        name,
        name,
        "test",
        "math",
        "en",
        prompt,
        said,
        [*prompt, *said],
        None,
        None,
        None,
        "test",
        "Apache-2.0",
    )


def losses(folder: Path, world: int, device_tokens: int) -> list[float]:
    """Losses that training reports: with one process here, without the child's imports, or from so many."""
    student = load.load_student("tiny-qwen2")
    changes = {"epochs": 1.0, "batch_size": 8, "packing": True, "device_tokens": device_tokens}
    training, rows = student.training.model_copy(update=changes), [f"{folder.parent}/examples.parquet"]
    if world == 1:
        told: list[tuple[str, dict[str, Any]]] = []
        worker.train(
            student.base, training, rows, folder / "model", lambda kind, **values: told.append((kind, values))
        )
        return [values["loss"] for kind, values in told if kind == "progress"]
    sections = {"base": student.base.model_dump(), "training": training.model_dump()}
    job = {"job": "train", "target": f"{folder}/model", "examples": rows} | sections
    (folder / "job.json").write_text(json.dumps(job))
    launch = ["torch.distributed.run", "--standalone", f"--nproc_per_node={world}"]
    command = [sys.executable, "-m", *launch, "-m", "distill.train.worker", f"{folder}/job.json"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DISTILL_PARENT": str(os.getpid()),
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[:3000]
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [event["loss"] for event in events if event["kind"] == "progress"]


def test_two_processes_and_small_passes_have_the_loss_curve_of_one_whole_batch(tmp_path: Path) -> None:
    shards.write(Example, [example(number) for number in range(44)], f"{tmp_path}/examples.parquet")
    curves = []
    for world, tokens in ((1, 16_384), (1, 300), (2, 300)):
        folder = tmp_path / f"{world}-{tokens}"
        folder.mkdir()
        curves.append(losses(folder, world, tokens))
    assert len(curves[0]) == 6
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    assert curves[2] == pytest.approx(curves[0], rel=1e-5)
