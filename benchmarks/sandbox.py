"""Runs of a tiny program (read two numbers, print their sum) a second: in the sandbox, and in what one would
use without it.

    .venv/bin/python benchmarks/sandbox.py --seconds 5

Peers, in the same run: a cold `bwrap` with an interpreter for each program, and a plain child process, which
protects nothing. Each answer is checked. Needs what the sandbox needs.
"""

import argparse
import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from distill.recipe import dataset
from distill.sandbox import Boxes, Job, bubblewrap

SOURCE = "a, b = map(int, input().split())\nprint(a + b)"
GIVEN, EXPECTED = b"40 2\n", b"42\n"
LIMITS = dataset.Sandbox()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line of the table")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    chosen = parser.parse_args()
    print(f"{'':32}{'workers':>8}{'runs/s':>8}{'p50 ms':>8}{'p95 ms':>8}")
    for workers in chosen.workers:
        with Boxes(LIMITS, workers) as boxes:
            show(
                "sandbox, warm",
                workers,
                measure(functools.partial(in_sandbox, boxes), workers, chosen.seconds),
            )
            show(
                "sandbox, warm, connected pairs",
                workers,
                measure(functools.partial(as_pair, boxes), workers, chosen.seconds),
            )
    interpreter = [bubblewrap.interpreter("").command[0], "-I", "-S", "-c", SOURCE]
    cold = bubblewrap.command(bubblewrap.Interpreter(tuple(interpreter), bubblewrap.interpreter("").folders))
    for name, command in (("bwrap and an interpreter, cold", cold), ("plain child process", interpreter)):
        for workers in chosen.workers:
            show(name, workers, measure(functools.partial(as_child, command), workers, chosen.seconds))
    return 0


def in_sandbox(boxes: Boxes) -> None:
    assert boxes.run(Job("stdio", {"source": SOURCE}, GIVEN)).stdout == EXPECTED


def as_pair(boxes: Boxes) -> None:
    job = Job("stdio", {"source": SOURCE}, GIVEN)
    assert [ran.stdout for ran in boxes.run_pair(job, job)] == [EXPECTED, EXPECTED]


def as_child(command: list[str]) -> None:
    assert subprocess.run(command, input=GIVEN, stdout=subprocess.PIPE, env={}, check=True).stdout == EXPECTED


def measure(run: Callable[[], None], workers: int, seconds: float) -> list[float]:
    """Seconds of each run, of so many threads that run one after the other for so long."""
    run()  # starts what is started once

    def repeat() -> list[float]:
        took, end = [], time.monotonic() + seconds
        while (started := time.monotonic()) < end:
            run()
            took.append(time.monotonic() - started)
        return took

    with ThreadPoolExecutor(workers) as threads:
        return [one for future in [threads.submit(repeat) for _ in range(workers)] for one in future.result()]


def show(name: str, workers: int, took: list[float]) -> None:
    middle, slow = statistics.median(took), statistics.quantiles(took, n=20)[-1]
    print(
        f"{name:32}{workers:8}{workers * len(took) / sum(took):8.0f}{middle * 1000:8.1f}{slow * 1000:8.1f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
