"""Seed problems: the files are what the generator writes, the answers are right, and held-out problems are
held out.

The answers are worked out here from the text of each question, not with the generator's own steps.
"""

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SEED = Path(__file__).parents[1] / "data" / "seed"
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}
EVENT = re.compile(
    r"(?P<gain>buys|finds|gives \w+ (?=\d+ more))|(?P<loss>gives away|loses|sells)|(?P<times>now has|Then "
    r"\w+ has)"
)
EVENT_ZH = re.compile(r"(又买了|又得到)(\d+)个|(送出|卖掉)(\d+)个|变成原来的(\d+)倍")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seed_generate", SEED / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SEED / name).read_text(encoding="utf-8").splitlines()]


def numbers(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", row["question"]))


def solved(row: dict[str, Any]) -> int:
    """The answer of a question, from its text alone."""
    question: str = row["question"]
    if row["shape"].startswith("sum"):
        expression = re.sub(r"[^-\d+*() ]", "", question)
        assert re.fullmatch(r"[-\d+*() ]+", expression)
        return int(eval(expression, {"__builtins__": {}}))
    value, *others = numbers(row)
    for operation, other in zip(operations(row), others, strict=True):
        value = OPERATIONS[operation](value, other)
        assert 0 <= value <= 199
    return value


def operations(row: dict[str, Any]) -> str:
    """The operations of a story in order, read from its words."""
    if row["language"] == "zh":
        return "".join(
            "+" if gain else "-" if loss else "*" for gain, _, loss, _, _ in EVENT_ZH.findall(row["question"])
        )
    story = row["question"].split(". ", 1)[1].rsplit(" How many", 1)[0]
    return "".join(
        {"gain": "+", "loss": "-", "times": "*"}[str(found.lastgroup)] for found in EVENT.finditer(story)
    )


@pytest.mark.parametrize(
    ("name", "seed", "held_out"), [("train.jsonl", 1, False), ("heldout.jsonl", 2, True)]
)
def test_the_files_are_what_the_generator_writes(
    generate: ModuleType, tmp_path: Path, name: str, seed: int, held_out: bool
) -> None:
    generate.write(tmp_path / name, generate.stream(seed, held_out=held_out), len(rows(name)))
    assert (tmp_path / name).read_bytes() == (SEED / name).read_bytes()


@pytest.mark.parametrize("name", ["train.jsonl", "heldout.jsonl"])
def test_every_answer_is_what_the_question_asks_for(name: str) -> None:
    for row in rows(name):
        assert row["answer"] == str(solved(row)), row["question"]
        assert 0 <= solved(row) <= 199
        if not row["shape"].startswith("sum"):
            assert row["shape"][3:] == operations(row), row["question"]


@pytest.mark.parametrize(("seed", "held_out"), [(1, False), (2, True)])
def test_the_steps_of_every_problem_lead_to_its_answer(
    generate: ModuleType, seed: int, held_out: bool
) -> None:
    for problem in islice(generate.stream(seed, held_out=held_out), 300):
        values = [step.result for step in problem.steps]
        assert all(step.result == OPERATIONS[step.operator](step.left, step.right) for step in problem.steps)
        assert (
            values[-1]
            == problem.answer
            == solved({"question": problem.question, "shape": problem.shape, "language": problem.language})
        )


def test_no_held_out_question_shape_with_numbers_or_held_out_shape_is_in_training(
    generate: ModuleType,
) -> None:
    train, held = rows("train.jsonl"), rows("heldout.jsonl")
    assert not {row["question"] for row in train} & {row["question"] for row in held}
    assert not {(row["shape"], numbers(row)) for row in train} & {
        (row["shape"], numbers(row)) for row in held
    }
    held_shapes = {family + shape for family, shapes in generate.HELD_OUT_SHAPES.items() for shape in shapes}
    assert held_shapes <= {row["shape"] for row in held}
    assert not held_shapes & {row["shape"] for row in train}


def test_questions_differ_and_both_languages_are_in_both_parts() -> None:
    for name in ("train.jsonl", "heldout.jsonl"):
        found = rows(name)
        assert len({row["question"] for row in found}) == len(found)
        for language in ("en", "zh"):
            assert sum(row["language"] == language for row in found) > 0.15 * len(found)
        assert all(
            (row["language"] == "zh") == bool(re.search("[\u4e00-\u9fff]", row["question"])) for row in found
        )
