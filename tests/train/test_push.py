"""A student becomes a model repository that loads by its name: private unless it is to be public, each file
sent once."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.curate.test_hub import endpoint, environment, get, taken
from tests.train.test_train import ROOT

pytest.importorskip("huggingface_hub")
__all__ = ["endpoint"]
PUSH = """
import sys
from distill.curate import hub
try:
    print(hub.push(sys.argv[1], sys.argv[2], sys.argv[3] == "private", "model"))
except hub.HubError as error:
    sys.exit(str(error))
"""
AT_THE_ROOT = {"README.md", "checkpoint.json", "metrics.jsonl", "recipe.json", "plots/loss.png"}


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A student's folder, with the base's files as its model."""
    folder = tmp_path / "tiny-0123456789ab"
    shutil.copytree(ROOT / "data/models/tiny-qwen2", folder / "model")
    for name in (*AT_THE_ROOT, "train.log", "made.json", "checkpoints/checkpoint-2/optimizer.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("---\nlicense: mit\n---\n# tiny\n", encoding="utf-8")
    return folder


def started(endpoint: str, folder: Path, repository: str, how: str = "private") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PUSH, str(folder), repository, how],
        env=environment(endpoint, folder.parent) | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pushed(endpoint: str, folder: Path, repository: str, how: str = "private") -> tuple[int, str, str]:
    with started(endpoint, folder, repository, how) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out.strip(), err.strip()


def names(endpoint: str, repository: str) -> set[str]:
    found = json.loads(get(f"{endpoint}/api/models/{repository}"))
    return {one["rfilename"] for one in found["siblings"]}


def test_a_students_model_is_the_root_of_a_private_repository_that_loads_by_its_name(
    endpoint: str, student: Path
) -> None:
    assert pushed(endpoint, student, "me/tiny")[:2] == (0, f"{endpoint}/me/tiny")
    sent = AT_THE_ROOT | {path.name for path in (student / "model").iterdir()}
    assert names(endpoint, "me/tiny") == sent
    known = json.loads(get(f"{endpoint}/api/models/me/tiny"))
    assert known["private"] and known["commits"] == ["Model tiny-0123456789ab"]
    before = taken(endpoint, "tiny")
    assert pushed(endpoint, student, "me/tiny")[0] == 0 and taken(endpoint, "tiny") == before
    program = "from transformers import AutoModelForCausalLM as m, AutoTokenizer as t; m.from_pretrained('me/tiny'); print(len(t.from_pretrained('me/tiny')))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(endpoint, student.parent),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and int(done.stdout) > 100, done.stderr[-2000:]


def test_weights_in_other_files_replace_those_of_an_earlier_push(endpoint: str, student: Path) -> None:
    assert pushed(endpoint, student, "me/again", "public")[0] == 0
    assert not json.loads(get(f"{endpoint}/api/models/me/again"))["private"]
    (student / "model/model.safetensors").rename(student / "model/model-00001-of-00001.safetensors")
    assert pushed(endpoint, student, "me/again", "public")[0] == 0
    found = {name for name in names(endpoint, "me/again") if name.endswith(".safetensors")}
    assert found == {"model-00001-of-00001.safetensors"}


def test_a_killed_push_goes_on_where_it_was(endpoint: str, student: Path) -> None:
    with started(endpoint, student, "me/slow-student") as process:
        deadline = time.monotonic() + 60
        while not taken(endpoint, "slow-student") and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    assert not names(endpoint, "me/slow-student")
    assert pushed(endpoint, student, "me/slow-student")[0] == 0
    large = [name for name in names(endpoint, "me/slow-student") if name.endswith((".safetensors", ".png"))]
    assert taken(endpoint, "slow-student") == len(large)


def test_a_private_student_is_not_sent_to_a_public_repository(endpoint: str, student: Path) -> None:
    assert pushed(endpoint, student, "me/seen", "public")[0] == 0
    code, _, error = pushed(endpoint, student, "me/seen")
    assert code == 1 and "is public" in error


def test_a_student_that_is_not_finished_is_not_sent(endpoint: str, student: Path) -> None:
    os.remove(student / "README.md")
    assert "no finished model" in pushed(endpoint, student, "me/none")[2]
