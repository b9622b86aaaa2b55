"""Weights that are not finite are found in every floating format, and a student that has them is trained
anew."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from distill.store import Folder, folders
from distill.train import weights
from flows import train as flow


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
    assert weights.not_finite(tmp_path) is None
    tensors["b"][999, 32] = value
    save_file(tensors, tmp_path / "model.safetensors")
    assert weights.not_finite(tmp_path) == "b in model.safetensors"


def test_the_largest_finite_values_are_finite(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        save_file(
            {"a": torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)},
            tmp_path / "model.safetensors",
        )
        assert weights.not_finite(tmp_path) is None


def test_a_value_behind_the_first_chunk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "CHUNK_BYTES", 64)
    tensor = torch.zeros(100)
    tensor[99] = float("nan")
    save_file({"a": tensor, "ids": torch.full((3,), -1)}, tmp_path / "model.safetensors")
    assert weights.not_finite(tmp_path) == "a in model.safetensors"


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
