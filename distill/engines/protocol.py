"""What every engine speaks: requests in, completions out, and what these cost.

- An engine never judges and never drops: what could not be had is a `Completion` with a `failure`.
- A teacher that is gone (refused key, unknown model, no server) is an `EngineError`, which stops the run.
- Tokens are as the server counted them. What it billed for replies that never arrived is not known here.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from distill.recipe import Sampling, Teacher
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


def failed(key: str, failure: str, model: str, **counts: Any) -> Completion:
    """The completion of a request that came to nothing, with the tokens that were counted."""
    return Completion(key, None, finish_reason="error", model=model, failure=failure, **counts)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of some completions, replies that could not be used among them; a sum of such sums."""

    completions: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Those of the prompt tokens that came from the server's prefix cache."""
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    """Those of the completion tokens that the server counted as thinking; 0 where it does not say."""
    lost_tokens: int = 0
    """Prompt and completion tokens, counted above as well, of replies that could not be used."""
    uncounted: int = 0
    """Completions for which the server counted no tokens."""

    def plus(self, other: "Usage") -> "Usage":
        """The sum of two."""
        # spelt out: it is done for every completion, and a loop over the fields takes ten times as long
        return Usage(
            self.completions + other.completions,
            self.failures + other.failures,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.lost_tokens + other.lost_tokens,
            self.uncounted + other.uncounted,
        )

    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    def counted(self) -> int:
        """Completions that came, with their tokens."""
        return self.completions - self.failures - self.uncounted


class SharedUsage(NamedTuple):
    """What all runs have used, and how many requests of other runs are in flight."""

    total: Usage
    others_in_flight: int


def usage_of(completion: Completion) -> Usage:
    """What one completion used, with the earlier tries of its request."""
    return Usage(
        completions=1,
        failures=int(completion.failure is not None),
        prompt_tokens=(completion.prompt_tokens or 0) + completion.lost_prompt_tokens,
        cached_prompt_tokens=completion.cached_prompt_tokens or 0,
        completion_tokens=(completion.completion_tokens or 0) + completion.lost_completion_tokens,
        reasoning_tokens=completion.reasoning_tokens or 0,
        lost_tokens=completion.lost_prompt_tokens + completion.lost_completion_tokens,
        uncounted=int(completion.failure is None and completion.completion_tokens is None),
    )


def cost_usd(usage: Usage, teacher: Teacher) -> float | None:
    """What tokens cost at a teacher's prices; None without a price."""
    prompt, completion = teacher.prompt_usd_per_million, teacher.completion_usd_per_million
    if prompt is None and completion is None:
        return None
    cached = teacher.cached_prompt_usd_per_million
    cached = prompt if cached is None else cached
    fresh_tokens = usage.prompt_tokens - usage.cached_prompt_tokens
    price = (
        fresh_tokens * (prompt or 0)
        + usage.cached_prompt_tokens * (cached or 0)
        + usage.completion_tokens * (completion or 0)
    )
    return price / 1e6


def waited_for(requests: Iterable[Request | None], seconds: float = 0.02) -> Iterator[Request]:
    """The requests; while there is nothing to ask just now, it sleeps for so long and looks again."""
    for request in requests:
        if request is None:
            time.sleep(seconds)
        else:
            yield request


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
