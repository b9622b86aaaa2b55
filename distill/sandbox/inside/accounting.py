"""Measures the processes of one program through `/proc`: their seconds, their memory, their number.

A sample every few milliseconds: what is born and gone between two samples is seen in its parent's accounts,
and memory can overshoot by what the machine can fill in that time. A program that waits for a disk is taken
for one that can run, but not for longer than its time limit: a process whose child has borrowed its memory
(vfork) looks the same.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STATE, PARENT, TIMES, CHILDREN_TIMES, THREADS, RESIDENT = 0, 1, slice(11, 13), slice(13, 15), 17, 21
"""Places in /proc/N/stat after the name in brackets (man 5 proc)."""
LOAD_FACTOR = 20
"""Wall seconds that a program may take for each second it may use, whatever the reason."""


class Meter:
    """The accounts of one run."""

    def __init__(self, first: int, limits: dict[str, Any], bell: int | None, order: dict[str, Any]) -> None:
        self.first, self.limits = first, limits
        self.bell = mmap.mmap(bell, 2) if bell is not None else None
        self.side, self.waits = order["side"], order["waits_for_peer"]
        self.seconds = self.cpu = self.blocked = 0.0
        self.started = self.latest = time.monotonic()

    def sample(self) -> str | None:
        """Brings the accounts up to date and returns the limit that was passed, if any."""
        cpu, resident, tasks, states = self.survey()
        now = time.monotonic()
        interval, self.latest = now - self.latest, now
        runnable = "R" in states
        if "D" in states and not runnable and self.blocked < self.limits["timeout_seconds"]:
            self.blocked, runnable = self.blocked + interval, True
        used, self.cpu = max(0.0, cpu - self.cpu), max(cpu, self.cpu)
        self.ring(not runnable)
        # a program that waits for its peer sleeps only while that one does
        asleep = not runnable and (self.bell is None or not self.waits or bool(self.bell[1 - self.side]))
        self.seconds += max(used, interval if asleep else 0.0)
        if self.too_large(resident) or tasks > 2 * self.limits["processes"] + 8:
            return "memory"
        timeout = self.limits["timeout_seconds"]
        return "timeout" if self.seconds > timeout or now - self.started > LOAD_FACTOR * timeout else None

    def too_large(self, resident: int) -> bool:
        """True when the processes hold too much, pages that several share counted once."""
        allowed: int = self.limits["memory_mb"] << 20
        return (
            resident > allowed
            and sum(share(number, fields) for number, fields in self.processes() if number != self.first)
            > allowed
        )

    def ring(self, asleep: bool) -> None:
        """Tells the other one of a pair whether this one sleeps."""
        if self.bell is not None:
            self.bell[self.side] = int(asleep)

    def survey(self) -> tuple[float, int, int, set[str]]:
        """CPU seconds, resident bytes and number of threads of all processes, and the states that they are
        in."""
        ticks = resident = tasks = 0
        states = set()
        for number, fields in self.processes():
            ticks += sum(map(int, fields[CHILDREN_TIMES]))
            if number == self.first:
                continue
            ticks += sum(map(int, fields[TIMES]))
            resident += int(fields[RESIDENT]) * PAGE
            tasks += int(fields[THREADS])
            states.add(fields[STATE])
            if int(fields[THREADS]) > 1 and "R" not in states:
                states |= states_of_threads(number)
        return ticks / TICKS, resident, tasks, states

    def processes(self) -> list[tuple[int, list[str]]]:
        """Number and fields of each process of the program: all that there are in its process space, or our
        descendants."""
        everything = {}
        for name in os.listdir("/proc"):
            fields = stat("/proc/" + name) if name.isdigit() else None
            if fields:
                everything[int(name)] = fields
        if self.first:
            self.first = 1
            return list(everything.items())
        known = {os.getpid()}
        grown = True
        while grown:
            more = {number for number, fields in everything.items() if int(fields[PARENT]) in known} - known
            known, grown = known | more, bool(more)
        return [(number, everything[number]) for number in known - {os.getpid()}]


def share(number: int, fields: list[str]) -> int:
    """Bytes of a process, shared pages divided among those who share them; all of them where it lets nobody
    look."""
    try:
        with open(f"/proc/{number}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(b"Pss:"))
    except (OSError, StopIteration):
        return int(fields[RESIDENT]) * PAGE


def states_of_threads(number: int) -> set[str]:
    """The states that the threads of a process are in."""
    folder = f"/proc/{number}/task/"
    try:
        threads = os.listdir(folder)
    except OSError:
        return set()
    return {fields[STATE] for fields in map(stat, (folder + name for name in threads)) if fields}


def stat(folder: str) -> list[str] | None:
    """The fields of a process or thread after its name; None when it is gone."""
    try:
        with open(folder + "/stat", "rb", 0) as file:
            content = file.read()
    except OSError:
        return None
    return content[content.rindex(b")") + 2 :].decode().split()
