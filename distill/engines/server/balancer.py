"""Load balancer over a teacher's servers: the next request goes to the healthy server with the least load for
its weight.

- A server rests when it cannot be reached, or after several failures in a row. Rests double, with jitter.
- After each rest the server is asked a question of one token, before any request is sent to it.
- When no server is healthy for longer than the teacher's patience, all waiting requests get an error.
- A server whose requests time out gets fewer of them.
- All times are those of the event loop's monotonic clock.
"""

import asyncio
import logging
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from yarl import URL

from distill.engines.protocol import EngineError
from distill.engines.server.errors import Way
from distill.engines.server.http import Client, Reply
from distill.recipe import Teacher

LONGEST_WAIT_SECONDS = 60.0
SICK_AFTER = 3
"""Failures with nothing good between them after which a server that can be reached rests as well."""
MOST_HALVINGS = 6
"""How often the share of a server whose requests time out is halved, at most."""
TELL_SECONDS = 60.0
TURNS = (("whole", "stream"), ("stream", "bare_stream"))
"""From one way of asking to another; there is no way back, so no request turns for ever."""
SOUND = ("good", "final", "refused", "too_long", "way", "request")
"""Fates of tries that show a server at work."""

FIRST_SECONDS = 300.0
"""The longest wait for a teacher that has not answered once: most likely its address is wrong."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class OutageTimer:
    """How long requests wait for their teacher: until its patience is over. One that is slow without
    failures is never given up."""

    def __init__(self, seconds: float, now: float) -> None:
        self._patience = seconds
        self.seconds = min(seconds, FIRST_SECONDS)
        """How long it lasts."""
        self.good = 0
        """Good replies so far, to all requests."""
        self._last_good = now
        self._since: float | None = None

    def served(self, now: float) -> None:
        """A good reply arrived."""
        self.good += 1
        self.seconds, self._last_good, self._since = self._patience, now, None

    def failed(self, began: float) -> None:
        """A try that began at some time failed, and the server may be the cause."""
        began = max(began, self._last_good)
        self._since = min(began, self._since or began)

    def is_over(self, now: float) -> bool:
        """Whether it has been too long."""
        return self._since is not None and now - self._since > self.seconds


class Waits:
    """What requests wait for between two tries, ended together; a reply on its way still arrives."""

    def __init__(self) -> None:
        self.over = False
        """Nothing is waited for any more."""
        self._limits: set[asyncio.Timeout] = set()

    async def until(self, step: Coroutine[Any, Any, T]) -> T:
        """What a step between two tries comes to; raises TimeoutError when the waits are over before that."""
        if self.over:
            step.close()
            raise TimeoutError
        async with asyncio.timeout(None) as limit:
            self._limits.add(limit)
            try:
                return await step
            finally:
                self._limits.discard(limit)

    def end(self) -> None:
        """Ends all waits, those to come too."""
        self.over = True
        limits, self._limits = self._limits, set()
        for limit in limits:
            limit.reschedule(asyncio.get_running_loop().time())


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server and what is known of its health."""

    chat: URL
    models: URL
    weight: float
    busy: int = 0
    failures: int = 0
    """Since it was last well."""
    timeouts: int = 0
    """Since its last good reply."""
    left_alone_until: float = 0.0
    """When it asked to be left alone (loop time)."""
    rest: "asyncio.Task[None] | None" = None
    """While it is left alone."""
    control: "asyncio.Task[bool] | None" = None
    """A question of one token on its way."""
    said: str = ""
    """Its last failure, for a person to read."""
    way: Way = "whole"
    """How it sends completions."""

    def load(self) -> float:
        """What another request would make of it: requests over weight."""
        return (self.busy + 1) / self.weight * float(2 ** min(self.timeouts, MOST_HALVINGS))


class Endpoints:
    """The servers of a teacher; used in one event loop."""

    def __init__(self, teacher: Teacher, first_wait_seconds: float) -> None:
        """Reads addresses and weights; raises EngineError for one that cannot be used."""
        weights = teacher.url_weights or (1.0,) * len(teacher.urls)
        if len(weights) != len(teacher.urls) or min(weights, default=0.0) <= 0:
            raise EngineError(
                "teacher.urls and teacher.url_weights do not fit: name an address, and a weight above 0 for "
                "each"
            )
        self.all = [endpoint(url, weight) for url, weight in zip(teacher.urls, weights, strict=True)]
        for one in self.all:
            one.way = "stream" if teacher.stream is True else "whole"
        self._first_wait_seconds = first_wait_seconds
        self._woken: asyncio.Future[None] | None = None
        self._told: float | None = None

    def open(self, client: Client, outage: OutageTimer) -> None:
        """Sets the client for questions of one token and the timer of outages; called in the event loop."""
        self._client, self._outage, self._loop = client, outage, asyncio.get_running_loop()

    async def take(self) -> Endpoint:
        """The server to ask next, once one is well; raises EngineError when that takes too long."""
        while True:
            well = [endpoint for endpoint in self.all if endpoint.rest is None]
            if well:
                chosen = min(well, key=Endpoint.load)
                chosen.busy += 1
                return chosen
            self._tell()
            if self._woken is None:
                self._woken = self._loop.create_future()
            await asyncio.shield(self._woken)  # it is shared: a cancelled request must not cancel it
            await asyncio.sleep(random.uniform(0.0, self._first_wait_seconds))  # not all at once

    def learn(self, endpoint: Endpoint, reply: Reply) -> None:
        """Draws the conclusions from one try."""
        if reply.fate in SOUND:
            endpoint.failures = endpoint.timeouts = 0
            if reply.fate == "good" and self._told is not None:
                self._told = None
                log.info("the teacher answers again")
            # before that, it is what was on its way when it asked
            if self._loop.time() >= endpoint.left_alone_until:
                self._end_rest(endpoint)
            return
        endpoint.said = reply.detail
        endpoint.left_alone_until = max(endpoint.left_alone_until, self._loop.time() + reply.rest_seconds)
        endpoint.failures += 1
        endpoint.timeouts += reply.completion.failure == "timeout"
        if reply.fate == "gone" or endpoint.failures >= SICK_AFTER:
            self._rest(endpoint, self._until_well(endpoint))
        elif reply.rest_seconds:
            self._rest(endpoint, self._left_alone(endpoint))

    def turn(self, endpoint: Endpoint, reply: Reply) -> None:
        """Asks a server in another way from now on; several requests in flight may find so together."""
        if reply.way is not None and (endpoint.way, reply.way) in TURNS:
            endpoint.way = reply.way
            log.info("completions are asked for as a %s from now on: %s", reply.way, reply.detail)

    async def serves(self, endpoint: Endpoint) -> bool:
        """Whether a server answers a question of one token just now; it rests if it does not."""
        if endpoint.rest is not None:
            return False
        if endpoint.control is None:
            endpoint.control = self._loop.create_task(self._ask(endpoint))
        serves = await asyncio.shield(endpoint.control)
        if not serves:
            self._rest(endpoint, self._until_well(endpoint))
        return serves

    def wait_seconds(self, waits: int) -> float:
        """The next wait: doubled up to a minute, with jitter so that requests do not return all at once."""
        return float(
            min(self._first_wait_seconds * 2.0 ** min(waits, 30), LONGEST_WAIT_SECONDS)
            * random.uniform(0.5, 1.0)
        )

    def _rest(self, endpoint: Endpoint, rest: Coroutine[Any, Any, None]) -> None:
        """Leaves a server alone until a coroutine has ended."""
        if endpoint.rest is not None:  # of all requests that found it so together, one counts
            rest.close()
            return
        endpoint.rest = self._loop.create_task(rest)
        endpoint.rest.add_done_callback(lambda task: None if task.cancelled() else self._end_rest(endpoint))

    def _end_rest(self, endpoint: Endpoint) -> None:
        if endpoint.rest is None:
            return
        endpoint.rest.cancel()
        endpoint.rest = None
        if self._woken is not None:
            self._woken.set_result(None)
            self._woken = None

    async def _left_alone(self, endpoint: Endpoint) -> None:
        """Rests for as long as the server has asked for."""
        while (seconds := endpoint.left_alone_until - self._loop.time()) > 0:
            await asyncio.sleep(seconds)

    async def _until_well(self, endpoint: Endpoint) -> None:
        """Rests and asks, in turns."""
        rests = 0
        while True:
            await self._left_alone(endpoint)
            await asyncio.sleep(self.wait_seconds(rests))
            rests += 1
            try:
                if await self._ask(endpoint):
                    return
                gone = None
                if self._outage.is_over(self._loop.time()):  # patience is over, which stops the run
                    gone = EngineError(
                        f"no server answers as it should, for {self._outage.seconds:g} s now "
                        f"(teacher.patience_seconds): {endpoint.said}. Everything finished is saved; see to "
                        "the server or teacher.urls, then run the same command again"
                    )
            except EngineError as error:
                gone = error
            if gone is None:
                self._tell()
            elif self._woken is not None:
                self._woken.set_exception(gone)
                self._woken.exception()  # looked at: all who waited for it may have left
                self._woken = None

    async def _ask(self, endpoint: Endpoint) -> bool:
        began = self._loop.time()
        try:
            reply = await self._client.control(endpoint.chat, endpoint.way)
        finally:
            endpoint.control = None
        if reply.fate in SOUND:
            self._outage.served(self._loop.time())
            endpoint.failures = 0
            return True
        endpoint.said = reply.detail
        self._outage.failed(began)
        return False

    def _tell(self) -> None:
        """Says why no request is sent, once a minute."""
        if any(endpoint.rest is None for endpoint in self.all):
            return
        now = self._loop.time()
        if self._told is None or now - self._told >= TELL_SECONDS:
            self._told = now
            said = "; ".join(endpoint.said for endpoint in self.all if endpoint.said)
            what = "no server can be asked just now: waiting for up to %g s without a good reply. %s"
            log.warning(what, self._outage.seconds, said)


def endpoint(base: str, weight: float) -> Endpoint:
    """The addresses under a base URL, with its query; EngineError does not show one that cannot be used."""
    try:
        url = URL(base)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise EngineError(
            "an entry of teacher.urls is no http(s) address; write it like http://127.0.0.1:8000/v1"
        )
    if url.user or url.password:
        raise EngineError(
            "an entry of teacher.urls holds a user or password; name the variable with the key in "
            "teacher.api_key_env"
        )
    return Endpoint(
        url.joinpath("chat", "completions").with_query(url.query),
        url.joinpath("models").with_query(url.query),
        weight,
    )
