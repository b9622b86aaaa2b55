"""What completions cost: tokens counted by the server, money at the prices of the teacher's recipe, and the
caps on both.

A `Ledger` counts while completions come in, lets no more requests go than a cap has room for, cancels the run
when it has none, and says at the end what was spent and what the server made of the settings. The cost of a
request is known only afterwards: those in flight are taken to cost the mean so far, and at first as much as
they may. So a cap is passed, if at all, by what the last ones cost more than the mean. What a server billed
for replies that never arrived is not known here.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, NamedTuple

from distill.engines import STOPPED, Completion
from distill.engines.cancellation import Cancellation
from distill.progress import amount, dollars, say
from distill.recipe.dataset import Sampling, Teacher
from distill.recipe.section import RecipeError
from distill.records import Trace

UNCOUNTED_ALLOWED = 20
UNCOUNTED_SHARE = 0.05
"""With a cap, so many and such a share of completions may come without their tokens; they are taken to cost
what others do."""
DEAREST_AT_FIRST = 8
"""The mean of what a completion costs has so many of the dearest kind in it, since the first to come back are
the shortest."""
COMPARED_PROBLEMS = 20
SAME_SHARE = 0.5
"""From so many problems on, such a share whose completions are all alike is told."""
WRITERS = ("server", "vllm", "transformers")
"""Engines that draw: what `replay` and `scripted` give does not depend on the settings."""
ASKED = ("n", "temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "budget_usd", "budget_tokens")


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
        # spelt out: it is done for every completion, and a loop over the fields takes ten times as long
        return Spent(
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


class Spending(NamedTuple):
    """What all runs have spent, and how many requests of other runs are in flight."""

    spent: Spent
    others_in_flight: int


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
    cached = (
        teacher.cached_prompt_usd_per_million if teacher.cached_prompt_usd_per_million is not None else prompt
    )
    fresh_tokens = spent.prompt_tokens - spent.cached_prompt_tokens
    return (
        fresh_tokens * (prompt or 0)
        + spent.cached_prompt_tokens * (cached or 0)
        + spent.completion_tokens * (completion or 0)
    ) / 1e6


def require_prices(teacher: Teacher, sampling: Sampling) -> None:
    """Raises RecipeError for a cap in money that cannot be kept, since a price is missing."""
    if sampling.budget_usd is not None and None in (
        teacher.prompt_usd_per_million,
        teacher.completion_usd_per_million,
    ):
        raise RecipeError(
            "sampling.budget_usd needs the teacher's prices: set teacher.prompt_usd_per_million and "
            "teacher.completion_usd_per_million (0 for what is free), or cap tokens with "
            "sampling.budget_tokens"
        )


def _tokens(count: float) -> str:
    return f"{amount(round(count))} tokens"


class Ledger:
    """Counts the completions of a teacher under some settings, in this run and in all; threads may share
    one."""

    def __init__(
        self,
        teacher: Teacher,
        sampling: Sampling,
        before: Spent,
        cancellation: Cancellation,
        shared: Callable[[], Spending] | None = None,
    ) -> None:
        """`shared` says what all runs have spent up to now. Raises RecipeError for a cap in money without
        prices."""
        require_prices(teacher, sampling)
        self._shared = shared
        self._teacher, self._sampling, self._cancellation = teacher, sampling, cancellation
        self._run, self._all = Spent(), before
        self._in_flight = self._others_in_flight = 0
        self._models: Counter[str] = Counter()
        self._fingerprints: Counter[str] = Counter()
        self._over_limit = 0
        self._limit = max([sampling.max_tokens, *(sampling.adaptive.budgets if sampling.adaptive else ())])
        self._compared = self._alike = 0
        self._warned = False
        self._lock = threading.Lock()

    def asks(self) -> bool:
        """Counts a request as in flight, if the caps have room for it; cancels the run where nothing in
        flight can make room."""
        with self._lock:
            if not self._has_room():
                return False
            self._in_flight += 1
            return True

    def withdraw(self) -> None:
        """Takes a request back that was counted and is not asked after all."""
        with self._lock:
            self._in_flight -= 1

    def add(self, completion: Completion) -> None:
        """Counts a completion that came for a request in flight."""
        with self._lock:
            self._in_flight -= 1
            if completion.failure == STOPPED:
                return
            spent = spent_on(completion)
            self._run, self._all = self._run.plus(spent), self._all.plus(spent)
            self._over_limit += (completion.completion_tokens or 0) > self._limit
            if completion.failure is None:
                self._models[completion.model] += 1
                self._fingerprints.update(
                    [completion.system_fingerprint] if completion.system_fingerprint else []
                )
            self._has_room()

    def over(self, traces: Iterable[Trace]) -> Iterator[Trace]:
        """The same traces, siblings contiguous, looked at as they pass: says so once when most problems got
        one text only."""
        for _, group in groupby(traces, key=lambda trace: trace.problem.problem_id):
            siblings = list(group)
            self._compare(siblings)
            yield from siblings

    def spent(self) -> Spent:
        """What all runs have cost, this one included."""
        with self._lock:
            self._refresh()
            return self._all

    def note(self) -> str:
        """Money, tokens and failures for the line of progress: `$3.21 of $50, 12.3 M of 100 M tokens, 7
        failed`."""
        parts = []
        if (money := cost_usd(self._all, self._teacher)) is not None:
            parts.append(
                dollars(money)
                + (
                    f" of {dollars(self._sampling.budget_usd)}"
                    if self._sampling.budget_usd is not None
                    else ""
                )
            )
        if self._sampling.budget_tokens is not None:
            parts.append(f"{amount(self._all.tokens())} of {amount(self._sampling.budget_tokens)} tokens")
        if self._run.failures:
            parts.append(f"{self._run.failures:,} failed")
        return ", ".join(parts)

    def summary(self) -> dict[str, Any]:
        """Plain values for the room's summary: what was spent, and what the server made of what was asked
        (this run, siblings too)."""
        asked = {name: value for name in ASKED if (value := getattr(self._sampling, name)) is not None}
        asked |= {"adaptive": self._sampling.adaptive.model_dump()} if self._sampling.adaptive else {}
        with self._lock:
            self._refresh()
            return {
                "this_run": self._account(self._run),
                "all_runs": self._account(self._all),
                "asked": asked,
                "not_sent": list(self._teacher.ignores),
                "models": dict(self._models),
                "system_fingerprints": dict(self._fingerprints),
                "longer_than_asked": self._over_limit,
                "problems_compared": self._compared,
                "problems_with_one_text": self._alike,
            }

    def _account(self, spent: Spent) -> dict[str, Any]:
        return {**asdict(spent), "cost_usd": cost_usd(spent, self._teacher)}

    def _has_room(self) -> bool:
        """Whether both caps have room for another request; cancels the run where one has none and nothing in
        flight can change that."""
        sampling, dearest = self._sampling, Spent(completion_tokens=self._limit)
        if sampling.budget_usd is not None or sampling.budget_tokens is not None:
            self._refresh()
        room = self._cancellation.reason is None
        if room and sampling.budget_usd is not None:
            known, most = cost_usd(self._all, self._teacher) or 0.0, cost_usd(dearest, self._teacher) or 0.0
            room = self._fits("budget_usd", sampling.budget_usd, known, most, dollars)
        if room and sampling.budget_tokens is not None:
            room = self._fits(
                "budget_tokens", sampling.budget_tokens, self._all.tokens(), dearest.tokens(), _tokens
            )
        return room

    def _refresh(self) -> None:
        """Counts what other runs have spent meanwhile."""
        if self._shared is not None:
            self._all, self._others_in_flight = self._shared()

    def _fits(
        self, name: str, cap: float, known: float, dearest: float, shown: Callable[[float], str]
    ) -> bool:
        """Whether a cap has room for another request; cancels the run when it is used up, or when nobody
        counts what it is about."""
        counted = self._all.counted()
        each = (known + DEAREST_AT_FIRST * dearest) / (counted + DEAREST_AT_FIRST)
        spent = known + self._all.uncounted * known / max(1, counted)
        in_flight = self._in_flight + self._others_in_flight
        if spent >= cap or (not in_flight and spent + each > cap):
            self._cancellation.cancel(
                f"sampling.{name} has no room left: {shown(spent)} of {shown(cap)} spent, and one more "
                "completion costs about "
                f"{shown(each)}. Everything is saved; raise sampling.{name} and run the same command again "
                "to go on"
            )
        elif self._run.uncounted >= max(UNCOUNTED_ALLOWED, UNCOUNTED_SHARE * self._run.completions):
            self._cancellation.cancel(
                f"sampling.{name} cannot be kept: {self._run.uncounted:,} of {self._run.completions:,} "
                "completions came without "
                "their tokens (`usage`). Everything is saved; make the server send them, or leave "
                f"sampling.{name} out"
            )
        return self._cancellation.reason is None and spent + each * (in_flight + 1) <= cap

    def _compare(self, siblings: list[Trace]) -> None:
        """Counts a problem with several completions, and whether they are one text."""
        texts = [(trace.thinking, trace.answer) for trace in siblings if trace.failure is None]
        if len(texts) < 2 or self._teacher.engine not in WRITERS:
            return
        with self._lock:
            self._compared += 1
            self._alike += len(set(texts)) == 1
            if (
                self._warned
                or self._compared < COMPARED_PROBLEMS
                or self._alike <= SAME_SHARE * self._compared
            ):
                return
            self._warned = True
            told = f"{self._alike:,} of {self._compared:,} problems"
        say(
            f"warning: {told} got the same text from each of their completions; does {self._teacher.model} "
            "ignore temperature or seed "
            f"(asked: temperature {self._sampling.temperature:g})?"
        )
