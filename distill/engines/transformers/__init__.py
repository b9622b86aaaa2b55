"""A model in a child process: its memory is free again when the engine is closed, and the parent never
imports torch.

The child starts with the first call of `complete`, and holds at most `concurrency` requests that it has not
finished. A call that is left before its end takes the child with it; the next call starts a new one. Nothing
is retried here.
"""

import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, Self

from distill import workers
from distill.engines.protocol import Completion, EngineError, Request
from distill.engines.transformers.worker import Settings
from distill.recipe import Sampling, Teacher
from distill.workers import ROOT

DEFAULTS = {"DO_NOT_TRACK": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""The child's environment unless the person set something else. OpenMP threads that spin while they wait for
a core that is busy elsewhere (judges run beside a teacher) made a CPU teacher 1.7 times slower."""
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
        """Whether the chat template itself opens `<think>`; None before the start."""
        self._child: workers.Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close(CLOSE_SECONDS)

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, as they finish; one call at a time, others wait."""
        if sampling.top_k is not None or sampling.min_p is not None:
            raise EngineError(
                "the transformers engine has no top_k and no min_p: unset them, or set teacher.engine to "
                "vllm or server"
            )
        with self._lock:
            finished = False
            try:
                yield from self._stream(self._started(), iter(requests), sampling)
                finished = True
            except workers.ChildError as error:
                raise self._death(error) from error
            finally:
                if not finished and self._child is not None:
                    self._child.kill()
                    self._child = None

    def drain(self) -> None:
        """Nothing is ever tried again here."""

    def _started(self) -> workers.Child:
        if self._child is None:
            told = {field.name: getattr(self.teacher, field.name) for field in fields(Settings)}
            told["model"] = model_name(self.teacher)
            command = [sys.executable, "-m", "distill.engines.transformers.worker"]
            try:
                self._child = workers.Child(command, {**DEFAULTS, **workers.environment()})
            except OSError as error:
                raise EngineError(f"{self._name}: cannot start {command[0]}: {error.strerror}") from error
            self._child.send("open", settings=told)
            self.opens_thinking = self._receive(self._child)["opens_thinking"]
        return self._child

    def _stream(
        self, child: workers.Child, requests: Iterator[Request | None], sampling: Sampling
    ) -> Iterator[Completion]:
        """Gives the child a request for each free place; a None ends one look for requests, not the call."""
        child.send("begin", sampling={"temperature": sampling.temperature, "top_p": sampling.top_p})
        free, ended = self.teacher.concurrency, False
        while True:
            if not ended:
                asked: list[Request] = []
                for request in islice(requests, free):
                    if request is None:
                        break
                    asked.append(request)
                else:
                    ended = len(asked) < free
                if asked:
                    rows = [
                        {name: getattr(one, name) for name in ("key", "prefill", "max_tokens", "seed")}
                        | {"messages": [(message.role, message.content) for message in one.messages]}
                        for one in asked
                    ]
                    child.send("requests", requests=rows)
                    free -= len(rows)
                if ended:
                    child.send("end")
                elif free == self.teacher.concurrency:
                    time.sleep(LOOK_SECONDS)
                    continue
            message = self._receive(child)
            if message["kind"] == "done":
                return
            free += len(message["completions"])
            for completion in message["completions"]:
                yield Completion(model=self.teacher.model, **completion)

    @property
    def _name(self) -> str:
        return f"transformers teacher {self.teacher.model}"

    def _receive(self, child: workers.Child) -> dict[str, Any]:
        """The child's next message; EngineError when it cannot go on."""
        message = child.receive()
        if message["kind"] == "fatal":
            log = ["", *child.tail(LOG_LINES)] if message["see_log"] else []
            raise EngineError(f"{self._name}: {message['cause']}" + "\n".join(log))
        return message

    def _death(self, error: workers.ChildError) -> EngineError:
        """Says how the child ended, with the end of its log."""
        log = "\n".join(self._child.tail(LOG_LINES)) if self._child else ""
        lower = "lower teacher.concurrency or teacher.context_tokens, then run again"
        if error.code == -signal.SIGKILL:
            ending = f"was killed, most likely for want of memory: {lower}"
        elif "out of memory" in log.lower():
            ending = f"ran out of memory: {lower}"
        else:
            kept = "finished completions are kept, so run again when it is removed"
            ending = f"ended with code {error.code}: see the cause below; {kept}"
        return EngineError(f"{self._name}: its process {ending}\n{log}")


def model_name(teacher: Teacher) -> str:
    """The folder of a local model, looked for here and in the project's root, or its hub id."""
    for folder in (Path(teacher.model).expanduser(), ROOT / teacher.model):
        if folder.is_dir():
            return str(folder.resolve())
    if teacher.model.startswith((".", "/", "~")) or teacher.model.count("/") > 1:
        raise EngineError(
            f"{teacher.engine} teacher: no model folder {teacher.model}; write the path of a folder or a hub "
            "id such as org/name"
        )
    return teacher.model
