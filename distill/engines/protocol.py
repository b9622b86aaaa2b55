"""What every engine speaks: requests in, completions out.

- An engine never judges and never drops: what could not be had is a `Completion` with a `failure`.
- A teacher that is gone (refused key, unknown model, no server) is an `EngineError`, which stops the run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from distill.recipe import Sampling
from distill.records import FinishReason, Message, Problem

STOPPED = "stopped"
"""Failure of a request that was not asked, or not asked again, because the run is to end; never stored."""


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
    """What came back for one request, before `text.thinking` splits it."""

    key: str
    content: str | None
    """Text after the prefill; None when the server sent none."""
    reasoning: str | None = None
    """The thinking, where a server returns it in a field of its own (`reasoning` or `reasoning_content`)."""
    finish_reason: FinishReason = "stop"
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


def failed(key: str, failure: str, model: str, prompt_tokens: int | None = None) -> Completion:
    """The completion of a request that came to nothing."""
    return Completion(
        key, None, finish_reason="error", prompt_tokens=prompt_tokens, model=model, failure=failure
    )


class Engine(Protocol):
    """Completes requests in any order; concurrency is its private matter."""

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, in any order; raises EngineError when the teacher is gone.

        - A None among the requests: there is nothing to ask just now. The engine looks again after the next
          completion, or shortly.
        - The next request is taken only when it can be sent: to end the requests is to end what is asked.
        """
        ...

    def drain(self) -> None:
        """From now on nothing is started or tried again; what is in flight still arrives. From any thread."""
        ...
