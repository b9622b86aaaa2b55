"""The stream of verdicts by rules: it keeps order, and keeps several worker processes busy.

- Only the text after the think block is judged. A trace that failed, was cut or never closed its think block
  is `no_answer`, whatever is in it.
- A kind without rules is `unverified`, which is no claim about the answer.
- What judging one row raises is that row's `error`; only what `row_errors.ENDS_RUN` names is raised.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from distill.recipe import Verification
from distill.records import Problem, Trace, Verdict
from distill.text import boxed
from distill.verifiers import row_errors
from distill.verifiers.kinds import Pending, rules

LOOK_AHEAD_TRACES = 256
"""Traces that may be read while an earlier one is still being judged."""


def by_rules(traces: Iterable[Trace], section: Verification) -> Iterator[tuple[Trace, Verdict]]:
    """Each trace with the verdict of its kind's verifier, one for one and in order."""
    window: deque[tuple[Trace, Pending]] = deque()
    for trace in traces:
        window.append((trace, begin(trace, section)))
        while window and (
            len(window) > LOOK_AHEAD_TRACES or isinstance(window[0][1], Verdict) or window[0][1].done()
        ):
            ahead, pending = window.popleft()
            yield ahead, _settled(pending)
    for ahead, pending in window:
        yield ahead, _settled(pending)


def judge(trace: Trace, section: Verification) -> Verdict:
    """The verdict on one trace."""
    return _settled(begin(trace, section))


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """The verdict of a problem's verifier on the problem's own reference: anything but `correct` or
    `unverified` makes it unusable."""
    if by_majority(problem.kind, problem.reference, section):
        return Verdict("unverified", None, "no reference: its traces are judged by their majority")
    found = rules(problem.kind)
    try:
        return found.judge_reference(problem, section) if found.judge_reference else _unverified(problem)
    except Exception as error:  # the boundary of a row
        return row_errors.verdict(error, problem.problem_id, found.version)


def by_majority(kind: str, reference: str | None, section: Verification) -> bool:
    """True for a problem that is judged by what most of its traces answer."""
    return section.majority is not None and reference is None and rules(kind).final_box


def judges(problem: Problem, section: Verification) -> bool:
    """Whether a rule settles if an answer to a problem is right, so that it can be judged without its
    siblings."""
    return rules(problem.kind).judge is not None and not by_majority(problem.kind, problem.reference, section)


def incomplete(trace: Trace) -> str | None:
    """Why a trace holds no answer that may be accepted, or None: each verdict, of whatever kind, begins with
    it."""
    if trace.failure:
        return f"no completion: {trace.failure}"
    if trace.thinking is not None and not trace.think_closed:
        return "the think block is never closed"
    return "cut at the token limit" if trace.finish_reason == "length" else None


def begin(trace: Trace, section: Verification) -> Pending:
    """The verdict of the rules on one trace, or a promise of it that is this trace's alone: the boundary of a
    row that is judged."""
    found = rules(trace.problem.kind)
    if cause := incomplete(trace):
        return Verdict("no_answer", boxed.any_boxed(trace.answer), cause, 0.0, found.version)
    if found.judge is None:
        return _unverified(trace.problem)
    try:
        pending = found.judge(trace.problem, trace.answer, section)
    except Exception as error:
        return row_errors.verdict(error, trace.id, found.version)
    return pending if isinstance(pending, Verdict) else _promised(pending, trace.id, found.version)


def _settled(pending: Pending) -> Verdict:
    """The verdict, waited for where it is a promise."""
    return pending if isinstance(pending, Verdict) else pending.result()


def _promised(pending: Future[Verdict], row: str, verifier: str) -> Future[Verdict]:
    """A promise of one row's own, which other rows with the same answer do not share."""
    promise: Future[Verdict] = Future()

    def settle(done: Future[Verdict]) -> None:
        try:
            error = done.exception()
            promise.set_result(done.result() if error is None else row_errors.verdict(error, row, verifier))
        except BaseException as ends_run:  # raised where the verdict is asked for
            promise.set_exception(ends_run)

    pending.add_done_callback(settle)
    return promise


def _unverified(problem: Problem) -> Verdict:
    return Verdict("unverified", None, f"no verifier for kind {problem.kind}")
