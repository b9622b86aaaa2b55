"""The budgets of sampling (`sampling.budget_usd`, `sampling.budget_tokens`), kept while completions come in.

- The cost of a request is known only afterwards. A request in flight is taken to cost the mean so far, and at
  first as much as it may.
- So a budget can be exceeded by at most what the requests in flight cost more than that mean.
- What a server billed for replies that never arrived is not known here.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from distill.engines import STOPPED, Completion, SharedUsage, Usage, cost_usd, usage_of
from distill.progress import amount, dollars
from distill.recipe import RecipeError, Sampling, Teacher
from distill.sample.cancellation import Cancellation
from distill.sample.observed import Observed, longest

UNCOUNTED_ALLOWED = 20
UNCOUNTED_SHARE = 0.05
"""With a budget, so many and such a share may lack their tokens; they are taken to cost what others do."""
LONGEST_AT_FIRST = 8
"""The mean cost of a completion has so many of the longest kind in it: the first to come are the shortest."""
ASKED = ("n", "temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "budget_usd", "budget_tokens")


def require_prices(teacher: Teacher, sampling: Sampling) -> None:
    """Raises RecipeError for a budget in money that cannot be kept, since a price is missing."""
    prices = teacher.prompt_usd_per_million, teacher.completion_usd_per_million
    if sampling.budget_usd is not None and None in prices:
        raise RecipeError(
            "sampling.budget_usd needs the teacher's prices: set teacher.prompt_usd_per_million and "
            "teacher.completion_usd_per_million (0 for what is free), or cap tokens with "
            "sampling.budget_tokens"
        )


def _tokens(count: float) -> str:
    return f"{amount(round(count))} tokens"


class _Limit(NamedTuple):
    """One of the budgets, and where it stands."""

    name: str
    most: float
    used: float
    each: float
    """What another completion is taken to cost."""
    shown: Callable[[float], str]


class Budget:
    """Counts what a teacher's completions cost, in this run and in all; threads may share one."""

    def __init__(
        self,
        teacher: Teacher,
        sampling: Sampling,
        before: Usage,
        cancellation: Cancellation,
        shared: Callable[[], SharedUsage] | None = None,
    ) -> None:
        """`shared` says what all runs have used. Raises RecipeError for a budget in money without prices."""
        require_prices(teacher, sampling)
        self.observed = Observed(teacher, sampling)
        self._teacher, self._sampling, self._cancellation = teacher, sampling, cancellation
        self._shared = shared
        self._run, self._all = Usage(), before
        self._in_flight = self._others_in_flight = 0
        self._lock = threading.Lock()

    def asks(self) -> bool:
        """Counts a request as in flight, if the budgets allow it; cancels the run where they never will."""
        with self._lock:
            limits = self._cancel_if_used_up()
            flying = self._in_flight + self._others_in_flight + 1
            allowed = self._cancellation.reason is None and all(
                limit.used + limit.each * flying <= limit.most for limit in limits
            )
            self._in_flight += allowed
            return allowed

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
            usage = usage_of(completion)
            self._run, self._all = self._run.plus(usage), self._all.plus(usage)
            self.observed.add(completion)
            self._cancel_if_used_up()

    def spent(self) -> Usage:
        """What all runs have used, this one included."""
        with self._lock:
            self._refresh()
            return self._all

    def note(self) -> str:
        """For the line of progress: `$3.21 of $50, 12.3 M of 100 M tokens, 7 failed`."""
        parts, sampling = [], self._sampling
        if (money := cost_usd(self._all, self._teacher)) is not None:
            most = f" of {dollars(sampling.budget_usd)}" if sampling.budget_usd is not None else ""
            parts.append(dollars(money) + most)
        if sampling.budget_tokens is not None:
            parts.append(f"{amount(self._all.tokens())} of {_tokens(sampling.budget_tokens)}")
        if self._run.failures:
            parts.append(f"{self._run.failures:,} failed")
        return ", ".join(parts)

    def summary(self) -> dict[str, Any]:
        """Plain values for the stage's summary: what was used, and what the server made of what was asked."""
        asked = {name: value for name in ASKED if (value := getattr(self._sampling, name)) is not None}
        asked |= {"adaptive": self._sampling.adaptive.model_dump()} if self._sampling.adaptive else {}
        with self._lock:
            self._refresh()
            return {
                "this_run": self._account(self._run),
                "all_runs": self._account(self._all),
                "asked": asked,
                "not_sent": list(self._teacher.ignores),
                **self.observed.summary(),
            }

    def _account(self, usage: Usage) -> dict[str, Any]:
        return {**asdict(usage), "cost_usd": cost_usd(usage, self._teacher)}

    def _refresh(self) -> None:
        """Counts what other runs have used meanwhile."""
        if self._shared is not None:
            self._all, self._others_in_flight = self._shared()

    def _cancel_if_used_up(self) -> list[_Limit]:
        """The limits as they stand; the run is cancelled where one has no room left and never will."""
        if self._sampling.budget_usd is None and self._sampling.budget_tokens is None:
            return []
        self._refresh()
        limits = list(self._limits())
        if reason := next(filter(None, map(self._used_up, limits)), None):
            self._cancellation.cancel(reason)
        return limits

    def _limits(self) -> Iterator[_Limit]:
        """The budgets that are set."""
        dearest, counted = Usage(completion_tokens=longest(self._sampling)), self._all.counted()

        def limit(
            name: str, most: float, known: float, at_most: float, shown: Callable[[float], str]
        ) -> _Limit:
            each = (known + LONGEST_AT_FIRST * at_most) / (counted + LONGEST_AT_FIRST)
            return _Limit(name, most, known + self._all.uncounted * known / max(1, counted), each, shown)

        if (most := self._sampling.budget_usd) is not None:
            known, at_most = (cost_usd(usage, self._teacher) or 0.0 for usage in (self._all, dearest))
            yield limit("budget_usd", most, known, at_most, dollars)
        if (most := self._sampling.budget_tokens) is not None:
            yield limit("budget_tokens", most, self._all.tokens(), dearest.tokens(), _tokens)

    def _used_up(self, limit: _Limit) -> str | None:
        """Why a budget ends the run: it is used up, or its tokens are not counted; else None."""
        name, shown, run = f"sampling.{limit.name}", limit.shown, self._run
        last = not self._in_flight + self._others_in_flight and limit.used + limit.each > limit.most
        if limit.used >= limit.most or last:
            return (
                f"{name} has no room left: {shown(limit.used)} of {shown(limit.most)} spent, and one more "
                f"completion costs about {shown(limit.each)}. Everything is saved; raise {name} and run the "
                "same command again to go on"
            )
        if run.uncounted >= max(UNCOUNTED_ALLOWED, UNCOUNTED_SHARE * run.completions):
            return (
                f"{name} cannot be kept: {run.uncounted:,} of {run.completions:,} completions came without "
                "their tokens (`usage`). Everything is saved; make the server send them, or leave "
                f"{name} out"
            )
        return None
