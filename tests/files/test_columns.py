"""What a row holds under a name: paths, conversations, completions with their thinking and endings."""

import json
from typing import Any

import pytest

from distill.files import columns

ASK = {"role": "user", "content": "q"}
SAY = {"role": "assistant", "content": "a"}


def thought(thinking: str, answer: str) -> str:
    return f"<think>\n{thinking}\n</think>\n\n{answer}"


@pytest.mark.parametrize(
    ("row", "name", "expected"),
    [
        ({"a": 1}, "a", 1),
        ({"a": 1}, "b", None),
        ({"a": {"b": 1}}, "a.b", 1),
        ({"a.b": 2, "a": {"b": 1}}, "a.b", 2),
        ({"a": {"b.c": 3}}, "a.b.c", 3),
        ({"a": [{"b": 1}]}, "a.0.b", 1),
        ({"a": [{"b": 1}]}, "a.1.b", None),
        ({"a": [1]}, "a.-1", None),
        ({"a": '{"b": "x"}'}, "a.b", "x"),
        ({"a": '[{"b": "x"}]'}, "a.0.b", "x"),
        ({"a": "{torn"}, "a.b", None),
        ({"a": "text"}, "a.b", None),
        ({"a": None}, "a.b", None),
        ({}, "", None),
    ],
)
def test_a_name_is_a_column_or_a_path(row: dict[str, Any], name: str, expected: Any) -> None:
    assert columns.value(row, name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "a"), ("a.b", "a.b"), ("a.c", "a"), ("b.c", None), ("d", None), ("a.b.c", "a.b"), ("", None)],
)
def test_a_path_has_the_column_that_it_begins_with(name: str, expected: str | None) -> None:
    assert columns.holder(name, ["a", "a.b"]) == expected


@pytest.mark.parametrize(
    "found",
    [
        "q",
        [ASK],
        [ASK, SAY],
        [{"role": "system", "content": "s"}, ASK],
        [{"role": "developer", "content": "s"}, ASK, SAY],
        [{"from": "human", "value": "q"}],
        [{"role": "User", "content": "q"}],
        [{"role": "user", "content": [{"type": "text", "text": "q"}]}],
        json.dumps([ASK]),
        json.dumps([ASK, SAY], indent=2),
        {"role": ["user", "assistant"], "content": ["q", "a"]},
    ],
)
def test_a_question_is_a_text_or_the_only_one_of_a_conversation(found: Any) -> None:
    assert columns.question(found) == "q"


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (5, "is int"),
        (None, "is NoneType"),
        ([], "is list"),
        ({}, "is dict"),
        ([SAY], "has turns of assistant"),
        ([ASK, SAY, ASK], "has turns of user, assistant, user"),
        ([ASK, ASK], "has turns of user, user"),
        ([{"role": "tool", "content": "x"}], "has turns of tool"),
        ([{"role": "system", "content": "s"}], "has turns of nobody"),
        ([{"role": "user", "content": 5}], "a turn of int"),
        ([{"role": "user", "content": [{"type": "image"}]}], "a part of type 'image'"),
        ([{"role": "a\x1b[31m", "content": "x"}], "has turns of a\\x1b[31m"),
    ],
)
def test_what_is_no_question_says_what_it_is(found: Any, cause: str) -> None:
    with pytest.raises(ValueError, match=r"is|has") as told:
        columns.question(found)
    assert cause in str(told.value)
    with pytest.raises(ValueError, match=r"is|has"):
        columns.exchange(found)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"r": "a"}, [("a", None)]),
        ({"r": None}, []),
        ({}, []),
        ({"r": ["a", "b"]}, [("a", None), ("b", None)]),
        ({"r": [ASK, SAY]}, [("a", None)]),
        ({"r": [SAY]}, [("a", None)]),
        ({"r": [ASK]}, []),
        ({"r": [[ASK, SAY], [SAY]]}, [("a", None), ("a", None)]),
        ({"r": {"text": "a"}}, [("a", None)]),
        ({"r": [{"text": "a", "finish_reason": "length"}, {"text": "b"}]}, [("a", "length"), ("b", None)]),
        ({"r": {"text": "a", "finish_reason": {"type": "length"}}}, [("a", "length")]),
        ({"r": [{**SAY, "reasoning_content": "t"}]}, [(thought("t", "a"), None)]),
        ({"r": "a", "t": "t"}, [(thought("t", "a"), None)]),
        ({"r": "a", "t": ["t"]}, [(thought("t", "a"), None)]),
        ({"r": "a", "t": None}, [("a", None)]),
        ({"r": "a", "t": " "}, [("a", None)]),
        ({"r": thought("t", "a"), "t": "t"}, [(thought("t", "a"), None)]),
        ({"r": ["a", "b"], "t": ["x", "y"]}, [(thought("x", "a"), None), (thought("y", "b"), None)]),
        ({"r": None, "t": "t"}, [("<think>\nt", None)]),
        ({"r": "a", "finish_reason": "length"}, [("a", "length")]),
        ({"r": ["a", "b"], "finish_reason": ["stop", "length"]}, [("a", "stop"), ("b", "length")]),
        ({"r": ["a", "b"], "finish_reason": ["length"]}, [("a", None), ("b", None)]),
        ({"r": ["a", "b"], "is_reasoning_complete": [False, True]}, [("a", "length"), ("b", None)]),
        ({"r": "a", "is_reasoning_complete": False}, [("a", "length")]),
        ({"r": "a", "is_reasoning_complete": True, "finish_reason": "stop"}, [("a", "stop")]),
        ({"r": "a", "think_closed": False}, [("a", "length")]),
    ],
)
def test_completions_have_their_thinking_and_their_ending(row: dict[str, Any], expected: Any) -> None:
    assert columns.completions(row, ("r",), ("t",) if "t" in row else ()) == expected


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"r": 5}, "column 'r' is int"),
        ({"r": ["a", 5]}, "column 'r' is int"),
        ({"r": {"choices": []}}, "column 'r' is dict"),
        ({"r": [{"content": 5}]}, "column 'r' has a turn of int"),
        ({"r": [ASK, SAY, ASK, SAY]}, "column 'r' has turns of user, assistant, user, assistant"),
        ({"r": [["a"]]}, "column 'r' is a list of 1"),
        ({"r": ["a", "b"], "t": "t"}, "column 't' has no thinking for each of 2 completions"),
        ({"r": "a", "t": ["x", "y"]}, "column 't' has no thinking for each of 1 completions"),
    ],
)
def test_what_is_no_completion_names_its_column(row: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValueError, match="column") as told:
        columns.completions(row, ("r",), ("t",) if "t" in row else ())
    assert cause in str(told.value)
