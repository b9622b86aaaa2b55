"""Progress of long work: one line with done and total, time left and rate.

On a terminal rich keeps the line in place; elsewhere a plain line is written every few seconds, so that a log
stays readable. Everything goes to the `distill` logger as well, where Prefect picks it up for the page of a
flow run. Nothing is shown unless `showing` is entered: a library stays silent.
"""

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.live import Live

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
    """Writes the `distill` logger's lines to a stream, above at most one live line on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self.stream = stream
        self.rewrites = stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self.reused: list[str] = []
        """Labels of what was reused, in order, for the summary at the end of a run."""
        self._told: set[str] = set()
        self._live: Live | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line; lines that a meter has already shown are left out."""
        once = getattr(record, "once", "")
        if getattr(record, "shown", False) or once in self._told:
            return
        self._told |= {once} - {""}
        self.reused += [label] if (label := getattr(record, "reused", "")) else []
        if self._live:
            self._live.console.print(record.getMessage())
        else:
            self.stream.write(record.getMessage() + "\n")
            self.stream.flush()

    def status(self, text: str) -> None:
        """Shows a status: in place on a terminal, cut to its width, and as a line of its own elsewhere."""
        if not self.rewrites:
            self.stream.write(text + "\n")
            self.stream.flush()
            return
        from rich.text import Text

        self._live = self._live or _live(self.stream)
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def clear(self) -> None:
        """Takes the status line away."""
        if self._live:
            self._live.stop()
            self._live = None


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
    """Writes one line of progress; `reused` names what it says was reused, and of lines with one `once` only
    the first is written."""
    LOGGER.info(text, extra={"reused": reused, "once": once})


class Mark(NamedTuple):
    """How far the work was at a time."""

    at: float
    done: int
    tokens: int


class Meter:
    """Counts work done against a total and shows how fast it goes and how long it will take.

    Rates are those of the last minute, or of the last rows where rows take longer. A time left is shown once
    the rate is steady.
    """

    def __init__(
        self, label: str, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.label, self.total, self.done = label, total, done
        self.tokens, self.note = 0, ""
        self._clock = clock
        self._before = done
        """What was there already: it says nothing about the rate."""
        self._seen: deque[Mark] = deque()
        """The last minute, from the first work on: loading a model says nothing about the rate."""
        self._ended = ""
        self._started = self._shown = self._logged = clock()
        self._lock = threading.RLock()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = "took" if error is None else "stopped after"
        for console in _consoles():
            console.clear()
        LOGGER.info(self.line())

    def add(self, count: int = 1, tokens: int = 0, note: str = "") -> None:
        """Adds finished work, the tokens that came of it, and a note such as the current loss; threads may
        share a meter."""
        with self._lock:
            self.done += count
            self.tokens += tokens
            self.note = note or self.note
            now = self._clock()
            if not self._seen or now - self._seen[-1].at >= 1:
                self._seen.append(Mark(now, self.done, self.tokens))
            while (
                len(self._seen) > 2
                and now - self._seen[1].at >= WINDOW_SECONDS
                and self.done - self._seen[1].done >= WINDOW_ROWS
            ):
                self._seen.popleft()
            if not self.done >= self.total > 0:  # else the last line comes when the block is left
                self._show(now)

    def found(self, count: int) -> None:
        """Adds work that was done before: it counts, and not as speed."""
        with self._lock:
            self.done += count
            self._before += count
            self._seen = deque(mark._replace(done=mark.done + count) for mark in self._seen)

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
            parts = [
                f"{self.label} {self.done:,}"
                + (f"/{self.total:,} ({100 * self.done // self.total} %)" if self.total else "")
            ]
            ended = self._ended or ("took" if self.done >= self.total > 0 else "")
            since = Mark(self._started, self._before, 0) if ended or not self._seen else self._seen[0]
            seconds, rows, tokens = (
                self._clock() - since.at,
                self.done - since.done,
                self.tokens - since.tokens,
            )
            if ended:
                parts.append(f"{ended} {duration(seconds)}")
            elif self.total and self._steady(seconds, rows):
                parts.append(f"{duration(seconds * (self.total - self.done) / rows)} left")
            parts += [self.note] if self.note else []
            if seconds >= 1:
                parts += [rate(rows / seconds)] if rows else []
                parts += [f"{tokens / seconds:,.0f} tokens/s"] if tokens else []
            return ", ".join(parts)

    def _steady(self, seconds: float, rows: int) -> bool:
        """Whether the window says how fast it goes: it is full, or its halves differ by less than twice."""
        if seconds < STEADY_SECONDS or rows < STEADY_ROWS:
            return False
        first, last = self._seen[0], self._seen[-1]
        later = last.done - max(mark.done for mark in self._seen if mark.at <= (first.at + last.at) / 2)
        halves_agree = last.done - first.done <= 3 * later <= 2 * (last.done - first.done)
        return halves_agree or (seconds >= WINDOW_SECONDS and rows >= WINDOW_ROWS)

    def _show(self, now: float) -> None:
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
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


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


def _live(stream: TextIO) -> "Live":
    """A live line that is drawn when it is told to, by no thread of its own; loads rich."""
    from rich.console import Console as Terminal
    from rich.live import Live

    terminal = Terminal(
        file=stream, force_terminal=True, soft_wrap=True, markup=False, emoji=False, highlight=False
    )
    live = Live(
        console=terminal, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    live.start()
    return live


def _consoles() -> list[Console]:
    return [handler for handler in LOGGER.handlers if isinstance(handler, Console)]
