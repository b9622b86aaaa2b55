"""Killable verifier processes behind a pool of threads, for work that may hang, crash or eat memory.

A worker is started when it is first needed, kept for the life of this process, and replaced when it dies or hangs.
Works from any thread. A task that used up its CPU is a `timeout`; a worker that died for another reason gets its task
tried once more in a fresh worker and then it is an `error`. No fault of a worker is ever a `wrong`.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import LifoQueue
from typing import Any

START_SECONDS = 300.0
"""Wall seconds to import symbolic algebra on a loaded machine."""
LOAD_FACTOR = 20.0
"""Wall seconds allowed for a CPU second: an oversubscribed machine is slow, not wrong."""


class DiedError(Exception):
    """A worker ended or hung; `spent` is True when it had used up its CPU limit."""

    def __init__(self, cause: str, spent: bool = False) -> None:
        super().__init__(cause)
        self.spent = spent


class Worker:
    """One child process, spoken to in lines of JSON."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "distill.verifiers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        self.rest = b""
        self._line(START_SECONDS)

    def ask(self, task: dict[str, Any], wall_seconds: float) -> dict[str, Any]:
        """The result of one task; raises DiedError."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        result: dict[str, Any] = json.loads(self._line(wall_seconds))
        return result

    def close(self) -> None:
        """Ends the process now."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # closing flushes what the dead child never read
                    pipe.close()

    def _line(self, wall_seconds: float) -> bytes:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + wall_seconds
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        while b"\n" not in self.rest:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise DiedError(f"no answer in {wall_seconds:.0f} s")
            received = os.read(descriptor, 1 << 16)
            if not received:
                raise self._died()
            self.rest += received
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def _died(self) -> DiedError:
        code = self.process.wait()
        return DiedError(f"the verifier process ended with {_name(code)}", spent=code == -signal.SIGXCPU)


class Pool:
    """So many workers, and as many threads that wait for them."""

    def __init__(self, workers: int) -> None:
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="verifier")
        self.idle: LifoQueue[Worker | None] = LifoQueue()
        self.live: set[Worker] = set()
        for _ in range(workers):
            self.idle.put(None)

    def submit(self, task: dict[str, Any]) -> "Future[dict[str, Any]]":
        """Starts a task: a dict with `timeout_seconds`, `memory_mb` and what the worker's judge takes."""
        return self.threads.submit(self.run, task)

    def run(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task's result, in any thread; never raises for what a task does to its worker."""
        cause = ""
        for _ in range(2):
            worker = self.idle.get()
            try:
                if worker is None:
                    worker = Worker()
                    self.live.add(worker)
                result = worker.ask(task, 10 + LOAD_FACTOR * task["timeout_seconds"])
            except DiedError as death:
                self._discard(worker)
                worker, cause = None, str(death)
                if death.spent:
                    return {
                        "outcome": "timeout",
                        "detail": f"stopped after {task['timeout_seconds']:g} CPU seconds",
                        "seconds": task["timeout_seconds"],
                    }
            else:
                return result
            finally:
                self.idle.put(worker)
        return {"outcome": "error", "detail": f"{cause}, twice", "seconds": 0.0}

    def close(self) -> None:
        """Ends all workers."""
        for worker in list(self.live):
            self._discard(worker)

    def _discard(self, worker: Worker | None) -> None:
        if worker is not None:
            self.live.discard(worker)
            worker.close()


_opening = threading.Lock()


def pool(workers: int | None) -> Pool:
    """The pool of this process with so many workers (None: one for each core)."""
    with _opening:
        return _pool(workers or len(os.sched_getaffinity(0)))


@cache
def _pool(workers: int) -> Pool:
    opened = Pool(workers)
    atexit.register(opened.close)
    return opened


def _environment() -> dict[str, str]:
    """What a worker needs to import this package, and none of the secrets of this process."""
    package = str(Path(__file__).parents[2])
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join([package, *filter(None, sys.path)]), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


def _name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has no right to its parent's workers
