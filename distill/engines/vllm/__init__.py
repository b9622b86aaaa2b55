"""The `vllm` engine: `vllm serve` processes of our own on loopback, and a client that speaks to them.

The servers start with the first request. Engines with the same settings share them; inside `kept()` they stay
up for the next such engine, because a start takes a minute or more, and are ended when another model is asked
for. A completion may depend on the batch that it came in. Control tokens that a question spells out are read
as control tokens: vLLM's chat endpoint has no option against it.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distill.engines import STOPPED, Completion, EngineError, Request
from distill.engines.server import LOOK_SECONDS, ServerEngine
from distill.engines.transformers import model_name
from distill.engines.vllm.arguments import hides_tags
from distill.engines.vllm.processes import ENDED, KEY, Servers
from distill.recipe.dataset import Sampling, Teacher

SERVED = {
    *(
        "model",
        "revision",
        "dtype",
        "trust_remote_code",
        "concurrency",
        "context_tokens",
        "tensor_parallel",
        "replicas",
    ),
    *("engines_per_gpu", "reasoning_parser", "serve_options"),
}
"""The settings of a teacher that its servers are started with."""
DOWN = "vllm has stopped; everything finished is saved, so see why and run the same command again"


@dataclass(slots=True)
class _Shelf:
    """The servers that are up, by their settings, and how many engines use each."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    servers: dict[str, Servers] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    keepers: int = 0
    """Blocks of `kept()` that are entered."""


_SHELF = _Shelf()


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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._ending.set()
        self._hang_up()
        settings, self._settings = self._settings, ""
        if settings:
            _give_back(settings)

    def drain(self) -> None:
        """Has nothing started and nothing tried again from now on; from any thread."""
        self._ending.set()
        client = self.client  # without the lock, which a start holds
        if client is not None:
            client.drain()

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, as they arrive; the first request starts the servers."""
        asked = iter(requests)
        for first in asked:
            if first is None:
                time.sleep(LOOK_SECONDS)
                continue
            try:
                client = self._started()
                if client is not None:
                    yield from client.complete(chain([first], asked), sampling)
                else:
                    yield Completion(
                        first.key, None, finish_reason="error", model=self.teacher.model, failure=STOPPED
                    )
            except EngineError as error:
                servers = _SHELF.servers.get(self._settings)
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
                    self._failure = None if self._ending.is_set() else error
                    if self._failure is not None:
                        raise
            if self._closed:
                raise EngineError(ENDED)
            if self.client is not None and self._ending.is_set():
                self.client.drain()
            return self.client

    def _start(self) -> ServerEngine:
        self._settings = self._settings or _taken(self.teacher, self._ending)
        servers = _SHELF.servers[self._settings]
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


@contextmanager
def kept() -> Iterator[None]:
    """While the block lasts, servers whose engine was closed stay up for the next engine with the same
    settings."""
    with _SHELF.lock:
        _SHELF.keepers += 1
    try:
        yield
    finally:
        with _SHELF.lock:
            _SHELF.keepers -= 1
            if not _SHELF.keepers:
                _end_idle()


def served(teacher: Teacher) -> str:
    """What decides whether two engines can use the same servers: their settings, and the weights as they are
    on disk."""
    weights = [
        (path.name, path.stat().st_mtime_ns)
        for path in sorted(Path(model_name(teacher)).glob("*.safetensors"))
    ]
    return f"{teacher.model_dump_json(include=SERVED)} {weights}"


def told(teacher: Teacher, urls: tuple[str, ...]) -> Teacher:
    """The teacher as the client sees it."""
    changes: dict[str, Any] = {"engine": "server", "urls": urls, "url_weights": (), "api_key_env": KEY}
    changes |= {"reply_model": None, "max_tokens_field": "max_tokens"}
    if hides_tags(teacher):
        changes["extra_body"] = {"skip_special_tokens": False, **teacher.extra_body}
    return teacher.model_copy(update=changes)


def _taken(teacher: Teacher, ending: threading.Event) -> str:
    """The settings of servers that are up for one more engine: as they were, or in place of idle ones, whose
    memory they may need."""
    settings = served(teacher)
    with _SHELF.lock:
        if not _SHELF.users.get(settings) and not (
            settings in _SHELF.servers and _SHELF.servers[settings].usable()
        ):
            if ending.is_set():
                raise EngineError(ENDED)
            _end_idle()
            _SHELF.servers[settings] = Servers(teacher, ending)
        _SHELF.users[settings] = _SHELF.users.get(settings, 0) + 1
    return settings


def _give_back(settings: str) -> None:
    """Ends servers that nobody uses any more, unless they are kept."""
    with _SHELF.lock:
        _SHELF.users[settings] -= 1
        if not _SHELF.keepers:
            _end_idle()


def _end_idle() -> None:
    """Ends the servers that no engine uses; the caller holds the lock."""
    for settings in [settings for settings, users in _SHELF.users.items() if not users]:
        del _SHELF.users[settings]
        _SHELF.servers.pop(settings).stop()
