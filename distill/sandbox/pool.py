"""The boxes of this process: started when first needed, kept, and replaced when they die. Works from any
thread.

Before the first program is run a box has to prove itself (`check`): one that does not hold is never used.
"""

import atexit
import json
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from queue import LifoQueue
from typing import Any, TypeVar

from distill.recipe import Sandbox
from distill.sandbox.box import Box
from distill.sandbox.bubblewrap import REMEDY
from distill.sandbox.runs import BoxDied, InfraError, Job, Ran, SandboxError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
ATTEMPTS = 3
"""A box that dies, and a kill that may have come from outside, say nothing about a program; three in a row
are hardly chance."""


class Boxes:
    """So many boxes, and as many threads for those who want futures."""

    def __init__(self, limits: Sandbox, workers: int | None = None) -> None:
        self.limits = limits
        count = workers or len(os.sched_getaffinity(0))
        self.threads = ThreadPoolExecutor(count, thread_name_prefix="sandbox")
        self.starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-start")
        self.idle: LifoQueue[Box | None] = LifoQueue()
        self.live: set[Box] = set()
        for _ in range(count):
            self.idle.put(None)

    def __enter__(self) -> "Boxes":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def submit(self, function: Callable[..., Result], *arguments: Any) -> "Future[Result]":
        """Calls a function, which may call `run`, in a thread."""
        return self.threads.submit(function, *arguments)

    def run(self, job: Job) -> Ran:
        """How a job ended; raises SandboxError where there is no sandbox, InfraError when it broke down three
        times."""
        return self._try(job)[0]

    def run_pair(self, first: Job, second: Job) -> tuple[Ran, Ran]:
        """How two jobs ended, each with the other's outbox as its inbox; raises like `run`."""
        one, other = self._try(first, second)
        return one, other

    def close(self) -> None:
        """Ends all boxes."""
        self.threads.shutdown()
        self.starter.shutdown()
        for box in list(self.live):
            self._discard(box)

    def _try(self, *jobs: Job) -> list[Ran]:
        """Runs jobs, and again when their box dies or one is killed: by a machine that is short of memory, or
        by itself."""
        cause = ""
        for left in reversed(range(ATTEMPTS)):
            box = self.idle.get()
            try:
                if box is None:
                    box = self._start()
                rans = box.run(*jobs)
                if not left or not any((ran.ending, ran.code) == ("signal", signal.SIGKILL) for ran in rans):
                    return rans
            except BoxDied as death:
                cause = str(death)
                self._discard(box)
                box = None
            finally:
                self.idle.put(box)
        raise InfraError(f"{cause}, {ATTEMPTS} times")

    def _start(self) -> Box:
        """A new box, started by a thread that lives on: a box dies with the thread that started it."""
        box = self.starter.submit(lambda: Box(self.limits, protected(self.limits))).result()
        self.live.add(box)
        return box

    def _discard(self, box: Box | None) -> None:
        if box is not None:
            self.live.discard(box)
            box.close()


def check(limits: Sandbox) -> None:
    """Raises SandboxError, with cause and remedy, where programs cannot be run."""
    protected(limits)


@cache
def protected(limits: Sandbox) -> bool:
    """True when a box here holds; False when it does not and the recipe wants programs run all the same."""
    try:
        prove(limits)
        return True
    except (SandboxError, BoxDied) as failure:
        if not limits.unsafe_local and isinstance(failure, BoxDied):
            raise SandboxError(f"programs cannot be run here: {failure}. Remedy: {REMEDY}") from None
        if not limits.unsafe_local:
            raise
        what = "UNPROTECTED: programs of the model run with your rights on this machine, because %s"
        log.warning(what, failure)
        return False


SELF_TEST = """
import json, os, socket, time
found = {"token": TOKEN}
try:
    socket.create_connection(("127.0.0.1", PORT), 1).close()
    found["network"] = True
except OSError:
    pass
if os.path.exists(FILE):
    found["file"] = True
children = 0
try:
    for _ in range(PROCESSES + 8):
        if os.fork() == 0:
            time.sleep(60)
        children += 1
    found["processes"] = children
except OSError:
    pass
print(json.dumps(found))
"""


def prove(limits: Sandbox) -> None:
    """Runs a program that tries what it must not be able to do; raises SandboxError or BoxDied."""
    token = os.urandom(8).hex()
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.NamedTemporaryFile() as file:
        facts = (token, listener.getsockname()[1], file.name, limits.processes)
        source = f"TOKEN, PORT, FILE, PROCESSES = {facts!r}\n{SELF_TEST}"
        box = Box(limits)
        try:
            (ran,) = box.run(Job("stdio", {"source": source}))
        finally:
            box.close()
    found = json.loads(ran.stdout or b"{}")
    if found != {"token": token}:
        ended = f"it ended by {ran.ending} {ran.code}: {ran.stderr.decode(errors='replace')}"
        what = f"a program in it got {found}" if found else ended
        raise SandboxError(
            f"programs cannot be run here: the sandbox does not hold, {what}. Remedy: {REMEDY}"
        )


_opening = threading.Lock()


def boxes(limits: Sandbox, workers: int | None = None) -> Boxes:
    """The boxes of this process for these limits (workers None: one for each core)."""
    with _opening:
        return _boxes(limits, workers or len(os.sched_getaffinity(0)))


@cache
def _boxes(limits: Sandbox, workers: int) -> Boxes:
    opened = Boxes(limits, workers)
    atexit.register(opened.close)
    _open.append(opened)
    return opened


_open: list[Boxes] = []


def _forget() -> None:
    """Leaves the boxes to the parent: a forked child neither uses them nor keeps them alive."""
    for opened in _open:
        atexit.unregister(opened.close)
        for box in opened.live:
            box.forget()
    _open.clear()
    _boxes.cache_clear()


os.register_at_fork(after_in_child=_forget)
