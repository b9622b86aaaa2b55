"""Killable verifier processes behind a pool of threads, for work that may hang, crash or eat memory.

A worker is started when it is first needed, kept for the life of this process, and replaced when it dies or
hangs. Works from any thread, and in a forked child, which gets workers of its own. A task that used up its
CPU is a `timeout`; a task whose worker died for another reason is tried again in a fresh worker, and is an
`error` after ATTEMPTS. No fault of a worker is ever a `wrong`. Workers are not told apart: which of them
judges a task changes no verdict.
"""

import atexit
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from itertools import islice
from pathlib import Path
from queue import LifoQueue
from typing import Any

from distill.verifiers.row_errors import INFRA_ERROR
from distill.workers import ROOT, Child, ChildError

NEAR = 64
"""So many waiting tasks are looked at for one with the same reference."""
START_SECONDS = 300.0
"""Wall seconds to import symbolic algebra on a loaded machine."""
LOAD_FACTOR = 20.0
"""Wall seconds allowed for a CPU second: an oversubscribed machine is slow, not wrong."""
ATTEMPTS = 3
"""Workers that one task may lose: other work on the machine may get a worker killed, twice in a row only by
bad luck."""

Task = dict[str, Any]
Result = dict[str, Any]


class Worker:
    """One child process."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "distill.verifiers.math.worker"]
        self.child = Child(command, _environment(), log=Path(os.devnull))
        self.process = self.child.process
        try:
            self.child.receive(START_SECONDS)
        except ChildError:
            self.child.kill()
            raise

    def ask(self, task: Task, wall_seconds: float) -> Result:
        """The result of one task; raises ChildError."""
        self.child.send("task", **task)
        return self.child.receive(wall_seconds)


class Threads:
    """Daemon threads that do what is submitted: a process that ends does not wait for answers that nobody
    will read.

    A thread goes on with the reference that it had, else takes one that nobody has: a reference is then
    parsed in one worker only.
    """

    def __init__(self, count: int) -> None:
        self.waiting: deque[tuple[Future[Result], Task]] = deque()
        self.changed = threading.Condition()
        self.under_way: dict[int, str] = {}
        self.count = count
        self.ended = False

    def submit(self, run: Callable[[Task], Result], task: Task) -> "Future[Result]":
        """A future of `run(task)`."""
        promise: Future[Result] = Future()
        with self.changed:
            self.waiting.append((promise, task))
            self.changed.notify()
            if not self.under_way:
                for number in range(self.count):
                    self.under_way[number] = ""
                    threading.Thread(
                        target=self._serve, args=(run, number), name="verifier", daemon=True
                    ).start()
        return promise

    def shutdown(self) -> None:
        """Lets each thread end after the work that is waiting now."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _serve(self, run: Callable[[Task], Result], number: int) -> None:
        while item := self._next(number):
            promise, task = item
            try:
                promise.set_result(run(task))
            except BaseException as error:  # as in any executor, it is raised where the result is asked for
                promise.set_exception(error)

    def _next(self, number: int) -> tuple[Future[Result], Task] | None:
        """What a thread does next; None when there is nothing and nothing will come."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.ended)
            if not self.waiting:
                return None
            near = [task["reference"] for _, task in islice(self.waiting, NEAR)]
            others = {reference for other, reference in self.under_way.items() if other != number}
            mine = (place for place, reference in enumerate(near) if reference == self.under_way[number])
            free = (place for place, reference in enumerate(near) if reference not in others)
            place = next(mine, next(free, 0))
            self.under_way[number] = near[place]
            item = self.waiting[place]
            del self.waiting[place]
            return item


class Pool:
    """So many workers, and as many threads that wait for them."""

    def __init__(self, workers: int) -> None:
        self.threads = Threads(workers)
        self.idle: LifoQueue[Worker | None] = LifoQueue()
        self.live: set[Worker] = set()
        for _ in range(workers):
            self.idle.put(None)

    def submit(self, task: Task) -> "Future[Result]":
        """Starts a task: a dict with `timeout_seconds`, `memory_mb` and what the worker's judge takes."""
        return self.threads.submit(self.run, task)

    def run(self, task: Task) -> Result:
        """A task's result, in any thread; never raises for what a task does to its worker."""
        cause = ""
        for _ in range(ATTEMPTS):
            worker = self.idle.get()
            try:
                if worker is None:
                    worker = Worker()
                    self.live.add(worker)
                return worker.ask(task, 10 + LOAD_FACTOR * task["timeout_seconds"])
            except ChildError as death:
                self._discard(worker)
                worker, cause = None, f"verifier: {death}"
                if death.code == -signal.SIGXCPU:
                    detail = f"stopped after {task['timeout_seconds']:g} CPU seconds"
                    return {"outcome": "timeout", "detail": detail, "seconds": task["timeout_seconds"]}
            finally:
                self.idle.put(worker)
        return {"outcome": "error", "detail": f"{INFRA_ERROR}{cause}, {ATTEMPTS} times", "seconds": 0.0}

    def close(self) -> None:
        """Ends all workers."""
        for worker in list(self.live):
            self._discard(worker)

    def _discard(self, worker: Worker | None) -> None:
        if worker is not None:
            self.live.discard(worker)
            worker.child.kill()


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
    package = str(ROOT)
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join([package, *filter(None, sys.path)]),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
    }


def _forget() -> None:
    """Gives a forked child, which has no right to its parent's workers and none of its threads, a fresh
    start."""
    global _opening
    _opening = threading.Lock()
    _pool.cache_clear()


os.register_at_fork(after_in_child=_forget)
