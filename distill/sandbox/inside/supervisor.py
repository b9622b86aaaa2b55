"""Starts one program in namespaces of its own, watches it from outside of them, and ends them.

Its seconds are CPU seconds of all its processes plus the seconds in which none of them could run: waiting for
a free core counts for nothing, so that a busy machine is slow and never wrong. When the program ends,
whatever it started ends too.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import tempfile
from typing import Any

from . import accounting, isolation, program

POLL_MS = 25
PIDFD_OPEN = 434


def guard(settings: dict[str, Any], order: dict[str, Any], descriptors: list[int]) -> None:
    """Runs one order; the process ends with it."""
    control = socket.socket(fileno=descriptors[0])
    try:
        report = run(settings, order, control, descriptors[1:])
    except Exception as error:  # the parent must hear of it, whatever it is
        report = {"failed": f"{type(error).__name__}: {error}"}
    try:
        control.send(json.dumps(report).encode())
    finally:
        os._exit(0)


def run(
    settings: dict[str, Any], order: dict[str, Any], control: socket.socket, descriptors: list[int]
) -> dict[str, Any]:
    """What became of the program of an order."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    first, folder = 0, settings["scratch"]
    if settings["in_namespaces"]:
        isolation.new_namespaces()
        first = start_init(settings, descriptors)
    else:
        os.setsid()
        isolation.prctl(isolation.SET_CHILD_SUBREAPER, 1)
        folder = tempfile.mkdtemp(prefix="distill-sandbox-")
    try:
        return supervise(settings, order, control, descriptors, first, folder)
    finally:
        if not first:
            shutil.rmtree(folder, ignore_errors=True)


def supervise(
    settings: dict[str, Any],
    order: dict[str, Any],
    control: socket.socket,
    descriptors: list[int],
    first: int,
    folder: str,
) -> dict[str, Any]:
    """Starts the program, watches it, ends it, and says how it ended."""
    child = os.fork()
    if child == 0:
        program.start(settings, order, control, descriptors, folder)
    bell = descriptors[program.BELL] if len(descriptors) > program.BELL else None
    watched = accounting.Meter(first, settings["limits"], bell, order)
    for descriptor in descriptors:
        os.close(descriptor)
    try:
        ending = watch(child, control, watched)
    finally:
        end(first, watched)
    _, status, usage = os.wait4(child, 0)
    if first:
        os.waitpid(first, 0)  # only now: process 1 ends after the last of its process space is waited for
    watched.ring(True)  # leaves the other one of a pair with a peer that sleeps
    seconds = max(watched.seconds, usage.ru_utime + usage.ru_stime)
    killed = os.WIFSIGNALED(status)
    code = os.WTERMSIG(status) if killed else os.WEXITSTATUS(status)
    return {"seconds": seconds, **(ending or {"ending": "signal" if killed else "exit", "code": code})}


def start_init(settings: dict[str, Any], descriptors: list[int]) -> int:
    """Process 1 of the new process space: mounts, reaps orphans, and dies last."""
    reader, writer = os.pipe()
    first = os.fork()
    if first == 0:
        try:
            isolation.new_mounts(settings["scratch"], settings["limits"]["scratch_mb"])
            isolation.prctl(isolation.SET_DUMPABLE, 0)
            os.write(writer, b"ready")
        except OSError as error:
            os.write(writer, str(error).encode())
            os._exit(1)
        os.closerange(0, max(descriptors) + 8)
        isolation.prctl(isolation.SET_PDEATHSIG, signal.SIGKILL)
        reap()
    os.close(writer)
    said = os.read(reader, 4000)
    os.close(reader)
    if said != b"ready":
        raise OSError(said.decode() or "process 1 died")
    return first


def reap() -> None:
    """Waits for orphans, for ever: their seconds count once they have been waited for."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        signal.sigwait([signal.SIGCHLD])
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def watch(child: int, control: socket.socket, watched: accounting.Meter) -> dict[str, Any] | None:
    """How the program was ended from outside; None when it ended by itself."""
    handle = isolation.checked(isolation.libc.syscall(PIDFD_OPEN, child, 0), "pidfd_open")
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(control, select.POLLIN)
    try:
        while True:
            ready = [descriptor for descriptor, _ in poll.poll(POLL_MS)]
            if handle in ready:
                return None
            if ready:  # the parent says stop, or is gone
                return {"ending": "output", "code": 0}
            ending = watched.sample()
            if ending:
                return {"ending": ending, "code": 0}
    finally:
        os.close(handle)


def end(first: int, watched: accounting.Meter) -> None:
    """Kills all that is left of the program."""
    if first:
        os.kill(first, signal.SIGKILL)  # the kernel kills the rest of the process space
        return
    for _ in range(1000):
        living = [number for number, fields in watched.processes() if fields[accounting.STATE] != "Z"]
        if not living:
            return
        for number in living:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
