import gzip
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.engines import EngineError
from distill.files import traces
from distill.recipe import Judge, Majority, Sandbox, Teacher, Verification
from distill.records import Problem, Trace
from distill.sandbox import SandboxError
from distill.verifiers import KINDS, judge, judge_reference
from distill.verifiers.rows import LOOK_AHEAD_TRACES
from distill.verify import require, verify
from flows import files

SECTION = Verification(workers=2)


def trace(reference: str | None, answer: str, kind: str = "math", identifier: str = "t") -> Trace:
    return Trace(
        Problem("p", "s", kind, "Which?\nA) one\nB) two\nC) three" if kind == "choice" else "q", reference),
        identifier,
        0,
        "so",
        answer,
        True,
        "stop",
    )


def outcome(reference: str | None, answer: str, kind: str) -> str:
    return judge(trace(reference, answer, kind), SECTION).outcome


def test_there_is_one_candidate_for_each_trace_in_order_with_symbolic_and_plain_answers_mixed():
    traces = [
        trace(
            r"\sqrt{2}", rf"\boxed{{{n % 5}-{n % 5}+2^{{1/2}}}}" if n % 3 else r"\boxed{1}", identifier=str(n)
        )
        for n in range(600)
    ]
    candidates = list(verify(iter(traces), SECTION))
    assert [candidate.trace for candidate in candidates] == traces
    assert [candidate.verdict.outcome for candidate in candidates] == [
        "correct" if n % 3 else "wrong" for n in range(600)
    ]
    assert {candidate.verdict.verifier for candidate in candidates} == {KINDS["math"].version}


def test_no_more_than_the_look_ahead_is_read_before_the_first_candidate():
    read = 0

    def traces():
        nonlocal read
        for n in range(10_000):
            read += 1
            yield trace(f"x^{{{n}}}", rf"\boxed{{x^{{{n}}}+0}}")

    next(verify(traces(), SECTION))
    assert read <= LOOK_AHEAD_TRACES + 1


@pytest.mark.parametrize(
    "change", [{"failure": "null_content"}, {"think_closed": False}, {"finish_reason": "length"}]
)
@pytest.mark.parametrize("kind", ["math", "code", "choice"])
def test_an_incomplete_trace_is_no_answer_even_with_the_right_box(change, kind):
    verdict = judge(replace(trace("A", r"\boxed{A}", kind), **change), SECTION)
    assert verdict.outcome == "no_answer"
    assert verdict.extracted == "A"
    assert verdict.detail


def test_a_box_in_the_thinking_is_no_answer():
    assert judge(replace(trace("5", "five"), thinking=r"\boxed{5}"), SECTION).outcome == "no_answer"


def test_a_kind_without_a_verifier_is_unverified_and_says_so():
    verdict = judge(trace("x", "y", "open"), SECTION)
    assert (verdict.outcome, verdict.verifier) == ("unverified", "none")
    assert "open" in verdict.detail
    assert judge_reference(Problem("p", "s", "open", "q", "x"), SECTION).outcome == "unverified"


def test_every_kind_is_judged_in_one_stream_and_in_order(tmp_path):
    examples = Path(__file__).parents[2] / "data" / "seed" / "every_kind.jsonl"
    section = SECTION.model_copy(update={"sandbox": Sandbox(timeout_seconds=1.0)})
    files.verify_file(str(examples), str(tmp_path / "out.parquet"), section)
    given = [json.loads(line)["id"] for line in examples.read_text().splitlines()]
    found = pq.read_table(tmp_path / "out.parquet", columns=["id", "outcome"]).to_pylist()
    assert [row["id"] for row in found] == given
    assert {row["id"]: row["outcome"] for row in found} == {
        **dict.fromkeys(
            ("half-0", "capital-0", "capital-1", "houses-0", "sum-0", "largest-0", "even-0", "pay-0"),
            "correct",
        ),
        **dict.fromkeys(
            ("half-1", "capital-2", "houses-1", "sum-1", "largest-1", "even-1", "pay-1", "pay-2"), "wrong"
        ),
        "half-2": "no_answer",
        "sum-2": "timeout",
        "sky-0": "unverified",
    }


def test_a_majority_stands_in_for_a_reference_and_is_an_opinion_beside_one():
    section = SECTION.model_copy(update={"majority": Majority(min_answers=3)})
    answers = (r"\boxed{1/2}", r"\boxed{0.5}", r"\boxed{\frac{1}{2}}", r"\boxed{3}", "none")
    for reference, outcomes in (
        (None, ["correct"] * 3 + ["wrong", "unparsed_reference"]),
        ("3", ["wrong"] * 3 + ["correct", "no_answer"]),
    ):
        traces = [trace(reference, answer, identifier=str(n)) for n, answer in enumerate(answers)]
        rows = list(verify(iter(traces), section))
        assert [row.verdict.outcome for row in rows][:4] == outcomes[:4]
        assert [row.opinions.majority_outcome for row in rows][:4] == ["correct"] * 3 + ["wrong"]
        assert (rows[0].verdict.verifier == "majority/1") is (reference is None)
    assert judge_reference(trace(None, "").problem, section).outcome == "unverified"
    assert judge_reference(trace(None, "").problem, SECTION).outcome == "unparsed_reference"


def test_what_answers_cannot_be_judged_without_is_told_before_they_are_asked_for(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    require(["math", "code"], SECTION)
    with pytest.raises(EngineError, match="NO_SUCH_KEY"):
        require(
            ["math"],
            SECTION.model_copy(update={"judge": Judge(model=Teacher(model="m", api_key_env="NO_SUCH_KEY"))}),
        )
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    elsewhere = SECTION.model_copy(update={"sandbox": Sandbox(timeout_seconds=3.0)})
    with pytest.raises(SandboxError, match=r"bwrap.*Remedy.*unsafe_local"):
        require(["sql"], elsewhere)
    require(["math"], elsewhere)


def test_choices_are_read_from_the_box_after_answer_is_and_on_the_last_line():
    right = [
        r"\boxed{C}",
        r"\boxed{\text{C}}",
        r"\boxed{(C)}",
        r"\boxed{\textbf{(C)}\ 42}",
        r"\boxed{C. 42}",
        "The answer is (C).",
        "**Answer: C**",
        "so\nC",
        "so\n(C)",
        r"\boxed{A} no, \boxed{C}",
    ]
    assert {outcome("C", answer, "choice") for answer in right} == {"correct"}
    assert {outcome("(C)", answer, "choice") for answer in right} == {"correct"}
    wrong = [r"\boxed{B}", "The answer is (A).", r"\boxed{A, C}", r"The answer is C. \boxed{D}"]
    assert {outcome("C", answer, "choice") for answer in wrong} == {"wrong"}
    assert {
        outcome("C", answer, "choice") for answer in ["I think so", "C is not it, nor D, as we saw.", ""]
    } == {"no_answer"}
    assert outcome("C", "The answer is a car.", "choice") == "unparsed_answer"
    assert outcome("C", r"\boxed{42}", "choice") == "unparsed_answer"
    assert outcome("C", r"\boxed{C", "choice") == "unparsed_answer"
    assert outcome("42", r"\boxed{C}", "choice") == "unparsed_reference"
    assert outcome("A, C", r"\boxed{C and A}", "choice") == "correct"


def test_logic_answers_are_texts_or_json_values():
    pairs = [
        ("True", r"\boxed{True}"),
        ("no", "So the answer is No."),
        ("valid", "valid"),
        ("(A)", r"\boxed{A}"),
        ("(A)", "The answer is (A) red."),
        ("] }", r"\boxed{] \}}"),
    ]
    assert {outcome(reference, answer, "logic") for reference, answer in pairs} == {"correct"}
    zebra = '{"Ann": "red", "Bob": ["tea", 2]}'
    assert outcome(zebra, '{"Bob": ["Tea", 2.0], "Ann": "Red"}', "logic") == "correct"
    assert outcome(zebra, '{"Bob": [2, "tea"], "Ann": "red"}', "logic") == "wrong"
    assert outcome('{"Ann": true}', '{"Ann": 1}', "logic") == "wrong"
    assert outcome("True", r"\boxed{False}", "logic") == "wrong"
    assert outcome("(A)", r"\boxed{(B)}", "logic") == "wrong"
    assert outcome("(A)", "The answer is a car.", "logic") == "wrong"
    assert outcome("True", "", "logic") == "no_answer"


ROW = {
    "id": "1",
    "problem_id": "p",
    "kind": "math",
    "question": "q",
    "reference": "5",
    "tests": None,
    "response": r"<think>a</think>\boxed{5}",
}
SURROGATE = json.dumps(ROW | {"response": "\ud800"}).encode()
LINES = [
    (json.dumps(ROW | {"extra": {"a": [1]}, "score": 1}).encode(), "correct"),
    (b'{"id": "2", "kind": "ma', "error"),
    (json.dumps(ROW | {"response": r"\boxed{5}", "score": 0.5}).encode(), "correct"),
    (json.dumps(ROW | {"response": r"<think>\boxed{5}"}).encode(), "no_answer"),
    (json.dumps(ROW | {"response": r"<think>a</think>\boxed{6}", "finish_reason": "stop"}).encode(), "wrong"),
    (json.dumps(ROW | {"response": r"\boxed{5}", "finish_reason": "length"}).encode(), "no_answer"),
    (json.dumps(ROW | {"response": 5}).encode(), "error"),
    (
        json.dumps({"kind": "math", "reference": 5, "thinking": "t", "answer": r"\boxed{5.0}"}).encode(),
        "correct",
    ),
    (json.dumps({"kind": "math"}).encode(), "error"),
    (json.dumps({"reference": 5, "response": r"\boxed{5}"}).encode(), "correct"),
    (json.dumps(ROW | {"kind": "poetry"}).encode(), "error"),
    (SURROGATE, "error"),
    (json.dumps(ROW | {"response": "\0"}).encode(), "error"),
    (b'{"id": "\xff"}', "error"),
    (b"[1]", "error"),
    (b"[" * 100_000, "error"),
    (
        json.dumps(ROW | {"kind": "open", "extra": "x", "outcome": "correct", "huge": 10**30}).encode(),
        "unverified",
    ),
]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_file_gets_one_row_for_one_row_and_bad_rows_are_errors_with_a_cause(tmp_path, name):
    data = b"\xef\xbb\xbf" + b"\r\n".join(line for line, _ in LINES)
    source, target = str(tmp_path / name), str(tmp_path / "out.parquet")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    summaries = files.verify_file(source, target, SECTION)
    rows = pq.read_table(target).to_pylist()
    assert [row["outcome"] for row in rows] == [outcome for _, outcome in LINES]
    assert sum(one.traces for one in summaries) == len(LINES)
    assert all(row["detail"] for row in rows if row["outcome"] == "error")
    assert rows[0]["extra"] == '{"a": [1]}'
    assert [rows[0]["score"], rows[2]["score"]] == [1.0, 0.5]
    assert rows[0]["extracted"] == "5"


def test_parquet_columns_keep_their_types_and_text_that_is_not_utf8_costs_only_its_row(tmp_path):
    response = pa.Array.from_buffers(
        pa.string(),
        3,
        [
            None,
            pa.py_buffer(b"\0\0\0\0\x09\0\0\0\x0a\0\0\0\x13\0\0\0"),
            pa.py_buffer(b"\\boxed{5}\xff\\boxed{6}"),
        ],
    )
    given = {"kind": ["math"] * 3, "question": ["2 + 3?"] * 3, "reference": ["5"] * 3, "outcome": ["x"] * 3}
    table = pa.table(given | {"response": response, "tags": [["a"], [], None]})
    pq.write_table(table, tmp_path / "in.parquet")
    files.verify_file(str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), SECTION)
    written = pq.read_table(tmp_path / "out.parquet")
    assert written["outcome"].to_pylist() == ["correct", "error", "wrong"]
    assert written["tags"].to_pylist() == [["a"], None, None]
    assert written.schema.field("tags").type == pa.list_(pa.string())


def test_candidates_carry_the_outcome_of_their_row_and_are_unverified_without_one(tmp_path):
    rows = [
        ROW,
        ROW | {"id": "2", "outcome": "wrong", "extracted": "6"},
        ROW | {"id": 3, "outcome": "nonsense"},
        ROW | {"response": None},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    candidates = list(traces.candidates_from(str(tmp_path / "in.jsonl")))
    assert [candidate.verdict.outcome for candidate in candidates] == [
        "unverified",
        "wrong",
        "unverified",
        "error",
    ]
    assert [candidate.trace.id for candidate in candidates[:3]] == ["1", "2", "3"]
    assert [candidate.trace.sample_index for candidate in candidates[:3]] == [0, 1, 2]
    assert candidates[0].trace.thinking == "a"
    assert candidates[3].trace.failure


def test_a_file_of_unknown_format_is_refused_by_name(tmp_path):
    with pytest.raises(traces.UnknownFormatError, match=r"\.parquet"):
        files.verify_file(str(tmp_path / "in.txt"), str(tmp_path / "out.parquet"), SECTION)
