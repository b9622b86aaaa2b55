"""A teacher behind one or several OpenAI-compatible servers: vLLM, SGLang, llama.cpp, a provider's API.

An event loop in a thread of its own keeps at most `concurrency` requests in flight, over all calls together,
and sends the next one when a completion has been taken; nothing waits for a batch. What is in flight when a
call is left, or the engine closed, is cancelled and was paid for in vain. The parts:

- here: a slot for each request in flight, shared by the threads that call
- `balancer` (which server, waits between tries, when the teacher is gone)
- `retry` (when to ask again, when to give up a request)
- `http` (one try), `errors` (what a refusal means)
- `wire_format` (bodies and replies, text and thinking), `stream` (a completion in pieces)
"""

import asyncio
import gc
import itertools
import logging
import queue
import threading
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from distill.engines.protocol import Completion, EngineError, Request
from distill.engines.server import wire_format
from distill.engines.server.balancer import Endpoints, Waits
from distill.engines.server.http import Client, shown
from distill.engines.server.retry import Tries
from distill.recipe import Sampling, Teacher

LOOK_SECONDS = 0.25
"""How long a call whose requests have nothing to ask just now waits before it looks again."""
CLOSED = "the engine was closed while completions were on their way; run the same command again"
GC_THRESHOLD = 20_000
"""New objects between two collections while an engine is open. Every request in flight holds some fifty that
live long: with Python's 700, half of the CPU time at 4,096 in flight went into looking through them."""

LOOK = None
"""In an inbox: there may be a free slot."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Call:
    """One call of `complete`, read by the thread that made it."""

    number: int
    inbox: "queue.SimpleQueue[Completion | BaseException | None]" = field(default_factory=queue.SimpleQueue)
    """Completions as they arrive, an error that ends the call, or `LOOK`."""
    open_requests: int = 0
    """Requests that were taken and whose completion was not."""
    tasks: "set[asyncio.Task[Any]]" = field(default_factory=set)
    """What the loop works on; the loop's thread alone touches it."""


class Slots:
    """How many requests may be in flight together; safe to use from any thread."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._wanting: list[Call] = []
        self._lock = threading.Lock()

    def take(self, call: Call) -> bool:
        """Takes a slot if one is free; if none is, the call will be told to look again."""
        with self._lock:
            wanting = call in self._wanting
            if self._free:
                self._free -= 1
                if wanting:
                    self._wanting.remove(call)
                return True
            if not wanting:
                self._wanting.append(call)
            return False

    def give(self, count: int = 1) -> None:
        """Frees slots; tells the oldest call that wanted one, and those that wait for nothing else."""
        with self._lock:
            self._free += count
            if not self._free or not self._wanting:
                return
            oldest = min(self._wanting, key=lambda call: call.number)
            for call in [call for call in self._wanting if call is oldest or not call.open_requests]:
                self._wanting.remove(call)
                call.inbox.put(LOOK)

    def leave(self, call: Call) -> None:
        """Forgets that a call wanted a slot; one that it was told of is passed on."""
        with self._lock:
            if call in self._wanting:
                self._wanting.remove(call)
        self.give(0)


class ServerEngine:
    """Completes requests at OpenAI-compatible servers; a context manager, usable from several threads."""

    def __init__(self, teacher: Teacher, first_wait_seconds: float = 1.0) -> None:
        """Reads the key and checks addresses and settings; raises EngineError for one that cannot be used."""
        wire_format.check_extra_body(teacher)
        self.context_tokens: int | None = None
        """Longest prompt and completion together, where servers tell it; the smallest."""
        self._teacher = teacher
        self._client = Client(teacher)
        self._endpoints = Endpoints(teacher, first_wait_seconds)
        self._slots = Slots(teacher.concurrency)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._asked: list[tuple[Call, Request, Sampling]] = []
        self._closed = True
        self._gone: EngineError | None = None
        self._waits = Waits()

    @property
    def models(self) -> Counter[str]:
        """Good completions by the name that the server gave its model."""
        return self._client.models

    def __enter__(self) -> "ServerEngine":
        """Starts the loop and looks at what servers list; EngineError: a refused key, an unknown model."""
        self._gc_thresholds = gc.get_threshold()
        gc.set_threshold(max(GC_THRESHOLD, self._gc_thresholds[0]), *self._gc_thresholds[1:])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="distill-server-engine", daemon=True
        )
        self._thread.start()
        self._closed = False
        try:
            self._wait_for(self._open())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            for call in self._calls:
                call.inbox.put(EngineError(CLOSED))
        self._wait_for(self._close())
        gc.set_threshold(*self._gc_thresholds)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def drain(self) -> None:
        """From now on what waits comes back as stopped, what is sent still arrives. From any thread."""
        with self._lock:
            if self._closed:
                self._waits.over = True
            else:
                self._loop.call_soon_threadsafe(self._waits.end)

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, as they arrive; a request is taken when it can be sent.

        A teacher that is gone is an EngineError, raised once every request of this call has ended.
        """
        call = Call(next(self._numbers))
        with self._lock:
            self._calls.append(call)
        waiting, more, paused = iter(requests), True, False
        try:
            while True:
                while (
                    more
                    and not paused
                    and self._gone is None
                    and call.open_requests < self._teacher.concurrency
                    and self._slots.take(call)
                ):
                    more, paused = self._pull(call, waiting, sampling)
                if not call.open_requests and self._gone is not None:
                    raise self._gone
                if not more and not call.open_requests:
                    return
                arrived: Completion | BaseException | None = LOOK
                with suppress(queue.Empty):
                    arrived = call.inbox.get(timeout=LOOK_SECONDS if paused else None)
                paused = False
                if isinstance(arrived, BaseException):
                    raise arrived
                if arrived is not None:
                    call.open_requests -= 1
                    try:
                        yield arrived
                    finally:
                        # not before: a completion is in flight until its taker has kept it
                        self._slots.give()
        finally:
            self._leave(call)

    def _pull(self, call: Call, waiting: Iterator[Request | None], sampling: Sampling) -> tuple[bool, bool]:
        """Sends the next request in a slot taken for it: (may there be more, wait first)."""
        request: Request | None = None
        try:
            request = next(waiting)
        except StopIteration:
            return False, False
        finally:
            if request is None:
                self._slots.give()
        if request is None:
            return True, True
        with self._lock:
            if self._closed:
                raise EngineError(CLOSED)
            call.open_requests += 1
            self._asked.append((call, request, sampling))
            if len(self._asked) == 1:  # else the loop has been told and has not looked yet
                self._loop.call_soon_threadsafe(self._start)
        return True, False

    def _leave(self, call: Call) -> None:
        """Ends a call: what it still has in flight is cancelled."""
        self._slots.leave(call)
        with self._lock:
            self._calls.remove(call)
            if call.open_requests and not self._closed:
                self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in call.tasks])
        while not call.inbox.empty():
            if isinstance(call.inbox.get(), Completion):
                self._slots.give()

    def _start(self) -> None:
        """Begins what the calls have asked since the last time."""
        with self._lock:
            asked, self._asked = self._asked, []
        for call, request, sampling in asked:
            task = self._loop.create_task(self._tries.ask(request, sampling))
            call.tasks.add(task)
            task.add_done_callback(partial(self._finish, call))

    def _finish(self, call: Call, task: "asyncio.Task[Completion]") -> None:
        """Hands a completion to its call; an error, which is a fault of ours, ends all calls."""
        call.tasks.discard(task)
        with self._lock:
            if not task.cancelled() and task.exception() is None and call in self._calls:
                call.inbox.put(task.result())
                return
            if not task.cancelled() and (error := task.exception()) is not None:
                for other in self._calls:
                    other.inbox.put(error)
        self._slots.give()

    def _give_up(self, error: EngineError) -> None:
        """Notes that the teacher is gone: nothing more is asked; calls end when all sent has arrived."""
        if self._gone is not None:
            return
        with self._lock:
            self._gone = error
            calls = list(self._calls)
        self._waits.end()
        if sent := self._tries.on_the_wire:
            what = "the teacher is of no use: %s. Waiting for %d completions that are on their way"
            log.error(what, error, sent)
        for call in calls:
            call.inbox.put(LOOK)

    def _wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        await self._client.open()
        listed = await asyncio.gather(
            *(self._client.listed(endpoint.models) for endpoint in self._endpoints.all)
        )
        for endpoint, entries in zip(self._endpoints.all, listed, strict=True):
            told = {str(entry.get("id")): entry.get("max_model_len") for entry in entries}
            lengths = {name: length for name, length in told.items() if type(length) is int}
            if lengths and self._teacher.model not in lengths:
                raise EngineError(
                    f"{shown(endpoint.chat)} does not serve {self._teacher.model}: set teacher.model to one "
                    f"of {', '.join(sorted(lengths))}"
                )
            if lengths:
                length = lengths[self._teacher.model]
                self.context_tokens = min(length, self.context_tokens or length)
        self._tries = Tries(
            self._teacher, self._client, self._endpoints, self._waits, self.context_tokens, self._give_up
        )

    async def _close(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()
