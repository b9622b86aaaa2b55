"""What structure and giveaways find, and the sound traces next to each finding that they have to let
through."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.curate import refusals
from distill.records import Problem, Trace
from distill.text import form

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "cases" / "structure.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
CHECKS = {
    "structure": form.fault,
    "mismatch": form.mismatch,
    "refusal": refusals.refusal,
    "answer_leak": refusals.answer_leak,
}
PARTS = [
    *(
        "The answer is ",
        "the final answer is ",
        "答案是",
        "\\boxed{",
        "}",
        "<answer>",
        "</answer>",
        "5",
        "1/2",
        "\\frac{1}{0}",
        "0.5",
        ".",
        " ",
    ),
    *(
        "B",
        "x = ",
        "\n",
        "\\text{ m}",
        "%",
        "-",
        ",",
        "1,000",
        "\\fbox",
        "reference answer",
        "I'm sorry, but I can't help",
        "\ud800",
        "²",
        "٣",
    ),
]


def trace(case):
    problem = Problem("p", "seed", case["kind"], case["question"], case["reference"])
    return Trace(problem, "t", 0, case["thinking"], case["answer"], True, "stop")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['check']}: {case['why']}")
def test_each_check_finds_its_faults_and_nothing_else(case):
    found = CHECKS[case["check"]](trace(case))
    assert bool(found) == case["found"], found


def test_a_sound_trace_has_no_finding_of_any_kind():
    sound = [case for case in CASES if case["check"] == "structure" and case["why"] == "a sound trace"]
    assert [check(trace(case)) for case in sound for check in CHECKS.values()] == [None] * 4


def test_empty_texts_have_no_finding():
    for thinking in (None, ""):
        empty = Trace(Problem("p", "seed", "math", "", None), "t", 0, thinking, "", True, "stop")
        assert [check(empty) for check in CHECKS.values()] == [None] * 4


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(PARTS), max_size=12).map("".join),
    st.lists(st.sampled_from(PARTS), max_size=12).map("".join),
)
def test_no_text_breaks_a_check(thinking, answer):
    for kind in ("math", "choice", "code"):
        odd = Trace(Problem("p", "seed", kind, thinking, answer), "t", 0, thinking, answer, True, "stop")
        assert all(found is None or found for found in (check(odd) for check in CHECKS.values()))
