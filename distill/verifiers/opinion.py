"""A judge in the stream of verdicts: settles `open` answers, fills what a rule verifier could not read, gives
second opinions.

Rows come out one for one and in order; replies may come in any order, and only a window of rows is held.
Whatever a rule verifier decided (correct, wrong, timeout, error) stands: the judge's view of it goes into the
opinions. A reply without a usable verdict is asked for once more; after that an `open` answer is an `error`,
never `wrong`. Every reply is on disk before it is looked at, behind the nonce of its request, so a run that
was killed pays for no reply twice; failed requests are not, and are tried again. A judge that is gone is an
`EngineError`.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain

from distill.engines import Completion, Completions, Engine, EngineError, Request, open_engine
from distill.recipe.dataset import Judge, Sampling
from distill.records import Opinions, Trace, Verdict
from distill.store import digest
from distill.verifiers import judge_prompt, row_errors
from distill.verifiers.completeness import incomplete
from distill.verifiers.judge_prompt import NONCE_CHARACTERS, Reading

VERSION = "judge/1"
LOOK_AHEAD_ROWS = 4096
"""Rows that may be held while an earlier one waits for its reply."""
TRIES = 2
RUN = ("code", "sql")
"""Kinds that only running can settle: the judge gives no verdict on them."""

Judged = tuple[Trace, Verdict, Opinions]


@dataclass(frozen=True, slots=True)
class _Question:
    """One row's question to the judge: its reading is promised to the row."""

    trace: Trace
    reading: "Future[Reading]"
    attempt: int = 0
    nonce: str = ""


def ask(
    rows: Iterable[tuple[Trace, Verdict]], judge: Judge, completions: Completions | None = None
) -> Iterator[Judged]:
    """Each row with its verdict and the judge's opinion, one for one and in order; raises EngineError when
    the judge is gone."""
    window = _Window(iter(rows), judge, completions)
    sampling = Sampling(n=1, temperature=0.0, top_p=1.0, max_tokens=judge.max_tokens)
    with ExitStack() as stack:
        engine: Engine | None = None  # opened for the first question: a local judge takes a minute to load
        while not window.finished():
            requests = window.requests()
            if (first := next(requests, None)) is not None:
                engine = engine or stack.enter_context(open_engine(judge.model))
                for completion in engine.complete(chain([first], requests), sampling):
                    window.take(completion)
                    yield from window.ready()
                window.check()
            yield from window.ready()


def purpose(trace: Trace, verdict: Verdict, judge: Judge) -> str | None:
    """What the judge is asked about a row for: its `"verdict"`, a second `"opinion"`, or None."""
    if incomplete(trace) or not trace.answer.strip() or not (trace.problem.reference or "").strip():
        return None
    if trace.problem.kind == "open":
        return "verdict" if verdict.outcome == "unverified" else None
    if verdict.outcome in judge.fills and trace.problem.kind not in RUN:
        return "verdict"
    drawn = int(digest(f"second opinion/{trace.id}")[:8], 16) / 2**32
    return "opinion" if verdict.outcome in ("correct", "wrong") and drawn < judge.second_opinion else None


class _Window:
    """The rows on their way, those that wait for the judge with a promise of its reading."""

    def __init__(
        self, rows: Iterator[tuple[Trace, Verdict]], judge: Judge, completions: Completions | None
    ) -> None:
        self._rows, self._judge, self._completions = rows, judge, completions
        self._held: deque[tuple[Trace, Verdict, Future[Reading] | None]] = deque()
        self._asked: dict[str, _Question] = {}
        self._again: deque[_Question] = deque()
        self._ended = False
        self._identity = _identity(judge)

    def finished(self) -> bool:
        """Whether every row has come out."""
        return self._ended and not self._held

    def requests(self) -> Iterator[Request]:
        """What to ask next, reading rows on until the window is full; none when the rows that are held wait
        for nothing."""
        while True:
            while self._again:
                yield from self._pose(self._again.popleft())
            if len(self._held) >= LOOK_AHEAD_ROWS or (self._held and not self._asked):
                return
            row = next(self._rows, None)
            if row is None:
                self._ended = True
                return
            reading: Future[Reading] | None = Future() if purpose(*row, self._judge) else None
            self._held.append((*row, reading))
            if reading is not None:
                yield from self._pose(_Question(row[0], reading))

    def take(self, completion: Completion) -> None:
        """Keeps what the judge said on disk, then reads it."""
        question = self._asked.pop(completion.key)
        kept = replace(completion, content=question.nonce + (completion.content or ""))
        if self._completions is not None and completion.failure is None:
            self._completions.append([kept])
        self._read(question, kept)

    def ready(self) -> Iterator[Judged]:
        """The rows at the front that wait for nothing any more."""
        while self._held and (self._held[0][2] is None or self._held[0][2].done()):
            trace, verdict, reading = self._held.popleft()
            yield _judged(trace, verdict, None if reading is None else reading.result())

    def check(self) -> None:
        """Raises EngineError when the engine left a request without a reply."""
        if self._asked:
            raise EngineError(
                f"the judge returned nothing for {len(self._asked)} requests; run it again to ask once more"
            )

    def _pose(self, question: _Question) -> Iterator[Request]:
        """The request for a question, unless its reply is stored or the same one is on its way."""
        trace = question.trace
        nonce = judge_prompt.new_nonce()
        try:
            messages = judge_prompt.render(trace, nonce, self._judge.max_answer_characters)
        except Exception as error:  # the boundary of a row that is rendered
            question.reading.set_result(
                Reading("error", row_errors.told(error, trace.id), self._judge.model.model)
            )
            return
        key = digest(
            json.dumps(
                [
                    trace.id,
                    trace.problem.question,
                    trace.problem.reference,
                    trace.answer,
                    self._identity,
                    question.attempt,
                ]
            )
        )
        kept = None if self._completions is None else self._completions.get(key)
        if kept is not None:
            self._read(question, kept)
        elif key in self._asked:
            self._asked[key].reading.add_done_callback(
                lambda done: question.reading.set_result(done.result())
            )
        else:
            self._asked[key] = replace(question, nonce=nonce)
            yield Request(
                key,
                trace.problem,
                question.attempt,
                messages,
                self._judge.model.prefill,
                self._judge.max_tokens,
                int(key[:8], 16) >> 1,
            )

    def _read(self, question: _Question, kept: Completion) -> None:
        """Gives the row its reading; an unusable one puts the question once more before that."""
        nonce, text = (kept.content or "")[:NONCE_CHARACTERS], (kept.content or "")[NONCE_CHARACTERS:]
        try:
            model = self._judge.model
            reading = judge_prompt.read(replace(kept, content=text), nonce, model.prefill, model.think_tags)
        except Exception as error:  # the boundary of a reply that is read
            reading = Reading("error", row_errors.told(error, question.trace.id), kept.model)
        if reading.outcome == "error" and question.attempt + 1 < TRIES:
            self._again.append(replace(question, attempt=question.attempt + 1))
        else:
            question.reading.set_result(reading)


def _judged(trace: Trace, verdict: Verdict, reading: Reading | None) -> Judged:
    """A row with what the judge's reading of it may change."""
    is_open = trace.problem.kind == "open"
    if reading is None:
        if is_open and verdict.outcome == "unverified" and not trace.answer.strip():
            verdict = replace(
                verdict, outcome="no_answer", detail="nothing follows the thinking", verifier=VERSION
            )
        return trace, verdict, Opinions()
    opinions = Opinions(judge_outcome=reading.outcome, judge_detail=reading.detail)
    if verdict.outcome in ("correct", "wrong") or (reading.outcome == "error" and not is_open):
        return trace, verdict, opinions
    detail = (
        f"infra_error: the judge gave no usable verdict: {reading.detail}"
        if reading.outcome == "error"
        else reading.detail
    )
    return (
        trace,
        replace(verdict, outcome=reading.outcome, detail=detail, verifier=f"{VERSION} {reading.model}"),
        opinions,
    )


def _identity(judge: Judge) -> str:
    """Hash of all that a reply depends on but its trace."""
    model = {name: value for name, value in judge.model.identity().items() if name != "licence"}
    parts = [VERSION, judge_prompt.PROMPT_DIGEST, model, judge.max_answer_characters, judge.max_tokens]
    return digest(json.dumps(parts, sort_keys=True))
