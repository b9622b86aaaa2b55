"""What goes into a sandbox and what comes out of it. Nothing here decides about right and wrong."""

from dataclasses import dataclass
from typing import Any


class SandboxError(RuntimeError):
    """There is no working sandbox here; the message names the cause and the remedy. Nothing was run."""


class InfraError(RuntimeError):
    """The sandbox itself broke down, three times, during a job: that says nothing about the program."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a program in a process, a file system and a process space of its own."""

    program: str
    """Name of a module in `distill/sandbox/inside/` that has `main(data, result, inbox, outbox)`."""
    data: dict[str, Any]
    """JSON data for it: the model's code, arguments; never an expected output next to model-written code."""
    stdin: bytes = b""
    waits_for_peer: bool = False
    """True for a program that waits for the other one of a pair: its seconds asleep count only while the
    other one sleeps too."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a job ended."""

    ending: str
    """`"exit"`, `"signal"`, `"timeout"`, `"memory"` or `"output"` (wrote more than it may)."""
    code: int
    """Exit status or signal number; 0 for the other endings."""
    stdout: bytes
    stderr: bytes
    """Its last 4,000 bytes."""
    result: bytes
    """What it wrote to its result channel. Model-written code can write there too: these are its claims, in
    no way a verdict."""
    seconds: float
    """CPU seconds plus seconds asleep."""
