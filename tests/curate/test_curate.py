"""Curation keeps every row, decides the same for any order of work, and re-cuts from stored columns."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import contamination, curate
from distill.curate import examples, selection
from distill.duplicates import pairs
from distill.recipe import Curation
from distill.records import Candidate, Example, Message, Outline, Problem, Trace, Verdict
from distill.store import schema, shards
from distill.text import prompts, thinking

QUESTIONS = [
    f"A shop sells {n} pears and {n + 2} plums in the morning. How many pieces of fruit does it sell?"
    for n in range(20)
]
THINKING = [
    "Adding the pears and the plums gives {n}. That is all of the fruit that was sold.",
    "Pears first, plums second: {n} pieces altogether, as a second count of them confirms.",
    "Let me count. The two amounts make {n}, and nothing else was sold in the morning.",
    "I only need the sum, which is {n}. A quick check by subtraction brings me back.",
]


def candidate(problem=0, sample=0, outcome="correct", source="shop", **trace):
    question = Problem(f"p{problem}", source, "math", QUESTIONS[problem], str(2 * problem + 2), licence="MIT")
    values = {
        "thinking": THINKING[sample % 4].format(n=2 * problem + 2),
        "answer": f"It is {2 * problem + 2}.",
        "think_closed": True,
    }
    values |= {
        "finish_reason": "stop",
        "thinking_tokens": 20 + sample,
        "answer_tokens": 4,
        "teacher": "teacher",
    } | trace
    return Candidate(Trace(question, f"t{problem}-{sample}", sample, **values), Verdict(outcome))


def curation(**sections):
    return Curation.model_validate(sections)


def outline(row):
    return schema.from_row(Outline, schema.to_row(row))


def matched(rows, benchmark_questions, section):
    benchmarks = contamination.Benchmarks(
        [("held-out", question) for question in benchmark_questions], section
    )
    found = contamination.matches([row.trace for row in rows], benchmarks)
    return {match.row: match for match in found if contamination.drops(match, section)}


def near(rows, section):
    with TemporaryDirectory() as folder:
        shards.write(Candidate, rows, f"{folder}/0.parquet")
        return list(pairs.find([f"{folder}/0.parquet"], section))


def cut(rows, benchmark_questions=(), shares=curate.NO_SHARES, **sections):
    section = curation(**sections)
    rows = [replace(row, trace=replace(row.trace, thinking=storable(row.trace.thinking))) for row in rows]
    return decided(list(curate.measure(rows, section)), section, benchmark_questions, shares)


def decided(measured, section, benchmark_questions=(), shares=curate.NO_SHARES):
    close = matched(measured, benchmark_questions, section.decontamination)
    outlines = (outline(row) for row in measured)
    found = curate.decide(outlines, section, near(measured, section.duplicates), close, shares)
    return [
        replace(row, dropped=one.dropped, detail_dropped=one.detail_dropped, duplicate_of=one.duplicate_of)
        for row, one in zip(measured, found, strict=True)
    ]


def storable(text):
    return text and thinking.well_formed(text)


def asked(rows, template="math", system=None):
    kept = [row for row in rows if row.dropped is None]
    table = pa.Table.from_pylist([schema.to_row(row) for row in kept], schema=schema.schema(Candidate))
    return [schema.from_row(Example, row) for row in examples.examples(table, template, system).to_pylist()]


def reasons(rows):
    return [row.dropped for row in rows]


def kept(rows):
    return [row.trace.id for row in rows if row.dropped is None]


ROWS = [candidate(problem, sample) for problem in range(6) for sample in range(4)]
FAULTS = st.sampled_from(
    [
        {},
        {"finish_reason": "length"},
        {"think_closed": False, "answer": ""},
        {"failure": "empty", "thinking": None, "answer": ""},
        {"thinking": None},
        {"thinking": "再算一次。" * 20},
        {"thinking": "again and again " * 50},
        {"thinking": "\ud800 lone surrogate"},
    ]
)
OUTCOMES = st.sampled_from(
    ["correct", "wrong", "no_answer", "unparsed_reference", "timeout", "error", "unverified"]
)


@st.composite
def candidates(draw):
    return [
        candidate(problem, sample, draw(OUTCOMES), **draw(FAULTS))
        for problem in range(draw(st.integers(0, 4)))
        for sample in range(draw(st.integers(1, 4)))
    ]


@settings(max_examples=60, deadline=None)
@given(
    candidates(),
    st.sampled_from(["correct", "shortest", "none"]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, 1, 3]),
)
def test_one_row_for_one_row_and_rejects_are_only_marked(rows, policy, per_problem, most):
    chosen = cut(rows, selection={"policy": policy, "per_problem": per_problem, "max_examples": most})
    assert [(row.trace.id, row.verdict) for row in chosen] == [(row.trace.id, row.verdict) for row in rows]
    assert all((row.dropped is None) == (row.detail_dropped is None) for row in chosen)
    assert (
        cut(chosen, selection={"policy": policy, "per_problem": per_problem, "max_examples": most}) == chosen
    )
    assert [one.id for one in asked(chosen)] == kept(chosen)
    if policy != "none":
        assert all(row.verdict.outcome == "correct" for row in chosen if row.dropped is None)


def test_measuring_is_local_to_a_problem():
    section = curation()
    whole = list(curate.measure(ROWS, section))
    parts = [
        row for start in range(0, len(ROWS), 4) for row in curate.measure(ROWS[start : start + 4], section)
    ]
    assert whole == parts


def test_pass_rates_count_graded_traces_only():
    rows = [
        candidate(0, 0),
        candidate(0, 1, "wrong"),
        candidate(0, 2, "no_answer", finish_reason="length"),
        candidate(0, 3, "timeout"),
        candidate(0, 4, "no_answer", failure="empty"),
        candidate(1, 0, "unverified"),
    ]
    assert [row.measures.pass_rate for row in curate.measure(rows, curation())] == [
        pytest.approx(1 / 3)
    ] * 5 + [None]


def test_the_policy_decides_about_outcomes():
    rows = [
        candidate(0, 0),
        candidate(0, 1, "wrong"),
        candidate(0, 2, "unverified"),
        candidate(0, 3, finish_reason="length"),
    ]
    assert reasons(cut(rows)) == [None, "wrong", "unverified", "truncated"]
    assert reasons(cut(rows, selection={"policy": "none"})) == [None, None, None, "truncated"]


def test_the_shortest_correct_ones_are_taken():
    rows = [
        candidate(0, sample, "wrong" if sample == 0 else "correct", thinking_tokens=10 * (5 - sample))
        for sample in range(4)
    ]
    assert kept(cut(rows, selection={"policy": "shortest"})) == ["t0-3"]
    assert kept(cut(rows, selection={"policy": "shortest", "per_problem": 2})) == ["t0-2", "t0-3"]
    assert kept(cut(rows, selection={"per_problem": 2})) == ["t0-1", "t0-2"]


def test_the_pass_rate_window_leaves_out_easy_and_hard_problems():
    rows = [
        candidate(problem, sample, "correct" if sample <= problem else "wrong")
        for problem in range(4)
        for sample in range(4)
    ]
    chosen = cut(rows, selection={"min_pass_rate": 0.5, "max_pass_rate": 0.75})
    assert {row.trace.problem.problem_id for row in chosen if row.dropped is None} == {"p1", "p2"}
    assert chosen[0].dropped == "not_selected" and "0.25" in chosen[0].detail_dropped


def test_a_seeded_choice_is_stable_when_traces_are_added():
    few, more = ROWS[:12], ROWS
    first = set(kept(cut(few, selection={"max_examples": 6})))
    second = set(kept(cut(more, selection={"max_examples": 6})))
    assert len(first) == len(second) == 6
    assert second & {row.trace.id for row in few} <= first
    assert set(kept(cut(more, selection={"max_examples": 6, "seed": 1}))) != second


def test_shares_of_sources_are_kept():
    rows = [
        candidate(problem, sample, source="a" if problem < 5 else "b")
        for problem in range(6)
        for sample in range(4)
    ]
    chosen = [row.trace.problem.source for row in cut(rows, shares={"b": 0.5}) if row.dropped is None]
    assert (chosen.count("a"), chosen.count("b")) == (4, 4)
    chosen = [
        row.trace.problem.source for row in cut(rows, shares={"a": 0.75, "b": 0.25}) if row.dropped is None
    ]
    assert (chosen.count("a"), chosen.count("b")) == (12, 4)
    chosen = [
        row.trace.problem.source
        for row in cut(rows, shares={"b": 0.5}, selection={"max_examples": 4})
        if row.dropped is None
    ]
    assert (chosen.count("a"), chosen.count("b")) == (2, 2)


def test_of_two_copies_the_correct_one_stays():
    rows = [candidate(0, 0, "wrong"), candidate(0, 4)]
    chosen = cut(rows, selection={"policy": "none"})
    assert reasons(chosen) == ["exact_duplicate", None] and chosen[0].duplicate_of == "t0-4"


def test_benchmark_questions_are_contaminated_and_shown():
    rows = [candidate(problem) for problem in range(3)]
    chosen = cut(rows, benchmark_questions=["Something else?", QUESTIONS[1].upper().replace(" ", "\n")])
    assert reasons(chosen) == [None, "contaminated", None]
    assert "PEARS" in chosen[1].detail_dropped


def test_an_example_asks_as_the_teacher_was_asked():
    (row,) = cut([candidate(3, 0, prompt_tokens=9)])
    (example,) = asked([row])
    assert [turn.role for turn in example.messages] == ["user", "assistant"]
    assert QUESTIONS[3] in example.prompt[0].content and "\\boxed{}" in example.prompt[0].content
    assert example.completion[0].content == f"<think>\n{row.trace.thinking}\n</think>\n\nIt is 8."
    assert (example.prompt_tokens, example.completion_tokens, example.pass_rate) == (9, 24, 1.0)
    assert (example.source, example.licence, example.teacher) == ("shop", "MIT", "teacher")


def test_quotas_never_exceed_what_there_is():
    choices = [
        selection.choice(row, outline(candidate(0, row, source="ab"[row % 2])), curation().selection)
        for row in range(10)
    ]
    assert selection.quotas(choices, {}, None) == {None: 10}
    assert selection.quotas(choices, {"a": 0.5, "b": 0.5}, 100) == {"a": 5, "b": 5}
    assert selection.quotas(choices, {"a": 0.1}, None) == {"a": 1, None: 5}
    assert selection.quotas([], {"a": 0.1}, 5) == {}


def test_decisions_do_not_depend_on_the_process():
    program = "from tests.curate.test_curate import ROWS, cut, kept; print(kept(cut(ROWS + ROWS[:4], selection={'max_examples': 7})))"
    outputs = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        outputs.add(run.stdout.strip())
    assert outputs == {str(kept(cut(ROWS + ROWS[:4], selection={"max_examples": 7})))}


def test_a_new_threshold_needs_stored_columns_only():
    measured = list(curate.measure(ROWS, curation()))
    stored = [
        outline(
            replace(row, measures=replace(row.measures, repetition=0.9))
            if row.trace.sample_index == 0
            else row
        )
        for row in measured
    ]
    chosen = [one.dropped for one in curate.decide(stored, curation(screens={"max_repetition": 0.8}))]
    assert chosen.count("repetition") == 6
    assert all(
        one.dropped is None for one in curate.decide(stored, curation(screens={"max_repetition": 0.95}))
    )


def test_every_prompt_has_the_turns_that_the_teacher_saw():
    rows = cut(
        [candidate(problem, sample) for problem in range(3) for sample in range(2)]
        + [candidate(4, 0, thinking=None)]
    )
    rows = [replace(row, dropped=None) for row in rows]
    for system in (None, "Be brief."):
        for row, example in zip(rows, asked(rows, "math", system), strict=True):
            assert example.prompt == list(prompts.render(row.trace.problem, "math", system))
            assert example.completion == [
                Message("assistant", thinking.join(row.trace.thinking, row.trace.answer))
            ]
            assert example.messages == example.prompt + example.completion
