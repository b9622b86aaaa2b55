"""What a teacher made of the settings: which models answered, whether it kept to the longest completion, and
whether its completions of one problem differ."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from distill.engines import ENGINES, Completion
from distill.progress import say
from distill.recipe import Sampling, Teacher
from distill.records import Trace

COMPARED_PROBLEMS = 20
SAME_SHARE = 0.5
"""From so many problems on, such a share whose completions are all alike is told."""


def longest(sampling: Sampling) -> int:
    """The most tokens that a completion is allowed under some settings."""
    return max([sampling.max_tokens, *(sampling.adaptive.budgets if sampling.adaptive else ())])


class Observed:
    """Counts over the completions and traces of this run; threads may share one."""

    def __init__(self, teacher: Teacher, sampling: Sampling) -> None:
        self._teacher, self._sampling = teacher, sampling
        self._longest = longest(sampling)
        self._models: Counter[str] = Counter()
        self._fingerprints: Counter[str] = Counter()
        self._longer = self._compared = self._alike = 0
        self._warned = False
        self._lock = threading.Lock()

    def add(self, completion: Completion) -> None:
        """Counts a completion."""
        with self._lock:
            self._longer += (completion.completion_tokens or 0) > self._longest
            if completion.failure is None:
                self._models[completion.model] += 1
                if completion.system_fingerprint:
                    self._fingerprints[completion.system_fingerprint] += 1

    def over(self, traces: Iterable[Trace]) -> Iterator[Trace]:
        """The same traces, siblings contiguous; says so once when most problems got one text only."""
        for _, group in groupby(traces, key=lambda trace: trace.problem.problem_id):
            siblings = list(group)
            self._compare(siblings)
            yield from siblings

    def summary(self) -> dict[str, Any]:
        """Plain values for the stage's summary."""
        with self._lock:
            return {
                "models": dict(self._models),
                "system_fingerprints": dict(self._fingerprints),
                "longer_than_asked": self._longer,
                "problems_compared": self._compared,
                "problems_with_one_text": self._alike,
            }

    def _compare(self, siblings: list[Trace]) -> None:
        """Counts a problem with several completions, and whether they are one text."""
        texts = [(trace.thinking, trace.answer) for trace in siblings if trace.failure is None]
        if len(texts) < 2 or not ENGINES[self._teacher.engine].draws:
            return
        with self._lock:
            self._compared += 1
            self._alike += len(set(texts)) == 1
            few = self._compared < COMPARED_PROBLEMS or self._alike <= SAME_SHARE * self._compared
            if self._warned or few:
                return
            self._warned = True
            told = f"{self._alike:,} of {self._compared:,} problems"
        say(
            f"warning: {told} got the same text from each of their completions; does {self._teacher.model} "
            f"ignore temperature or seed (asked: temperature {self._sampling.temperature:g})?"
        )
