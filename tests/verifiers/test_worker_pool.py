"""Worker processes under attack: killed at any time, starved of memory, forked, interrupted. No verdict may
change."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import interruptible
import pytest

from distill.recipe import Verification
from distill.records import Problem
from distill.verifiers import math
from distill.verifiers.math import worker
from distill.verifiers.math.worker_pool import INFRA_ERROR, Pool

PAIRS = [(rf"\sin({n}x)", rf"\sin({n}x)+{shift}") for n in range(2, 22) for shift in ("0", "1")]


def task(reference: str, answer: str) -> dict[str, object]:
    return {
        "reference": reference,
        "answer": answer,
        "strict": False,
        "timeout_seconds": 5.0,
        "memory_mb": 2048,
    }


def outcome(reference: str, answer: str) -> str:
    pending = math.judge(
        Problem("p", "s", "math", "q", reference), rf"\boxed{{{answer}}}", Verification(workers=1)
    )
    return pending.result(60).outcome if isinstance(pending, Future) else pending.outcome


@pytest.fixture
def two_workers():
    opened = Pool(2)
    yield opened
    opened.close()
    opened.threads.shutdown()


def test_workers_killed_at_any_time_change_no_verdict(two_workers):
    rng, stop, killed = random.Random(0), threading.Event(), []

    def assassin() -> None:
        while len(killed) < 4 and not stop.wait(rng.uniform(0.01, 0.3)):
            for victim in list(two_workers.live)[:1]:
                os.kill(victim.process.pid, signal.SIGKILL)
                killed.append(victim.process.pid)

    thread = threading.Thread(target=assassin)
    thread.start()
    futures = [two_workers.submit(task(*PAIRS[number % len(PAIRS)])) for number in range(2000)]
    outcomes = [future.result()["outcome"] for future in futures]
    stop.set()
    thread.join()
    assert len(set(killed)) > 1
    assert outcomes == ["correct", "wrong"] * 1000
    assert len(two_workers.live) == 2


def test_a_worker_that_cannot_start_is_an_infrastructure_error_and_no_verdict(two_workers, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    result = two_workers.run(task("x", "x+0"))
    assert result["outcome"] == "error"
    assert result["detail"].startswith(INFRA_ERROR)
    monkeypatch.undo()
    assert two_workers.run(task("x", "x+0"))["outcome"] == "correct"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_verdicts_are_the_same_in_a_process_pool(method):
    pairs = [(r"\cos(2x)", r"1-2\sin^2(x)"), (r"\cos(2x)", r"1-\sin^2(x)")]
    waiting = math.judge(
        Problem("p", "s", "math", "q", r"\tan(x)"), r"\boxed{\frac{\sin x}{\cos x}}", Verification(workers=1)
    )
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        assert list(executor.map(outcome, *zip(*pairs, strict=True))) == ["correct", "wrong"]
        assert executor.submit(outcome, r"\tan(x)", r"\frac{\sin x}{\cos x}").result() == "correct"
    assert waiting.result(60).outcome == "correct"


def test_an_interrupted_process_waits_for_no_answer_and_leaves_no_worker():
    slow = "+".join(rf"\sin({i}\cos({i}x))^{{9}}" for i in range(2, 40)) + r"\int_0^1 x^{x^{x}} dx"
    code = (
        "from distill.verifiers.math.worker_pool import pool\n"
        "pool = pool(1)\n"
        f"slow = {{**{task('5', slow)!r}, 'timeout_seconds': 30.0}}\n"
        f"pool.run({task('x', 'x+0')!r})\n"
        "asked = [pool.submit(slow) for _ in range(50)]\n"
        "print([one.process.pid for one in pool.live][0], flush=True)\n"
        "asked[0].result()\n"
    )
    child = interruptible.python(
        "-c", code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    worker_of_child = Path(f"/proc/{int(child.stdout.readline())}")
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    try:
        assert child.wait(10) != 0
    finally:
        child.kill()
        child.stdout.close()
    deadline = time.monotonic() + 10
    while worker_of_child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker_of_child.exists()


def test_running_out_of_memory_is_not_swallowed_as_a_difference():
    library = ModuleType("library")
    exec(
        "def equal(error):\n    try:\n        raise error\n    except Exception:\n        return False\n",
        library.__dict__,
    )
    assert library.equal(MemoryError()) is False
    worker._let_memory_errors_through(library)
    assert library.equal(ValueError()) is False
    with pytest.raises(MemoryError):
        library.equal(MemoryError())
