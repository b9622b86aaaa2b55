"""What would train or load wrongly and say nothing is refused, or told with its remedy."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distill import hardware, train
from distill.recipe import load
from distill.store import Folder, folders
from distill.train import guards
from flows import train as flow

STUDENT = load.load_student("tiny-qwen2")


def config(positions: int, **rope: Any) -> Any:
    return SimpleNamespace(max_position_embeddings=positions, rope_parameters=rope or None)


def test_rows_beyond_the_positions_are_refused_with_the_remedy_and_a_max_length_beyond_them_is_told() -> None:
    told: list[str] = []

    def say(kind: str, **values: Any) -> None:
        told.append(f"{kind}: {values['message']}")

    training = STUDENT.training.model_copy(update={"max_length": 8192})
    with pytest.raises(ValueError, match=r"1 of 2 rows.*training.max_length=4096, or .*base.rope_theta"):
        guards.positions(config(4096), STUDENT.base, training, np.array([10, 5000]), say)
    guards.positions(config(4096), STUDENT.base, training, np.array([10, 4096]), say)
    guards.positions(config(8192), STUDENT.base, training, np.array([8192]), say)
    guards.positions(
        config(2048, rope_type="yarn", factor=4.0), STUDENT.base, training, np.array([5000]), say
    )
    assert len(told) == 1 and told[0].startswith("note: training.max_length=8,192 is more than the 4,096")


@pytest.mark.parametrize(
    ("rope", "positions"),
    [
        ({}, 4096),
        ({"rope_type": "default", "rope_theta": 1e6}, 4096),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}, 16_384),
        ({"rope_type": "linear", "factor": 2.0}, 8192),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 512}, 4096),
    ],
)
def test_positions_count_the_scaling_of_rope(rope: dict[str, Any], positions: int) -> None:
    assert guards.positions_of(config(4096, **rope)) == positions


@pytest.mark.parametrize(
    ("precision", "lora", "weights", "autocast", "right"),
    [
        ("bf16", None, "float32", True, True),
        ("bf16", None, "bfloat16", True, False),
        ("fp32", None, "float32", False, True),
        ("fp32", None, "float32", True, False),
        ("fp32", 4, "bfloat16", False, False),
    ],
)
def test_the_precision_that_is_asked_for_is_the_one_that_trains(
    precision: str, lora: int | None, weights: str, autocast: bool, right: bool
) -> None:
    training = STUDENT.training.model_copy(update={"precision": precision, "lora_rank": lora})
    model = torch.nn.Linear(2, 2).to(getattr(torch, weights))
    arguments = SimpleNamespace(bf16=autocast, fp16=False)
    if right:
        guards.precision(model, training, arguments)
    else:
        with pytest.raises(RuntimeError, match=f"training.precision={precision}"):
            guards.precision(model, training, arguments)


def test_several_processes_are_started_in_the_precision_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = load.load_student("qwen2.5-0.5b", ()).base
    section = load.load_student("qwen2.5-0.5b", ()).training
    fp32, alone = section.model_copy(update={"precision": "fp32"}), train.Host.here()
    assert train._launcher(base, section, alone) == ()
    monkeypatch.setattr(hardware, "gpus", lambda: [None, None])
    assert "--mixed_precision=no" in train._launcher(base, fp32, alone)
    assert {"--mixed_precision=bf16", "--use_fsdp"} <= set(train._launcher(base, section, alone))
    lora = train._launcher(base, section.model_copy(update={"lora_rank": 8}), alone)
    assert {"--multi_gpu", "--num_processes=2"} <= set(lora) and "--use_fsdp" not in lora


def old_reader(folder: Path) -> tuple[float, dict[str, Any] | None, str]:
    """RoPE and type of the weights, as readers before transformers 5 find them."""
    found = json.loads((folder / "config.json").read_text())
    return found["rope_theta"], found["rope_scaling"], found["torch_dtype"]


def test_a_saved_configuration_says_to_older_readers_what_it_says_to_this_one(tmp_path: Path) -> None:
    from transformers import AutoConfig, LlamaConfig, Qwen2Config

    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    cases = [
        (Qwen2Config(rope_parameters={"rope_type": "default", "rope_theta": 300_000.0}), 300_000.0, None),
        (LlamaConfig(rope_parameters={**llama3, "rope_theta": 500_000.0}), 500_000.0, llama3),
    ]
    for saved, theta, scaling in cases:
        saved.dtype = "bfloat16"
        saved.save_pretrained(tmp_path)
        before = AutoConfig.from_pretrained(tmp_path)
        assert "rope_theta" not in json.loads((tmp_path / "config.json").read_text()), "the guard can go"
        guards.write_old_keys(tmp_path)
        assert old_reader(tmp_path) == (theta, scaling, "bfloat16")
        after = AutoConfig.from_pretrained(tmp_path)
        assert (after.rope_parameters, after.dtype) == (before.rope_parameters, before.dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found_and_named(
    tmp_path: Path, dtype: torch.dtype, value: float
) -> None:
    tensors = {
        "a": torch.randn(7, dtype=torch.float32),
        "b": torch.randn(1000, 33).to(dtype),
        "c": torch.zeros(0, dtype=dtype),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    assert guards.not_finite(tmp_path) is None
    tensors["b"][999, 32] = value
    save_file(tensors, tmp_path / "model.safetensors")
    assert guards.not_finite(tmp_path) == "b in model.safetensors"


def test_the_largest_finite_values_are_finite(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        save_file(
            {"a": torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)},
            tmp_path / "model.safetensors",
        )
        assert guards.not_finite(tmp_path) is None


def test_a_value_behind_the_first_chunk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "CHUNK_BYTES", 64)
    tensor = torch.zeros(100)
    tensor[99] = float("nan")
    save_file({"a": tensor, "ids": torch.full((3,), -1)}, tmp_path / "model.safetensors")
    assert guards.not_finite(tmp_path) == "a in model.safetensors"


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_student_that_was_made_before_weights_were_checked_is_read_once_and_set_aside_if_they_are_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr(folders, "ROOT", str(tmp_path))
    student = Folder("students", "small", {"train": 1})
    folder = Path(student.path)

    def sampled(by: str) -> Path:
        traces = Folder("evaluations/traces", "small", {"teacher": {"model": {"student": by}}})
        with traces.held():
            return Path(traces.path)

    evaluated, other = sampled(student.fingerprint), sampled("another")
    (folder / "model").mkdir(parents=True)
    save_file({"a": torch.tensor([value])}, folder / "model" / "model.safetensors")
    (folder / "made.json").write_text(json.dumps({"rows": 0, "shards": {}}))
    flow._refuse_not_finite(student)
    assert (folder.exists(), evaluated.exists(), other.exists()) == (value == 1.0, value == 1.0, True)
    if value == 1.0:
        assert json.loads((folder / "made.json").read_text())["finite"] is True
    else:
        assert Path(f"{folder}.damaged", "model", "model.safetensors").exists()
