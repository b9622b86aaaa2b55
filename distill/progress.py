"""Progress of long work: one line with done and total, rate and time left.

On a terminal the line is rewritten in place; elsewhere a plain line is written every few seconds, so that a log stays
readable. Everything goes to the `distill` logger as well, where Prefect picks it up for the page of a flow run. Nothing is
shown unless `showing` is entered: a library stays silent.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO, TypeVar

LOGGER = logging.getLogger("distill")
LOGGER.setLevel(logging.INFO)
PLAIN_SECONDS = 10.0
TERMINAL_SECONDS = 0.2
LOGGED_SECONDS = 60.0
STEADY_SECONDS = 5.0
COUNTED_SECONDS = 0.05

R = TypeVar("R")


class Console(logging.Handler):
    """Writes the `distill` logger's lines to a stream, with at most one status line that is rewritten below them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self.stream = stream
        self.rewrites = stream.isatty()
        self.status_shown = False
        self.reused: list[str] = []
        """Labels of what was reused, in order, for the summary at the end of a run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line; lines that a meter has already shown are left out."""
        if getattr(record, "shown", False):
            return
        if label := getattr(record, "reused", ""):
            self.reused.append(label)
        self.clear()
        self.stream.write(record.getMessage() + "\n")
        self.stream.flush()

    def status(self, text: str) -> None:
        """Shows a status: in place on a terminal, as a line of its own elsewhere."""
        self.stream.write(f"\r{text}\x1b[K" if self.rewrites else text + "\n")
        self.status_shown = self.rewrites
        self.stream.flush()

    def clear(self) -> None:
        """Takes the status line away."""
        if self.status_shown:
            self.stream.write("\r\x1b[K")
            self.status_shown = False


@contextmanager
def showing(stream: TextIO | None = None) -> Iterator[Console]:
    """Shows progress on a stream, standard error by default, while the block lasts."""
    console = Console(stream or sys.stderr)
    before = LOGGER.propagate
    LOGGER.addHandler(console)
    LOGGER.propagate = False
    try:
        yield console
    finally:
        console.clear()
        LOGGER.removeHandler(console)
        LOGGER.propagate = before


def say(text: str, reused: str = "") -> None:
    """Writes one line of progress; `reused` names what the line says was reused."""
    LOGGER.info(text, extra={"reused": reused})


class Meter:
    """Counts work done against a total and shows how fast it goes and how long it will take."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label = label
        self.total = total
        self.done = done
        self.tokens = 0
        self.note = ""
        self._since: tuple[float, int] | None = None
        """When the first work came, and how much: what was done before, and loading a model, say nothing about the rate."""
        self._started = time.monotonic()
        self._shown = self._logged = self._started
        self._lock = threading.Lock()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for console in _consoles():
            console.clear()
        LOGGER.info(self.line())

    def add(self, count: int = 1, tokens: int = 0, note: str = "") -> None:
        """Adds finished work, the tokens that came of it, and a note such as the current loss; threads may share a meter."""
        with self._lock:
            self.done += count
            self.tokens += tokens
            self.note = note or self.note
            now = time.monotonic()
            self._since = self._since or (now, self.done)
            self._refresh(now)

    def reach(self, done: int, note: str = "") -> None:
        """Sets how much is done, where the work itself counts."""
        self.add(max(0, done - self.done), note=note)

    def over(self, rows: Iterable[R]) -> Iterator[R]:
        """The same rows, counted as they pass, a few at a time where they are fast."""
        passed, counted = 0, time.monotonic()
        for row in rows:
            yield row
            passed += 1
            if time.monotonic() - counted >= COUNTED_SECONDS:
                self.add(passed)
                passed, counted = 0, time.monotonic()
        self.add(passed)

    def line(self) -> str:
        """The status as text: `sampling 120/400 (30 %), 1,850 tokens/s, 4 min left`."""
        seconds = max(time.monotonic() - self._started, 1e-6)
        of_total = f"/{self.total:,} ({100 * self.done // self.total} %)" if self.total else ""
        parts = [f"{self.label} {self.done:,}{of_total}"]
        if self.tokens:
            parts.append(f"{self.tokens / seconds:,.0f} tokens/s")
        if self.note:
            parts.append(self.note)
        if self.done >= self.total:
            parts.append(f"took {duration(seconds)}")
        elif self._since and self.done > self._since[1] and time.monotonic() - self._since[0] >= STEADY_SECONDS:
            each = (time.monotonic() - self._since[0]) / (self.done - self._since[1])
            parts.append(f"{duration(each * (self.total - self.done))} left")
        return ", ".join(parts)

    def _refresh(self, now: float) -> None:
        if self.done >= self.total > 0:
            return  # the last line comes when the block is left
        for console in _consoles():
            if now - self._shown >= (TERMINAL_SECONDS if console.rewrites else PLAIN_SECONDS):
                console.status(self.line())
                self._shown = now
        if now - self._logged >= LOGGED_SECONDS:
            LOGGER.info(self.line(), extra={"shown": True})
            self._logged = now


def duration(seconds: float) -> str:
    """Seconds as a person says them: `35 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def _consoles() -> list[Console]:
    return [handler for handler in LOGGER.handlers if isinstance(handler, Console)]
