"""Progress of long work: one line with done and total, time left and rate.

On a terminal the line is rewritten in place; elsewhere a plain line is written every few seconds, so that a log stays
readable. Everything goes to the `distill` logger as well, where Prefect picks it up for the page of a flow run. Nothing is
shown unless `showing` is entered: a library stays silent.
"""

import logging
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO, TypeVar

LOGGER = logging.getLogger("distill")
LOGGER.setLevel(logging.INFO)
PLAIN_SECONDS = 10.0
TERMINAL_SECONDS = 0.2
LOGGED_SECONDS = 60.0
WINDOW_SECONDS = 60.0
WINDOW_ROWS = 30
"""Rates are taken over a minute, and over so many rows where these take longer."""
STEADY_SECONDS = 5.0
STEADY_ROWS = 3
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
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line; lines that a meter has already shown are left out."""
        if getattr(record, "shown", False):
            return
        if (once := getattr(record, "once", "")) in self._told:
            return
        if once:
            self._told.add(once)
        if label := getattr(record, "reused", ""):
            self.reused.append(label)
        self.clear()
        self.stream.write(record.getMessage() + "\n")
        self.stream.flush()

    def status(self, text: str) -> None:
        """Shows a status: in place on a terminal, as a line of its own elsewhere."""
        self.stream.write(f"\r{self._fitting(text)}\x1b[K" if self.rewrites else text + "\n")
        self.status_shown = self.rewrites
        self.stream.flush()

    def clear(self) -> None:
        """Takes the status line away."""
        if self.status_shown:
            self.stream.write("\r\x1b[K")
            self.status_shown = False

    def _fitting(self, text: str) -> str:
        """The text in one line of the terminal: a longer one would be wrapped and could not be rewritten."""
        try:
            columns = os.get_terminal_size(self.stream.fileno()).columns
        except OSError:
            columns = 0
        width = (columns or shutil.get_terminal_size().columns) - 1
        return text if len(text) <= width else text[: width - 3] + "..."


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


def say(text: str, reused: str = "", once: str = "") -> None:
    """Writes one line of progress; `reused` names what it says was reused, and of lines with one `once` only the first is written."""
    LOGGER.info(text, extra={"reused": reused, "once": once})


class Meter:
    """Counts work done against a total and shows how fast it goes and how long it will take.

    Rates are those of the last minute, or of the last rows where rows take longer. A time left is shown once the rate is steady.
    """

    def __init__(self, label: str, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.label = label
        self.total = total
        self.done = done
        self.tokens = 0
        self.note = ""
        self._clock = clock
        self._before = done
        """What was there already: it says nothing about the rate."""
        self._seen: deque[tuple[float, int, int]] = deque()
        """(seconds, done, tokens) of the last minute; it begins with the first work, since loading a model says nothing about the rate."""
        self._ended = ""
        self._started = self._shown = self._logged = clock()
        self._lock = threading.RLock()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = "took" if error is None else "stopped after"
        for console in _consoles():
            console.clear()
        LOGGER.info(self.line())

    def add(self, count: int = 1, tokens: int = 0, note: str = "") -> None:
        """Adds finished work, the tokens that came of it, and a note such as the current loss; threads may share a meter."""
        with self._lock:
            self.done += count
            self.tokens += tokens
            self.note = note or self.note
            now = self._clock()
            self._remember(now)
            self._refresh(now)

    def found(self, count: int) -> None:
        """Adds work that was done before: it counts, and not as speed."""
        with self._lock:
            self.done += count
            self._before += count
            self._seen = deque((at, done + count, tokens) for at, done, tokens in self._seen)

    def expect(self, total: int) -> None:
        """Sets another total, where less or more turns out to be needed."""
        with self._lock:
            self.total = total

    def reach(self, done: int, note: str = "") -> None:
        """Sets how much is done, where the work itself counts."""
        self.add(max(0, done - self.done), note=note)

    def over(self, rows: Iterable[R]) -> Iterator[R]:
        """The same rows, counted as they pass, a few at a time where they are fast."""
        passed, counted = 0, self._clock()
        for row in rows:
            yield row
            passed += 1
            if self._clock() - counted >= COUNTED_SECONDS:
                self.add(passed)
                passed, counted = 0, self._clock()
        self.add(passed)

    def line(self) -> str:
        """The status as text: `sampling 120/400 (30 %), 4 min left, $3.21 of $50, 1.2/s, 1,850 tokens/s`."""
        with self._lock:
            of_total = f"/{self.total:,} ({100 * self.done // self.total} %)" if self.total else ""
            parts = [f"{self.label} {self.done:,}{of_total}"]
            seconds, rows, tokens = self._window()
            if self._ended or self.done >= self.total > 0:
                seconds, rows, tokens = self._clock() - self._started, self.done - self._before, self.tokens
                parts.append(f"{self._ended or 'took'} {duration(seconds)}")
            elif self.total and self._steady():
                parts.append(f"{duration(seconds * (self.total - self.done) / rows)} left")
            parts += [self.note] if self.note else []
            if seconds >= 1:
                parts += [rate(rows / seconds)] if rows else []
                parts += [f"{tokens / seconds:,.0f} tokens/s"] if tokens else []
            return ", ".join(parts)

    def _remember(self, now: float) -> None:
        """Notes how far the work is, at most once a second, and forgets what is older than the window."""
        if self._seen and now - self._seen[-1][0] < 1:
            return
        self._seen.append((now, self.done, self.tokens))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_SECONDS and self.done - self._seen[1][1] >= WINDOW_ROWS:
            self._seen.popleft()

    def _window(self) -> tuple[float, int, int]:
        """(seconds, rows, tokens) since the beginning of the window."""
        at, done, tokens = self._seen[0] if self._seen else (self._clock(), self.done, self.tokens)
        return self._clock() - at, self.done - done, self.tokens - tokens

    def _steady(self) -> bool:
        """Whether the window says how fast it goes: it is full, or its halves agree within a factor of two."""
        seconds, rows, _ = self._window()
        if seconds < STEADY_SECONDS or rows < STEADY_ROWS:
            return False
        (first, before, _), (last, until, _) = self._seen[0], self._seen[-1]
        later = until - max(done for at, done, _ in self._seen if at <= (first + last) / 2)
        return (seconds >= WINDOW_SECONDS and rows >= WINDOW_ROWS) or until - before <= 3 * later <= 2 * (until - before)

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


def amount(count: int) -> str:
    """A count as a person says it: `950`, `12.3 k`, `1.85 M`."""
    for size, divisor, unit in ((10**9, 10**9, "G"), (10**6, 10**6, "M"), (10**4, 10**3, "k")):
        if count >= size:
            return f"{count / divisor:.3g} {unit}"
    return f"{count:,}"


def number(value: float) -> str:
    """Three digits of an estimate: `0.25`, `950`, `1.85 M`, `700 B`, `3 T`."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= limit:
            return f"{value / limit:.3g} {suffix}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def dollars(value: float) -> str:
    """Money as a person writes it: `$50`, `$3.21`, `$0.0034`."""
    return f"${value:.2g}" if 0 < abs(value) < 0.1 else f"${value:,.2f}".removesuffix(".00")


def percent(share: float) -> str:
    """A share of 0 to 1 in percent: `12.5 %`."""
    return f"{100 * share:.1f} %"


def rate(each_second: float) -> str:
    """A speed in the unit that makes it a number to read: `310/s`, `1.2/s`, `34/min`, `2.5/h`."""
    for size, unit in ((1, "s"), (60, "min")):
        if each_second * size >= 1:
            return f"{each_second * size:,.{0 if each_second * size >= 10 else 1}f}/{unit}"
    return f"{each_second * 3600:.1f}/h"


def _consoles() -> list[Console]:
    return [handler for handler in LOGGER.handlers if isinstance(handler, Console)]
