"""A student's card says whose weights, teacher and problems it comes from, under which licences."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill.recipe import load
from distill.records import Checkpoint
from distill.train import model_card

CHECKPOINT = Checkpoint(
    student="s", base="b", dataset="gsm8k-0123456789ab", fingerprint="f00d", rows_trained=1234, rows_too_long=5,
    trained_tokens=10, steps=7, epochs=2.0, final_loss=0.51239, seconds=61.0, peak_memory_gib=1.0, tokens_per_step=9.0,
)  # fmt: skip
SOURCE = {"path": "openai/gsm8k", "revision": "abc", "licence": "MIT"}
DATASET = {
    "teacher": {"model": "Qwen/QwQ-32B", "revision": "r1", "licence": "Apache-2.0"},
    "problems": [SOURCE, SOURCE],
}


def card(folder: Path, student: str, dataset: Any = DATASET, **base: Any) -> tuple[dict[str, Any], str]:
    """The front matter and the text of the card of a shipped student with another base."""
    recipe = load.load_student(student)
    recipe = recipe.model_copy(update={"base": recipe.base.model_copy(update=base)})
    lines = [{"step": 1, "tokens_per_second": 5000.0, "mfu": None}]
    model_card.write(folder, recipe, CHECKPOINT, "cafe", dataset, lines)
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_names_base_teacher_problems_and_dataset_with_their_licences(tmp_path: Path) -> None:
    front, text = card(tmp_path, "qwen2.5-7b", revision="main1")
    recipe = load.load_student("qwen2.5-7b")
    assert front["base_model"] == recipe.base.model and front["license"] == recipe.base.licence.lower()
    assert f"| base model | `{recipe.base.model}` @ main1 | {recipe.base.licence} |" in text
    assert "| teacher | `Qwen/QwQ-32B` @ r1 | Apache-2.0 (of its outputs) |" in text
    assert text.count("openai/gsm8k @ abc | MIT |") == 1
    for said in (
        "`gsm8k-0123456789ab`",
        "`cafe`",
        "`f00d`",
        "1,234 trained, 5 longer",
        "| final loss | 0.5124 |",
    ):
        assert said in text
    assert "5,000 tokens/s" in text and "MFU" not in text and "Built with Llama" not in text
    made = json.loads(text.split("```json\n")[1].split("```")[0])
    assert made["training"]["learning_rate"] == recipe.training.learning_rate


@pytest.mark.parametrize(
    ("model", "licence", "teacher", "built"),
    [
        ("meta-llama/Llama-3.2-1B", "unknown", "Qwen/QwQ-32B", True),
        ("someone/merged", "Llama-3.1", "Qwen/QwQ-32B", True),
        ("Qwen/Qwen2.5-7B", "Apache-2.0", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", True),
        ("openlm/ollama-notes", "MIT", "Qwen/QwQ-32B", False),
        ("data/models/tiny-llama", "Apache-2.0", None, False),
    ],
)
def test_built_with_llama_is_said_of_metas_models_and_of_what_is_made_from_them(
    tmp_path: Path, model: str, licence: str, teacher: str | None, built: bool
) -> None:
    dataset = None if teacher is None else {"teacher": {"model": teacher, "licence": None}, "problems": []}
    _, text = card(tmp_path, "qwen2.5-7b", dataset, model=model, licence=licence)
    assert ("**Built with Llama.**" in text) == built
    assert ("see the dataset's card" in text) == (teacher is None)


@pytest.mark.parametrize(
    ("licence", "front"),
    [
        ("Llama-3.2", ("llama3.2", None)),
        ("Apache-2.0", ("apache-2.0", None)),
        ("Qwen Research", ("other", "Qwen Research")),
    ],
)
def test_a_licence_has_the_hubs_name_or_is_other_with_its_own(
    tmp_path: Path, licence: str, front: tuple[str, str | None]
) -> None:
    found, _ = card(tmp_path, "qwen2.5-7b", licence=licence)
    assert (found["license"], found.get("license_name")) == front


def test_a_base_in_a_folder_is_no_model_of_the_hub(tmp_path: Path) -> None:
    assert "base_model" not in card(tmp_path, "tiny-qwen2")[0]
