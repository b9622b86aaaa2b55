"""The start and the end of a program's own process: what it may hold, and an orderly end like an
interpreter's.

After `start` has given up the rights, everything here runs beside model-written code in one process and is
its prey.
"""

from __future__ import annotations

import atexit
import fcntl
import importlib
import io
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NoReturn

from . import isolation

STDIN, STDOUT, STDERR, RESULT, DATA, INBOX, OUTBOX, BELL = range(8)
"""Places of the descriptors in an order; the last three are those of a pair."""
CONTROL = 6
"""Where the socket to the parent waits until the rights are gone."""
ABOVE = 64


def start(
    settings: dict[str, Any],
    order: dict[str, Any],
    control: socket.socket,
    descriptors: list[int],
    folder: str,
) -> NoReturn:
    """Turns this process into the program of an order; never returns."""
    code = 1
    try:
        entrance = importlib.import_module("inside." + order["program"]).main
        data = take_data(descriptors[DATA])
        os.setsid()  # or killpg(0) would reach the supervisor and the fork server
        os.chdir(folder)
        os.environ.update(HOME=folder, TMPDIR=folder)
        inbox, outbox = arrange(control.detach(), descriptors)
        isolation.prctl(isolation.SET_DUMPABLE, 1)  # or its own /proc/self belongs to root
        isolation.limit(settings["limits"], settings["in_namespaces"])
        if settings["in_namespaces"]:
            isolation.give_up_rights()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(CONTROL)
        code = finish(entrance, data, os.fdopen(3, "wb"), inbox, outbox)
    finally:
        os._exit(code)


def take_data(descriptor: int) -> Any:
    """The job's data, read from the start."""
    with os.fdopen(descriptor, "rb") as file:
        return json.loads(file.read().decode())


def arrange(control: int, descriptors: list[int]) -> tuple[int | None, int | None]:
    """Puts the descriptors where programs expect them, closes all others, and makes new standard streams of
    0, 1 and 2."""
    pair = [descriptors[INBOX], descriptors[OUTBOX]] if len(descriptors) > INBOX else []
    wanted = dict(enumerate([*descriptors[: RESULT + 1], *pair]))
    wanted[CONTROL] = control
    moved = {place: fcntl.fcntl(descriptor, fcntl.F_DUPFD, ABOVE) for place, descriptor in wanted.items()}
    for place, descriptor in moved.items():
        os.dup2(descriptor, place, inheritable=place <= STDERR)
    os.closerange(CONTROL + 1, 2 * ABOVE)
    if not pair:
        os.closerange(RESULT + 1, CONTROL)
    new_streams()
    return (4, 5) if pair else (None, None)


def new_streams() -> None:
    """Standard streams as an interpreter makes them, on 0, 1 and 2."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode, errors = "w" if number else "r", "backslashreplace" if number == STDERR else "surrogateescape"
        raw = io.FileIO(number, mode, closefd=False)
        buffer = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
        stream: Any = io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=number == STDERR)
        stream.buffer.raw.name, stream.mode = f"<{name}>", mode  # fast input classes ask for them
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def finish(
    entrance: Callable[..., None], data: Any, result: BinaryIO, inbox: int | None, outbox: int | None
) -> int:
    """Runs a program and returns its exit status, after its threads, its exit functions and its buffers."""
    code = 0
    try:
        entrance(data, result, inbox, outbox)
    except SystemExit as ending:
        code = exit_status(ending.code)
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    code = flush([sys.stdout, sys.__stdout__, result]) or code
    flush([sys.stderr, sys.__stderr__])
    # files that were never closed are flushed when nothing refers to them
    vars(sys.modules["__main__"]).clear()
    # what their end has printed; a stream of the program's own may not work any more
    return flush([sys.__stdout__]) or code


def flush(streams: Iterable[Any]) -> int:
    """120, as the interpreter has it, when something could not be written."""
    code = 0
    for stream in streams:
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError, AttributeError):
            code = 120
    return code


def exit_status(code: Any) -> int:
    """The status that `sys.exit(code)` stands for."""
    if code is None:
        return 0
    if isinstance(code, int):
        return int.__and__(code, 0xFF)  # not what a subclass makes of it
    print(code, file=sys.stderr)
    return 1
