"""One box: a process tree that runs programs, and the parent's ends of the pipes to them.

A box can run several programs at a time, each in a process space of its own. It holds no state between runs.
When it dies or falls silent, `BoxDied` says so; who asked may try again with another box.
"""

import array
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
from functools import cache
from importlib import resources
from typing import Any, BinaryIO

from distill.recipe import Sandbox
from distill.sandbox import bubblewrap, runs
from distill.sandbox.runs import Job, Ran

START_SECONDS = 120.0
"""Wall seconds to start an interpreter on a loaded machine."""


class Box:
    """A running fork server; `protected` is False for one without namespaces."""

    def __init__(self, limits: Sandbox, protected: bool = True) -> None:
        self.limits = limits
        interpreter = bubblewrap.interpreter(limits.python)
        command = bubblewrap.command(interpreter) if protected else list(interpreter.command)
        settings = {
            "limits": limits.model_dump(),
            "scratch": interpreter.scratch,
            "in_namespaces": protected,
            "drop_to": bubblewrap.drop_to() if protected else 0,
        }
        self.errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the box
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as script:
            script.write(boot_script(settings))
            script.seek(0)
            self.process = subprocess.Popen(
                command,
                stdin=script,
                stdout=theirs.fileno(),
                stderr=self.errors,
                env=bubblewrap.ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        self.socket.settimeout(START_SECONDS)
        said = b""
        with contextlib.suppress(OSError):
            said = self.socket.recv(100)
        if said != b"ready":
            self.close()
            raise runs.BoxDied(f"the box did not start: {self.cause}")

    def run(self, *jobs: Job) -> list[Ran]:
        """Runs one job, or two that are connected; raises BoxDied."""
        with contextlib.ExitStack() as stack:
            started = runs.prepare(jobs, stack)
            for run in started:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", run.theirs))]
                try:
                    self.socket.sendmsg([json.dumps(run.order).encode()], rights)
                except OSError as error:
                    raise runs.BoxDied(f"the box is gone: {error}") from None
                run.hand_over()
            runs.drive(started, self.limits)
            return [run.ran() for run in started]

    def close(self) -> None:
        """Ends the box and everything in it now."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        with contextlib.suppress(ProcessLookupError):
            # bwrap is the leader; the kernel ends the process space with its first process
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if not self.errors.closed:
            self.errors.seek(0)
            said = self.errors.read()[-2000:].decode(errors="replace").strip()
            self.cause = said or f"it ended with {self.process.returncode}"
            self.errors.close()

    def forget(self) -> None:
        """Gives up a forked child's copy of the connection; the box goes on."""
        self.socket.close()


def boot_script(settings: dict[str, Any]) -> bytes:
    """What the interpreter in the box reads on standard input."""
    return f"{sources()['inside']}\n\nstart({sources()!r}, {settings!r})\n".encode()


@cache
def sources() -> dict[str, str]:
    """Text of the package `inside` by module name."""
    found = {}
    for file in resources.files("distill.sandbox.inside").iterdir():
        name, _, suffix = file.name.rpartition(".")
        if suffix == "py":
            found["inside" if name == "__init__" else f"inside.{name}"] = file.read_text(encoding="utf-8")
    return found
