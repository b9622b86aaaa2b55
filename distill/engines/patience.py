"""How long nobody has got a good reply while tries failed. A teacher that is only slow fails no try, and is never out of patience."""


class Patience:
    """Good replies and failures of all requests of an engine; times are those of one monotonic clock."""

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self.good = 0
        """Good replies so far, to anybody."""
        self._last_good = now
        self._since: float | None = None

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
