"""Every screen on columns that it has to drop and on columns that it has to let through, and the order of the
reasons."""

from dataclasses import replace

import pyarrow as pa
import pytest

from distill.curate import examples, filters, measures
from distill.recipe import Duplicates, Screens, Selection
from distill.records import Candidate, Measures, Outline, Problem, Span, Trace, Verdict
from distill.store import schema

SOUND = Measures(
    thinking_characters=400,
    answer_characters=20,
    language_share=1.0,
    answer_language_share=1.0,
    language_spans=[],
    repetition=0.1,
    line_repetition=0.05,
    compression=0.4,
    paragraph_words=60,
    code_blocks=0,
)
GOOD = Outline(
    "t",
    "p",
    "seed",
    "math",
    "en",
    0,
    "stop",
    True,
    "correct",
    "4",
    thinking_tokens=100,
    answer_tokens=10,
    measures=SOUND,
)


def row(outcome="correct", columns=None, **changes):
    return replace(GOOD, outcome=outcome, measures=replace(SOUND, **(columns or {})), **changes)


def reason(outline, section=None, **selection):
    return filters.reason(outline, section or Screens(), Selection(**selection))


def test_a_good_trace_has_no_reason():
    assert reason(GOOD) is None


FAULTS = [
    ("failed", row(failure="null_content")),
    ("failed", row(finish_reason="error")),
    ("truncated", row(finish_reason="length")),
    ("truncated", row(think_closed=False)),
    ("malformed", row(columns={"thinking_characters": None})),
    ("malformed", row(columns={"thinking_characters": 0})),
    ("malformed", row(columns={"answer_characters": 0})),
    ("malformed", row(columns={"structure": "</think> inside the thinking"})),
    ("wrong", row("wrong")),
    ("timeout", row("timeout")),
    ("unverified", row("unverified")),
    ("error", row("error")),
    ("refusal", row(columns={"refusal": "I'm sorry, but I can't help with that"})),
    ("answer_leak", row(columns={"answer_leak": "the reference answer says 42"})),
    ("think_answer_mismatch", row(columns={"mismatch": "the thinking concludes '5', the answer is '6'"})),
    ("repetition", row(columns={"repetition": 0.51})),
    ("repetition", row(columns={"loop": "9 times: wait"})),
    ("mixed_language", row(columns={"language_share": 0.89})),
    ("mixed_language", row(columns={"answer_language_share": 0.5})),
    ("mixed_language", row(columns={"language_spans": [Span("thinking", 8, 16, "zh", 4.0, "所以答案是四")]})),
]


@pytest.mark.parametrize(("wanted", "outline"), FAULTS)
def test_each_fault_has_its_reason_and_a_detail(wanted, outline):
    found = reason(outline)
    assert found is not None and found[0] == wanted and found[1]


WISHES = [
    ("repetition", Screens(max_line_repetition=0.04)),
    ("repetition", Screens(min_compression=0.45)),
    ("too_short", Screens(min_completion_tokens=111)),
    ("too_long", Screens(max_completion_tokens=109)),
    ("long_paragraph", Screens(drop_long_paragraphs=True)),
    ("code_in_thinking", Screens(drop_code_in_thinking=True)),
    ("mixed_language", Screens(max_lone_words=4)),
    ("mixed_language", Screens(max_lone_words=0, min_language_share=None)),
]


@pytest.mark.parametrize(("wanted", "section"), WISHES)
def test_what_is_off_at_first_drops_when_it_is_asked_for(wanted, section):
    outline = row(columns={"paragraph_words": 401, "code_blocks": 2, "lone_words": 5})
    assert reason(outline) is None
    assert reason(outline, section)[0] == wanted


def test_a_value_at_its_limit_passes():
    section = Screens(
        max_repetition=0.1, max_line_repetition=0.05, min_compression=0.4, min_language_share=1.0
    )
    assert (
        reason(GOOD, section.model_copy(update={"min_completion_tokens": 110, "max_completion_tokens": 110}))
        is None
    )
    assert reason(row(columns={"lone_words": 3}), Screens(max_lone_words=3)) is None
    assert reason(row(columns={"paragraph_words": 400}), Screens(drop_long_paragraphs=True)) is None


ORDER = [
    ("failed", {"failure": "empty"}, {}),
    ("truncated", {"finish_reason": "length"}, {}),
    ("malformed", {}, {"thinking_characters": None}),
    ("wrong", {"outcome": "wrong"}, {}),
    ("refusal", {}, {"refusal": "no"}),
    ("answer_leak", {}, {"answer_leak": "the reference"}),
    ("think_answer_mismatch", {}, {"mismatch": "5, 6"}),
    ("repetition", {}, {"repetition": 1.0}),
    ("mixed_language", {}, {"language_share": 0.0}),
    ("too_long", {"thinking_tokens": 10**6}, {}),
    ("long_paragraph", {}, {"paragraph_words": 1000}),
    ("code_in_thinking", {}, {"code_blocks": 1}),
]


@pytest.mark.parametrize("first", range(len(ORDER)), ids=[name for name, _, _ in ORDER])
def test_the_order_of_reasons_is_fixed(first):
    section = Screens(max_completion_tokens=1000, drop_long_paragraphs=True, drop_code_in_thinking=True)
    changes = {key: value for _, change, _ in ORDER[first:] for key, value in change.items()}
    columns = {key: value for _, _, change in ORDER[first:] for key, value in change.items()}
    assert reason(row(columns=columns, **changes), section)[0] == ORDER[first][0]


def test_each_screen_can_be_turned_off():
    everything = {key: value for _, _, change in ORDER[4:9] for key, value in change.items()} | {"loop": "x"}
    off = Screens(
        max_repetition=None,
        min_language_share=None,
        drop_loops=False,
        drop_mismatches=False,
        drop_refusals=False,
        drop_answer_leaks=False,
    )
    assert reason(row(columns=everything), off) is None


def test_what_was_not_measured_drops_nothing():
    section = Screens(
        max_line_repetition=0.0,
        min_compression=1.0,
        max_lone_words=0,
        drop_long_paragraphs=True,
        drop_code_in_thinking=True,
    )
    assert filters.reason(replace(GOOD, measures=Measures()), section, Selection()) is None


def test_some_kinds_may_be_answered_without_thinking():
    outline = row(columns={"thinking_characters": None}, kind="open")
    assert reason(outline)[0] == "malformed"
    assert reason(outline, Screens(thinking_optional=("open",))) is None
    assert reason(replace(outline, kind="math"), Screens(thinking_optional=("open",)))[0] == "malformed"
    assert reason(outline, Screens(min_thinking_characters=0)) is None
    assert (
        reason(row(columns={"thinking_characters": 99}), Screens(min_thinking_characters=100))[0]
        == "malformed"
    )


ACCEPTED = [
    # policy, outcome, majority, kinds that need no verdict, accepted
    ("correct", "correct", None, (), True),
    ("correct", "correct", "wrong", (), True),
    ("correct", "wrong", "correct", (), False),
    ("correct", "unverified", None, (), False),
    ("correct", "unverified", None, ("math",), True),
    ("correct", "unverified", None, ("open",), False),
    ("correct", "timeout", None, ("math",), False),
    ("shortest", "correct", None, (), True),
    ("diverse", "wrong", None, (), False),
    ("majority", "wrong", "correct", (), True),
    ("majority", "correct", "wrong", (), False),
    ("majority", "correct", None, (), True),
    ("majority", "wrong", None, (), False),
    ("majority", "error", "correct", (), False),
    ("none", "wrong", None, (), True),
    ("none", "unverified", None, (), True),
    ("none", "error", None, (), False),
]


@pytest.mark.parametrize(("policy", "outcome", "majority", "unverified", "accepted"), ACCEPTED)
def test_the_verdict_lets_in_what_the_policy_asks_for(policy, outcome, majority, unverified, accepted):
    outline, selection = (
        row(outcome, majority_outcome=majority),
        Selection(policy=policy, keep_unverified=unverified),
    )
    assert filters.accepted(outline, selection) is accepted
    found = filters.reason(outline, Screens(), selection)
    assert (found is None) is accepted
    if found:
        assert found[0] == ("wrong" if outcome == "correct" else outcome) and found[1]


def test_unknown_token_counts_are_estimated_and_say_so():
    outline = replace(row(columns={"thinking_characters": 3480}), thinking_tokens=None, answer_tokens=None)
    assert filters.completion_tokens(outline) == 1000
    assert "estimated" in reason(outline, Screens(max_completion_tokens=999))[1]
    assert "estimated" not in reason(row(thinking_tokens=1000), Screens(max_completion_tokens=999))[1]
    trace = Trace(Problem("p", "seed", "math", "", None), "t", 0, "x" * 3480, "y" * 20, True, "stop")
    assert filters.completion_tokens(trace) == 1000
    assert filters.completion_tokens(replace(trace, answer_tokens=7)) == 7


SPACED = [
    ("x" * 40, "y" * 42),
    (" " * 200 + "x" * 60 + "\n" * 200, "\t" + "y" * 21 + " "),
    ("\u3000\xa0\u601d\u8003\x1f \n", "\u2003 4\u2028"),
    (None, " 4 "),
    ("", ""),
    (" \n", " "),
]


@pytest.mark.parametrize(("thinking", "answer"), SPACED)
@pytest.mark.parametrize("counts", [(None, None), (5, None), (None, 7), (5, 7), (0, 0)])
def test_tokens_of_a_row_are_the_same_from_its_texts_from_its_columns_and_from_its_table(
    thinking, answer, counts
):
    thinking_tokens, answer_tokens = counts
    trace = Trace(
        Problem("p", "seed", "math", "", None),
        "t",
        0,
        thinking,
        answer,
        True,
        "stop",
        thinking_tokens=thinking_tokens,
        answer_tokens=answer_tokens,
    )
    candidate = Candidate(trace, Verdict("correct"), measures=measures.measure([trace], Duplicates())[0])
    tokens = filters.completion_tokens(trace)
    assert tokens == (
        sum(filter(None, counts))
        if any(count is not None for count in counts)
        else estimate(thinking, answer)
    )
    assert tokens == filters.completion_tokens(schema.from_row(Outline, schema.to_row(candidate)))
    table = pa.Table.from_pylist([schema.to_row(candidate)], schema=schema.schema(Candidate))
    assert examples.completion_tokens(table).to_pylist() == [tokens]


def estimate(thinking, answer):
    return round((len((thinking or "").strip()) + len(answer.strip())) / 3.5)


def test_details_are_short():
    assert len(reason(row(columns={"loop": "9 times: " + "wait " * 500}))[1]) < 150
