"""Prompts that are not worth their price are found before they are paid for, and no others."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from distill.recipe import Teacher
from distill.records import Message, Problem
from distill.sample import prompt_checks
from distill.text import prompts

ROOT = Path(__file__).parents[2]
CASES = [
    json.loads(line)
    for line in Path(__file__)
    .parents[1]
    .joinpath("cases", "lint.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
SERVER = Teacher(model="m")


def problem(question: str, reference: str | None = "42", kind: str = "math") -> Problem:
    return Problem("p", "s", kind, question, reference)


def checked(
    asked: Problem, teacher: Teacher = SERVER, max_tokens: int = 100, context_tokens: int | None = None
) -> prompt_checks.Finding | None:
    return prompt_checks.check(
        asked, prompts.render(asked, prompts.BY_KIND), teacher, max_tokens, context_tokens
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_the_table_of_cases_holds(case: dict[str, Any]) -> None:
    teacher = Teacher(model="m", engine=case.get("engine", "server"))
    found = checked(problem(case["question"], case["reference"], case.get("kind", "math")), teacher)
    assert (found.reason if found else None) == case.get("reason")
    assert found is None or (found.stops and found.detail)


@pytest.mark.parametrize(
    ("words", "max_tokens", "expected"),
    [
        (989, 1, None),  # the template has ten words more
        (989, 2, ("prompt_too_long", False)),
        (990, 1, ("prompt_too_long", True)),
        (10, 1000, ("prompt_too_long", False)),
        (10, 900, None),
    ],
)
def test_a_prompt_that_leaves_no_room_stops_and_one_that_leaves_too_little_warns(
    words: int, max_tokens: int, expected: tuple[str, bool] | None
) -> None:
    asked = Problem("p", "s", "open", "word " * words, None)
    messages = (Message("system", "a b c d e f g h i j"), Message("user", asked.question))
    found = prompt_checks.check(asked, messages, SERVER, max_tokens, 1000)
    assert (None if found is None else (found.reason, found.stops)) == expected


def test_without_a_known_context_nothing_is_too_long() -> None:
    assert checked(problem("word " * 100_000)) is None


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab1 é中.,-\n\t 🙂"), max_size=300) | st.text(max_size=200))
def test_a_real_tokenizer_never_needs_fewer_tokens_than_the_bound(text: str) -> None:
    for model in ("tiny-teacher", "tiny-llama"):
        tokenizer = Tokenizer.from_file(str(ROOT / "data" / "models" / model / "tokenizer.json"))
        assert prompt_checks.least_tokens(text) <= len(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("name", ["train", "heldout", "every_kind"])
def test_no_problem_of_ours_is_refused(name: str) -> None:
    for line in (ROOT / "data" / "seed" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked = problem(row["question"], row.get("answer", row.get("reference")), row.get("kind", "math"))
        assert checked(asked, context_tokens=1024) is None, row


def test_what_a_template_of_ones_own_brings_in_is_found_too() -> None:
    messages = (Message("user", "<|im_start|>user\nWhat is 6 times 7?"),)
    found = prompt_checks.check(problem("What is 6 times 7?"), messages, SERVER, 100)
    assert found is not None and found.reason == prompt_checks.CONTROL_TOKENS


def test_a_long_prompt_is_looked_at_in_no_time() -> None:
    hostile = [
        "answer is " * 10_000,
        "#### " * 20_000,
        "\\boxed{" * 15_000,
        "答案" * 50_000,
        "<|" * 50_000,
        " " * 99_999 + "x",
        "( $*" * 25_000,
    ]
    started = time.process_time()
    for question in hostile:
        checked(problem(question), context_tokens=1_000_000)
    assert time.process_time() - started < 2
