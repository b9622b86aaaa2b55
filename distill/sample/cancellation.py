"""How a run is stopped by hand or by its budget: no more is asked, what is in flight still arrives and is
saved."""

from collections.abc import Callable


class RunStopped(RuntimeError):
    """The run stopped as it was told to; the message says why, and that the same command goes on."""


class StoppedByHand(RunStopped):
    """A person interrupted it."""


class Cancellation:
    """Asked for once, for one reason; what hands out requests looks at it first."""

    def __init__(self) -> None:
        self._stop: RunStopped | None = None
        self.on_cancel: list[Callable[[], None]] = []
        """Called when the run is cancelled, by the thread that cancels it."""

    @property
    def reason(self) -> str | None:
        """Why the run was cancelled; None as long as it was not."""
        return None if self._stop is None else str(self._stop)

    def cancel(self, reason: str, by_hand: bool = False) -> None:
        """Asks for the end; the first reason stays."""
        self._stop = self._stop or (StoppedByHand if by_hand else RunStopped)(reason)
        for told in self.on_cancel:
            told()

    def check(self) -> None:
        """Raises RunStopped once the run was cancelled."""
        if self._stop is not None:
            raise type(self._stop)(self.reason)
