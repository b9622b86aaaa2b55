"""A teacher behind one or several OpenAI-compatible servers: vLLM, SGLang, llama.cpp, a provider's API.

Completions are asked without streaming, at most `concurrency` at a time, each at the server with the least to do. What may
pass by itself (no connection, 429, 5xx, an unreadable reply) is tried again after a jittered wait that doubles; when the
tries are used up the completion is a typed failure. What will not pass (refused key, unknown model) stops the run at once,
and so does a teacher that only fails. A reply that was lost on its way back is asked, and paid for, again. Redirects are
not followed and proxies are not used; the API key is sent to the configured servers only and written nowhere.
"""

import asyncio
import json
import logging
import os
import queue
import random
import threading
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from distill.engines import Completion, EngineError, Request, chat_completions
from distill.recipe import Sampling, Teacher

LONGEST_WAIT_SECONDS = 60.0
CONNECT_SECONDS = 30.0
KEEPALIVE_SECONDS = 4.0  # below uvicorn's 5 s: a connection that the server is about to close is not used again
FAILURES_IN_A_ROW = 32
DEAR = ("timeout", "null_content", "empty")  # failures that cost a whole completion each time
DEAR_RETRIES = 2
FREE = ("http_429", "no_connection")  # failures that use up no try while other requests get through
REMEDIES = {
    401: "the API key was refused: put a valid one into the environment variable that teacher.api_key_env names",
    402: "the account has no credit left: add some, then run the same command again",
    403: "this key may not use the model: correct teacher.model, or ask for access",
    404: "there is no such model or address: correct teacher.model, or teacher.urls (they usually end in /v1)",
}

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Server:
    """One address: how many requests it has, and until when it is left alone (loop time)."""

    url: URL
    busy: int = 0
    rests_until: float = 0.0
    unreachable: int = 0
    """Rests since it was last reached."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """What one try brought: a completion, or a failed one with whether and when to try again."""

    completion: Completion
    again: bool = False
    rest_seconds: float = 0.0
    detail: str = ""


class ServerEngine:
    """Completes requests at OpenAI-compatible servers; a context manager, usable from several threads."""

    def __init__(self, teacher: Teacher, first_wait_seconds: float = 1.0) -> None:
        """Reads the key and checks the addresses; raises EngineError when one of them cannot be used."""
        self._teacher = teacher
        self._first_wait_seconds = first_wait_seconds
        self._key = _api_key(teacher)
        self._servers = [_Server(_endpoint(url)) for url in teacher.urls]
        self._served = 0
        self._failed_in_a_row = 0
        self._kinds_logged: set[str] = set()

    def __enter__(self) -> "ServerEngine":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="distill-server-engine", daemon=True)
        self._thread.start()
        self._wait_for(self._open())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._wait_for(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def complete(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, as they arrive; takes no more requests than it can soon send."""
        arrived: queue.SimpleQueue[Future[Completion]] = queue.SimpleQueue()
        pending: set[Future[Completion]] = set()
        waiting = iter(requests)
        try:
            while True:
                while len(pending) < 2 * self._teacher.concurrency and (request := next(waiting, None)) is not None:
                    future = asyncio.run_coroutine_threadsafe(self._one(request, sampling), self._loop)
                    pending.add(future)
                    future.add_done_callback(arrived.put)
                if not pending:
                    return
                done = arrived.get()
                pending.remove(done)
                yield done.result()
        finally:
            for future in pending:
                future.cancel()

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        self._slots = asyncio.Semaphore(self._teacher.concurrency)
        total = self._teacher.timeout_seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=min(CONNECT_SECONDS, total)),
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
        )

    async def _close(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def _one(self, request: Request, sampling: Sampling) -> Completion:
        """A completion or a typed failure, after as many tries as it takes; raises EngineError when the teacher is gone."""
        async with self._slots:
            body = json.dumps(chat_completions.body(request, self._teacher, sampling)).encode()
            served_before = served = self._served
            failed = waits = 0
            while True:
                reply = await self._try(request.key, body)
                failure = reply.completion.failure
                if failure is None:
                    self._served += 1
                    self._failed_in_a_row = 0
                    return reply.completion
                if failure not in FREE or self._served == served:
                    failed += 1
                if not reply.again or failed > _retries(failure, self._teacher.max_retries):
                    self._give_up(failure, reply.detail, alone=self._served == served_before)
                    return reply.completion
                served = self._served
                await asyncio.sleep(self._wait_seconds(waits))
                waits += 1

    def _give_up(self, failure: str, detail: str, alone: bool) -> None:
        """Notes a failed completion; raises EngineError when it shows that the teacher itself is gone."""
        self._failed_in_a_row += 1
        if failure == "no_connection" and alone:
            raise EngineError(f"no server answers: {detail}; start it or correct teacher.urls, then run the same command again")
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            row = f"{self._failed_in_a_row} completions in a row failed, the last with {failure}"
            raise EngineError(f"{row}: {detail}; see to the server or the recipe, then run the same command again")
        if failure not in self._kinds_logged:
            self._kinds_logged.add(failure)
            log.warning("a completion failed with %s (further ones are not told): %s", failure, detail)

    async def _try(self, key: str, body: bytes) -> _Reply:
        """One request at the least busy server, once that one may be asked; one that could not be reached is tried late."""
        now = self._loop.time()
        server = min(self._servers, key=lambda server: (max(0.0, server.rests_until - now), server.busy + server.unreachable))
        server.busy += 1
        try:
            if server.rests_until > now:
                await asyncio.sleep(server.rests_until - now + random.uniform(0.0, self._first_wait_seconds))
            reply = await self._post(server.url, key, body)
        finally:
            server.busy -= 1
        self._rest(server, reply)
        return reply

    def _rest(self, server: _Server, reply: _Reply) -> None:
        """Leaves a server alone for as long as it asked for, or ever longer while it cannot be reached."""
        now = self._loop.time()
        server.rests_until = max(server.rests_until, now + reply.rest_seconds)
        if reply.completion.failure != "no_connection":
            server.unreachable = 0
        elif server.rests_until <= now:  # of all requests that found it gone together, one counts
            server.rests_until = now + self._wait_seconds(server.unreachable)
            server.unreachable += 1

    def _wait_seconds(self, waits: int) -> float:
        """The next wait: they double up to a minute, with jitter so that requests do not come back as a herd."""
        return float(min(self._first_wait_seconds * 2.0 ** min(waits, 30), LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1.0))

    async def _post(self, url: URL, key: str, body: bytes) -> _Reply:
        try:
            async with self._session.post(url, data=body, allow_redirects=False) as response:
                text = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            return self._failed(key, "no_connection", f"{_shown(url)}: {error}")
        except aiohttp.ClientError as error:
            return self._failed(key, "broken_connection", f"{_shown(url)}: {error or type(error).__name__}")
        except TimeoutError:
            return self._failed(key, "timeout", f"{_shown(url)}: no completion in {self._teacher.timeout_seconds:g} s")
        if response.status == 200:
            return self._read(key, text)
        return self._refused(key, url, response, text)

    def _refused(self, key: str, url: URL, response: aiohttp.ClientResponse, text: bytes) -> _Reply:
        """A reply that is no 200: a failure, or an EngineError where trying again cannot help."""
        status = response.status
        said = f"{_shown(url)} answered {status} {self._quoted(text)}"
        if status in REMEDIES:
            raise EngineError(f"{REMEDIES[status]}; {said}")
        if 300 <= status < 400:
            raise EngineError(f"{_shown(url)} redirects to another address ({status}): write the final one into teacher.urls")
        again = status >= 500 or status in (408, 425, 429)
        rest = chat_completions.retry_after_seconds(response.headers.get("Retry-After", "")) if again else None
        return self._failed(key, f"http_{status}", said, again, rest or 0.0)

    def _read(self, key: str, text: bytes) -> _Reply:
        """The completion in the body of a good reply; what is none is a failure to try again."""
        try:
            completion = chat_completions.completion(key, json.loads(text), self._teacher.model)
        except (ValueError, RecursionError) as error:
            return self._failed(key, "bad_response", f"{type(error).__name__}: {error} in {self._quoted(text)}")
        return _Reply(completion, again=completion.failure != "content_filter", detail=f"finish_reason {completion.finish_reason}")

    def _failed(self, key: str, failure: str, detail: str, again: bool = True, rest_seconds: float = 0.0) -> _Reply:
        completion = Completion(key, None, finish_reason="error", model=self._teacher.model, failure=failure)
        return _Reply(completion, again, rest_seconds, detail)

    def _quoted(self, text: bytes) -> str:
        """The start of a server's text for a person to read, without the key: servers repeat refused ones."""
        decoded = text.decode(errors="replace")
        return repr((decoded.replace(self._key, "***") if self._key else decoded)[:300])


def _retries(failure: str, max_retries: int) -> int:
    return min(max_retries, DEAR_RETRIES) if failure in DEAR else max_retries


def _api_key(teacher: Teacher) -> str | None:
    if teacher.api_key_env is None:
        return None
    key = os.environ.get(teacher.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise EngineError(f"the environment variable {teacher.api_key_env} holds no API key; set it, or leave out teacher.api_key_env")
    return key


def _endpoint(base: str) -> URL:
    """The address of chat completions under a base URL; its query is kept."""
    try:
        url = URL(base)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise EngineError("an entry of teacher.urls is no http(s) address; write it like http://127.0.0.1:8000/v1")
    if url.user or url.password:
        raise EngineError("an entry of teacher.urls holds a user or password; name the variable with the key in teacher.api_key_env")
    return url.joinpath("chat", "completions").with_query(url.query)


def _shown(url: URL) -> str:
    """An address without its query, which may be secret."""
    return str(url.with_query(None))
