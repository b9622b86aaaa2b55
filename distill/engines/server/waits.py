"""The waits between the tries of all requests of an engine, which end together when nothing is to be tried
again.

A try itself is no wait: what is on the wire comes home.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
