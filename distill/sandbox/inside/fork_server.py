"""The fork server of a box: a Python with its imports done, which forks a supervisor for each run.

It reads no job: data, standard input and results travel through descriptors that only the program of that run
opens, so there is nothing here that a later run could find in its memory. It ends when the socket to the
parent does.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import signal
import site
import socket
from typing import Any

from . import isolation, prelude, supervisor

PRELOADED = (
    "array ast bisect collections.abc copy ctypes dataclasses datetime decimal enum fractions functools "
    "heapq io itertools json math operator queue random re statistics string struct threading time traceback "
    "typing"
)
"""What most programs import. Each megabyte makes each fork slower: what few import is not here."""
MAX_DESCRIPTORS = 16


def serve(settings: dict[str, Any]) -> None:
    """Answers the parent on descriptor 1; returns when the parent is gone."""
    parent = socket.socket(fileno=os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    preload()
    if settings["drop_to"]:
        drop_to(settings["drop_to"])
    isolation.prctl(isolation.SET_NO_NEW_PRIVS, 1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing waits for supervisors
    gc.collect()
    gc.freeze()  # keeps the children's pages shared
    parent.send(b"ready")
    while True:
        message, descriptors = receive(parent)
        if not message:
            return
        order = json.loads(message.decode())
        importlib.import_module("inside." + order["program"])
        if os.fork() == 0:
            parent.close()
            supervisor.guard(settings, order, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def preload() -> None:
    """Imports what programs import, and what an interpreter has without asking."""
    site.setquit()  # `python -S` has no exit() and no quit()
    for name in PRELOADED.split():
        try:
            importlib.import_module(name)
        except ImportError:  # a Python built without, say, ctypes
            continue
    prelude.collect()


def drop_to(user: int) -> None:
    """Leaves real root, for which the kernel counts no processes, for a user that owns nothing."""
    isolation.mount("proc", "/proc", "proc", isolation.NOSUID | isolation.NODEV | isolation.NOEXEC)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    isolation.prctl(isolation.SET_DUMPABLE, 1)  # or /proc/self/uid_map of its children belongs to root


def receive(parent: socket.socket) -> tuple[bytes, list[int]]:
    """One message and the descriptors that came with it."""
    message, ancillary, _, _ = parent.recvmsg(
        1 << 16, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return message, list(descriptors)
