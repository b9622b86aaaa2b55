"""The verify stage: traces in, candidates out, one for one and in order.

A wrong answer is a row. The stage raises for nothing that a model can write; it does not decide what is kept.
"""

from collections.abc import Iterable, Iterator, Sequence

from distill import sandbox
from distill.engines import Completions, open_engine
from distill.recipe import Verification
from distill.records import Candidate, Trace
from distill.verifiers import by_rules, rules
from distill.verify import judge, judge_prompt, majority


def verify(
    traces: Iterable[Trace], section: Verification, completions: Completions | None = None
) -> Iterator[Candidate]:
    """A candidate for each trace, with the verdict on its answer and the opinions of others; `completions`
    keeps the replies of a judge that is paid for."""
    candidates: Iterator[Candidate] = (Candidate(*judged) for judged in by_rules(traces, section))
    if section.judge:
        candidates = judge.ask(candidates, section.judge, completions)
    return majority.vote(candidates, section, section.majority) if section.majority else candidates


def versions(kinds: Iterable[str], section: Verification) -> dict[str, str]:
    """Name and version of all that decides the verdicts on some kinds, for the fingerprint."""
    found = {kind: rules(kind).version for kind in kinds}
    if section.judge:
        found["judge"] = f"{judge.VERSION} {judge_prompt.PROMPT_DIGEST}"
    return found | ({"majority": majority.VERSION} if section.majority else {})


def require(kinds: Sequence[str], section: Verification) -> None:
    """Raises SandboxError or EngineError, with cause and remedy, where answers of some kinds cannot be
    judged: before they are paid for.

    A judge's key and addresses are looked at; whether it answers is seen when it is asked.
    """
    if any(rules(kind).runs_program for kind in kinds):
        sandbox.check(section.sandbox)
    if section.judge:
        open_engine(section.judge.model)  # opened and not entered: nothing is loaded and nothing is sent
