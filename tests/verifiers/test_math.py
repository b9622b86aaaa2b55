import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.recipe import Verification
from distill.records import Problem, Trace
from distill.text import boxed
from distill.verifiers import by_rules, judge, judge_reference
from distill.verifiers.math import compare, limits, parse
from distill.verifiers.math.worker_pool import Pool

SECTION = Verification(workers=2, timeout_seconds=2.0)
TABLES = ("math", "math_field", "math_held_out")


def trace(reference: str | None, answer: str, kind: str = "math") -> Trace:
    return Trace(Problem("p", "s", kind, "q", reference), "t", 0, None, answer, True, "stop")


def task(reference: str, answer: str, seconds: float = 1.0, memory_mb: int = 2048) -> dict[str, object]:
    return {
        "reference": reference,
        "answer": answer,
        "strict": False,
        "timeout_seconds": seconds,
        "memory_mb": memory_mb,
    }


@pytest.fixture(scope="module")
def one_worker():
    opened = Pool(1)
    yield opened
    opened.close()
    opened.threads.shutdown()


def cases(table: str) -> list[dict[str, str]]:
    lines = (
        Path(__file__).parents[1].joinpath("cases", f"{table}.jsonl").read_text(encoding="utf-8").splitlines()
    )
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_cases_has_no_false_accept_and_at_most_two_percent_other_errors(table):
    expected = cases(table)
    verdicts = [
        verdict
        for _, verdict in by_rules((trace(case["reference"], case["answer"]) for case in expected), SECTION)
    ]
    accepted = [
        case
        for case, verdict in zip(expected, verdicts, strict=True)
        if verdict.outcome == "correct" != case["outcome"]
    ]
    missed = [
        (case, v.outcome) for case, v in zip(expected, verdicts, strict=True) if v.outcome != case["outcome"]
    ]
    assert not accepted
    assert len(missed) <= 0.02 * len(expected), missed


def test_the_tables_share_no_case_and_give_each_a_reason():
    pairs = [(case["reference"], case["answer"]) for table in TABLES for case in cases(table)]
    assert len(pairs) == len(set(pairs))
    assert all(case["why"] for table in TABLES for case in cases(table))


@settings(deadline=None)
@given(st.fractions(), st.fractions())
def test_plain_fractions_are_equal_exactly_when_their_values_are(first, second):
    texts = [rf"\frac{{{value.numerator}}}{{{value.denominator}}}" for value in (first, second)]
    assert parse.compare(parse.read(texts[0]), parse.read(texts[1]), compare.by_spelling) is (first == second)
    assert (
        parse.compare(
            parse.read(texts[0]),
            parse.read(f"x = {first.numerator}/{first.denominator}."),
            compare.by_spelling,
        )
        is True
    )


@settings(deadline=None)
@given(st.text(alphabet=r"\{}[]()$^_,.=<>+-/ :%'!&|x2 frac boxed text cup pm 和个°", max_size=60))
def test_reading_any_text_neither_raises_nor_hangs(text):
    boxed.any_boxed(text)
    tree = parse.read(text)
    parse.compare(tree, parse.read("1"), compare.by_spelling)
    limits.too_large(text, 4096)


TEXTS = [case[side] for case in cases("math_held_out") for side in ("reference", "answer")]


@settings(deadline=None)
@given(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.integers(0, 60), st.integers(0, 60))
def test_reading_torn_and_spliced_answers_never_raises(first, second, head, tail):
    spliced = parse.read(first[:head] + second[tail:])
    parse.compare(parse.read(first), spliced, compare.by_spelling)
    parse.compare(spliced, parse.read(second), compare.by_spelling)


def test_only_the_last_box_counts_and_joined_boxes_are_a_list():
    assert boxed.last_boxed(r"\boxed{1} so \boxed{\frac{1}{\{2\}}}") == r"\frac{1}{\{2\}}"
    assert boxed.last_boxed(r"$\boxed{1}$, $\boxed{2}$ and $\boxed{3}$") == "1, 2, 3"
    assert boxed.last_boxed("no box") is None
    with pytest.raises(ValueError, match="never closed"):
        boxed.last_boxed(r"\boxed{1} then \boxed{\frac{2}{3}")


def test_texts_too_large_for_symbolic_algebra_are_told_apart_from_those_that_are_not():
    for text in (
        "9^{9^{9}}",
        "2^{2^{2^{2^{2^{2}}}}}",
        "10^{10^{10}}",
        "100000000!",
        "(1+x)^{5000}",
        "(" * 200,
        "1" * 5000,
    ):
        assert limits.too_large(text, 4096), text
    for text in (
        "2^{2023}",
        "10^{4500}",
        "2024^{2023}",
        "2^{2^{3}}",
        "x^{2023}",
        "(x+1)^{10}",
        "20!",
        "e^{x^{2}}",
        "10^{100}",
    ):
        assert limits.too_large(text, 4096) is None, text


def test_a_hang_is_a_timeout_and_the_worker_goes_on(one_worker):
    slow = one_worker.run(
        task("5", "+".join(rf"\sin({i}\cos({i}x))^{{9}}" for i in range(2, 40)) + r"\int_0^1 x^{x^{x}} dx")
    )
    assert slow["outcome"] == "timeout"
    assert one_worker.run(task(r"\sqrt{8}", r"2\sqrt{2}"))["outcome"] == "correct"


def test_what_cannot_be_interrupted_is_stopped_by_the_kernel_and_replaced(one_worker):
    hung = one_worker.run(task("5", "7^{7^{7^{7}}}"))
    assert hung["outcome"] == "timeout"
    assert one_worker.run(task(r"\sqrt{8}", r"2\sqrt{2}"))["outcome"] == "correct"


def test_a_worker_that_is_killed_is_replaced_and_its_task_is_done(one_worker):
    assert one_worker.run(task("x", "x+0"))["outcome"] == "correct"
    (worker,) = one_worker.live
    os.kill(worker.process.pid, signal.SIGKILL)
    assert one_worker.run(task("2x", "x+x"))["outcome"] == "correct"


def test_a_task_that_kills_its_worker_twice_is_an_error_and_never_wrong(one_worker):
    one_worker.run(task("x", "x+0"))
    stop = threading.Event()

    def assassin() -> None:
        while not stop.is_set():
            for worker in list(one_worker.live):
                if worker.process.poll() is None:
                    worker.process.kill()
            time.sleep(0.01)

    thread = threading.Thread(target=assassin)
    thread.start()
    result = one_worker.run(task("3x", "x+x+x"))
    stop.set()
    thread.join()
    assert result["outcome"] == "error"
    assert "SIGKILL" in result["detail"]
    assert one_worker.run(task("3x", "x+x+x"))["outcome"] == "correct"


def test_verdicts_are_the_same_from_any_thread():
    outcomes: list[str] = []
    threads = [
        threading.Thread(
            target=lambda n=n: outcomes.append(
                judge(trace(rf"\sqrt{{{n}}}", rf"\boxed{{{n}^{{1/2}}}}"), SECTION).outcome
            )
        )
        for n in (2, 3, 5, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["correct"] * 4


def test_a_reference_is_checked_by_its_own_verifier():
    outcomes = {
        reference: judge_reference(Problem("p", "s", "math", "q", reference), SECTION).outcome
        for reference in (
            "72",
            r"\frac{\sqrt{3}}{2}",
            r"\boxed{5}",
            r"\text{Evelyn}",
            "(1, x]",
            r"\frac{x",
            "",
            None,
        )
    }
    assert outcomes == {
        "72": "correct",
        r"\frac{\sqrt{3}}{2}": "correct",
        r"\boxed{5}": "correct",
        r"\text{Evelyn}": "correct",
        "(1, x]": "correct",
        r"\frac{x": "unparsed_reference",
        "": "unparsed_reference",
        None: "unparsed_reference",
    }


def test_memory_beyond_the_limit_is_never_wrong_and_the_pool_is_whole_again(one_worker):
    assert one_worker.run(task("5", "2^{2^{2^{6}}}", seconds=2.0, memory_mb=256))["outcome"] in (
        "error",
        "timeout",
    )
    assert one_worker.run(task(r"\sqrt{8}", r"2\sqrt{2}"))["outcome"] == "correct"


def test_a_worker_does_not_outlive_its_parent():
    code = (
        "from distill.verifiers.math.worker_pool import Pool; import os, signal; p = Pool(1);"
        "p.run({'reference': 'x', 'answer': 'x+0', 'strict': False, 'timeout_seconds': 1, 'memory_mb': "
        "2048});"
        "print([w.process.pid for w in p.live][0], flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == -signal.SIGKILL
    worker = Path(f"/proc/{int(done.stdout)}")
    deadline = time.monotonic() + 10
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()
