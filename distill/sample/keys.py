"""The name of every completion that can be drawn: a hash of its problem, of what decides its distribution,
and of its number.

A *draw* is the i-th completion of a problem by a teacher under some settings, whatever its budget; it has one
seed. Its *key* holds the budget `max_tokens` too. How many are drawn, where and how fast is no part of
either.
"""

import json

from distill.recipe import Sampling, Teacher
from distill.records import Problem
from distill.store import digest
from distill.text import prompts

NOT_THE_DISTRIBUTION = ("n", "max_tokens", "adaptive", "again", "prompt")
"""Settings that decide which completions are drawn and not how; the prompt is in by its text."""
NOT_ASKED = ("licence", "think_tags")
"""Settings of a teacher that say how its completions are read, or may be used."""


class SamplingKeys:
    """The keys and seeds of a teacher's completions under some settings."""

    def __init__(self, teacher: Teacher, sampling: Sampling) -> None:
        asked_of = {name: value for name, value in teacher.identity().items() if name not in NOT_ASKED}
        how = sampling.identity().items()
        asked_how = {name: value for name, value in how if name not in NOT_THE_DISTRIBUTION}
        asked_how["prompt"] = prompts.identity(sampling.prompt)
        self._distribution = digest(json.dumps([asked_of, asked_how], sort_keys=True))

    def key(self, problem: Problem, index: int, max_tokens: int) -> str:
        """The sampling key of a draw with a budget: 16 hex digits, and the id of its trace."""
        return digest(f"{self._draw(problem, index)}/{max_tokens}")[:16]

    def seed(self, problem: Problem, index: int) -> int:
        """The seed of a draw, below 2**31."""
        return int(self._draw(problem, index)[:8], 16) >> 1

    def _draw(self, problem: Problem, index: int) -> str:
        return digest(f"{problem.problem_id}/{self._distribution}/{index}")
