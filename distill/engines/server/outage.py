"""How long requests wait for their teacher between tries: until its patience is over, or the run is to end.

A slow teacher without failures is never given up. A request that was sent is not cut off: its reply still
arrives.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
FIRST_SECONDS = 300.0
"""The longest wait for a teacher that has not answered once: most likely its address is wrong."""


class OutageTimer:
    """Good replies and failures of all requests of an engine; times are those of one monotonic clock."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self.good = 0
        """Good replies so far, to all requests."""
        self._last_good = now
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self._seconds if self.good else min(self._seconds, FIRST_SECONDS)

    def served(self, now: float) -> None:
        """A good reply arrived."""
        self.good += 1
        self._last_good = now
        self._since = None

    def failed(self, began: float) -> None:
        """A try that began at some time failed, and the server may be the cause."""
        began = max(began, self._last_good)
        self._since = began if self._since is None else min(self._since, began)

    def is_over(self, now: float) -> bool:
        """Whether it has been too long."""
        return self._since is not None and now - self._since > self.seconds


class Waits:
    """Used in one event loop, once there is one."""

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
