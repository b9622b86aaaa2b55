"""How a run is stopped by hand or by its budget: no more is asked, what is in flight comes home, everything is saved."""


class Stopped(RuntimeError):
    """The run stopped as it was told to; the message says why, and that the same command goes on."""


class StoppedByHand(Stopped):
    """Somebody interrupted it."""


class Brake:
    """Pulled once, for one reason; whoever hands out requests looks at it first."""

    reason: str | None = None
    by_hand = False

    def pull(self, reason: str, by_hand: bool = False) -> None:
        """Asks for the end; the first reason stays."""
        if self.reason is None:
            self.by_hand = by_hand
            self.reason = reason

    def check(self) -> None:
        """Raises Stopped once the brake has been pulled."""
        if self.reason is not None:
            raise (StoppedByHand if self.by_hand else Stopped)(self.reason)
