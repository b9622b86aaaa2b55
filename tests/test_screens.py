"""Every screen on what it has to find and on what it has to let through, and the order of the reasons."""

import random
from dataclasses import replace

import pytest

from distill import screens
from distill.recipe import Screens
from distill.records import Candidate, Problem, Trace, Verdict

PROBLEM = Problem("p", "seed", "math", "What is 2 + 2?", "4")
TRACE = Trace(PROBLEM, "t", 0, "Two and two make four.", "It is 4.", True, "stop", 10, 5, 5)
GOOD = Candidate(TRACE, Verdict("correct", "4"), language_share=1.0, answer_language_share=1.0, repetition=0.0, pass_rate=1.0)


def candidate(verdict="correct", columns=None, **trace):
    return replace(GOOD, trace=replace(TRACE, **trace), verdict=Verdict(verdict), **(columns or {}))


def test_a_good_trace_has_no_reason():
    assert screens.reason(GOOD, Screens()) is None


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("failed", candidate(failure="null_content", answer="")),
        ("failed", candidate(finish_reason="error")),
        ("truncated", candidate(finish_reason="length")),
        ("truncated", candidate(think_closed=False, answer="")),
        ("malformed", candidate(thinking=None)),
        ("malformed", candidate(thinking=" \n")),
        ("malformed", candidate(answer="  ")),
        ("malformed", candidate(thinking="one </think> two")),
        ("malformed", candidate(answer="<think>again")),
        ("malformed", candidate(answer="4<|im_end|>")),
        ("malformed", candidate(answer="4<\uff5cend\u2581of\u2581sentence\uff5c>")),
        ("wrong", candidate("wrong")),
        ("timeout", candidate("timeout")),
        ("unverified", candidate("unverified")),
        ("repetition", candidate(columns={"repetition": 0.51})),
        ("mixed_language", candidate(columns={"language_share": 0.89})),
        ("mixed_language", candidate(columns={"answer_language_share": 0.5})),
        ("mixed_language", candidate(thinking="We add. 所以答案是四。 Done.")),
    ],
)
def test_each_fault_has_its_reason_and_a_detail(reason, row):
    found = screens.reason(row, Screens())
    assert found is not None and found[0] == reason and found[1]


def test_the_order_of_reasons_is_fixed():
    faults = [
        ("failed", {"failure": "empty"}),
        ("truncated", {"finish_reason": "length"}),
        ("malformed", {"thinking": None}),
    ]
    for start in range(len(faults)):
        together = {key: value for _, change in faults[start:] for key, value in change.items()}
        row = candidate("wrong", {"repetition": 1.0, "language_share": 0.0}, **together)
        assert screens.reason(row, Screens())[0] == faults[start][0]
    assert screens.reason(candidate("wrong", {"repetition": 1.0}), Screens())[0] == "wrong"
    assert screens.reason(candidate("wrong", {"repetition": 1.0, "language_share": 0.0}), Screens(), any_outcome=True)[0] == "repetition"


def test_none_turns_a_screen_off_and_no_measurement_passes():
    row = candidate(columns={"repetition": 1.0, "language_share": 0.0})
    assert screens.reason(row, Screens(max_repetition=None, min_language_share=None)) is None
    assert screens.reason(replace(GOOD, repetition=None, language_share=None), Screens()) is None
    assert screens.reason(candidate(thinking=None), Screens(min_thinking_characters=0)) is None


def test_mathematics_with_angle_brackets_is_not_malformed():
    assert screens.malformed(replace(TRACE, thinking="if a < b and |x|>c then <x, y> > 0, vector<int> v; a <| b |> c"), 1) is None


def test_length_screens_are_off_until_asked_for():
    thinking = "word " * 500 + "```python\nprint(1)\n```"
    row = candidate(thinking=thinking, thinking_tokens=5000)
    assert screens.reason(row, Screens()) is None
    assert screens.reason(row, Screens(max_completion_tokens=5005)) is None
    assert screens.reason(row, Screens(max_completion_tokens=5004))[0] == "too_long"
    assert screens.reason(row, Screens(drop_long_paragraphs=True))[0] == "long_paragraph"
    assert screens.reason(row, Screens(drop_code_in_thinking=True))[0] == "code_in_thinking"


def test_unknown_token_counts_are_estimated_and_say_so():
    trace = replace(TRACE, thinking="x" * 3500, answer="", thinking_tokens=None, answer_tokens=None)
    assert screens.completion_tokens(trace) == 1000
    assert "estimated" in screens.too_long(trace, 999)


def varied(seed, count):
    generator = random.Random(seed)
    return " ".join(f"{generator.choice(['we', 'so', 'then', 'but'])} {generator.randrange(999)} gives" for _ in range(count))


@pytest.mark.parametrize(
    "loop",
    ["Wait, that is not right. Let me think again. ", "so the answer is 5 and ", "所以答案是五,再检查一下。", "0.33333333", "haha"],
)
def test_a_loop_repeats_itself(loop):
    assert screens.repetition(varied(1, 30) + loop * 900) > 0.5


def test_a_loop_is_found_where_it_is_a_small_part_of_the_trace():
    thinking = varied(1, 800) + " So the answer is five. Wait, let me check it again." * 20
    share = screens.repetition(thinking)
    assert screens.LOOP_SUSPECT < share < 0.5
    assert screens.reason(candidate(thinking=thinking, columns={"repetition": share}), Screens())[0] == "repetition"


def test_reasoning_that_checks_itself_is_no_repetition():
    step = "First I add the two numbers and get {n} apples. Let me check that again: the two numbers add up to {n} apples. "
    thinking = "".join(step.format(n=n) for n in range(40)) + varied(2, 100)
    once_more = varied(3, 120) + " Let me verify this from the start. " + varied(4, 120) + varied(3, 60)
    for text in (thinking, once_more):
        measured = screens.repetition(text)
        assert measured < 0.5
        assert screens.reason(candidate(thinking=text, columns={"repetition": measured}), Screens()) is None


def test_a_table_of_numbers_is_no_loop():
    assert screens.loop("| 0 | 0 | 0 | 0 | " * 50) is None


def test_short_texts_do_not_repeat():
    assert screens.repetition("") == 0.0
    assert screens.repetition("yes " * 15) == 0.0
