"""Benchmarks as recipes: a suite is named, changed or spelt out, and has its own protocol."""

from pathlib import Path
from typing import Any

import pytest

from distill.recipe import Evaluation, RecipeError, Suite, load, load_student, tables
from distill.text import prompts
from distill.verifiers import rules

SCORED = [
    name
    for name in tables.names("benchmarks")
    if tables.read(f"benchmarks/{name}.toml").get("evaluation") is not False
]


def suite(value: Any, **chosen: Any) -> Suite:
    (found,) = Evaluation.model_validate({"targets": [value], **chosen}).targets
    return found


@pytest.mark.parametrize("name", SCORED)
def test_a_public_benchmark_can_be_scored_on(name: str) -> None:
    found = suite(name)
    assert found.name == name and found.note.endswith(".")
    assert (found.temperature, found.top_p, found.max_tokens) == (0.6, 0.95, 32768)
    assert prompts.identity(found.prompt)
    for source in found.problems:
        assert source.name == name and source.language == "en"
        needed = {"reference": source.reference, "tests": source.tests}
        assert all(needed[column] for column in rules(source.kind).needs)
        assert found.prompt == source.kind, "asked as it is judged"


def test_samples_are_those_of_the_paper() -> None:
    drawn = {
        name: suite(name).n for name in ("aime24", "aime25", "gpqa-diamond", "math-500", "livecodebench")
    }
    assert drawn == {"aime24": 64, "aime25": 64, "gpqa-diamond": 64, "math-500": 16, "livecodebench": 8}


def test_a_benchmark_that_nothing_judges_is_refused() -> None:
    with pytest.raises(ValueError, match="ifeval: no verifier here judges its answers"):
        suite("ifeval")


def test_a_table_goes_before_the_evaluation_and_that_before_the_file() -> None:
    assert suite("aime24").n == 64
    assert suite("aime24", n=2).n == 2
    assert suite({"like": "aime24", "n": 3}, n=2).n == 3
    assert suite({"name": "aime24", "n": 3}).problems == suite("aime24").problems


def test_a_file_of_your_own_takes_the_place_of_the_hub() -> None:
    found = suite({"like": "gsm8k", "path": "mine.jsonl", "question": "prompt", "reference_pattern": ""})
    (source,) = found.problems
    assert (source.path, source.question, source.reference_pattern) == ("mine.jsonl", "prompt", None)
    assert (source.reference, source.licence) == ("answer", "MIT")


def test_a_benchmark_of_your_own_finds_its_rows_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "1?", "answer": "1"}\n', encoding="utf-8")
    (tmp_path / "mine.toml").write_text('path = "mine.jsonl"\nn = 7\n', encoding="utf-8")
    found = suite(str(tmp_path / "mine.toml"))
    assert (found.name, found.n, found.problems[0].path) == ("mine", 7, str(tmp_path / "mine.jsonl"))
    kept_out = load.load_parts((f'curation.benchmarks=["{tmp_path / "mine.toml"}"]',))[1].benchmarks
    assert (kept_out[0].name, kept_out[0].path, kept_out[0].kind) == ("mine", found.problems[0].path, "open")


def test_a_benchmark_of_your_own_may_lie_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('path = "mine.jsonl"\nn = 7\n', encoding="utf-8")
    shipped = (tables.SHIPPED / "students/tiny-qwen2.toml").read_text(encoding="utf-8")
    named = (
        'targets = ["mine.toml", { like = "mine.toml", name = "short", n = 1 }]\n\n[[evaluation.problems]]'
    )
    (tmp_path / "s.toml").write_text(shipped.replace("[[evaluation.problems]]", named), encoding="utf-8")
    found = load_student(str(tmp_path / "s.toml")).evaluation.targets
    assert [(one.name, one.n) for one in found] == [("mine", 4), ("short", 1)], "n = 4 is the recipe's"


def test_spelt_out_a_recipe_reads_back_as_it_was() -> None:
    made = Evaluation.model_validate({"targets": ["aime24", "bbh-logic"], "regressions": ["mmlu"], "n": 2})
    assert Evaluation.model_validate(made.model_dump(mode="json")) == made


def test_problems_that_are_spelt_out_are_a_target_with_the_evaluations_settings() -> None:
    evaluation = load_student(
        "tiny-qwen2", ("evaluation.n=3", 'evaluation.regressions=["aime24"]')
    ).evaluation
    first, second = evaluation.suites
    assert (first.name, first.n, first.max_tokens, first.problems) == ("heldout", 3, 192, evaluation.problems)
    assert (second.name, second.n, evaluation.asked_of_teacher) == ("aime24", 3, (first,))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ('evaluation.targets=["aime99"]', "no benchmark 'aime99'; there are: aime24, "),
        ('evaluation.targets=["missing.toml"]', "missing.toml cannot be read: "),
        ("evaluation.targets=aime24", "evaluation.targets: should be a list"),
        ('evaluation.targets=["mmlu", "mmlu"]', "two suites are named 'mmlu'"),
        ('evaluation.targets=[{like = "mmlu", speed = 3}]', "speed: Extra inputs"),
        ('evaluation.targets=[{like = "mmlu", response = "r"}]', "`response` is for datasets"),
        ("evaluation.targets=[]", "name suites to score on"),
    ],
)
def test_a_wrong_suite_is_told_in_words_of_the_recipe(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as told:
        load_student("qwen2.5-0.5b", (override,))
    assert said in str(told.value)
