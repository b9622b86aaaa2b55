"""What completions cost: tokens counted by the server, and money at the prices of the teacher's recipe."""

from dataclasses import astuple, dataclass

from distill.engines import Completion
from distill.recipe import Teacher


@dataclass(frozen=True, slots=True)
class Spent:
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

    def plus(self, other: "Spent") -> "Spent":
        """The sum of two."""
        return Spent(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens


def spent_on(completion: Completion) -> Spent:
    """What one completion cost, with the earlier tries of its request."""
    lost = completion.lost_prompt_tokens + completion.lost_completion_tokens
    return Spent(
        completions=1,
        failures=int(completion.failure is not None),
        prompt_tokens=(completion.prompt_tokens or 0) + completion.lost_prompt_tokens,
        cached_prompt_tokens=completion.cached_prompt_tokens or 0,
        completion_tokens=(completion.completion_tokens or 0) + completion.lost_completion_tokens,
        reasoning_tokens=completion.reasoning_tokens or 0,
        lost_tokens=lost,
        uncounted=int(completion.failure is None and completion.completion_tokens is None),
    )


def cost_usd(spent: Spent, teacher: Teacher) -> float | None:
    """What tokens cost at a teacher's prices; None without a price."""
    prompt, completion = teacher.prompt_usd_per_million, teacher.completion_usd_per_million
    if prompt is None and completion is None:
        return None
    cached = teacher.cached_prompt_usd_per_million if teacher.cached_prompt_usd_per_million is not None else prompt
    fresh_tokens = spent.prompt_tokens - spent.cached_prompt_tokens
    return (fresh_tokens * (prompt or 0) + spent.cached_prompt_tokens * (cached or 0) + spent.completion_tokens * (completion or 0)) / 1e6
