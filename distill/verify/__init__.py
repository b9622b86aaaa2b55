"""The verify room: traces in, candidates out, one for one and in order.

A wrong answer is a row. The room raises for nothing that a model can write; it does not decide what is kept.
"""

from collections.abc import Iterable, Iterator

from distill.engines import Completions
from distill.recipe.dataset import Verification
from distill.records import Candidate, Trace
from distill.verifiers import judge_all


def verify(
    traces: Iterable[Trace], section: Verification, completions: Completions | None = None
) -> Iterator[Candidate]:
    """A candidate for each trace, with the verdict on its answer; `completions` keeps the replies of a judge
    that is paid for."""
    for trace, verdict, opinions in judge_all(traces, section, completions):
        yield Candidate(trace, verdict, opinions)
