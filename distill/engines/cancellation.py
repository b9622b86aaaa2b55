"""How a run is stopped by hand or by its budget: no more is asked, what is in flight comes home, everything is saved."""

from collections.abc import Callable


class Stopped(RuntimeError):
    """The run stopped as it was told to; the message says why, and that the same command goes on."""


class StoppedByHand(Stopped):
    """Somebody interrupted it."""


class Brake:
    """Pulled once, for one reason; whoever hands out requests looks at it first."""

    def __init__(self) -> None:
        self._stop: Stopped | None = None
        self.on_pull: list[Callable[[], None]] = []
        """Called once it has been pulled, by whoever pulled it."""

    @property
    def reason(self) -> str | None:
        """Why it was pulled; None as long as it was not."""
        return None if self._stop is None else str(self._stop)

    def pull(self, reason: str, by_hand: bool = False) -> None:
        """Asks for the end; the first reason stays."""
        self._stop = self._stop or (StoppedByHand if by_hand else Stopped)(reason)
        for told in self.on_pull:
            told()

    def check(self) -> None:
        """Raises Stopped once the brake has been pulled."""
        if self._stop is not None:
            raise type(self._stop)(self.reason)
