"""Several hosts that run the same command train one student, which only the first of them writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill import hardware, train
from distill.recipe import load
from distill.records import Example
from distill.store import shards
from distill.train import metrics
from tests.train.test_train import ROOT, example

SCRIPT = """
import json, sys
from distill import train
from distill.recipe import load
folder = sys.argv[1]
student = load.load_student("tiny-qwen2")
quick = {"epochs": 1.0, "batch_size": 8, "device_batch_size": 4, "checkpoint_steps": 2}
section = student.training.model_copy(update=quick)
log = f"{folder}/train{train.Host.here().rank}.log"
made = train.train(student.base, section, [f"{folder}/examples.parquet"], f"{folder}/model", log)
print(json.dumps([made.steps, made.rows_trained, made.final_loss]))
"""


def started(folder: Path, **variables: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Any:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_two_hosts_have_the_loss_of_one_and_only_the_first_writes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rows = [example(number, words=number % 5) for number in range(32)]
        (tmp_path / name).mkdir()
        shards.write(Example, rows, f"{tmp_path}/{name}/examples.parquet")
    alone = ended(started(tmp_path / "one"))
    hosts = {"DISTILL_HOSTS": f"127.0.0.1:{free_port()},127.0.0.1"}
    second = started(tmp_path / "two", **hosts, DISTILL_HOST_RANK="1")  # it waits for what the first prepares
    first = started(tmp_path / "two", **hosts, DISTILL_HOST_RANK="0")
    both = [ended(first), ended(second)]
    assert both[0][:2] == both[1][:2] == alone[:2] == [4, 32]
    curves = [metrics.read(tmp_path / name / metrics.FILE) for name in ("one", "two")]
    steps, losses = ([[line[key] for line in curve] for curve in curves] for key in ("step", "loss"))
    assert steps[0] == steps[1] == [1, 2, 3, 4]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    names = [{path.name for path in (tmp_path / name / "model").iterdir()} for name in ("one", "two")]
    assert names[0] == names[1]


@pytest.mark.parametrize("rank", ["", "2", "-1", "one"])
def test_a_rank_that_no_host_has_is_refused_with_the_remedy(
    rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_HOSTS", "10.0.0.1, 10.0.0.2")
    monkeypatch.setenv("DISTILL_HOST_RANK", rank)
    with pytest.raises(train.TrainingError, match=r"set DISTILL_HOST_RANK to 0 on 10\.0\.0\.1.*1 to 1 on"):
        train.Host.here()


def test_every_gpu_of_every_host_is_a_process_that_meets_at_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student = load.load_student("qwen2.5-7b")
    monkeypatch.setattr(hardware, "gpus", lambda: [None] * 8)
    monkeypatch.setenv("DISTILL_HOSTS", "10.0.0.1:29600,10.0.0.2")
    monkeypatch.setenv("DISTILL_HOST_RANK", "1")
    told = set(train._launcher(student.base, student.training, train.Host.here()))
    assert {"--num_processes=16", "--num_machines=2", "--machine_rank=1", "--use_fsdp"} <= told
    assert {"--main_process_ip=10.0.0.1", "--main_process_port=29600"} <= told
