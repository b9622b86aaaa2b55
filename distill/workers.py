"""Child processes: started, spoken to in lines of JSON, and ended with all that they started.

A child leads a process group of its own, so a signal from the keyboard is its parent's affair. Its standard
output carries messages only; what it or its libraries print goes to a log. It ends soon after its parent,
however that ended, when it calls `begin` or `end_with_parent`. What a message means, and what follows a
death, is for the caller to say.
"""

import json
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

ROOT = Path(__file__).parents[1]
LOG_BYTES = 65_536
DIE_SECONDS = 15.0
"""What a child may take to end after it has closed its standard output."""
LOOK_SECONDS = 1.0
"""Between looks whether the parent is there."""
PARENT = "DISTILL_PARENT"
"""Variable of a child's environment with the id of the process that it ends with."""

Say = Callable[..., None]
"""`say(kind, **values)` sends a message."""


class ChildError(Exception):
    """A child has ended, or has not answered in time."""

    def __init__(self, cause: str, code: int | None = None) -> None:
        super().__init__(cause)
        self.code = code
        """Exit code, or minus the signal; None when the child has not ended."""


class Child:
    """A process with two pipes and a log; OSError when its command cannot be started."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        log: Path | None = None,
        speaks: bool = True,
        descriptors: Sequence[int] = (),
    ) -> None:
        """`log` is appended to (None: a temporary file); a child that does not speak has its standard output
        in its log."""
        self.log: BinaryIO = tempfile.TemporaryFile() if log is None else open(log, "a+b")  # noqa: SIM115
        self._rest = b""
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if speaks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if speaks else self.log,
                stderr=self.log,
                env={**environment, PARENT: str(os.getpid())},
                pass_fds=descriptors,
                start_new_session=True,
            )
        except OSError:
            self.log.close()
            raise

    def send(self, kind: str, **values: object) -> None:
        """Sends a message; ChildError when the child has ended."""
        self.write(json.dumps({"kind": kind, **values}))

    def write(self, line: str) -> None:
        """Sends a line; ChildError when the child has ended."""
        pipe = cast(IO[bytes], self.process.stdin)
        try:
            pipe.write(line.encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """The next message; ChildError when the child has ended or says nothing for so long."""
        line = self.line(seconds)
        if not line:
            raise self._ended()
        message: dict[str, Any] = json.loads(line)
        return message

    def line(self, seconds: float | None = None) -> bytes:
        """The next line of standard output; nothing at its end, where half a line is dropped."""
        descriptor = cast(IO[bytes], self.process.stdout).fileno()
        deadline = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        while b"\n" not in self._rest:
            if deadline is not None and not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ChildError(f"no answer in {seconds:.0f} s")
            received = os.read(descriptor, 1 << 16)
            if not received:
                return b""
            self._rest += received
        line, _, self._rest = self._rest.partition(b"\n")
        return line + b"\n"

    def tail(self, lines: int) -> list[str]:
        """The last lines of the log."""
        return read_end(self.log).strip().splitlines()[-lines:]

    def close(self, seconds: float) -> None:
        """Lets the child end by itself for so long, then ends what is left of it."""
        self.end_input(seconds)
        self.kill()

    def end_input(self, seconds: float) -> None:
        """Ends the child's standard input, waits so long for it to end by itself, and kills it when it does
        not."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):  # closing flushes what a dead child never read
                self.process.stdin.close()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """Ends the child and its process group now, and waits until its memory is free."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _ended(self) -> ChildError:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(DIE_SECONDS)
        code = self.process.returncode
        name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return ChildError(f"the process ended with {name}", code)


def environment() -> dict[str, str]:
    """This process's environment, with this package on the path of a child, also where it is not
    installed."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def read_end(log: BinaryIO) -> str:
    """The end of a log, LOG_BYTES at most."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), LOG_BYTES, max(0, size - LOG_BYTES)).decode("utf-8", "replace")


def begin() -> Say:
    """In a child: takes standard output for messages alone, ends with the parent, and gives what sends a
    message."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    end_with_parent()

    def say(kind: str, **values: object) -> None:
        out.write(json.dumps({"kind": kind, **values}) + "\n")
        out.flush()

    return say


def end_with_parent(grace_seconds: float = 0.0) -> None:
    """In a child: ends it, with its group if it leads one, when the process that started it is gone.

    With a grace it gets SIGTERM first. Standard input is no sign of life, because what the parent forked may
    hold the pipe open; nor is the signal that Linux sends (PR_SET_PDEATHSIG), which comes when the *thread*
    that started a child ends.
    """
    parent = int(os.environ.get(PARENT) or os.getppid())
    direct = os.getppid() == parent  # else a launcher stands between the two, or the parent is gone

    def there() -> bool:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            return False
        return os.getppid() == parent or not direct

    def watch() -> None:
        while there():
            time.sleep(LOOK_SECONDS)
        if grace_seconds:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace_seconds)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
