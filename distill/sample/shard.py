"""The second stage: asks the teacher about each usable problem, and gives back its traces with siblings
together.

- A problem gets n traces; with `sampling.adaptive`, as many as it needs. A ready response is a problem's one
  trace.
- Only completions that are not stored are asked for, and not those that another run is asking for: they are
  waited for.
- A completion that failed is asked again by the next run, until the shard is written; then it is a trace with
  a `failure`.
- A teacher that is gone is an EngineError, a run that was cancelled is RunStopped: the same call goes on from
  there.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Protocol

from distill import verifiers
from distill.engines import (
    ENGINES,
    LOOK_SECONDS,
    STOPPED,
    Completion,
    Completions,
    Engine,
    EngineError,
    Request,
)
from distill.recipe import Sampling, Teacher, Verification
from distill.records import Message, Problem, Trace, Verdict
from distill.sample import prompt_checks, traces
from distill.sample.adaptive import DrawPlan, DrawResult, Try
from distill.sample.cancellation import Cancellation
from distill.sample.keys import SamplingKeys
from distill.text import prompts

VERSION = 1
log = logging.getLogger(__name__)
WAITING_SECONDS = 0.25
"""How long verdicts and other runs are waited for at a time, where nothing is in flight."""
HOPELESS_FAILURES = ("content_filter", "prompt_too_long")
HOPELESS_VERDICTS = ("unparsed_reference", "error")
"""What no other draw would mend."""


class Watch(Protocol):
    """What is told of the progress of sampling: a progress meter, a budget."""

    def asks(self) -> bool:
        """Whether a request may be handed out now; it then is."""
        return True

    def withdrew(self) -> None:
        """A request that might be handed out is not: another run asks for it."""
        return

    def took(self, completion: Completion) -> None:
        """A new completion is on disk."""
        return

    def settled(self) -> None:
        """One problem more has all its draws."""
        return


class _Unwatched(Watch):
    """Allows all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How problems are asked: the recipe's sections, and where else a completion may lie already."""

    teacher: Teacher
    sampling: Sampling
    verification: Verification | None = None
    """How completions are judged as they arrive; None, or no `sampling.adaptive`: n draws a problem."""
    budgets: Sequence[int] = ()
    """Other values of `max_tokens` under which there may be completions of the same draws: those that came to
    their end within the present one are taken over."""


def sample(
    problems: Iterable[Problem],
    asked: Asked,
    engine: Engine,
    completions: Completions,
    watch: Watch | None = None,
    cancellation: Cancellation | None = None,
) -> Iterator[Trace]:
    """The traces of each usable problem of a shard, in order; `watch` sees what is asked and what comes back.

    Holds the problems in memory, and of the completions only those in flight. Raises EngineError when the
    teacher is gone, and RunStopped when the run was cancelled before all was there.
    """
    usable = [problem for problem in problems if problem.unusable is None]
    asking = _Asking(usable, asked, completions, watch, cancellation or Cancellation())
    try:
        if asking.lacks_any():
            for arrived in engine.complete(asking.requests(), asked.sampling):
                asking.take(arrived)
    finally:
        asking.stop()
    asking.check()
    for problem in usable:
        yield from asking.traces(problem)


@dataclass(slots=True)
class _Pursuit:
    """One problem that is asked, with the budgets that each of its draws was tried with."""

    problem: Problem
    messages: tuple[Message, ...]
    rounds: DrawPlan
    judged: bool
    tried: dict[int, list[int]]


class _Asking:
    """The requests of one shard, and what follows from what comes back."""

    def __init__(
        self,
        problems: list[Problem],
        asked: Asked,
        completions: Completions,
        watch: Watch | None,
        cancellation: Cancellation,
    ) -> None:
        self._asked, self._completions, self._cancellation = asked, completions, cancellation
        self._watch = watch or _Unwatched()
        self._draws = SamplingKeys(asked.teacher, asked.sampling)
        self._pursuits: dict[str, _Pursuit] = {}
        self._refused: dict[str, Trace] = {}
        self._ready: deque[tuple[_Pursuit, Try]] = deque()
        """Tries that were not looked up yet."""
        self._lacking: deque[tuple[str, _Pursuit, Try]] = deque()
        """Those that are not there, with their keys: they have to be asked."""
        self._aside: dict[str, tuple[_Pursuit, Try]] = {}
        """Those that another run is asking for."""
        self._looked_at = 0.0
        self._in_flight: dict[str, tuple[_Pursuit, Try]] = {}
        self._unasked = 0
        """Requests that were not asked since the run was cancelled."""
        self._came: set[str] = set()
        """Keys that were asked and answered in this run: a failure among them is not asked once more."""
        self._judging: dict[Future[Verdict], tuple[_Pursuit, Try]] = {}
        for problem in problems:
            self._begin(problem)

    def requests(self) -> Iterator[Request | None]:
        """What is to be asked, siblings together for a server's prefix cache; None: nothing just now."""
        while True:
            self._look()
            if self._lacking and self._cancellation.reason is None:
                if not self._watch.asks():
                    if self._cancellation.reason is None:
                        yield None
                elif (request := self._claimed(*self._lacking.popleft())) is not None:
                    yield request
                continue
            if self._cancellation.reason is not None:
                self._unasked += len(self._lacking) + len(self._aside)
                self._lacking.clear()
                self._aside.clear()
            self._wait(0.0 if self._in_flight else WAITING_SECONDS)
            self._look_aside()
            if not self._ready and (self._in_flight or self._judging or self._aside):
                yield None
            elif not self._ready:
                return

    def lacks_any(self) -> bool:
        """Whether the teacher has to be asked, once all stored completions have been seen."""
        while True:
            self._look()
            keys = [key for key, _, _ in self._lacking]
            if not keys and not self._judging:
                return False
            if keys and (
                self._cancellation.reason is not None or self._completions.free(keys, idle=not self._judging)
            ):
                return True
            self._wait(WAITING_SECONDS)
            # another run may have got them
            self._ready.extend((pursuit, tried) for _, pursuit, tried in self._lacking)
            self._lacking.clear()

    def take(self, completion: Completion) -> None:
        """Keeps a new completion, and sees what follows from it."""
        stopped = completion.failure == STOPPED
        if stopped:
            self._completions.release([completion.key])
        else:
            self._completions.append([completion])
        pursuit, tried = self._in_flight.pop(completion.key)
        self._came.add(completion.key)
        self._watch.took(completion)
        self._unasked += stopped
        if not stopped:
            self._see(pursuit, tried, completion)

    def stop(self) -> None:
        """Leaves what was asked and did not come to other runs."""
        self._completions.release(self._in_flight)

    def check(self) -> None:
        """Raises RunStopped or EngineError where something is missing."""
        if self._unasked:
            self._cancellation.check()
        if self._ready or self._lacking or self._aside or self._in_flight or self._unasked:
            raise self._lost(next(iter(self._in_flight), "?"))

    def traces(self, problem: Problem) -> Iterator[Trace]:
        """The rows of a problem."""
        if problem.response is not None:
            yield from traces.ready(problem, problem.response)
            return
        if problem.problem_id in self._refused:
            yield self._refused[problem.problem_id]
            return
        pursuit = self._pursuits[problem.problem_id]
        for index, budgets in sorted(pursuit.tried.items()):
            tries = [self._kept(self._draws.key(problem, index, budget)) for budget in sorted(budgets)]
            seed = self._draws.seed(problem, index)
            yield traces.of_tries(problem, tries, self._asked.teacher, seed, index)

    def _begin(self, problem: Problem) -> None:
        """Puts the first tries of a problem in line, unless its prompt is not sent."""
        messages = prompts.render(problem, self._asked.sampling.prompt, self._asked.sampling.system)
        if problem.response is None and (reason := self._stopping(problem, messages)) is not None:
            self._refused[problem.problem_id] = traces.refused(problem, self._asked.teacher, reason)
        elif problem.response is None and problem.problem_id not in self._pursuits:
            section, stored = self._asked.verification, ENGINES[self._asked.teacher.engine].stored
            # of stored completions there are no more than there are
            judged = section is not None and verifiers.judges(problem, section) and not stored
            pursuit = _Pursuit(problem, messages, DrawPlan(self._asked.sampling, judged), judged, {})
            self._pursuits[problem.problem_id] = pursuit
            self._ready.extend((pursuit, tried) for tried in pursuit.rounds.first())
            return
        self._watch.settled()

    def _stopping(self, problem: Problem, messages: tuple[Message, ...]) -> str | None:
        """Why a problem's prompt is not worth its price; existing traces cost nothing."""
        teacher, sampling = self._asked.teacher, self._asked.sampling
        if ENGINES[teacher.engine].stored:
            return None
        finding = prompt_checks.check(problem, messages, teacher, sampling.max_tokens, teacher.context_tokens)
        if finding is not None:
            log.debug("problem %s: %s", problem.problem_id, finding.detail)
        return finding.reason if finding is not None and finding.stops else None

    def _look(self) -> None:
        """Looks up the tries that are ready; what is missing goes before what was missing earlier."""
        lacking: list[tuple[str, _Pursuit, Try]] = []
        while self._ready:
            pursuit, tried = self._ready.popleft()
            key = self._draws.key(pursuit.problem, *tried)
            if (known := self._known(key, pursuit.problem, tried)) is None:
                lacking.append((key, pursuit, tried))
            else:
                pursuit.tried.setdefault(tried[0], []).append(tried[1])
                self._see(pursuit, tried, known)
        self._lacking.extendleft(reversed(lacking))

    def _claimed(self, key: str, pursuit: _Pursuit, tried: Try) -> Request | None:
        """The request of a try, which is in flight from now on; None when another run asks for it."""
        if not self._completions.claim(key):
            self._aside[key] = pursuit, tried
            self._watch.withdrew()
            return None
        problem, (index, budget) = pursuit.problem, tried
        pursuit.tried.setdefault(index, []).append(budget)
        self._in_flight[key] = pursuit, tried
        prefill, seed = self._asked.teacher.prefill, self._draws.seed(problem, index)
        return Request(key, problem, index, pursuit.messages, prefill, budget, seed)

    def _known(self, key: str, problem: Problem, tried: Try) -> Completion | None:
        """A key's good completion, or one as good of another budget, which then has this key too."""
        known = self._completions.get(key)
        if known is not None and (known.failure is None or key in self._came):
            return known
        index, budget = tried
        for allowed in [one for one in self._asked.budgets if one != budget]:
            found = self._completions.get(self._draws.key(problem, index, allowed))
            if found is not None and found.failure is None and _ended_within(found, allowed, budget):
                taken = replace(found, key=key)
                self._completions.append([taken], borrowed=True)
                return taken
        return None

    def _see(self, pursuit: _Pursuit, tried: Try, completion: Completion) -> None:
        """Judges a completion where that decides what comes next."""
        if completion.failure is None and completion.finish_reason == "length":
            self._tell(pursuit, tried, "cut")
        elif completion.failure is not None or not pursuit.judged or self._asked.verification is None:
            self._tell(pursuit, tried, "hopeless" if completion.failure in HOPELESS_FAILURES else "other")
        else:
            trace = traces.of_tries(pursuit.problem, [completion], self._asked.teacher, 0, tried[0])
            pending = verifiers.begin(trace, self._asked.verification)
            if isinstance(pending, Future):
                self._judging[pending] = pursuit, tried
            else:
                self._tell(pursuit, tried, _outcome(pending))

    def _look_aside(self) -> None:
        """Looks again, twice a second, at what other runs were asking for."""
        if self._aside and time.monotonic() - self._looked_at >= LOOK_SECONDS:
            idle = not self._in_flight and not self._judging
            self._ready.extend(
                self._aside.pop(key) for key in self._completions.free(list(self._aside), idle)
            )
            self._looked_at = time.monotonic()

    def _wait(self, seconds: float) -> None:
        """Takes the verdicts that are there, waiting for the first, or for other runs, for so long."""
        if not self._judging:
            time.sleep(seconds if self._aside or self._lacking else 0.0)
            return
        done, _ = wait(self._judging, seconds, FIRST_COMPLETED)
        for future in done:
            self._tell(*self._judging.pop(future), _outcome(future.result()))

    def _tell(self, pursuit: _Pursuit, tried: Try, outcome: DrawResult) -> None:
        """Puts the tries that follow in line, before those of later problems."""
        following = pursuit.rounds.tell(tried, outcome)
        self._ready.extendleft((pursuit, one) for one in reversed(following))
        if pursuit.rounds.settled():
            self._watch.settled()

    def _kept(self, key: str) -> Completion:
        completion = self._completions.get(key)
        if completion is None:
            raise self._lost(key)
        return completion

    def _lost(self, key: str) -> EngineError:
        return EngineError(
            f"the {self._asked.teacher.engine} engine returned nothing for request {key}; run it again to "
            "ask once more"
        )


def _outcome(verdict: Verdict) -> DrawResult:
    """What a verdict means for the other draws of its problem."""
    if verdict.outcome == "correct":
        return "right"
    return "hopeless" if verdict.outcome in HOPELESS_VERDICTS else "other"


def _ended_within(completion: Completion, allowed: int, max_tokens: int) -> bool:
    """Whether a completion came to its own end within its budget, and would have under another one."""
    used = completion.completion_tokens
    within = allowed <= max_tokens or (used is not None and used <= max_tokens)
    return within and completion.finish_reason != "length"
