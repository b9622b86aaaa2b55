"""Folders that are made keep their names: a key holds what decides, and no name of a module, a function or a
file of ours."""

from typing import Any

import pytest

from distill import collect
from distill.recipe import load_dataset, load_student
from distill.store import Folder
from flows.identity import Folders


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder is made, and its rows have the same digest."""

    def done(folder: Folder) -> dict[str, Any]:
        return {"content": "content"}

    monkeypatch.setattr(Folder, "done", done)


def test_the_fingerprints_of_the_embedded_recipes_are_these() -> None:
    """One that differs means that folders of today are not found again: a `VERSION`, a recipe or a schema may
    change it, a move may not."""
    folders = Folders.of(load_dataset("tiny"))
    assert folders.problems.fingerprint == "eb0582ca1d68"
    assert folders.verdicts.fingerprint == "bba3425b585d"
    assert folders.dataset.fingerprint == "e794e786e639"
    assert folders.student(load_student("tiny-qwen2")).fingerprint == "cdbfa38d057d"


def test_think_tags_make_other_traces_of_the_same_completions() -> None:
    recipe = load_dataset("tiny")

    def tagged(tags: str | None) -> Folders:
        teacher = recipe.teacher.model_copy(update={"think_tags": tags})
        return Folders.of(recipe.model_copy(update={"teacher": teacher}))

    plain, other = tagged(None), tagged("mistral")
    assert plain.completions == other.completions and plain.traces.fingerprint != other.traces.fingerprint


def test_other_decisions_about_problems_ask_no_teacher_again_where_the_problems_are_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_dataset("tiny")
    before = Folders.of(recipe)
    kept = before.completions, before.traces, before.verdicts, before.dataset
    made = before.problems.fingerprint, before.compared.fingerprint
    monkeypatch.setattr(collect, "VERSION", collect.VERSION + 1)
    after = Folders.of(recipe)
    assert (after.completions, after.traces, after.verdicts, after.dataset) == kept
    assert after.problems.fingerprint != made[0] and after.compared.fingerprint != made[1]
