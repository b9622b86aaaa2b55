import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.recipe import Verification
from distill.records import Problem, Trace, Verdict
from distill.verifiers import choice, judge, judge_reference

SECTION = Verification()
CASES = [
    json.loads(line)
    for line in Path(__file__)
    .parents[1]
    .joinpath("cases", "choice.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
LETTERS = "Which one?\n" + "\n".join(f"{letter}) the thing of {letter.lower()}" for letter in "ABCDEFGHIJ")
CAPITALS = "What is the capital of France?\nA) Paris\nB) Rome\nC) Berlin\nD) New York"


def verdict(reference: str | None, answer: str, question: str = LETTERS) -> Verdict:
    return judge(
        Trace(Problem("p", "s", "choice", question, reference), "t", 0, None, answer, True, "stop"), SECTION
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_the_table_of_cases_holds(case):
    assert (
        verdict(case["reference"], case["answer"], case.get("question", LETTERS)).outcome == case["outcome"]
    )


def test_options_are_read_from_the_common_ways_to_list_them():
    texts = ["Paris", "Rome", "New York"]
    lists = [
        "A. Paris\nB. Rome\nC. New York",
        "(A) Paris (B) Rome (C) New York",
        "A) Paris  B) Rome  C) New York\n\nThink about it.",
        "Options:\n- A: Paris\n- B: Rome\n- C: New York",
        "**A.** Paris\n**B.** Rome\n**C.** New York",
        r"$\textbf{(A)}\ \text{Paris} \qquad\textbf{(B)}\ \text{Rome} \qquad\textbf{(C)}\ \text{New York}$",
        "A、Paris\nB、Rome\nC、New York",
    ]
    for listed in lists:
        assert list(choice.options(f"Which one?\n{listed}").values()) == texts, listed
    for prose in (
        "P(A) = 0.3 and P(B) = 0.5",
        "Triangle ABC has A. and that is all",
        "Plan A: wait",
        "",
        "B) two\nC) three",
    ):
        assert not choice.options(prose), prose


def test_the_choice_is_shown_as_its_letters_whatever_its_spelling():
    for answer in (r"\boxed{\text{(A)}}", "The answer is Paris.", "A. Paris", "Paris"):
        assert verdict("A", answer, CAPITALS).extracted == "A"
    assert verdict("A, C", r"\boxed{C and A}").extracted == "A, C"


def test_a_reference_is_good_when_it_is_a_letter_or_the_text_of_one_option():
    references = [("C", LETTERS), ("(C)", LETTERS), ("A, C", LETTERS), ("AC", LETTERS), ("Paris", CAPITALS)]
    assert {
        judge_reference(Problem("p", "s", "choice", question, reference), SECTION).outcome
        for reference, question in references
    } == {"correct"}
    bad = [
        ("42", LETTERS),
        ("Madrid", CAPITALS),
        ("E", CAPITALS),
        (None, LETTERS),
        ("", LETTERS),
        ("C", "Which of ABC?"),
        ("A", "Which?\nA) one"),
    ]
    assert {
        judge_reference(Problem("p", "s", "choice", question, reference), SECTION).outcome
        for reference, question in bad
    } == {"unparsed_reference"}


@settings(deadline=None)
@given(
    st.text(
        alphabet=r"ABCDEI ()[]{}.,:;/*$\n?是答案选不" + "answer is not option choice correct box\\",
        max_size=80,
    ),
    st.text(alphabet="AB) .(:\nxy", max_size=40),
)
def test_any_text_gets_a_verdict_and_a_prefix_of_prose_is_never_correct(text, question):
    assert verdict("C", text, question).outcome
    assert verdict("J", "in prose " + text + " and so on we go", question).outcome != "correct"


@pytest.mark.parametrize(
    "piece",
    [
        "answer is ",
        "answer:",
        "if the answer is ",
        "i choose ",
        "option A is correct ",
        "A, ",
        "(A) ",
        "A: x\n",
        "\\boxed{",
        "\\text{",
        "选",
        "答案是",
    ],
)
def test_a_hundred_thousand_characters_take_no_time(piece):
    huge = piece * (100_000 // len(piece))
    started = time.perf_counter()
    for question, answer in ((CAPITALS, huge), (huge, r"\boxed{A}"), ("q", "answer" + " " * 100_000 + "x")):
        assert verdict("A", answer, question).outcome
    assert time.perf_counter() - started < 5.0  # measured at 0.5 s; a quadratic pattern takes minutes
