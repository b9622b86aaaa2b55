import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.recipe import Verification
from distill.records import Problem, Trace, Verdict
from distill.verifiers import judge, judge_reference, structured

SECTION = Verification()
CASES = [
    json.loads(line)
    for line in Path(__file__)
    .parents[1]
    .joinpath("cases", "logic.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
TABLE = '{"Alice": "red", "Bob": "coffee", "Eve": 3}'

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-999, 999),
    st.text(alphabet="abc xyz", min_size=1).filter(lambda text: text.strip()),
)
NAMES = st.text(alphabet="KLMNO", min_size=2, max_size=6)


def verdict(reference: str | None, answer: str, question: str = "q") -> Verdict:
    return judge(
        Trace(Problem("p", "s", "logic", question, reference), "t", 0, None, answer, True, "stop"), SECTION
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_the_table_of_cases_holds(case):
    assert verdict(case["reference"], case["answer"], case.get("question", "q")).outcome == case["outcome"]


def test_a_wrong_assignment_names_the_keys_that_differ():
    assert (
        verdict(TABLE, "Alice: red; Bob: tea; Eve: 3").detail
        == "2 of 3 keys: Bob is 'tea', reference 'coffee'"
    )
    assert verdict(TABLE, "Alice: red; Eve: 3").detail == "2 of 3 keys: Bob is missing, reference 'coffee'"
    assert (
        verdict(TABLE, '{"Alice": "red", "Bob": "coffee", "Eve": 3, "Zed": 1}').detail
        == "3 of 3 keys: Zed is not in the reference"
    )


def test_an_answer_that_is_too_long_is_unparsed_and_is_not_kept():
    found = verdict("True", rf"\boxed{{{'x' * 5000}}}")
    assert (found.outcome, found.extracted) == ("unparsed_answer", None)
    assert (
        judge_reference(Problem("p", "s", "logic", "q", "x" * 5000), SECTION).outcome == "unparsed_reference"
    )


@settings(deadline=None)
@given(st.dictionaries(NAMES, SCALARS, min_size=2, max_size=6))
def test_an_assignment_is_the_same_in_every_writing(values):
    reference = json.dumps(values)
    pairs = [(key, json.dumps(value).strip('"')) for key, value in values.items()]
    writings = [
        json.dumps(dict(reversed(values.items())), indent=2),
        "; ".join(f"{key}: {value}" for key, value in pairs),
        "Answer:\n" + "\n".join(f"- **{key}** = {value}" for key, value in pairs) + "\n\nAll clues are met.",
        "We get\n\n| who | what |\n| --- | --- |\n"
        + "\n".join(f"| {key} | {value} |" for key, value in pairs),
    ]
    assert {verdict(reference, writing).outcome for writing in writings} == {"correct"}
    key = next(iter(values))
    assert verdict(reference, json.dumps(values | {key: "something else"})).outcome == "wrong"


@settings(deadline=None)
@given(st.text(min_size=1, max_size=60).filter(lambda text: text.strip()))
def test_every_reference_is_found_equal_to_itself(reference):
    assert judge_reference(Problem("p", "s", "logic", "q", reference), SECTION).outcome == "correct"


@settings(deadline=None)
@given(
    st.text(alphabet=r"{}[]()|:;=,.'" + '"\n -*`ab1 is answer\\boxed', max_size=80),
    st.text(alphabet='{}[]:," ab1\n', max_size=30),
)
def test_any_text_gets_a_verdict(answer, reference):
    assert verdict(reference, answer).outcome
    assert structured.equal([1, {"a": "x"}], [1.0, {"A": "X"}])


@pytest.mark.parametrize(
    "piece",
    [
        "answer is ",
        "answer: ",
        "\\boxed{",
        "{",
        "\n{",
        "```\n",
        "a: b\n",
        "|a|b|\n",
        " ",
        "A, ",
        "- ",
        "\\text{",
    ],
)
def test_a_hundred_thousand_characters_take_no_time(piece):
    huge = piece * (100_000 // len(piece))
    started = time.perf_counter()
    for reference in ("A", TABLE, "[1, 2]"):
        for answer in (huge, huge + "x", "[" * 50_000 + "]" * 50_000):
            assert verdict(reference, answer).outcome != "correct"
    assert time.perf_counter() - started < 5.0  # measured at 0.6 s; a quadratic pattern takes minutes
