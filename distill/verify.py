"""The verify room: traces in, candidates out, one for one and in order.

A wrong answer is a row. The room raises for nothing that a model can write; it does not decide what is kept.
"""

from collections.abc import Iterable, Iterator

from distill.recipe import Verification
from distill.records import Candidate, Trace
from distill.verifiers import judge_all


def verify(traces: Iterable[Trace], section: Verification) -> Iterator[Candidate]:
    """A candidate for each trace, with the verdict on its answer."""
    for trace, verdict in judge_all(traces, section):
        yield Candidate(trace, verdict)
