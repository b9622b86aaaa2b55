"""Engines: prompts in, completions out. One module an implementation, chosen in `open_engine`.

An engine never judges and never drops: a completion that could not be had is a `Completion` with a `failure`. A
teacher that is gone (refused key, unknown model, no server) is an `EngineError`, which stops the run with its cause.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from distill.recipe import Sampling, Teacher
from distill.records import Message, Problem


class EngineError(RuntimeError):
    """The engine cannot go on; the message names the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to make."""

    key: str
    """Sampling key: the id of the trace that comes of it."""
    problem: Problem
    sample_index: int
    messages: tuple[Message, ...]
    """The conversation so far, ending with the user's turn."""
    prefill: str
    """Text that opens the assistant's turn; the completion goes on after it."""
    seed: int
    """Two requests with one seed, prompt and model get one completion where the engine can promise it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back for one request, before `normalise` splits it."""

    key: str
    content: str | None
    """Text after the prefill; None when the server sent none."""
    reasoning: str | None = None
    """The thinking, where a server returns it in a field of its own (`reasoning` or `reasoning_content`)."""
    finish_reason: str = "stop"
    """One of `records.FinishReason`."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    model: str = "unknown"
    failure: str | None = None
    """Why there is no usable completion (`"null_content"`, `"bad_response"`, `"timeout"`, ...), or None."""


class Engine(Protocol):
    """Completes requests in any order; concurrency is its private matter."""

    def complete(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, in any order; raises EngineError when the teacher is gone."""
        ...


def open_engine(teacher: Teacher) -> AbstractContextManager[Engine]:
    """The engine of a teacher, closed (and its process ended) when the block is left."""
    match teacher.engine:
        case "server":
            from distill.engines.server import ServerEngine

            return ServerEngine(teacher)
        case "vllm" | "transformers":
            from distill.engines.local import LocalEngine

            return LocalEngine(teacher)
        case "replay":
            from distill.engines.replay import ReplayEngine

            return ReplayEngine(teacher)
        case "scripted":
            from distill.engines.scripted import ScriptedEngine

            return ScriptedEngine(teacher)
