"""The client of the `vllm` engine's servers.

- The servers start with the first request. Engines with the same settings share them; inside `kept()` they
  stay up for the next such engine, because a start takes a minute or more.
- A completion may depend on the batch that it came in. Control tokens that a question spells out are read as
  control tokens: vLLM's chat endpoint has no option against it.
"""

import threading
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Self

from distill.engines.protocol import STOPPED, Completion, EngineError, Request, failed, waited_for
from distill.engines.server import LOOK_SECONDS, ServerEngine
from distill.engines.vllm.arguments import hides_tags
from distill.engines.vllm.processes import ENDED, KEY, RUNNING
from distill.recipe import Sampling, Teacher

DOWN = "vllm has stopped; everything finished is saved, so see why and run the same command again"


class VllmEngine:
    """Completes requests with servers of its own; a context manager, usable from several threads."""

    def __init__(self, teacher: Teacher) -> None:
        if teacher.dtype == "float64":
            raise EngineError(
                "vllm has no float64: set teacher.dtype to auto, bfloat16 or float32, or teacher.engine to "
                "transformers"
            )
        self.teacher = teacher
        self.client: ServerEngine | None = None
        """The client of the servers, once they are up."""
        self._settings = ""
        self._lock = threading.Lock()
        self._failure: EngineError | None = None
        """Why the start failed: it is not tried again."""
        self._ending = threading.Event()
        """No start is begun any more, and one that is under way ends."""
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._ending.set()
        self._hang_up()
        settings, self._settings = self._settings, ""
        if settings:
            RUNNING.give_back(settings)

    def drain(self) -> None:
        """Has nothing started and nothing tried again from now on; from any thread."""
        self._ending.set()
        client = self.client  # without the lock, which a start holds
        if client is not None:
            client.drain()

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, as they arrive; the first request starts the servers."""
        asked = iter(requests)
        for first in waited_for(asked, LOOK_SECONDS):
            try:
                client = self._started()
                if client is not None:
                    yield from client.complete(chain([first], asked), sampling)
                else:
                    yield failed(first.key, STOPPED, self.teacher.model)
            except EngineError as error:
                servers = RUNNING.by_settings.get(self._settings)
                if servers is None:
                    raise
                cause = str(error) if servers.usable() else DOWN
                raise EngineError(f"{cause}\n{servers.tell_tail()}") from error

    def _started(self) -> ServerEngine | None:
        """The client, with servers that are up; None when none is started any more."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self.client is None and not self._ending.is_set():
                try:
                    self.client = self._start()
                except EngineError as error:
                    if not self._ending.is_set():
                        self._failure = error
                        raise
            if self._closed:
                raise EngineError(ENDED)
            if self.client is not None and self._ending.is_set():
                self.client.drain()
            return self.client

    def _start(self) -> ServerEngine:
        self._settings = self._settings or RUNNING.take(self.teacher, self._ending)
        servers = RUNNING.by_settings[self._settings]
        servers.on_end.append(self._hang_up)
        if not servers.usable():
            raise EngineError(DOWN)
        return ServerEngine(told(self.teacher, servers.urls)).__enter__()

    def _hang_up(self) -> None:
        """Closes the client, which ends the calls that wait for a completion."""
        with self._lock:
            client, self.client = self.client, None
        if client is not None:
            client.__exit__(None, None, None)


def told(teacher: Teacher, urls: tuple[str, ...]) -> Teacher:
    """The teacher as the client sees it."""
    changes: dict[str, Any] = {"engine": "server", "urls": urls, "url_weights": (), "api_key_env": KEY}
    changes |= {"reply_model": None, "max_tokens_field": "max_tokens"}
    if hides_tags(teacher):
        changes["extra_body"] = {"skip_special_tokens": False, **teacher.extra_body}
    return teacher.model_copy(update=changes)
