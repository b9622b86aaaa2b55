"""The child process that does symbolic algebra: `python -m distill.verifiers.math.worker`.

One JSON task a line comes in, one JSON result a line goes out. Each task has its own limits: a CPU timer that
raises inside Python, a CPU limit of the kernel a little later for what cannot be interrupted, and an
address-space limit. The process ends when its standard input does, or its parent.
"""

import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from distill import workers

GRACE_SECONDS = 2
"""CPU seconds between the timer in Python and the kernel's limit."""


class OutOfTime(BaseException):
    """Raised by the CPU timer; no `except Exception` of a library can swallow it."""


class Timer:
    """A CPU timer that fires again until it is stopped, and remembers that it fired."""

    def __init__(self) -> None:
        self.expired = False
        signal.signal(signal.SIGPROF, self._fire)

    def start(self, seconds: float) -> None:
        self.expired = False
        signal.setitimer(signal.ITIMER_PROF, seconds, 0.2)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _fire(self, number: int, frame: FrameType | None) -> None:
        self.expired = True
        raise OutOfTime


def main() -> None:
    """Answers tasks until standard input ends."""
    say = workers.begin()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import math_verify
    import sympy  # noqa: F401

    from distill.verifiers.math import symbolic

    math_verify.parser.logger.disabled = math_verify.grader.logger.disabled = True
    _let_memory_errors_through(math_verify.grader)
    sys.set_int_max_str_digits(0)
    timer, baseline = Timer(), None  # without /proc there is no memory limit
    if os.path.exists("/proc/self/statm"):
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        baseline = int(pages) * resource.getpagesize()
    say("ready")
    for line in sys.stdin:
        task = json.loads(line)
        _limit(baseline, task["timeout_seconds"], task["memory_mb"])
        say("result", **_run(task, timer, symbolic.judge))


def _let_memory_errors_through(module: ModuleType) -> None:
    """Makes `except Exception` in a module catch all but MemoryError, which there would pass for two answers
    that differ."""
    caught = tuple(kind for kind in Exception.__subclasses__() if kind is not MemoryError)
    setattr(module, "Exception", caught)  # noqa: B010 - a global of that name comes before the builtin


def _run(
    task: dict[str, Any], timer: Timer, judge: Callable[[str, str, bool], tuple[str, str]]
) -> dict[str, Any]:
    started = time.process_time()
    outcome, detail = "error", ""
    try:
        timer.start(task["timeout_seconds"])
        outcome, detail = judge(task["reference"], task["answer"], task["strict"])
    except OutOfTime:
        pass
    except MemoryError:
        detail = f"needs more than {task['memory_mb']} MB"
    except Exception as error:  # any failure of symbolic algebra is one answer's, never the run's
        detail = f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        timer.stop()
    if timer.expired:
        outcome, detail = "timeout", f"not decided in {task['timeout_seconds']:g} CPU seconds"
    return {"outcome": outcome, "detail": detail, "seconds": time.process_time() - started}


def _limit(baseline: int | None, timeout_seconds: float, memory_mb: int) -> None:
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _set(resource.RLIMIT_CPU, math.ceil(used + timeout_seconds) + GRACE_SECONDS)
    if baseline is not None:
        _set(resource.RLIMIT_AS, baseline + (memory_mb << 20))


def _set(kind: int, value: int) -> None:
    """A soft limit, never above the hard one."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
