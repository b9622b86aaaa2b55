"""That every column is measured, from its own trace alone, and that what is measured is what the screens
need."""

from dataclasses import fields, replace

from distill.curate import filters, measures
from distill.recipe import Duplicates, Screens, Selection
from distill.records import Measures, Outline, Problem, Trace

PROBLEM = Problem("p", "seed", "math", "What is 23 + 19?", "42")
THINKING = (
    "First we add the tens of both numbers and get 30, which leaves the digits after them.\n\n"
    "Then we add 3 and 9, which makes 12 more.\n\nSo the answer is 42."
)
TRACE = Trace(PROBLEM, "t", 0, THINKING, "The sum is \\boxed{42}.", True, "stop")
LOOPING = replace(TRACE, id="l", thinking="Wait, let me check that once more from the start. " * 40)


def measure(*traces):
    return measures.measure(traces, Duplicates())


def outline(trace, measured):
    found = {
        "outcome": "correct",
        "kind": trace.problem.kind,
        "language": "en",
        "problem_id": "p",
        "source": "seed",
        "measures": measured,
    }
    return Outline(
        id=trace.id,
        sample_index=0,
        finish_reason=trace.finish_reason,
        think_closed=trace.think_closed,
        **found,
    )


def test_a_sound_trace_has_every_column_that_counts_and_no_finding():
    (found,) = measure(TRACE)
    findings = {"structure", "mismatch", "refusal", "answer_leak", "loop", "pass_rate"}
    assert {field.name for field in fields(Measures) if getattr(found, field.name) is None} == findings
    assert (found.thinking_characters, found.answer_characters, found.code_blocks) == (len(THINKING), 22, 0)
    assert found.language_share == 1.0 and found.language_spans == []
    assert filters.reason(outline(TRACE, found), Screens(), Selection()) is None


def test_each_finding_reaches_its_screen():
    faulty = [
        (filters.MALFORMED, replace(TRACE, thinking=None)),
        (filters.MALFORMED, replace(TRACE, answer=" \n")),
        (filters.MALFORMED, replace(TRACE, answer="\\boxed{42}<|im_end|>")),
        (filters.REFUSAL, replace(TRACE, answer="I'm sorry, but I can't help with that.")),
        (filters.ANSWER_LEAK, replace(TRACE, thinking="The reference answer is 42. " + THINKING)),
        (filters.MISMATCH, replace(TRACE, thinking=THINKING.replace("42", "52"))),
        (filters.REPETITION, LOOPING),
        (
            filters.MIXED_LANGUAGE,
            replace(TRACE, thinking="我们把两个数相加，先加十位，再加个位。" + THINKING),
        ),
        (filters.MIXED_LANGUAGE, replace(TRACE, answer="我们把两个数相加，先加十位，再加个位。\\boxed{42}")),
    ]
    found = measure(*(trace for _, trace in faulty))
    reasons = [
        filters.reason(outline(trace, one), Screens(), Selection())
        for (_, trace), one in zip(faulty, found, strict=True)
    ]
    assert [one and one[0] for one in reasons] == [reason for reason, _ in faulty]


def test_what_is_measured_of_a_trace_does_not_depend_on_its_company():
    traces = [replace(TRACE, id=str(number), thinking=THINKING * number or None) for number in range(200)] + [
        LOOPING
    ]
    assert measure(*traces) == [measure(trace)[0] for trace in traces]
    assert measure() == []


def test_reasoning_outside_of_a_think_block_is_searched_for_loops_too():
    (found,) = measure(replace(TRACE, thinking=None, answer=LOOPING.thinking))
    assert found.loop is not None and found.repetition > 0.5
    assert found.thinking_characters is found.paragraph_words is found.code_blocks is None
