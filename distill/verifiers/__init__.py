"""Verifiers: one file a kind of problem, picked by a literal dict.

`judge_all` is the one way in: it streams, keeps order, and keeps several worker processes busy. Every trace gets a
typed outcome. Only the text after the think block is judged, and a trace that failed, was cut or never closed its think
block is `no_answer`, whatever is in it. Kinds without a verifier are `unverified`, which is no claim about the answer.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from distill.journal import Journal
from distill.recipe import Verification
from distill.records import Opinions, Problem, Trace, Verdict
from distill.verifiers import boxes, choice, logic, math

LOOK_AHEAD_TRACES = 256
"""Traces that may be read while an earlier one is still being judged."""

MAJORITY_KINDS = ("math", "choice", "logic")
"""Kinds whose answers can be compared with each other."""

Pending = Verdict | Future[Verdict]
JUDGES: dict[str, Callable[[Problem, str, Verification], Pending]] = {"math": math.judge, "choice": choice.judge, "logic": logic.judge}
SELF_CHECKS: dict[str, Callable[[Problem, Verification], Verdict]] = {
    "math": math.judge_reference,
    "choice": choice.judge_reference,
    "logic": logic.judge_reference,
}
VERSIONS: dict[str, str] = {"math": math.VERSION, "choice": choice.VERSION, "logic": logic.VERSION}
"""Name and version of the verifier of each kind; a kind that is not here is `unverified`."""


def judge_all(traces: Iterable[Trace], section: Verification, journal: Journal | None = None) -> Iterator[tuple[Trace, Verdict, Opinions]]:
    """Each trace with its verdict and the opinions of others, one for one and in order; `journal` keeps what the judge replied."""
    for trace, verdict in by_rules(traces, section):
        yield trace, verdict, Opinions()


def by_rules(traces: Iterable[Trace], section: Verification) -> Iterator[tuple[Trace, Verdict]]:
    """Each trace with the verdict of its kind's verifier, one for one and in order."""
    window: deque[tuple[Trace, Pending]] = deque()
    for trace in traces:
        window.append((trace, _begin(trace, section)))
        while window and (len(window) > LOOK_AHEAD_TRACES or _settled(window[0][1])):
            yield _finish(*window.popleft())
    while window:
        yield _finish(*window.popleft())


def judge(trace: Trace, section: Verification) -> Verdict:
    """The verdict on one trace."""
    return _finish(trace, _begin(trace, section))[1]


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """The verdict of a problem's verifier on the problem's own reference: anything but `correct` or `unverified` makes it unusable."""
    if by_majority(problem.kind, problem.reference, section):
        return Verdict("unverified", None, "no reference: its traces are judged by their majority")
    check = SELF_CHECKS.get(problem.kind)
    return check(problem, section) if check else _unverified(problem)


def by_majority(kind: str, reference: str | None, section: Verification) -> bool:
    """True for a problem that is judged by what most of its traces answer."""
    return section.majority is not None and reference is None and kind in MAJORITY_KINDS


def _begin(trace: Trace, section: Verification) -> Pending:
    if cause := incomplete(trace):
        return Verdict("no_answer", boxes.any_boxed(trace.answer), cause, 0.0, VERSIONS.get(trace.problem.kind, "none"))
    judge_kind = JUDGES.get(trace.problem.kind)
    return judge_kind(trace.problem, trace.answer, section) if judge_kind else _unverified(trace.problem)


def incomplete(trace: Trace) -> str | None:
    """Why a trace holds no answer that may be accepted, or None."""
    if trace.failure:
        return f"no completion: {trace.failure}"
    if trace.thinking is not None and not trace.think_closed:
        return "the think block is never closed"
    if trace.finish_reason == "length":
        return "cut at the token limit"
    return None


def _unverified(problem: Problem) -> Verdict:
    return Verdict("unverified", None, f"no verifier for kind {problem.kind}")


def _settled(pending: Pending) -> bool:
    return isinstance(pending, Verdict) or pending.done()


def _finish(trace: Trace, pending: Pending) -> tuple[Trace, Verdict]:
    return trace, pending if isinstance(pending, Verdict) else pending.result()
