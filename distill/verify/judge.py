"""A judge in the stream of verdicts: settles `open` answers, fills what a rule verifier could not read, gives
second opinions.

Rows come out one for one and in order; replies may come in any order, and only a window of rows is held.
Whatever a rule verifier decided (correct, wrong, timeout, error) stands: the judge's view of it goes into the
opinions. A reply without a usable verdict is asked for once more; after that an `open` answer is an `error`,
never `wrong`. Every reply is on disk before it is looked at, behind the nonce of its request, so a run that
was killed pays for no reply twice; failed requests are not, and are tried again. What another run is asking
the judge is waited for, not asked. A judge that is gone is an `EngineError`.
"""

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from distill.engines import (
    LOOK_SECONDS,
    Completion,
    Completions,
    Engine,
    EngineError,
    Request,
    open_engine,
)
from distill.recipe import Judge, Sampling
from distill.records import Candidate, Opinions, Trace, Verdict
from distill.store import digest
from distill.verifiers import incomplete, row_errors, rules
from distill.verify import judge_prompt
from distill.verify.judge_prompt import NONCE_CHARACTERS, Reading

VERSION = "judge/1"
LOOK_AHEAD_ROWS = 4096
"""Rows that may be held while an earlier one waits for its reply."""
TRIES = 2
WAITING_SECONDS = 0.25
"""How long other runs are waited for at a time, where there is nothing to ask."""


@dataclass(frozen=True, slots=True)
class _Question:
    """One candidate's question to the judge: its reading is promised to the candidate."""

    trace: Trace
    reading: "Future[Reading]"
    attempt: int = 0
    nonce: str = ""


class _Waiting(NamedTuple):
    """A candidate on its way, with the promise of the judge's reading when the judge is asked about it."""

    candidate: Candidate
    reading: "Future[Reading] | None"


def ask(
    candidates: Iterable[Candidate], judge: Judge, completions: Completions | None = None
) -> Iterator[Candidate]:
    """Each candidate with the judge's opinion, one for one and in order; raises EngineError when the judge is
    gone."""
    queue = JudgeQueue(iter(candidates), judge, Questions(judge, completions))
    sampling = Sampling(n=1, temperature=0.0, top_p=1.0, max_tokens=judge.max_tokens)
    with ExitStack() as stack:
        stack.callback(queue.questions.leave)
        engine: Engine | None = None  # opened for the first question: a local judge takes a minute to load
        while not queue.finished():
            requests = queue.requests()
            if (first := next(requests, None)) is not None:
                engine = engine or stack.enter_context(open_engine(judge.model))
                for completion in engine.complete(chain([first], requests), sampling):
                    queue.questions.take(completion)
                    yield from queue.ready()
                if left := len(queue.questions.asked):
                    raise EngineError(
                        f"the judge returned nothing for {left} requests; run it again to ask once more"
                    )
            elif queue.questions.aside:
                time.sleep(WAITING_SECONDS)
            yield from queue.ready()


def purpose(trace: Trace, verdict: Verdict, judge: Judge) -> str | None:
    """What the judge is asked about a row for: its `"verdict"`, a second `"opinion"`, or None."""
    if incomplete(trace) or not trace.answer.strip() or not (trace.problem.reference or "").strip():
        return None
    if trace.problem.kind == "open":
        return "verdict" if verdict.outcome == "unverified" else None
    if verdict.outcome in judge.fills and not rules(trace.problem.kind).runs_program:
        return "verdict"
    drawn = int(digest(f"second opinion/{trace.id}")[:8], 16) / 2**32
    return "opinion" if verdict.outcome in ("correct", "wrong") and drawn < judge.second_opinion else None


class Questions:
    """What to ask: each question until its reply is usable, `TRIES` times at most. A reply that is stored is
    read again and not asked for, and the same question is asked once, whichever run asks it."""

    def __init__(self, judge: Judge, completions: Completions | None) -> None:
        self._judge, self._completions = judge, completions
        self._identity = _identity(judge)
        self._posed: deque[_Question] = deque()
        self.asked: dict[str, _Question] = {}
        """Questions whose reply is on its way, by the key of their request."""
        self.aside: dict[str, _Question] = {}
        """Those that another run is asking."""
        self._looked_at = 0.0

    def pose(self, trace: Trace) -> "Future[Reading]":
        """Puts a question in line and promises its reading."""
        self._posed.append(_Question(trace, Future()))
        return self._posed[-1].reading

    def requests(self) -> Iterator[Request]:
        """The requests of the questions in line that have to be sent; twice a second, those are in line too
        that other runs were asking."""
        if self.aside and self._completions and time.monotonic() - self._looked_at >= LOOK_SECONDS:
            free = self._completions.free(list(self.aside), not self.asked, "the judge's replies")
            self._posed.extend(self.aside.pop(key) for key in free)
            self._looked_at = time.monotonic()
        while self._posed:
            if (request := self._request(self._posed.popleft())) is not None:
                yield request

    def take(self, completion: Completion) -> None:
        """Keeps what the judge said on disk, then reads it."""
        question = self.asked.pop(completion.key)
        kept = replace(completion, content=question.nonce + (completion.content or ""))
        if self._completions is not None and completion.failure is None:
            self._completions.append([kept])
        elif self._completions is not None:
            self._completions.release([completion.key])
        self._read(question, kept)

    def leave(self) -> None:
        """Leaves what was asked and not answered to other runs."""
        if self._completions is not None:
            self._completions.release(self.asked)

    def _request(self, question: _Question) -> Request | None:
        """The request for a question; None when its reply is stored or on its way, to this run or another."""
        trace, nonce = question.trace, judge_prompt.new_nonce()
        try:
            messages = judge_prompt.render(trace, nonce, self._judge.max_answer_characters)
        except Exception as error:  # the boundary of a row that is rendered
            detail = row_errors.told(error, trace.id)
            question.reading.set_result(Reading("error", detail, self._judge.model.model))
            return None
        texts = [trace.id, trace.problem.question, trace.problem.reference, trace.answer]
        key = digest(json.dumps([*texts, self._identity, question.attempt]))
        kept = None if self._completions is None else self._completions.get(key)
        if kept is not None:
            self._read(question, kept)
            return None
        if same := self.asked.get(key) or self.aside.get(key):
            same.reading.add_done_callback(lambda done: question.reading.set_result(done.result()))
            return None
        if self._completions is not None and not self._completions.claim(key):
            self.aside[key] = question
            return None
        self.asked[key] = replace(question, nonce=nonce)
        prefill, seed = self._judge.model.prefill, int(key[:8], 16) >> 1
        return Request(key, trace.problem, question.attempt, messages, prefill, self._judge.max_tokens, seed)

    def _read(self, question: _Question, kept: Completion) -> None:
        """Gives the candidate its reading; after an unusable one the question is put once more instead."""
        nonce, text = (kept.content or "")[:NONCE_CHARACTERS], (kept.content or "")[NONCE_CHARACTERS:]
        try:
            model = self._judge.model
            reading = judge_prompt.read(replace(kept, content=text), nonce, model.prefill, model.think_tags)
        except Exception as error:  # the boundary of a reply that is read
            reading = Reading("error", row_errors.told(error, question.trace.id), kept.model)
        if reading.outcome == "error" and question.attempt + 1 < TRIES:
            self._posed.append(replace(question, attempt=question.attempt + 1))
        else:
            question.reading.set_result(reading)


class JudgeQueue:
    """What is waiting: a window of candidates in order, with the promises of the judge's readings."""

    def __init__(self, candidates: Iterator[Candidate], judge: Judge, questions: Questions) -> None:
        self._candidates, self._judge, self.questions = candidates, judge, questions
        self._held: deque[_Waiting] = deque()
        self._ended = False

    def finished(self) -> bool:
        """Whether every candidate has come out."""
        return self._ended and not self._held

    def requests(self) -> Iterator[Request]:
        """What to ask next, reading candidates on until the window is full; none when those that are held
        wait for nothing."""
        while True:
            yield from self.questions.requests()
            waits = self.questions.asked or self.questions.aside
            if len(self._held) >= LOOK_AHEAD_ROWS or (self._held and not waits):
                return
            candidate = next(self._candidates, None)
            if candidate is None:
                self._ended = True
                return
            asks = purpose(candidate.trace, candidate.verdict, self._judge)
            self._held.append(_Waiting(candidate, self.questions.pose(candidate.trace) if asks else None))

    def ready(self) -> Iterator[Candidate]:
        """The candidates at the front that wait for nothing any more."""
        while self._held and (self._held[0].reading is None or self._held[0].reading.done()):
            candidate, reading = self._held.popleft()
            yield _unread(candidate) if reading is None else _judged(candidate, reading.result())


def _unread(candidate: Candidate) -> Candidate:
    """A candidate that the judge is not asked about: an `open` answer that is blank is none."""
    trace, verdict = candidate.trace, candidate.verdict
    if trace.problem.kind != "open" or verdict.outcome != "unverified" or trace.answer.strip():
        return candidate
    detail = "nothing follows the thinking"
    return replace(candidate, verdict=replace(verdict, outcome="no_answer", detail=detail, verifier=VERSION))


def _judged(candidate: Candidate, reading: Reading) -> Candidate:
    """A candidate with what the judge's reading of it may change."""
    verdict, is_open = candidate.verdict, candidate.trace.problem.kind == "open"
    candidate = replace(
        candidate, opinions=Opinions(judge_outcome=reading.outcome, judge_detail=reading.detail)
    )
    if verdict.outcome in ("correct", "wrong") or (reading.outcome == "error" and not is_open):
        return candidate
    unusable = "infra_error: the judge gave no usable verdict: " if reading.outcome == "error" else ""
    verdict = replace(
        verdict,
        outcome=reading.outcome,
        detail=unusable + reading.detail,
        verifier=f"{VERSION} {reading.model}",
    )
    return replace(candidate, verdict=verdict)


def _identity(judge: Judge) -> str:
    """Hash of all that a reply depends on but its trace."""
    model = {name: value for name, value in judge.model.identity().items() if name != "licence"}
    parts = [VERSION, judge_prompt.PROMPT_DIGEST, model, judge.max_answer_characters, judge.max_tokens]
    return digest(json.dumps(parts, sort_keys=True))
