import base64
import json
import pickle
import sys
import threading
import zlib
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.recipe import Sandbox, Verification
from distill.records import Problem, Verdict
from distill.sandbox import InfraError, Job, SandboxError
from distill.sandbox.inside import serialise
from distill.verifiers import code
from distill.verifiers.code import blocks, formats, outputs
from distill.verifiers.code.tests import parse

SECTION = Verification(workers=2, sandbox=Sandbox(timeout_seconds=1.0, memory_mb=512))
CASES = [
    json.loads(line)
    for line in Path(__file__)
    .parents[1]
    .joinpath("cases", "code.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=20,
)


def problem(tests: object, reference: str | None = None) -> Problem:
    return Problem("p", "s", "code", "q", reference, tests if isinstance(tests, str) else json.dumps(tests))


def settled(verdict: Verdict | Future[Verdict]) -> Verdict:
    return verdict.result() if isinstance(verdict, Future) else verdict


def test_the_table_of_cases_is_judged_as_it_says():
    assert len(CASES) >= 40
    pending = [
        (case, code.judge(problem(case["tests"], case.get("reference")), case["answer"], SECTION))
        for case in CASES
    ]
    for case, verdict in [(case, settled(verdict)) for case, verdict in pending]:
        assert (case["why"], verdict.outcome) == (case["why"], case["outcome"]), verdict
        assert case.get("detail", "") in verdict.detail, (case["why"], verdict.detail)
        assert case.get("extracted", verdict.extracted) == verdict.extracted, case["why"]
        assert verdict.verifier == code.VERSION


def test_a_reference_is_judged_like_an_answer_and_may_be_fenced_or_bare():
    asserts = ["assert add(1, 2) == 3"]
    solution = "def add(a, b):\n    return a + b"
    for reference in (solution, f"```python\n{solution}\n```", f"So:\n```py\n{solution}\n```\nDone."):
        assert code.judge_reference(problem(asserts, reference), SECTION).outcome == "correct"
    assert code.judge_reference(problem(asserts, solution.replace("+", "-")), SECTION).outcome == "wrong"


@pytest.mark.parametrize(
    ("tests", "outcome"),
    [
        (["assert add(1, 2) == 3"], "unverified"),
        ({"mode": "stdio", "cases": [{"input": "", "output": "1"}]}, "unverified"),
        (["assert add(1, 2 == 3"], "unparsed_reference"),
        ({"mode": "assert", "source": "add(1, 2)"}, "unparsed_reference"),
        ({"mode": "stdio", "cases": []}, "unparsed_reference"),
    ],
)
def test_without_a_reference_only_readable_tests_are_unverified(tests: object, outcome: str):
    assert code.judge_reference(problem(tests), SECTION).outcome == outcome


def test_programs_are_judged_from_any_thread_and_keep_apart():
    tests = {"mode": "call", "entry_point": "f", "cases": [{"input": [], "output": 1}]}
    outcomes: list[str] = []

    def one(index: int) -> None:
        outcomes.append(
            settled(
                code.judge(problem(tests), f"```python\ndef f(): return {index % 2}\n```", SECTION)
            ).outcome
        )

    threads = [threading.Thread(target=one, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["correct"] * 4 + ["wrong"] * 4


def test_what_a_program_says_of_itself_can_be_stored_as_text():
    tests = {"mode": "call", "entry_point": "f", "cases": [{"input": [], "output": 1}]}
    for expression in ("'\\ud800'", "{}[('\\ud800',)]", "[[10 ** 5000]]"):
        verdict = settled(
            code.judge(problem(tests), f"```python\ndef f(): return {expression}\n```", SECTION)
        )
        assert verdict.outcome == "wrong"
        assert verdict.detail.encode()


class BrokenBoxes:
    def run(self, job: Job) -> NoReturn:
        raise InfraError("its supervisor died, twice")

    def run_pair(self, first: Job, second: Job) -> NoReturn:
        raise InfraError("its supervisor died, twice")

    def submit(self, function, *arguments) -> Future[Verdict]:
        promise: Future[Verdict] = Future()
        promise.set_result(function(*arguments))
        return promise


def test_a_broken_sandbox_is_an_error_and_never_a_wrong_answer(monkeypatch):
    monkeypatch.setattr(code, "boxes", lambda *_: BrokenBoxes())
    for tests in (["assert add(1, 2) == 3"], {"mode": "stdio", "cases": [{"input": "", "output": "3"}]}):
        verdict = settled(code.judge(problem(tests), "```python\nprint(3)\n```", SECTION))
        assert (verdict.outcome, verdict.detail) == ("error", "infra_error: its supervisor died, twice")


def test_the_interpreter_that_the_recipe_names_brings_its_own_packages():
    tests = {"mode": "call", "entry_point": "f", "cases": [{"input": [], "output": [2, 4]}]}
    answer = "```python\nimport numpy\ndef f():\n    return (2 * numpy.array([1, 2])).tolist()\n```"
    outcomes = {}
    for python in ("", sys.executable):
        section = Verification(
            workers=1, sandbox=Sandbox(python=python, timeout_seconds=20.0, memory_mb=2048)
        )
        outcomes[python] = settled(code.judge(problem(tests), answer, section))
    assert (outcomes[""].outcome, outcomes[sys.executable].outcome) == ("wrong", "correct"), outcomes
    assert "verification.sandbox.python" in outcomes[""].detail


def test_the_tolerance_of_a_recipe_replaces_the_usual_one():
    tests = {"inputs": ["3\n"], "outputs": ["0.3333\n"]}
    for tolerance, printed, outcome in (
        (None, "0.33333333", "correct"),
        (0.0, "0.33333333", "wrong"),
        (0.01, "0.3399", "correct"),
        (None, "0.3399", "wrong"),
    ):
        section = Verification(workers=1, sandbox=Sandbox(tolerance=tolerance))
        verdict = settled(
            code.judge(problem(tests), f"```python\nn = int(input())\nprint('{printed}')\n```", section)
        )
        assert verdict.outcome == outcome, (tolerance, printed, verdict)


def test_compressed_tests_of_any_make_are_refused_or_read_and_never_run():
    def packed(data: bytes) -> str:
        return base64.b64encode(zlib.compress(data)).decode()

    assert formats.unpacked(packed(pickle.dumps("[1]"))) == formats.unpacked(packed(b"[1]")) == "[1]"
    for protocol in range(2, 6):
        assert formats.unpacked(packed(pickle.dumps("[1]", protocol))) == "[1]"
    huge = b"\x80\x04r\xff\xff\xff\xff."  # an entry of the memo that would take 64 GiB
    for data in (
        pickle.dumps(["[1]"]),
        pickle.dumps(len),
        pickle.dumps(Path("x")),
        huge,
        b"\x80\x04",
        b"\x80\xff",
    ):
        with pytest.raises(ValueError, match=r"tests|pickle|opcode|protocol|bytes"):
            formats.unpacked(packed(data))


def test_without_a_sandbox_nothing_is_judged():
    section = Verification(workers=1, sandbox=Sandbox(python="/no/such/python"))
    with pytest.raises(SandboxError):
        settled(code.judge(problem(["assert add(1, 2) == 3"]), "```python\npass\n```", section))


def refuse(kind: str, number: object) -> object:
    raise serialise.Unreadable(kind)


@settings(deadline=None)
@given(PLAIN)
def test_plain_values_cross_between_processes_unchanged(value):
    assert serialise.decode(json.loads(json.dumps(serialise.encode(value, repr))), refuse) == value


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda i: st.lists(i) | st.dictionaries(st.text() | st.just("tuple"), i),
    )
)
def test_reading_any_message_gives_plain_data_or_says_that_it_cannot(data):
    with suppress(serialise.Unreadable):
        serialise.decode(data, refuse)


@settings(deadline=None)
@given(st.text(alphabet="`~ \n\tpythontext:=()def x1[],", max_size=80))
def test_looking_for_code_in_any_text_neither_raises_nor_hangs(text):
    blocks.python(text, frozenset(["x"]))


def test_looking_for_code_in_long_text_is_linear():
    for text in (
        "\n" * 300_000,
        "a," * 200_000,
        " " * 300_000,
        "- " * 200_000,
        "`" * 300_000,
        "class Solution:\n" + "    \n" * 100_000,
    ):
        blocks.python(text, frozenset(["x"]))
        blocks.definitions(text)


@settings(deadline=None)
@given(
    st.text(max_size=40)
    | st.recursive(
        st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    )
)
def test_tests_of_any_form_are_read_or_refused(data):
    with suppress(ValueError):
        parse(data if isinstance(data, str) else json.dumps(data))


@settings(deadline=None)
@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(alphabet="abc", min_size=1)
    )
)
def test_an_output_equals_itself_and_nothing_longer(tokens):
    text = " ".join(map(str, tokens)) + "\n"
    assert outputs.same_text(text, text + "\n")
    assert not outputs.same_text(text, text + "x\n")
