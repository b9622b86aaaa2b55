"""Verifiers: one file a kind of problem, picked by a literal dict.

`judge_all` is the one way in: it streams, keeps order, and keeps several worker processes busy. Every trace
gets a typed outcome. Only the text after the think block is judged, and a trace that failed, was cut or never
closed its think block is `no_answer`, whatever is in it. Kinds without a verifier are `unverified`, which is
no claim about the answer. What judging one row raises is that row's `error`; only what `row_errors.ENDS_RUN`
names is raised.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import groupby

from distill import sandbox
from distill.engines import Completions, open_engine
from distill.recipe.dataset import Majority, Verification
from distill.records import Opinions, Problem, Trace, Verdict
from distill.text import boxed
from distill.verifiers import choice, code, judge_prompt, logic, majority, math, opinion, row_errors, sql
from distill.verifiers.completeness import incomplete
from distill.verifiers.opinion import Judged

LOOK_AHEAD_TRACES = 256
"""Traces that may be read while an earlier one is still being judged."""
IN_SANDBOX = frozenset({"code", "sql"})
"""Kinds whose answers are run."""

Pending = Verdict | Future[Verdict]
JUDGES: dict[str, Callable[[Problem, str, Verification], Pending]] = {
    "math": math.judge,
    "code": code.judge,
    "choice": choice.judge,
    "sql": sql.judge,
    "logic": logic.judge,
}
SELF_CHECKS: dict[str, Callable[[Problem, Verification], Verdict]] = {
    "math": math.judge_reference,
    "code": code.judge_reference,
    "choice": choice.judge_reference,
    "sql": sql.judge_reference,
    "logic": logic.judge_reference,
}
RULES = {
    "math": math.VERSION,
    "code": code.VERSION,
    "choice": choice.VERSION,
    "sql": sql.VERSION,
    "logic": logic.VERSION,
}
"""Name and version of the verifier of each kind; `open` has none but a judge."""


def versions(kinds: Iterable[str], section: Verification) -> dict[str, str]:
    """Name and version of all that decides the verdicts on some kinds, for the fingerprint."""
    found = {kind: RULES.get(kind, "none") for kind in kinds}
    if section.judge:
        found["judge"] = f"{opinion.VERSION} {judge_prompt.PROMPT_DIGEST}"
    return found | ({"majority": majority.VERSION} if section.majority else {})


def require(kinds: Sequence[str], section: Verification) -> None:
    """Raises SandboxError or EngineError, with cause and remedy, where answers of some kinds cannot be
    judged: before they are paid for.

    A judge's key and addresses are looked at; whether it answers is seen when it is asked.
    """
    if IN_SANDBOX & set(kinds):
        sandbox.check(section.sandbox)
    if section.judge:
        open_engine(section.judge.model)  # opened and not entered: nothing is loaded and nothing is sent


def judge_all(
    traces: Iterable[Trace], section: Verification, completions: Completions | None = None
) -> Iterator[Judged]:
    """Each trace with its verdict and the opinions of others, one for one and in order; `completions` keeps
    what the judge replied."""
    verdicts = by_rules(traces, section)
    rows = (
        opinion.ask(verdicts, section.judge, completions)
        if section.judge
        else ((*row, Opinions()) for row in verdicts)
    )
    yield from _voted(rows, section, section.majority) if section.majority else rows


def by_rules(traces: Iterable[Trace], section: Verification) -> Iterator[tuple[Trace, Verdict]]:
    """Each trace with the verdict of its kind's verifier, one for one and in order."""
    window: deque[tuple[Trace, Pending]] = deque()
    for trace in traces:
        window.append((trace, begin(trace, section)))
        while window and (len(window) > LOOK_AHEAD_TRACES or _settled(window[0][1])):
            yield _finish(*window.popleft())
    while window:
        yield _finish(*window.popleft())


def judge(trace: Trace, section: Verification) -> Verdict:
    """The verdict on one trace."""
    return _finish(trace, begin(trace, section))[1]


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """The verdict of a problem's verifier on the problem's own reference: anything but `correct` or
    `unverified` makes it unusable."""
    if by_majority(problem.kind, problem.reference, section):
        return Verdict("unverified", None, "no reference: its traces are judged by their majority")
    check = SELF_CHECKS.get(problem.kind)
    try:
        return check(problem, section) if check else _unverified(problem)
    except Exception as error:  # the boundary of a row
        return row_errors.verdict(error, problem.problem_id, RULES[problem.kind])


def by_majority(kind: str, reference: str | None, section: Verification) -> bool:
    """True for a problem that is judged by what most of its traces answer."""
    return section.majority is not None and reference is None and kind in majority.KINDS


def judges(problem: Problem, section: Verification) -> bool:
    """Whether a rule settles if an answer to a problem is right, so that it can be judged without its
    siblings."""
    return problem.kind in JUDGES and not by_majority(problem.kind, problem.reference, section)


def begin(trace: Trace, section: Verification) -> Pending:
    """The verdict of the rules on one trace, or a promise of it that is this trace's alone: the boundary of a
    row that is judged."""
    if cause := incomplete(trace):
        return Verdict(
            "no_answer", boxed.any_boxed(trace.answer), cause, 0.0, RULES.get(trace.problem.kind, "none")
        )
    judge_kind = JUDGES.get(trace.problem.kind)
    if judge_kind is None:
        return _unverified(trace.problem)
    try:
        pending = judge_kind(trace.problem, trace.answer, section)
    except Exception as error:
        return row_errors.verdict(error, trace.id, RULES[trace.problem.kind])
    return (
        pending if isinstance(pending, Verdict) else _promised(pending, trace.id, RULES[trace.problem.kind])
    )


def _voted(rows: Iterable[Judged], section: Verification, wanted: Majority) -> Iterator[Judged]:
    """The rows with what the majority of their siblings says; siblings have to be contiguous."""
    for _, group in groupby(rows, key=lambda row: row[0].problem.problem_id):
        siblings = list(group)
        votes = majority.agree(
            [(trace, verdict) for trace, verdict, _ in siblings], wanted, section, _judge_answer
        )
        for (trace, _, said), (verdict, vote) in zip(siblings, votes, strict=True):
            yield (
                trace,
                verdict,
                replace(vote, judge_outcome=said.judge_outcome, judge_detail=said.judge_detail),
            )


def _judge_answer(problem: Problem, answer: str, section: Verification) -> Verdict:
    return judge(Trace(problem, problem.problem_id, 0, None, answer, True, "stop"), section)


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


def _settled(pending: Pending) -> bool:
    return isinstance(pending, Verdict) or pending.done()


def _finish(trace: Trace, pending: Pending) -> tuple[Trace, Verdict]:
    return trace, pending if isinstance(pending, Verdict) else pending.result()
