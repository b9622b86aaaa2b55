"""Jobs, what comes of them, and the parent's side of their runs: what is handed to the box, and reading what
comes back within hard bounds. Nothing here decides about right and wrong."""

import contextlib
import fcntl
import json
import os
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill.recipe import Sandbox

STDERR_BYTES = 4000
GRACE_SECONDS = 60.0
"""Wall seconds that a supervisor gets beyond its own wall limit before the box counts as dead."""
LOAD_FACTOR = 20.0
"""The supervisor's wall seconds for each second of a program (`inside/accounting.py`)."""


class SandboxError(RuntimeError):
    """There is no working sandbox here; the message names the cause and the remedy. Nothing was run."""


class InfraError(RuntimeError):
    """The sandbox itself broke down, three times, during a job: that says nothing about the program."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a program in a process, a file system and a process space of its own."""

    program: str
    """Name of a module in `distill/sandbox/inside/` that has `main(data, result, inbox, outbox)`."""
    data: dict[str, Any]
    """JSON data for it: the model's code, arguments; never an expected output next to model-written code."""
    stdin: bytes = b""
    waits_for_peer: bool = False
    """True for a program that waits for the other one of a pair: its seconds asleep count only while the
    other one sleeps too."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a job ended."""

    ending: str
    """`"exit"`, `"signal"`, `"timeout"`, `"memory"` or `"output"` (wrote more than it may)."""
    code: int
    """Exit status or signal number; 0 for the other endings."""
    stdout: bytes
    stderr: bytes
    """Its last 4,000 bytes."""
    result: bytes
    """What it wrote to its result channel. Model-written code can write there too: these are its claims, in
    no way a verdict."""
    seconds: float
    """CPU seconds plus seconds asleep."""


class BoxDied(Exception):
    """A box ended or fell silent during a run."""


class Run:
    """One job under way: `theirs` are the descriptors that go to the box, `streams` those that are read
    here."""

    def __init__(self, job: Job, side: int) -> None:
        self.order = {"program": job.program, "side": side, "waits_for_peer": job.waits_for_peer}
        self.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.streams: dict[int, str] = {}
        self.received = {"stdout": bytearray(), "stderr": bytearray(), "result": bytearray()}
        self.total = dict.fromkeys(self.received, 0)
        self.report: dict[str, Any] | None = None
        self.theirs = [control.detach(), sealed(job.stdin)]
        for name in self.received:
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            os.fchmod(writer, 0o622)  # or `/dev/stdout` opens to this user alone
            self.streams[reader] = name
            self.theirs.append(writer)
        self.theirs.append(sealed(json.dumps(job.data).encode()))

    def hand_over(self) -> None:
        """Closes what the box now holds."""
        while self.theirs:
            os.close(self.theirs.pop())

    def close(self) -> None:
        """Closes everything; a run that is still going on is ended by its supervisor."""
        self.hand_over()
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)  # a forked child of this process may hold a copy
        self.control.close()
        for reader in self.streams:
            os.close(reader)
        self.streams.clear()

    def read(self, reader: int, limit: int) -> bool:
        """Takes some of what a stream has, False when it has nothing; past the limit the program is
        stopped."""
        try:
            received = os.read(reader, 1 << 16)
        except BlockingIOError:
            return False
        if not received:
            os.close(reader)
            del self.streams[reader]
            return False
        name = self.streams[reader]
        buffer = self.received[name]
        self.total[name] += len(received)
        buffer += received
        if name == "stderr":
            del buffer[:-STDERR_BYTES]
        if self.total[name] > limit:
            del buffer[limit:]
            with contextlib.suppress(OSError):
                # a message that the supervisor leaves unread would cost us its report
                self.control.shutdown(socket.SHUT_WR)
        return True

    def take_report(self, limit: int) -> None:
        """Takes the supervisor's word that the program has ended, and what is left in the streams."""
        try:
            said = self.control.recv(1 << 16)
        except OSError:
            said = b""
        self.report = json.loads(said) if said else {"failed": "its supervisor died"}
        if "failed" in self.report:
            raise BoxDied(f"a run could not be set up or watched: {self.report['failed']}")
        for reader, name in list(self.streams.items()):
            while reader in self.streams and self.total[name] <= limit and self.read(reader, limit):
                pass

    def ran(self) -> Ran:
        assert self.report is not None
        streams = {name: bytes(buffer) for name, buffer in self.received.items()}
        return Ran(self.report["ending"], self.report["code"], **streams, seconds=self.report["seconds"])


def prepare(jobs: Sequence[Job], stack: contextlib.ExitStack) -> list[Run]:
    """Runs that are ready to be ordered, the two of a pair connected; the stack closes them."""
    prepared = []
    for side, job in enumerate(jobs):
        prepared.append(Run(job, side))
        stack.callback(prepared[-1].close)
    if len(prepared) == 2:  # inbox, outbox, and the page on which the supervisors tell each other who sleeps
        to_second, from_first = os.pipe()
        to_first, from_second = os.pipe()
        bell = os.memfd_create("bell", os.MFD_CLOEXEC)
        os.truncate(bell, 2)
        prepared[0].theirs += [to_first, from_first, bell]
        prepared[1].theirs += [to_second, from_second, os.dup(bell)]
    return prepared


def drive(running: Sequence[Run], limits: Sandbox) -> None:
    """Reads all streams until every run has its report; raises BoxDied."""
    limit = limits.output_mb << 20
    deadline = time.monotonic() + LOAD_FACTOR * limits.timeout_seconds + GRACE_SECONDS
    waiting = list(running)
    while waiting:
        poll = select.poll()
        for run in waiting:
            for descriptor in [run.control.fileno(), *run.streams]:
                poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
        if not ready:
            raise BoxDied("a run never ended")
        for run in waiting:
            for reader in [one for one in run.streams if one in ready]:
                run.read(reader, limit)
            if run.control.fileno() in ready:
                run.take_report(limit)
        waiting = [run for run in waiting if run.report is None]


def sealed(content: bytes) -> int:
    """A read-only file in memory that holds the content."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
