"""A model in a child process: its memory is free again when the engine is closed, and the parent never imports torch.

The child starts with the first call of `complete`, and holds at most `concurrency` requests that it has not finished. A call
that is left before its end takes the child with it; the next call starts a new one. Nothing is retried here.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

from distill.engines import Completion, EngineError, Request
from distill.engines.transformers.wire import Settings, send
from distill.recipe.dataset import Sampling, Teacher

ROOT = Path(__file__).parents[3]
DEFAULTS = {"DO_NOT_TRACK": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""The child's environment unless the person set something else. OpenMP threads that spin while they wait for a core that is busy
elsewhere (judges run beside a teacher) made a CPU teacher 1.7 times slower."""
LOG_LINES = 25
"""Lines of the child's log that an error shows."""
LOOK_SECONDS = 0.25
"""Between looks for requests while the child has nothing to do."""
CLOSE_SECONDS = 15.0
"""What an idle child may take to end by itself."""


class LocalEngine:
    """The `transformers` engine, seen from the parent."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.opens_thinking: bool | None = None
        """Whether the chat template itself opens `<think>` (then completions have a closing tag only); known after the start."""
        self._child: Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, in the order in which they finish; one call at a time, others wait."""
        if sampling.top_k is not None or sampling.min_p is not None:
            raise EngineError("the transformers engine has no top_k and no min_p: unset them, or set teacher.engine to vllm or server")
        with self._lock:
            finished = False
            try:
                yield from self._stream(self._started(), iter(requests), sampling)
                finished = True
            finally:
                if not finished and self._child is not None:
                    self._child.kill()
                    self._child = None

    def _started(self) -> "Child":
        if self._child is None:
            told = settings(self.teacher)
            self._child = Child([sys.executable, "-m", "distill.engines.transformers.worker"], f"transformers teacher {self.teacher.model}")
            self._child.send("open", {"settings": told})
            self.opens_thinking = self._child.receive()["opens_thinking"]
        return self._child

    def _stream(self, child: "Child", requests: Iterator[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """Gives the child a request for each place that is free; a None ends one look for requests, not the call."""
        child.send("begin", {"sampling": {"temperature": sampling.temperature, "top_p": sampling.top_p}})
        free, ended = self.teacher.concurrency, False
        while True:
            if not ended:
                batch: list[dict[str, Any]] = []
                for request in islice(requests, free):
                    if request is None:
                        break
                    batch.append(as_row(request))
                else:
                    ended = len(batch) < free
                if batch:
                    child.send("requests", {"requests": batch})
                    free -= len(batch)
                if ended:
                    child.send("end", {})
                elif free == self.teacher.concurrency:
                    time.sleep(LOOK_SECONDS)
                    continue
            message = child.receive()
            if message["kind"] == "done":
                return
            free += len(message["completions"])
            for completion in message["completions"]:
                yield Completion(model=self.teacher.model, **completion)


class Child:
    """A worker process with its two pipes and its log."""

    def __init__(self, command: list[str], name: str) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `kill`)
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
                encoding="utf-8",
                start_new_session=True,
                env={**DEFAULTS, **os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": module_path()},
            )
        except OSError as error:
            self.log.close()
            raise EngineError(f"{name}: cannot start {command[0]}: {error.strerror}") from error

    def send(self, kind: str, values: dict[str, Any]) -> None:
        """Sends one message; EngineError when the child is dead."""
        try:
            send(_pipe(self.process.stdin), kind, values)
        except BrokenPipeError:
            self._died()

    def receive(self) -> dict[str, Any]:
        """The child's next message; EngineError when it is dead or cannot go on."""
        line = _pipe(self.process.stdout).readline()
        if not line.endswith("\n"):
            self._died()
        message: dict[str, Any] = json.loads(line)
        if message["kind"] == "fatal":
            raise EngineError(f"{self.name}: {message['cause']}" + (f"\n{self.tail()}" if message["see_log"] else ""))
        return message

    def close(self) -> None:
        """Lets an idle child end by itself, then ends what is left of it."""
        with suppress(BrokenPipeError):
            _pipe(self.process.stdin).close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(CLOSE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Ends the child with all processes that it started, and waits until its memory is free."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with suppress(BrokenPipeError):
            _pipe(self.process.stdin).close()
        _pipe(self.process.stdout).close()
        self.log.close()

    def tail(self) -> str:
        """The last lines that the child or its libraries printed."""
        size = os.fstat(self.log.fileno()).st_size
        text = os.pread(self.log.fileno(), 16384, max(0, size - 16384)).decode("utf-8", "replace")
        return "\n".join(text.strip().splitlines()[-LOG_LINES:])

    def _died(self) -> NoReturn:
        """Says how the child ended, with the end of its log."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(CLOSE_SECONDS)
        code = self.process.returncode
        if code == -signal.SIGKILL:
            ending = "was killed, most likely for want of memory: lower teacher.concurrency or teacher.context_tokens, then run again"
        elif "out of memory" in self.tail().lower():
            ending = "ran out of memory: lower teacher.concurrency or teacher.context_tokens, then run again"
        else:
            ending = f"ended with code {code}: see the cause below; finished completions are kept, so run again when it is removed"
        raise EngineError(f"{self.name}: its process {ending}\n{self.tail()}")


def module_path() -> str:
    """The path on which a child finds this package, also where it is not installed."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def settings(teacher: Teacher) -> dict[str, Any]:
    """What the worker is told of the teacher."""
    return {field.name: getattr(teacher, field.name) for field in fields(Settings)} | {"model": model_name(teacher)}


def model_name(teacher: Teacher) -> str:
    """The folder of a local model, looked for here and in the project's root, or its hub id."""
    for folder in (Path(teacher.model).expanduser(), ROOT / teacher.model):
        if folder.is_dir():
            return str(folder.resolve())
    if teacher.model.startswith((".", "/", "~")) or teacher.model.count("/") > 1:
        raise EngineError(
            f"{teacher.engine} teacher: no model folder {teacher.model}; write the path of a folder or a hub id such as org/name"
        )
    return teacher.model


def as_row(request: Request) -> dict[str, Any]:
    """What the worker needs of a request."""
    turns = [(message.role, message.content) for message in request.messages]
    return {"key": request.key, "messages": turns, "prefill": request.prefill, "max_tokens": request.max_tokens, "seed": request.seed}


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
