"""Folders that are made keep their names: a key holds what decides, and no name of a module, a function or a
file of ours."""

from distill.recipe.load import load_dataset, load_student
from flows import identity

CONTENT = "content"
"""Stands for the digest of a folder's rows."""


def test_the_fingerprints_of_the_embedded_recipes_are_these() -> None:
    """One that differs means that folders of today are not found again: a `VERSION`, a recipe or a schema may
    change it, a move may not."""
    recipe = load_dataset("tiny")
    kinds = identity.kinds(recipe.problems)
    problems = identity.problems(recipe.problems, recipe.verification, recipe.shard_problems)
    traces = identity.traces(
        CONTENT, identity.teacher(recipe.teacher), recipe.sampling, recipe.verification, kinds
    )
    dataset = identity.dataset(identity.verdicts(traces, recipe.verification, kinds), recipe)
    student = identity.student(CONTENT, load_student("tiny-qwen2"))
    assert problems.fingerprint == "f0e53eecd181"
    assert dataset.fingerprint == "b2c920ddaef7"
    assert student.fingerprint == "cdbfa38d057d"


def test_think_tags_make_other_traces_of_the_same_completions() -> None:
    recipe = load_dataset("tiny")
    plain, tagged = (
        identity.teacher(recipe.teacher.model_copy(update={"think_tags": tags})) for tags in (None, "mistral")
    )
    completions = [identity.completions(model, recipe.sampling).fingerprint for model in (plain, tagged)]
    traces = [
        identity.traces(CONTENT, model, recipe.sampling, recipe.verification, []).fingerprint
        for model in (plain, tagged)
    ]
    assert completions[0] == completions[1] and traces[0] != traces[1]
