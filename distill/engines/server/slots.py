"""Slots for requests in flight, shared by the threads that call an engine, and each call's inbox of replies.

A call that found no slot is told when one is free again, the oldest call first: so a stage's shards end one
after another, and a later shard takes the slots that an earlier one does not need.
"""

import threading
from asyncio import Task
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from distill.engines.protocol import Completion

LOOK = None
"""In an inbox: there may be a free slot."""


@dataclass(slots=True, eq=False)
class Call:
    """One call of `complete`, read by the thread that made it."""

    number: int
    inbox: "SimpleQueue[Completion | BaseException | None]" = field(default_factory=SimpleQueue)
    """Completions as they arrive, an error that ends the call, or `LOOK`."""
    open_requests: int = 0
    """Requests that were taken and whose completion was not."""
    tasks: "set[Task[Any]]" = field(default_factory=set)
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
