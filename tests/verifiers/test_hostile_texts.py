"""No text of any length or shape ends a run: each row that is judged, measured or rendered has its own
outcome, in linear time."""

import time
from concurrent.futures import Future
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill import collect, curate, verifiers
from distill.curate import filters
from distill.recipe import Curation, Judge, ProblemSource, Selection, Teacher, Verification
from distill.records import Candidate, Outline, Problem, Trace, Verdict
from distill.sample import prompt_checks
from distill.sandbox import SandboxError
from distill.store.schema import from_row, to_row
from distill.text import boxed, language, prompts
from distill.train.rewards import accuracy_reward, format_reward, language_consistency_reward
from distill.verifiers import choice, logic, math, sql, structured
from distill.verifiers.code import blocks
from distill.verifiers.math import limits, normalise, parse
from distill.verify import judge, judge_prompt

SECTION = Verification(workers=1, timeout_seconds=1.0)
TEACHER = Teacher(engine="scripted", model="scripted")
SECONDS = 10.0
"""For all that is done with one text of 100,000 characters, which takes some 0.5 s of CPU; what grows with
its square takes far more."""
NESTS = (
    *(
        ("(", ")"),
        ("[", "]"),
        ("{", "}"),
        (r"\{", r"\}"),
        ("（", "）"),
        (r"\lbrace ", r"\rbrace "),
        (r"\left(", r"\right)"),
    ),
    *(
        (r"\frac{1}{", "}"),
        (r"\sqrt{", "}"),
        ("(1,", ")"),
        (r"\text{", "}"),
        (r"\boxed{", "}"),
        ('{"a":', "}"),
        ("[1,", "]"),
    ),
)
CHAINS = (
    *(
        r"1\pmod{2} ",
        r"\pmod",
        r"x\in ",
        "x ∈ ",
        r"\in ",
        r"\text{it is} ",
        r"\text{(A)} ",
        r"\mbox{答案是} ",
        "x=",
        "1=",
        r"1\approx ",
    ),
    *(
        r"\boxed{1}, ",
        r"\fbox{1} and ",
        r"\boxed",
        "</answer>",
        "<think>",
        "the answer is A. ",
        "I choose ",
        "A, ",
        "A. x ",
        "1) ",
        "| a ",
    ),
    *(
        "2^",
        "^2",
        "1!",
        "-",
        "1-",
        "1/",
        "1.",
        "9",
        "1,000,",
        " ",
        "\n",
        "\t ",
        "a",
        "a ",
        "é",
        "中。",
        "$",
        "$$",
        "`",
        "```",
        "~~~\n",
        '"a":',
    ),
    *(
        "\\",
        r"\\[",
        r"\[",
        r"\(",
        r"\[a",
        "{",
        "}",
        "(",
        "<|",
        "/*",
        "--\n",
        "print(",
        "a: b\n",
        "h",
        "\x00",
        "\u202e",
        "\u2067",
        "\u0301",
    ),
)
TEXTS = st.tuples(
    st.sampled_from(("", "so ", r"\boxed{")),
    st.sampled_from(NESTS + CHAINS),
    st.integers(1, 1_500),
    st.sampled_from("12x}"),
)


def nested(unit, count, middle="1"):
    opening, closing = (unit, "") if isinstance(unit, str) else unit
    return opening * count + middle + closing * count


def problem(kind="math", **texts):
    return Problem(
        "p",
        "s",
        kind,
        **({"question": "Which? A. one B. two", "reference": "A" if kind == "choice" else "42"} | texts),
    )


def trace(answer, thinking=None, **texts):
    return Trace(problem(**texts), "t", 0, thinking, answer, True, "stop")


def read_all(text):
    """All that reads a text in this process, but for the sandbox and symbolic algebra."""
    for kind in ("math", "choice", "logic"):
        assert verifiers.begin(trace(text, kind=kind), SECTION)
    for reference in ("[1, 2]", '{"a": 1}', r"\{a, b\}", "(("):
        assert verifiers.begin(trace(text, kind="logic", reference=reference), SECTION)
    blocks.python(text, frozenset("f"))
    blocks.definitions(text)
    sql.extract(text)
    boxed.any_boxed(text)
    choice.options(text)
    structured.read(text)
    structured.closing_block(text)
    asked = trace(text, text, kind="open", question=text, reference=text)
    judge_prompt.render(asked, "n", 100_000)
    prompt_checks.check(asked.problem, prompts.render(asked.problem, "math"), TEACHER, 10, 100_000)
    format_reward(["q"], [f"<think>{text}</think>{text}"])
    language_consistency_reward(["q"], [text])
    language.measure(text, "zh", text)
    measured(Candidate(trace(text, text), Verdict("correct")))


def measured(*candidates):
    return list(curate.measure(candidates, Curation()))


@pytest.mark.parametrize("unit", CHAINS + NESTS, ids=repr)
def test_what_reads_a_text_neither_raises_nor_grows_with_its_square(unit):
    read_all("x")
    length = 100_000 // len("".join(unit))
    started = time.process_time()
    read_all(nested(unit, length, "x"))
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(
    "start",
    [r"\sqrt", r"\vec{", r"\text{mod", "(mod ", r"\hat{", "USD", r"\frac{", r"\begin{cases}", "1", r"\text{"],
    ids=repr,
)
@pytest.mark.parametrize("filler", [" ", "\t", r"\,", "~", r"\quad", "1", "a", ",", "{}"], ids=repr)
def test_one_spelling_is_found_soon_for_four_times_of_what_is_read(start, filler):
    started = time.process_time()
    normalise.clean((start + filler * 16_384)[:16_384])
    assert time.process_time() - started < 1.0


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS, TEXTS)
def test_any_mixture_of_nests_and_chains_gets_an_outcome_of_its_own(first, second):
    answer, reference = (
        start + nested(unit, count, middle) for start, unit, count, middle in (first, second)
    )
    for kind in ("math", "choice", "logic"):
        pending = verifiers.begin(trace(answer, kind=kind, reference=reference[:2_000]), SECTION)
        assert isinstance(pending, Future) or not pending.detail.startswith("infra_error"), pending
    (row,) = measured(Candidate(trace(answer, reference), Verdict("correct")))
    assert row.verdict.outcome == "correct"


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        alphabet=st.one_of(
            st.characters(), st.sampled_from("\x00\ud800\udfff\u202e\u2067\u200b\\{}[]()$^_<>`|")
        ),
        max_size=400,
    )
)
def test_any_characters_are_read(text):
    read_all(text)
    read_all(rf"\boxed{{{text}}}")


@pytest.mark.parametrize("unit", NESTS[:10] + CHAINS[:10], ids=repr)
@pytest.mark.parametrize("count", [50, 150, 700])
def test_mathematics_that_is_nested_too_deep_is_unparsed_on_either_side(unit, count):
    text = nested(unit, count)[: SECTION.max_answer_characters]
    try:
        parse.read(text)
    except parse.TooDeepError as error:
        cause = str(error)
        assert verifiers.judge(trace(rf"\boxed{{{text}}}"), SECTION).detail in (
            cause,
            "the box is never closed",
        )
        asked = problem(reference=text)
        assert verifiers.judge_reference(asked, SECTION) == Verdict(
            "unparsed_reference", None, cause, 0.0, math.VERSION
        )
        assert verifiers.judge(trace(r"\boxed{1}", reference=text), SECTION).outcome == "unparsed_reference"
        assert count > limits.MOST_LINKS
    else:
        assert not isinstance(unit, tuple) or count <= limits.DEEPEST or unit == (r"\text{", "}")


CRASHES = (
    RecursionError("too deep"),
    ValueError("bad"),
    MemoryError(),
    OverflowError("large"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"),
)


def raising(error):
    def raises(*_):
        raise error

    return raises


def later(error):
    promise: Future[Verdict] = Future()
    promise.set_exception(error)
    return lambda *_: promise


@pytest.mark.parametrize("error", CRASHES, ids=repr)
@pytest.mark.parametrize("fails", [raising, later])
def test_what_a_verifier_raises_is_the_error_of_its_row_alone(monkeypatch, error, fails):
    monkeypatch.setitem(verifiers.KINDS, "logic", replace(verifiers.KINDS["logic"], judge=fails(error)))
    rows = [trace(r"\boxed{42}"), trace("42", kind="logic"), trace(r"\boxed{42}")]
    verdicts = [verdict for _, verdict in verifiers.by_rules(rows, SECTION)]
    assert [verdict.outcome for verdict in verdicts] == ["correct", "error", "correct"]
    assert (
        verdicts[1].detail
        == verifiers.row_errors.INFRA_ERROR
        + f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
    )
    assert verdicts[1].verifier == logic.VERSION
    assert accuracy_reward(["q"], ["<think>a</think>42"], kind=["logic"], reference=["42"]) == [None]
    outline = from_row(Outline, to_row(Candidate(rows[1], verdicts[1])))
    assert not filters.accepted(outline, Selection(policy="none"))


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), SandboxError("no sandbox"), OSError("no file descriptors")],
    ids=repr,
)
@pytest.mark.parametrize("fails", [raising, later])
def test_what_has_to_end_a_run_goes_through(monkeypatch, error, fails):
    monkeypatch.setitem(verifiers.KINDS, "logic", replace(verifiers.KINDS["logic"], judge=fails(error)))
    with pytest.raises(type(error)):
        verifiers.judge(trace("42", kind="logic"), SECTION)
    monkeypatch.setattr("distill.curate.measures.measure", raising(error))
    with pytest.raises(type(error)):
        measured(Candidate(trace("42"), Verdict("correct")))


def test_a_problem_whose_reference_raises_is_unusable_with_its_cause(monkeypatch):
    fails = replace(verifiers.KINDS["math"], judge_reference=raising(RecursionError("too deep")))
    monkeypatch.setitem(verifiers.KINDS, "math", fails)
    source = ProblemSource(name="s", path="p", kind="math", question="q", reference="a")
    (found,) = collect.collect([{"q": "How many?", "a": "1"}], source, SECTION)
    assert (found.unusable, found.detail_unusable) == (
        "reference_fails",
        f"error by {math.VERSION}: infra_error: RecursionError: too deep",
    )


def test_a_row_that_cannot_be_measured_is_dropped_with_its_cause_and_its_siblings_stay(monkeypatch):
    fault = curate.measures.form.fault
    monkeypatch.setattr(
        "distill.text.form.fault",
        lambda one: raising(OverflowError("large"))() if one.id == "bad" else fault(one),
    )
    rows = [
        Candidate(replace(trace("It is 42.", f"Six times seven, attempt {n}."), id=n), Verdict("correct"))
        for n in ("a", "bad", "c")
    ]
    found = measured(*rows)
    assert [row.verdict.outcome for row in found] == ["correct", "error", "correct"]
    assert [row.measures for row in (found[0], found[2])] == [
        row.measures for row in measured(rows[0], rows[2])
    ]
    for policy in ("correct", "none"):
        section = Curation(selection=Selection(policy=policy))
        decisions = list(curate.decide([from_row(Outline, to_row(row)) for row in found], section))
        assert decisions[1].dropped == "error"
        assert (
            decisions[1].detail_dropped
            == "infra_error: OverflowError: large (while it was measured; the verdict was correct)"
        )
        assert decisions[0].dropped != "error"


def test_a_row_that_cannot_be_rendered_for_the_judge_is_an_error_and_the_judge_is_not_asked(monkeypatch):
    monkeypatch.setattr("distill.verify.judge_prompt.render", raising(RecursionError("too deep")))
    rows = [
        Candidate(trace("42", kind="open"), Verdict("unverified")),
        Candidate(trace("42"), Verdict("correct")),
    ]
    found = list(judge.ask(rows, Judge(model=TEACHER)))
    assert [row.verdict.outcome for row in found] == ["error", "correct"]
    assert (
        found[0].verdict.detail
        == "infra_error: the judge gave no usable verdict: infra_error: RecursionError: too deep"
    )


def test_a_reward_that_raises_is_none_for_its_row_alone(monkeypatch):
    monkeypatch.setattr(
        "distill.text.form.fault", lambda one: raising(ValueError("bad"))() if "bad" in one.answer else None
    )
    texts = [f"<think>a</think>{answer} \\boxed{{5}}" for answer in ("good", "bad")]
    assert format_reward(["q", "q"], texts, reference=["5", "5"]) == [1.0, None]


def test_two_rows_that_wait_for_one_symbolic_answer_have_a_promise_each():
    rows = [trace(r"\boxed{2\sqrt{2}\sin(x)}", reference=r"\sin(x)\sqrt{8}") for _ in range(2)]
    first, second = (verifiers.begin(row, SECTION) for row in rows)
    assert isinstance(first, Future) and isinstance(second, Future) and first is not second
    assert [one.result().outcome for one in (first, second)] == ["correct", "correct"]
