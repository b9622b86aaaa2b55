from typing import Any

import pytest

from distill.collect import collect
from distill.recipe import ProblemSource, Verification
from distill.records import Problem

FISH = ["cod", "eel", "pike", "tench"]
LINES = "Which fish?\nA) cod\nB) eel\nC) pike\nD) tench"


def made(
    row: dict[str, Any], options: str | tuple[str, ...] = "options", reference: str = "answer"
) -> Problem:
    source = ProblemSource(
        name="quiz", path="quiz.jsonl", kind="choice", options=options, reference=reference, language="en"
    )
    (problem,) = collect([{"question": "Which fish?", **row}], source, Verification())
    return problem


@pytest.mark.parametrize(
    "row",
    [
        {"options": FISH, "answer": "C"},
        {"options": FISH, "answer": "(c)"},
        {"options": FISH, "answer": 2},
        {"options": FISH, "answer": "2"},
        {"options": FISH, "answer": "pike"},
        {"options": [*FISH, "N/A", "N/A"], "answer": 2},
        {"options": {"text": FISH, "label": ["A", "B", "C", "D"]}, "answer": "C"},
        {"options": {"text": FISH, "label": ["1", "2", "3", "4"]}, "answer": "3"},
        {"options": dict(zip("ABCD", FISH, strict=True)), "answer": "C"},
        {
            "options": [{"key": letter, "value": fish} for letter, fish in zip("ABCD", FISH, strict=True)],
            "answer": "C",
        },
        {"options": [f"{letter}){fish}" for letter, fish in zip("ABCD", FISH, strict=True)], "answer": "C"},
        {"options": '["cod", "eel", "pike", "tench"]', "answer": "C"},
        {"options": "['cod', 'eel', 'pike', 'tench']", "answer": "C"},
        {"question": LINES, "options": FISH, "answer": "C"},
    ],
)
def test_options_of_public_shapes_become_lines_and_the_answer_a_letter(row: dict[str, Any]) -> None:
    problem = made(row)
    assert (problem.unusable, problem.question, problem.reference) == (None, LINES, "C")


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"options": FISH, "answer": "E"}, "none of the 4 options"),
        ({"options": FISH, "answer": 4}, "none of the 4 options"),
        ({"options": FISH, "answer": "trout"}, "none of the 4 options"),
        ({"options": ["2", "0", "1"], "answer": 1}, "the name of one option and the text of another"),
        ({"options": ["B", "A"], "answer": "A"}, "the name of one option and the text of another"),
        ({"options": ["cod"], "answer": "A"}, "not 2 to 26"),
        ({"options": [str(number + 50) for number in range(27)], "answer": "A"}, "not 2 to 26"),
        ({"options": "cod or eel", "answer": "A"}, "not a list of options"),
        ({"options": [["cod"], ["eel"]], "answer": "A"}, "no list of options"),
        ({"answer": "A"}, "no list of options"),
    ],
)
def test_an_answer_or_a_list_that_is_not_clear_is_refused_with_its_cause(
    row: dict[str, Any], cause: str
) -> None:
    problem = made(row)
    assert problem.unusable == "no_reference" and cause in (problem.detail_unusable or "")


def test_options_of_several_columns_are_shuffled_by_the_problem_alone() -> None:
    columns = ("Right", "Wrong 1", "Wrong 2", "Wrong 3")
    places = set()
    for number in range(40):
        row = {"question": f"Which of {number}?", **{name: f"{name} of {number}" for name in columns}}
        first, again = made(row, columns, "Right"), made(dict(reversed(row.items())), columns, "Right")
        assert first == again and first.unusable is None and first.reference is not None
        assert f"{first.reference}) Right of {number}" in first.question.splitlines()
        places.add(first.reference)
    assert places == {"A", "B", "C", "D"}
    twice = {"Right": "cod", "Wrong 1": "cod", "Wrong 2": "eel", "Wrong 3": "pike"}
    assert made(twice, columns, "Right").unusable == "no_reference"


def test_more_than_ten_options_have_letters_too() -> None:
    problem = made({"options": [f"fish {number}" for number in range(14)], "answer": 12})
    assert (problem.unusable, problem.reference) == (None, "M") and problem.question.endswith("\nN) fish 13")
