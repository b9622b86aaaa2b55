"""How a file is read: under our names first, then those of public sets; no row of any shape raises."""

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.collect import collect
from distill.files import columns, guess, reading, traces
from distill.files.readers import BAD_ROW
from distill.recipe import ProblemSource, Verification
from distill.records import Trace

NAMES = st.sampled_from(
    [
        "question",
        "problem",
        "prompt",
        "messages",
        "conversations",
        "answer",
        "thinking",
        "reasoning",
        "response",
        "generations",
        "id",
        "kind",
        "r1_solution_1",
        "r1_solution_2",
        "reference",
        "final_answer",
        "finish_reason",
        "finish_reasons",
        "is_reasoning_complete",
        "correctness_math",
        "tests",
        "options",
        "think_closed",
        "role",
        "content",
        "from",
        "value",
        "extra",
        "outcome",
        "problem_id",
        "a.b",
    ]
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["<think>", "</think>", "user", "assistant", "[{", '[{"role":"user","content":"x"}]', "length"]
    ),
)
TURN = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(PLAIN, st.lists(PLAIN, max_size=2)) for name in ("role", "content", "from", "value")
    },
)
VALUES = st.recursive(
    st.one_of(PLAIN, TURN, st.lists(TURN, max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=1, max_size=4)


@settings(max_examples=400, deadline=None)
@given(ROWS)
def test_no_row_of_any_shape_raises(rows: list[dict[str, Any]]) -> None:
    found = reading.of(iter(rows))
    for row in rows:
        read = list(found.rows(row))
        assert read, "a row is one row or more"
        for _, ours in read:
            with suppress(traces.UnusableRowError):
                assert isinstance(traces._trace(ours, Counter()), Trace)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.data())
def test_no_row_and_no_setting_raises_in_collect(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    one, several = NAMES, st.one_of(st.none(), NAMES, st.lists(NAMES, min_size=1, max_size=2).map(tuple))
    response = data.draw(several)
    source = ProblemSource(
        name="s",
        path="s.jsonl",
        kind=data.draw(st.sampled_from(["math", "choice", "open", "logic"])),
        question=data.draw(one),
        reference=data.draw(one),
        options=data.draw(several),
        response=response,
        language="en",
    )
    assert len(list(collect(rows, source, Verification(workers=1)))) == len(rows)


@given(ROWS)
def test_a_guess_is_made_of_any_rows(rows: list[dict[str, Any]]) -> None:
    found = guess.guess(rows)
    for name in (found.question, found.reference, *found.response, *found.thinking):
        assert not name or any(columns.holder(name, row) for row in rows)


T = "<think>\nt\n</think>\n\na"
OURS = ("question", "reference", "response", "finish_reason")


def turns(*said: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


READ = [
    # our own names, left alone
    ({"question": "q", "reference": "4", "response": "a"}, [("q", "4", "a", None)]),
    (
        {"question": "q", "reference": "4", "response": "a", "finish_reason": "length"},
        [("q", "4", "a", "length")],
    ),
    ({"question": "q", "response": "a", "generation": "b"}, [("q", None, "a", None)]),
    ({"question": "q", "answer": "4", "response": "a"}, [("q", "4", "a", None)]),
    ({"question": "q", "problem": "p", "response": "a"}, [("q", None, "a", None)]),
    # endings beside a completion under our names
    ({"question": "q", "response": "a", "finish_reason": ["length"]}, [("q", None, "a", "length")]),
    ({"question": "q", "response": "a", "finish_reasons": ["length"]}, [("q", None, "a", "length")]),
    ({"question": "q", "response": "a", "is_reasoning_complete": False}, [("q", None, "a", "length")]),
    ({"question": "q", "response": "a", "is_reasoning_complete": True}, [("q", None, "a", None)]),
    ({"question": "q", "response": {"text": "a", "finish_reason": "length"}}, [("q", None, "a", "length")]),
    # names of public sets
    ({"problem": "q", "answer": "4", "generation": "a"}, [("q", "4", "a", None)]),
    ({"prompt": turns("q"), "completion": turns("q", "a")[1:], "solution": "4"}, [("q", "4", "a", None)]),
    ({"prompt": turns("q"), "completion": "a", "solution": "4"}, [("q", "4", "a", None)]),
    ({"messages": turns("q", "a")}, [("q", None, "a", None)]),
    (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        [("q", None, "a", None)],
    ),
    ({"dialogue": turns("q", "a")}, [("q", None, "a", None)]),
    ({"odd_name": turns("q", "a")}, [("q", None, "a", None)]),
    (
        {"question": "q", "messages": turns("q", "<think>t</think>a")},
        [("q", None, "<think>t</think>a", None)],
    ),
    ({"question": "q", "attempt": "a", "thinking_trajectories": ["t"]}, [("q", None, T, None)]),
    ({"question": "q", "deepseek_attempt": "a", "deepseek_thinking_trajectory": "t"}, [("q", None, T, None)]),
    ({"problem": "q", "answer": "a", "reasoning": "t"}, [("q", None, T, None)]),
    ({"extra_info": {"answer": "4"}, "prompt": "q", "response": "a"}, [("q", "4", "a", None)]),
    ({"reward_model": {"ground_truth": "4"}, "prompt": turns("q"), "output": "a"}, [("q", "4", "a", None)]),
    # lists of completions: a row for each
    (
        {"problem": "q", "answer": "4", "generations": ["a", "b"]},
        [("q", "4", "a", None), ("q", "4", "b", None)],
    ),
    ({"problem": "q", "generations": ["a"]}, [("q", None, "a", None)]),
    ({"problem": "q", "generations": ["a", None]}, [("q", None, "a", None)]),
    (
        {"problem": "q", "generations": ["a", "b"], "is_reasoning_complete": [True, False]},
        [("q", None, "a", None), ("q", None, "b", "length")],
    ),
    (
        {"problem": "q", "generations": ["a", "b"], "finish_reasons": ["stop", "length"]},
        [("q", None, "a", "stop"), ("q", None, "b", "length")],
    ),
    (
        {"question": "q", "responses": [turns("q", "a"), turns("q", "b")]},
        [("q", None, "a", None), ("q", None, "b", None)],
    ),
    (
        {"problem": "q", "generation_1": "a", "generation_2": "b"},
        [("q", None, "a", None), ("q", None, "b", None)],
    ),
    # the answer is the completion where a reference stands elsewhere
    (
        {"question": "q", "ground_truth": "4", "answer": "<think>t</think>a", "thinking": None},
        [("q", "4", None, None)],
    ),
    # what cannot be read says why
    ({"messages": turns("q", "a", "more", "b")}, "has turns of user, assistant, user, assistant"),
    ({"messages": [{"role": "user", "content": 5}, {"role": "assistant", "content": "a"}]}, "a turn of int"),
    ({"problem": "q", "generations": []}, None),
    ({"problem": "q", "generations": [5]}, "is int, not text"),
    ({"problem": 5, "generations": ["a"]}, None),
    ({BAD_ROW: "line 7: torn"}, "line 7: torn"),
]


@pytest.mark.parametrize(("row", "expected"), READ)
def test_rows_are_read_under_our_names(row: dict[str, Any], expected: Any) -> None:
    rows = [ours for _, ours in reading.of(iter([row])).rows(row)]
    if isinstance(expected, list):
        assert [tuple(one.get(name) for name in OURS) for one in rows] == expected
    elif expected is not None:
        assert expected in rows[0][BAD_ROW]


def test_a_question_in_two_columns_is_not_read_from_one_of_them() -> None:
    """Alpaca: an instruction is no question without its input."""
    row = {"instruction": "Add them.", "input": "1 and 2", "output": "3"}
    assert guess.guess([row]).question == ""
    assert guess.guess([row | {"input": ""}]).question == "instruction"


@pytest.mark.parametrize(
    ("row", "kind", "options"),
    [
        ({"question": "q", "choices": ["a", "b"], "answer": 1}, "choice", ("choices",)),
        ({"question": "q", "options": ["a", "b"], "answer": "B"}, "choice", ("options",)),
        (
            {"question": "q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"},
            "choice",
            ("choices",),
        ),
        ({"Question": "q", **dict.fromkeys(guess.SEPARATE_OPTIONS, "x")}, "choice", guess.SEPARATE_OPTIONS),
        ({"Question": "q", **dict.fromkeys(guess.SEPARATE_OPTIONS[:3], "x")}, "math", ()),
        ({"question": "q", "tests": "[]", "solution": "s"}, "code", ()),
        ({"question": "q", "test_list": ["assert 1"]}, "code", ()),
        ({"question": "q", "answer": "4"}, "math", ()),
        ({"question": "q", "response": "a"}, "open", ()),
        ({"question": "q", "options": []}, "open", ()),
    ],
)
def test_a_kind_is_guessed_from_what_judges(row: dict[str, Any], kind: str, options: tuple[str, ...]) -> None:
    found = guess.guess([row])
    assert (found.kind, found.options) == (kind, options)
