"""What completions cost: tokens as the server counted them, and money at the prices of the teacher's recipe.

What a server billed for replies that never arrived is not known here.
"""

from dataclasses import dataclass
from typing import NamedTuple

from distill.engines.protocol import Completion
from distill.recipe import Teacher


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
