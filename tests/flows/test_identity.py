"""Folders that are made keep their names: a key holds what decides, and no name of a module, a function or a
file of ours."""

from typing import Any

import pytest

from distill import collect
from distill.recipe import Evaluation, Teacher, load_dataset, load_student
from distill.store import Folder
from flows.identity import Folders, Model

STUDENT = Model(Teacher(engine="transformers", model="m", dtype="float64"), "mine", {"student": "abc"})


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


def test_the_folders_of_held_out_problems_are_these() -> None:
    evaluation = load_student("tiny-qwen2").evaluation
    (suite,) = evaluation.suites
    held_out = Folders.held_out(evaluation, suite, STUDENT)
    assert held_out.problems.path.endswith("/problems/heldout-6cbabf2ecb9c")
    assert held_out.traces.path.endswith("/evaluations/traces/mine-7436dc2681d7")
    assert held_out.completions.fingerprint == "3bc3826e1ac2"
    assert held_out.verdicts.fingerprint == "75f391d5dad3"


def test_suites_have_folders_of_their_own_and_share_what_was_paid_for() -> None:
    """Problems that a recipe spelt out and now names are the same problems, asked in the same way."""
    spelt_out = {"name": "aime24", "path": "HuggingFaceH4/aime_2024", "question": "problem"}
    before = Evaluation.model_validate({"problems": [spelt_out], "n": 16})
    after = Evaluation.model_validate({"targets": ["aime24", "gsm8k"], "regressions": ["mmlu"]})
    (old,) = (Folders.held_out(before, suite, STUDENT) for suite in before.suites)
    aime, gsm8k, mmlu = (Folders.held_out(after, suite, STUDENT) for suite in after.suites)
    assert old.completions == aime.completions == gsm8k.completions
    assert mmlu.completions != aime.completions, "another prompt"
    assert len({one.traces.path for one in (old, aime, gsm8k, mmlu)}) == 4
    assert aime.asked == "mine-aime24" and "/traces/mine-aime24-" in aime.traces.path
    one_more = Evaluation.model_validate({"targets": ["aime24"]})
    assert Folders.held_out(one_more, one_more.suites[0], STUDENT).verdicts == aime.verdicts


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
