from dataclasses import replace

import pytest

from distill.engines import Completion
from distill.recipe import Sampling, Teacher
from distill.records import Problem
from distill.sample.keys import SamplingKeys
from distill.sample.traces import of_tries, ready, refused, token_split
from distill.text.thinking import Parts

PROBLEM = Problem("0" * 16, "test", "math", "What is 1 + 1?", "2")


@pytest.mark.parametrize(
    ("total", "counted", "parts", "expected"),
    [
        (None, None, Parts("a", "b", True), (None, None)),
        (100, 70, Parts("a", "b", True), (70, 30)),
        (100, None, Parts("aaa", "b", True), (75, 25)),
        (100, 0, Parts("aaa", "b", True), (75, 25)),
        (100, 900, Parts("a", "b", True), (100, 0)),
        (100, None, Parts(None, "b", True), (0, 100)),
        (100, None, Parts("a", "", False), (100, 0)),
        (5, None, Parts(None, "", True), (0, 5)),
    ],
)
def test_tokens_are_split_as_counted_or_by_characters(total, counted, parts, expected):
    assert (
        token_split(Completion("k", "", completion_tokens=total, reasoning_tokens=counted), parts) == expected
    )


@pytest.mark.parametrize(
    ("prompt", "completion", "prices", "expected"),
    [
        (10, 100, (None, None), None),
        (10, 100, (1.0, 2.0), 210e-6),
        (None, 100, (None, 2.0), 200e-6),
        (None, 100, (1.0, 2.0), None),
    ],
)
def test_a_completion_costs_its_tokens(prompt, completion, prices, expected):
    teacher = Teacher(model="m", prompt_usd_per_million=prices[0], completion_usd_per_million=prices[1])
    cost = of_tries(
        PROBLEM, [Completion("k", "", prompt_tokens=prompt, completion_tokens=completion)], teacher, 0, 0
    ).cost_usd
    assert cost == (None if expected is None else pytest.approx(expected))


def test_a_draw_costs_all_of_its_tries_and_has_the_text_of_the_last():
    teacher = Teacher(
        model="m",
        prompt_usd_per_million=1.0,
        cached_prompt_usd_per_million=0.5,
        completion_usd_per_million=2.0,
    )
    cut = Completion("a", "<think>\n1", finish_reason="length", prompt_tokens=10, completion_tokens=100)
    whole = Completion(
        "b",
        "<think>\n1 + 1\n</think>\n\n2",
        prompt_tokens=10,
        cached_prompt_tokens=8,
        completion_tokens=150,
        lost_prompt_tokens=10,
        lost_completion_tokens=50,
    )
    trace = of_tries(PROBLEM, [cut, whole], teacher, 7, 3)
    assert (trace.id, trace.answer, trace.finish_reason, trace.sample_index, trace.seed) == (
        "b",
        "2",
        "stop",
        3,
        7,
    )
    assert (trace.thinking_tokens or 0) + (trace.answer_tokens or 0) == 150
    assert (trace.spent_tokens, trace.cached_prompt_tokens) == (300, 8)
    assert trace.cost_usd == pytest.approx((22 * 1.0 + 8 * 0.5 + 300 * 2.0) / 1e6)


def test_a_refused_prompt_is_a_failed_row_that_cost_nothing():
    trace = refused(PROBLEM, Teacher(model="m"), "empty")
    assert (trace.failure, trace.finish_reason, trace.cost_usd, trace.spent_tokens, trace.teacher) == (
        "empty",
        "error",
        None,
        None,
        "m",
    )


TAGGED = "[THINK]1 + 1[/THINK]2"


def test_tags_of_another_family_are_read_by_the_recipe_and_told_once_without_it(caplog):
    caplog.set_level("INFO", "distill")
    for tags, found in ((None, Parts(None, TAGGED, True)), ("mistral", Parts("1 + 1", "2", True))):
        trace = of_tries(PROBLEM, [Completion("k", TAGGED)], Teacher(model="m", think_tags=tags), 0, 0)
        assert Parts(trace.thinking, trace.answer, trace.think_closed) == found
    told = [
        record for record in caplog.records if 'set teacher.think_tags = "mistral"' in record.getMessage()
    ]
    assert [record.once for record in told] == ["think_tags/m"]


@pytest.mark.parametrize("content", ["2", "I write </b> and [x]", "<think>a</think>2", None])
def test_texts_without_such_tags_are_told_nothing(content, caplog):
    caplog.set_level("INFO", "distill")
    of_tries(PROBLEM, [Completion("k", content)], Teacher(model="m"), 0, 0)
    assert "think_tags" not in caplog.text


def test_replayed_and_ready_texts_are_read_in_their_own_tags():
    replayed = of_tries(PROBLEM, [Completion("k", TAGGED)], Teacher(engine="replay", model="m"), 0, 0)
    (came,) = ready(replace(PROBLEM, response=TAGGED), TAGGED)
    assert [(trace.thinking, trace.answer) for trace in (replayed, came)] == [("1 + 1", "2")] * 2


def test_a_teacher_s_tags_are_part_of_its_traces_and_not_of_what_it_is_asked():
    plain, tagged = Teacher(model="m"), Teacher(model="m", think_tags="mistral")
    assert plain.identity() != tagged.identity()
    keys = [SamplingKeys(teacher, Sampling()).key(PROBLEM, 0, 100) for teacher in (plain, tagged)]
    assert keys[0] == keys[1]
