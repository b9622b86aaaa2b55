"""A teacher behind one or several OpenAI-compatible servers: vLLM, SGLang, llama.cpp, a provider's API.

An event loop in a thread of its own keeps at most `concurrency` requests in flight, over all calls together,
and sends the next one when a completion has been taken; nothing waits for a batch. What is in flight when a
call is left, or the engine closed, is cancelled and was paid for in vain. The parts:

- `slots` (threads), `balancer` (which server), `outage` (waits between tries, and when to stop)
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
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from distill.engines.protocol import Completion, EngineError, Request
from distill.engines.server import wire_format
from distill.engines.server.balancer import Endpoints
from distill.engines.server.http import Client, shown
from distill.engines.server.outage import Waits
from distill.engines.server.retry import Tries
from distill.engines.server.slots import LOOK, Call, Slots
from distill.recipe import Sampling, Teacher

LOOK_SECONDS = 0.25
"""How long a call whose requests have nothing to ask just now waits before it looks again."""
CLOSED = "the engine was closed while completions were on their way; run the same command again"
GC_THRESHOLD = 20_000
"""New objects between two collections while an engine is open. Every request in flight holds some fifty that
live long: with Python's 700, half of the CPU time at 4,096 in flight went into looking through them."""

T = TypeVar("T")
log = logging.getLogger(__name__)


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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
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
                while more and not paused and self._has_place(call):
                    more, paused = self._pull(call, waiting, sampling)
                if not call.open_requests and self._gone is not None:
                    raise self._gone
                if not more and not call.open_requests:
                    return
                arrived = _arrived(call, LOOK_SECONDS if paused else None)
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

    def _has_place(self, call: Call) -> bool:
        """Whether a call may ask for one more; a slot was taken for it then."""
        return (
            self._gone is None and call.open_requests < self._teacher.concurrency and self._slots.take(call)
        )

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
                self._loop.call_soon_threadsafe(_cancel, call)
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
        if self._tries.on_the_wire:
            log.error(
                "the teacher is of no use: %s. Waiting for %d completions that are on their way",
                error,
                self._tries.on_the_wire,
            )
        for call in calls:
            call.inbox.put(LOOK)

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        await self._client.open()
        listed = await asyncio.gather(
            *(self._client.listed(endpoint.models) for endpoint in self._endpoints.all)
        )
        for endpoint, entries in zip(self._endpoints.all, listed, strict=True):
            lengths = {
                str(entry.get("id")): entry["max_model_len"]
                for entry in entries
                if type(entry.get("max_model_len")) is int
            }
            if lengths and self._teacher.model not in lengths:
                there = ", ".join(sorted(lengths))
                raise EngineError(
                    f"{shown(endpoint.chat)} does not serve {self._teacher.model}: set teacher.model to one "
                    f"of {there}"
                )
            if lengths:
                self.context_tokens = min(
                    lengths[self._teacher.model], self.context_tokens or lengths[self._teacher.model]
                )
        self._tries = Tries(
            self._teacher, self._client, self._endpoints, self._waits, self.context_tokens, self._give_up
        )

    async def _close(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()


def _arrived(call: Call, seconds: float | None) -> Completion | BaseException | None:
    """What arrives next for a call; `LOOK` when nothing does in time."""
    try:
        return call.inbox.get(timeout=seconds)
    except queue.Empty:
        return LOOK


def _cancel(call: Call) -> None:
    for task in call.tasks:
        task.cancel()
