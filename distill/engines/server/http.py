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
from dataclasses import dataclass, replace
from typing import Any

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
KEEPALIVE_SECONDS = (
    4.0  # below uvicorn's 5 s: a connection that the server is about to close is not used again
)
OTHER_FILES = 1024
"""Files that this process may have open besides the connections."""

log = logging.getLogger(__name__)


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
        _allow_files(self._teacher.concurrency + OTHER_FILES)
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

    async def post(
        self,
        url: URL,
        key: str,
        body: bytes,
        seconds: float | None = None,
        max_tokens: int | None = None,
        way: Way = "whole",
    ) -> Reply:
        """The reply to one request, in so many seconds or the teacher's; raises EngineError when asking on is
        of no use at all.

        `max_tokens` is what the body allows, for a completion that may be cut; `way` is how it asks for it.
        """
        limit = self._limit if seconds is None else aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.post(url, data=body, allow_redirects=False, timeout=limit) as response:
                if response.status == 200 and "event-stream" in response.headers.get("Content-Type", ""):
                    return self._put_together(
                        key, url, await _streamed(response), max_tokens, response.headers
                    )
                text = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            return self._failed(key, "no_connection", "gone", f"{shown(url)}: {error}")
        except aiohttp.ClientError as error:
            words = (
                error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
            )  # its text has the query
            return self._failed(
                key, "broken_connection", "server", f"{shown(url)}: {type(error).__name__} {words}"
            )
        except TimeoutError:
            return self._failed(
                key,
                "timeout",
                "server",
                f"{shown(url)}: no completion in {self._teacher.timeout_seconds:g} s",
            )
        if response.status != 200:
            return self._refused(key, url, response.status, text, response.headers, way)
        if is_stream(text):
            pieces = Stream()
            pieces.feed(text)
            return self._put_together(key, url, pieces, max_tokens, response.headers)
        return self._read(key, url, text, max_tokens, response.headers, way)

    async def control(self, url: URL, way: Way = "whole") -> Reply:
        """The reply to a question of two letters, in one token: does the server serve at all?"""
        self._controls += 1
        asked = {
            "model": self._teacher.model,
            "messages": [{"role": "user", "content": "Hi"}],
            "seed": self._controls,
        }
        more = {} if way == "whole" else wire_format.WAYS[way]
        body = json.dumps(asked | more | {self._teacher.max_tokens_field: 1}).encode()
        return await self.post(url, "", body, min(CONTROL_SECONDS, self._teacher.timeout_seconds), way=way)

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

    def _refused(
        self, key: str, url: URL, status: int, text: bytes, headers: Mapping[str, str], way: Way
    ) -> Reply:
        """A reply that is no 200, or that says in a 200 that it should be none."""
        said, words, body = self._said(url, status, text), text.decode(errors="replace"), _parsed(text)
        if errors.moderated(status, body):
            return self._failed(key, "content_filter", "final", said)
        told = errors.told(status, body)
        if told is not None:
            status = told.status
        if (other := errors.other_way(status, words, way)) is not None:
            if way == "whole" and self._teacher.stream is False:
                raise EngineError(
                    f'the server sends completions in pieces only: set teacher.stream = "auto"; {said}'
                )
            return replace(self._failed(key, f"http_{status}", "way", said), way=other)
        if way != "whole" and errors.other_way(status, words, "whole") is not None:
            raise EngineError(
                "the server wants completions in pieces and refuses those too: correct teacher.extra_body; "
                f"{said}"
            )
        if (
            status in errors.FILTERED and self.models and key
        ):  # the question of one token, which has no key, tells whether it is for all
            return self._failed(key, f"http_{status}", "refused", said)
        try:
            fate = errors.fate(status, words)
        except EngineError as error:
            raise EngineError(f"{error}; {said}") from None
        remedy = (
            errors.refused_setting(status, words, self._teacher)
            if fate == "final" and not self.models
            else None
        )
        if remedy is not None:
            raise EngineError(f"{remedy}; {said}")
        after, date = (
            headers.get("Retry-After") or (told.retry_after if told else ""),
            headers.get("Date", ""),
        )
        wait = wire_format.retry_after_seconds(after, date) if fate in ("busy", "server") else None
        failure = "prompt_too_long" if fate == "too_long" else f"http_{status}"
        return self._failed(key, failure, fate, said, wait or 0.0, wire_format.usage(body))

    def _put_together(
        self, key: str, url: URL, pieces: Stream, max_tokens: int | None, headers: Mapping[str, str]
    ) -> Reply:
        """The reply that came in pieces."""
        pieces.end()
        whole = pieces.reply()
        if pieces.fault or pieces.broken:
            failure = "bad_response" if pieces.fault else "broken_connection"
            detail = f"{shown(url)}: {pieces.fault or 'the stream ended before its completion did'}"
            return self._failed(key, failure, "server", detail, tokens=wire_format.usage(whole))
        return self._made(key, url, whole, max_tokens, headers, "stream")

    def _read(
        self, key: str, url: URL, text: bytes, max_tokens: int | None, headers: Mapping[str, str], way: Way
    ) -> Reply:
        """The completion in the body of a good reply; what is none is a failure to try again."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            return self._failed(
                key, "bad_response", "server", f"{type(error).__name__}: {error} in {self._quoted(text)}"
            )
        return self._made(key, url, data, max_tokens, headers, way, text)

    def _made(
        self,
        key: str,
        url: URL,
        data: Any,
        max_tokens: int | None,
        headers: Mapping[str, str],
        way: Way,
        text: bytes | None = None,
    ) -> Reply:
        """What a reply of 200 (`text` as it came) comes to: a completion, another status, or a failure."""
        completion, cause = None, ""
        try:
            completion = wire_format.completion(key, data, self._teacher.model, max_tokens)
        except (ValueError, RecursionError) as error:
            cause = f"{type(error).__name__}: {error}"
        if completion is None or (
            completion.failure is not None and not completion.content and not completion.reasoning
        ):
            said = json.dumps(data).encode() if text is None else text
            if errors.told(200, data) is not None or errors.moderated(200, data):
                return self._refused(key, url, 200, said, headers, way)
            if completion is None:
                return self._failed(
                    key,
                    "bad_response",
                    "server",
                    f"{cause} in {self._quoted(said)}",
                    tokens=wire_format.usage(data),
                )
        if completion.failure is not None:
            fate: Fate = "final" if completion.failure == "content_filter" else "request"
            return Reply(completion, fate, f"finish_reason {completion.finish_reason}")
        if not self.models[completion.model]:
            self._meet(completion.model)
        self.models[completion.model] += 1
        if key:  # the question of one token has none
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
        self,
        key: str,
        failure: str,
        fate: Fate,
        detail: str,
        rest_seconds: float = 0.0,
        tokens: dict[str, Any] | None = None,
    ) -> Reply:
        completion = failed(key, failure, self._teacher.model)
        if tokens is not None:
            completion = replace(completion, **tokens)
        return Reply(completion, fate, detail, rest_seconds)

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


async def _streamed(response: aiohttp.ClientResponse) -> Stream:
    """The pieces of a completion as they come; a server may leave the connection open behind the last one."""
    pieces = Stream()
    async for data in response.content.iter_any():
        pieces.feed(data)
        if pieces.done or pieces.fault:
            break
    return pieces


def _parsed(text: bytes) -> Any:
    """A body as JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files where it may: a connection is one, and many begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
