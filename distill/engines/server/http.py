"""One try: posts a request and says what came back. Choosing a server, waiting and trying again are others'
business.

A completion is asked for whole, or in pieces from a server that wants that. An error object in a reply of 200
counts as the status that it names. Redirects are not followed and proxies are not used; the API key goes to
the configured servers only and is written nowhere, whatever a server repeats of it.
"""

import json
import logging
import os
import resource
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from distill.engines.protocol import Completion, EngineError, failed
from distill.engines.server import errors, wire_format
from distill.engines.server.errors import Fate, Way
from distill.engines.server.stream import Stream, is_stream
from distill.recipe import Teacher
from distill.text import endings

CONNECT_SECONDS = 30.0
LOOK_SECONDS = 5.0
CONTROL_SECONDS = 60.0
KEEPALIVE_SECONDS = 4.0  # below uvicorn's 5 s, or a connection that is about to be closed is used again
OTHER_FILES = 1024
"""Files that this process may have open besides the connections."""

log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """One try, as far as its reply depends on it."""

    url: URL
    key: str = ""
    """Of the request; empty for the question of one token."""
    way: Way = "whole"
    max_tokens: int | None = None
    """What its body allows, for a completion that may be cut."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one try brought: a completion, good or failed, and what to make of it."""

    completion: Completion
    fate: Fate
    detail: str = ""
    rest_seconds: float = 0.0
    """How long the server asked to be left alone."""
    way: Way | None = None
    """How the server wants to be asked instead."""


class Client:
    """HTTP connections to a teacher's servers; used in one event loop."""

    def __init__(self, teacher: Teacher) -> None:
        """Reads the key; raises EngineError when there is none to read."""
        self.models: Counter[str] = Counter()
        """Completions by the name that the server gave its model."""
        self._teacher = teacher
        self._key = api_key(teacher)
        self._controls = 0
        self._untold = endings.Untold(f"{teacher.model} gives the")

    async def open(self) -> None:
        """Makes the session; `close` follows."""
        # a connection is a file, and many limits begin with 1,024
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self._teacher.concurrency + OTHER_FILES
        if soft != resource.RLIM_INFINITY and soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        total = self._teacher.timeout_seconds
        self._limit = aiohttp.ClientTimeout(total=total, sock_connect=min(CONNECT_SECONDS, total))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
        )

    async def close(self) -> None:
        await self._session.close()

    async def post(self, asked: Asked, body: bytes, seconds: float | None = None) -> Reply:
        """The reply to one request, in so many seconds or the teacher's; raises EngineError when asking on is
        of no use at all."""
        limit = self._limit if seconds is None else aiohttp.ClientTimeout(total=seconds)
        pieces, where = Stream(), shown(asked.url)
        try:
            async with self._session.post(
                asked.url, data=body, allow_redirects=False, timeout=limit
            ) as response:
                if response.status == 200 and "event-stream" in response.headers.get("Content-Type", ""):
                    async for data in response.content.iter_any():
                        pieces.feed(data)
                        if pieces.done or pieces.fault:  # a server may leave the connection open behind it
                            break
                    return self._put_together(asked, pieces, response.headers)
                text = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            return self._failed(asked.key, "no_connection", "gone", f"{where}: {error}")
        except aiohttp.ClientError as error:
            # the text of a ClientResponseError has the query
            words = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
            said = f"{where}: {type(error).__name__} {words}"
            return self._failed(asked.key, "broken_connection", "server", said)
        except TimeoutError:
            said = f"{where}: no completion in {self._teacher.timeout_seconds:g} s"
            return self._failed(asked.key, "timeout", "server", said)
        if response.status != 200:
            return self._refused(asked, response.status, text, response.headers)
        if is_stream(text):
            pieces.feed(text)
            return self._put_together(asked, pieces, response.headers)
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError) as error:
            said = f"{type(error).__name__}: {error} in {self._quoted(text)}"
            return self._failed(asked.key, "bad_response", "server", said)
        return self._made(asked, whole, response.headers, text)

    async def control(self, url: URL, way: Way = "whole") -> Reply:
        """The reply to a question of two letters, in one token: does the server serve at all?"""
        self._controls += 1
        question = {
            "model": self._teacher.model,
            "messages": [{"role": "user", "content": "Hi"}],
            "seed": self._controls,
            self._teacher.max_tokens_field: 1,
            **({} if way == "whole" else wire_format.WAYS[way]),
        }
        seconds = min(CONTROL_SECONDS, self._teacher.timeout_seconds)
        return await self.post(Asked(url, way=way), json.dumps(question).encode(), seconds)

    async def listed(self, url: URL) -> list[dict[str, Any]]:
        """The models that a server lists; empty without a readable answer. EngineError for a refused key."""
        limit = aiohttp.ClientTimeout(total=min(LOOK_SECONDS, self._teacher.timeout_seconds))
        try:
            async with self._session.get(url, allow_redirects=False, timeout=limit) as response:
                text = await response.read()
            if response.status in (401, 403):
                raise EngineError(
                    f"{errors.REMEDIES[response.status]}; {self._said(url, response.status, text)}"
                )
            data = json.loads(text)["data"] if response.status == 200 else []
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError, RecursionError):
            return []
        return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []

    def _refused(self, asked: Asked, status: int, text: bytes, headers: Mapping[str, str]) -> Reply:
        """A reply that is no 200, or that says in a 200 that it should be none."""
        said, words, body = self._said(asked.url, status, text), text.decode(errors="replace"), None
        with suppress(ValueError, RecursionError):
            body = json.loads(text)
        if errors.moderated(status, body):
            return self._failed(asked.key, "content_filter", "final", said)
        told = errors.told(status, body)
        if told is not None:
            status = told.status
        if (other := errors.other_way(status, words, asked.way)) is not None:
            if asked.way == "whole" and self._teacher.stream is False:
                raise EngineError(
                    f'the server sends completions in pieces only: set teacher.stream = "auto"; {said}'
                )
            return replace(self._failed(asked.key, f"http_{status}", "way", said), way=other)
        if asked.way != "whole" and errors.other_way(status, words, "whole") is not None:
            raise EngineError(
                "the server wants completions in pieces and refuses those too: correct teacher.extra_body; "
                f"{said}"
            )
        if status in errors.FILTERED and self.models and asked.key:
            # the question of one token, which has no key, tells whether it is for all
            return self._failed(asked.key, f"http_{status}", "refused", said)
        try:
            fate = errors.fate(status, words)
        except EngineError as error:
            raise EngineError(f"{error}; {said}") from None
        unproven = fate == "final" and not self.models
        if unproven and (remedy := errors.refused_setting(status, words, self._teacher)) is not None:
            raise EngineError(f"{remedy}; {said}")
        wait = None
        if fate in ("busy", "server"):
            after = headers.get("Retry-After") or (told.retry_after if told else "")
            wait = wire_format.retry_after_seconds(after, headers.get("Date", ""))
        failure = "prompt_too_long" if fate == "too_long" else f"http_{status}"
        return self._failed(asked.key, failure, fate, said, wait or 0.0, **wire_format.usage(body))

    def _put_together(self, asked: Asked, pieces: Stream, headers: Mapping[str, str]) -> Reply:
        """The reply that came in pieces."""
        pieces.end()
        whole = pieces.reply()
        if pieces.fault or pieces.broken:
            failure = "bad_response" if pieces.fault else "broken_connection"
            said = f"{shown(asked.url)}: {pieces.fault or 'the stream ended before its completion did'}"
            return self._failed(asked.key, failure, "server", said, **wire_format.usage(whole))
        return self._made(asked._replace(way="stream"), whole, headers)

    def _made(self, asked: Asked, data: Any, headers: Mapping[str, str], text: bytes | None = None) -> Reply:
        """What a reply of 200 (`text` as it came) comes to: a completion, another status, or a failure."""
        completion, cause = None, ""
        try:
            completion = wire_format.completion(asked.key, data, self._teacher.model, asked.max_tokens)
        except (ValueError, RecursionError) as error:
            cause = f"{type(error).__name__}: {error}"
        if completion is None or not (
            completion.failure is None or completion.content or completion.reasoning
        ):
            said = json.dumps(data).encode() if text is None else text
            if errors.told(200, data) is not None or errors.moderated(200, data):
                return self._refused(asked, 200, said, headers)
            if completion is None:
                cause += f" in {self._quoted(said)}"
                return self._failed(asked.key, "bad_response", "server", cause, **wire_format.usage(data))
        if completion.failure is not None:
            fate: Fate = "final" if completion.failure == "content_filter" else "request"
            return Reply(completion, fate, f"finish_reason {completion.finish_reason}")
        if not self.models[completion.model]:
            self._meet(completion.model)
        self.models[completion.model] += 1
        if asked.key:
            self._untold.see(wire_format.finish_word(data))
        return Reply(completion, "good")

    def _meet(self, name: str) -> None:
        """Checks a model's name when it is first seen; raises EngineError when the recipe wants another."""
        asked, wanted = self._teacher.model, self._teacher.reply_model
        if wanted is not None and name != wanted:
            raise EngineError(
                f"the server answered as {name!r} and not as {wanted!r}: correct teacher.urls, or "
                "teacher.reply_model"
            )
        if wanted is None and not name.startswith(asked) and name != asked.rstrip("/").rsplit("/", 1)[-1]:
            log.warning(
                "asked for %s, the server answers as %s; set teacher.reply_model to have one name only",
                asked,
                name,
            )

    def _failed(
        self, key: str, failure: str, fate: Fate, detail: str, rest_seconds: float = 0.0, **counts: Any
    ) -> Reply:
        return Reply(failed(key, failure, self._teacher.model, **counts), fate, detail, rest_seconds)

    def _said(self, url: URL, status: int, text: bytes) -> str:
        return f"{shown(url)} answered {status} {self._quoted(text)}"

    def _quoted(self, text: bytes) -> str:
        """The start of a server's text for a person to read, without the key: servers repeat refused ones."""
        decoded = text.decode(errors="replace")
        return repr((decoded.replace(self._key, "***") if self._key else decoded)[:300])


def api_key(teacher: Teacher) -> str | None:
    """The key in the environment variable that the recipe names, if it names one."""
    if teacher.api_key_env is None:
        return None
    key = os.environ.get(teacher.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise EngineError(
            f"the environment variable {teacher.api_key_env} holds no API key; set it, or leave out "
            "teacher.api_key_env"
        )
    return key


def shown(url: URL) -> str:
    """An address without its query, which may be secret."""
    return str(url.with_query(None))
