"""Engines: prompts in, completions out. One module an implementation, chosen in `open_engine`.

An engine never judges and never drops: a completion that could not be had is a `Completion` with a `failure`.
A teacher that is gone (refused key, unknown model, no server) is an `EngineError`, which stops the run with
its cause.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from distill.recipe.dataset import Sampling, Teacher
from distill.records import FinishReason, Message, Problem

STOPPED = "stopped"
"""Failure of a request that was not asked, or not asked again, because the run is to end: it is nobody's
result."""


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
    max_tokens: int
    """Longest completion, thinking included."""
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
    finish_reason: FinishReason = "stop"
    """One of `records.FinishReason`."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    """Those of the prompt tokens that the server took from its prefix cache."""
    lost_prompt_tokens: int = 0
    """Prompt tokens of earlier tries of this request whose replies could not be used."""
    lost_completion_tokens: int = 0
    """Completion tokens of such tries."""
    model: str = "unknown"
    """The name that the server gave itself."""
    system_fingerprint: str | None = None
    """The server's word for its configuration, where it sends one."""
    failure: str | None = None
    """Why there is no usable completion (`"null_content"`, `"bad_response"`, `"timeout"`, ...), or None."""


class Engine(Protocol):
    """Completes requests in any order; concurrency is its private matter."""

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, in any order; raises EngineError when the teacher is gone.

        A None among the requests means that there is nothing to ask just now: look again after the next
        completion, or shortly. The next request is taken only when it can be sent: whoever ends the requests
        ends what is asked.
        """
        ...


def open_engine(teacher: Teacher) -> AbstractContextManager[Engine]:
    """The engine of a teacher, closed (and its process ended) when the block is left."""
    match teacher.engine:
        case "server":
            from distill.engines.server import ServerEngine

            return ServerEngine(teacher)
        case "vllm":
            from distill.engines.vllm import VllmEngine

            return VllmEngine(teacher)
        case "transformers":
            from distill.engines.transformers import LocalEngine

            return LocalEngine(teacher)
        case "replay":
            from distill.engines.replay import ReplayEngine

            return ReplayEngine(teacher)
        case "scripted":
            from distill.engines.scripted import ScriptedEngine

            return ScriptedEngine(teacher)
