"""Retries of one request: which server is asked, how often, after which wait, and when it is given up.

- A fault that may be temporary is tried again, after a wait with jitter that doubles.
- A server error has two possible causes: the request, or a server that is down. It counts as a failure of the
  request if other requests succeed afterwards, or if the server answers a question of one token.
- A request that has failed more often than `max_retries` is a typed failure.
- During an outage no retry is used up. The run waits up to `patience_seconds`, and then stops.
- A reply that is lost on its way back is asked, and paid for, again.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from distill.engines.protocol import STOPPED, Completion, EngineError, Request, failed
from distill.engines.server import wire_format
from distill.engines.server.balancer import SOUND, Endpoint, Endpoints, OutageTimer, Waits
from distill.engines.server.http import Asked, Client, Reply
from distill.recipe import Sampling, Teacher

FAILURES_IN_A_ROW = 32
COSTLY = ("timeout", "null_content", "empty")
"""Failures that cost a whole completion each time."""
COSTLY_RETRIES = 2
OF_THE_PROBLEM = ("prompt_too_long", "content_filter")
"""Failures that say nothing about the teacher, however many follow each other."""
SETTLED = ("good", "final", "too_long", "refused")

log = logging.getLogger(__name__)


class Tries:
    """Asks a teacher's servers; used in one event loop."""

    def __init__(
        self,
        teacher: Teacher,
        client: Client,
        endpoints: Endpoints,
        waits: Waits,
        context_tokens: int | None,
        give_up: Callable[[EngineError], None],
    ) -> None:
        """`give_up` is told why the teacher is gone."""
        self._teacher, self._client, self._endpoints, self._waits = teacher, client, endpoints, waits
        self._context_tokens, self._give_up = context_tokens, give_up
        self.on_the_wire = 0
        """Tries that are on their way."""
        self._clock = asyncio.get_running_loop().time
        self._outage = OutageTimer(teacher.patience_seconds, self._clock())
        endpoints.open(client, self._outage)
        self._open_requests = 0
        self._failed_in_a_row = 0
        self._kinds_logged: set[str] = set()
        self._limits_told: set[int] = set()

    async def ask(self, request: Request, sampling: Sampling) -> Completion:
        """A completion or a typed failure, after as many tries as it takes, or as many as there may be."""
        tried = _Tried(self._clock())
        self._open_requests += 1
        try:
            found = await self._ask(request, sampling, tried)
        except (EngineError, TimeoutError) as error:  # TimeoutError: the waits are over
            if isinstance(error, EngineError):
                self._give_up(error)
            found = failed(request.key, STOPPED, self._teacher.model)
        finally:
            self._open_requests -= 1
        return replace(
            found, lost_prompt_tokens=tried.lost_prompt, lost_completion_tokens=tried.lost_completion
        )

    async def _ask(self, request: Request, sampling: Sampling, tried: "_Tried") -> Completion:
        limited = not self._fills_context(request.max_tokens)
        while True:
            reply, endpoint = await self._try(request, sampling, limited)
            if reply.fate == "way":
                self._endpoints.turn(endpoint, reply)
                continue
            if reply.fate == "too_long" and limited:
                limited = False  # the prompt may fit so: the server then goes to the end of its context
                continue
            if reply.fate == "refused":  # raises if the question of one token is refused too
                await self._waits.until(self._endpoints.serves(endpoint))
            given_up = False
            try:
                if reply.fate not in SETTLED:
                    given_up = await self._waits.until(self._is_given_up(reply, endpoint, tried))
            finally:  # a reply that is asked for once more, or whose wait is ended, is paid for in vain
                if reply.fate not in SETTLED and not given_up:
                    tried.lose(reply.completion)
            if reply.fate in SETTLED or given_up:
                self._settle(reply)
                return reply.completion

    def _fills_context(self, max_tokens: int) -> bool:
        """Whether no prompt fits beside so many tokens: the server then goes to the end of its context."""
        if self._context_tokens is None or max_tokens < self._context_tokens:
            return False
        if max_tokens not in self._limits_told:
            self._limits_told.add(max_tokens)
            log.warning(
                "the server's context is %d tokens: a completion may end there, before max_tokens (%d)",
                self._context_tokens,
                max_tokens,
            )
        return True

    async def _is_given_up(self, reply: Reply, endpoint: Endpoint, tried: "_Tried") -> bool:
        """Whether a request is given up, told after a wait: its tries or its time are used up."""
        good_before = self._outage.good
        if reply.fate != "gone" and not reply.rest_seconds:
            # otherwise it is the server that rests, and another may be asked
            await asyncio.sleep(self._endpoints.wait_seconds(tried.waits))
            tried.waits += 1
        if reply.fate == "busy":
            late = self._clock() - tried.began > self._teacher.patience_seconds
            return late and await self._endpoints.serves(endpoint)
        # the request counts as the cause if others were served since, the server answers, or nothing tells
        if reply.fate == "request" or (
            reply.fate == "server"
            and (
                (self._open_requests == 1 and not self._client.models)
                or self._outage.good > good_before
                or await self._endpoints.serves(endpoint)
            )
        ):
            tried.failed += 1 + tried.undecided
            tried.undecided = 0
        elif reply.fate == "server":
            tried.undecided = 1
        costly, most = reply.completion.failure in COSTLY, self._teacher.max_retries
        return tried.failed > (min(most, COSTLY_RETRIES) if costly else most)

    async def _try(self, request: Request, sampling: Sampling, limited: bool) -> tuple[Reply, Endpoint]:
        """One request at the server whose turn it is, in the way that this one wants."""
        endpoint = await self._waits.until(self._endpoints.take())
        self.on_the_wire += 1
        try:
            began, most = self._clock(), request.max_tokens if limited else None
            asked = Asked(endpoint.chat, request.key, endpoint.way, most)
            body = wire_format.body(request, self._teacher, sampling, limited, asked.way)
            reply = await self._client.post(asked, json.dumps(body).encode())
        finally:
            self.on_the_wire -= 1
            endpoint.busy -= 1
        if reply.fate == "good":
            self._outage.served(self._clock())
        elif reply.fate not in SOUND:
            self._outage.failed(began)
        self._endpoints.learn(endpoint, reply)
        return reply, endpoint

    def _settle(self, reply: Reply) -> None:
        """Notes what became of a request; raises EngineError when it shows that the teacher is of no use."""
        failure = reply.completion.failure
        if failure is None:
            self._failed_in_a_row = 0
            return
        self._failed_in_a_row += failure not in OF_THE_PROBLEM
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            raise EngineError(
                f"{self._failed_in_a_row} completions in a row failed, the last with {failure}: "
                f"{reply.detail}; see to the server or the recipe, then run the same command again"
            )
        if failure not in self._kinds_logged:
            self._kinds_logged.add(failure)
            log.warning("a completion failed with %s (further ones are not told): %s", failure, reply.detail)


@dataclass(slots=True)
class _Tried:
    """The failures of one request so far."""

    began: float
    failed: int = 0
    """Failures that count as its own."""
    undecided: int = 0
    """1 when the last failure will count as its own if it fails again while the server answers."""
    waits: int = 0
    lost_prompt: int = 0
    lost_completion: int = 0

    def lose(self, completion: Completion) -> None:
        """Counts what a reply that is not used has cost."""
        self.lost_prompt += completion.prompt_tokens or 0
        self.lost_completion += completion.completion_tokens or 0
