"""How long nobody has got a good reply while tries failed. A teacher that is only slow fails no try, and is
never out of patience."""

FIRST_SECONDS = 300.0
"""The longest wait for a teacher that has not answered once: most likely its address is wrong."""


class Patience:
    """Good replies and failures of all requests of an engine; times are those of one monotonic clock."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self.good = 0
        """Good replies so far, to anybody."""
        self._last_good = now
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self._seconds if self.good else min(self._seconds, FIRST_SECONDS)

    def served(self, now: float) -> None:
        """Somebody got a good reply."""
        self.good += 1
        self._last_good = now
        self._since = None

    def failed(self, began: float) -> None:
        """A try that began at some time was in vain for a reason that may be the server's."""
        began = max(began, self._last_good)
        self._since = began if self._since is None else min(self._since, began)

    def is_over(self, now: float) -> bool:
        """Whether it has been too long."""
        return self._since is not None and now - self._since > self.seconds
