"""Any runs beside one another: paired differences of students on the problems that they share, and verdicts
that changed when stored answers were judged again.

Pure functions over counts and candidates; nothing is sampled.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from distill.evaluate import report, statistics
from distill.evaluate.tally import Tally
from distill.progress import percent
from distill.records import Candidate, Outcome
from distill.text import aligned, inert

EXAMPLES = 20
LONGEST = 60


class Difference(NamedTuple):
    """One run less another on a benchmark."""

    first: str
    second: str
    source: str
    found: statistics.Paired
    p_adjusted: float
    """Holm's correction over all differences that are shown."""


def differences(runs: Mapping[str, Mapping[str, Tally]]) -> list[Difference]:
    """Every later run less every earlier one, on each benchmark and over the problems that both answered."""
    found = [
        (later, earlier, source, statistics.paired(tally.pass_rates(), runs[earlier][source].pass_rates()))
        for earlier, later in combinations(runs, 2)
        for source, tally in runs[later].items()
        if source in runs[earlier]
    ]
    adjusted = statistics.holm([paired.p_value for *_, paired in found])
    return [Difference(*one, chance) for one, chance in zip(found, adjusted, strict=True)]


def table(runs: Mapping[str, Mapping[str, Tally]]) -> str:
    """pass@1 of every run on every benchmark, and the paired differences."""
    rows = [("run", "benchmark", "pass@1", "95 % interval", "problems x samples", "truncated")]
    for name, tallies in runs.items():
        for source, tally in tallies.items():
            counts = tally.counts()
            low, high = statistics.interval(counts)
            rate = statistics.mean([correct / judged for correct, judged in counts])
            rows.append(
                (
                    name,
                    source,
                    "-" if rate is None else percent(rate),
                    f"{percent(low)} to {percent(high)}",
                    f"{len(counts)} x {max(tally.asked.values(), default=0)}",
                    percent(tally.truncated / max(tally.asked.total(), 1)),
                )
            )
    lines = [_said(one) for one in differences(runs)]
    shown = lines or ["none: the runs share no benchmark"]
    heading = "paired differences of pass@1, in points, over the problems that both answered:"
    said = [aligned(rows, range(2, 6)), "", heading, *(f"  {line}" for line in shown)]
    return inert("\n".join(said), keep="\n")


def _said(one: Difference) -> str:
    difference, error, low, high, _, problems = one.found
    verdict = "no difference beyond chance"
    if one.p_adjusted < 1 - statistics.LEVEL:
        verdict = f"{one.first if difference > 0 else one.second} is better beyond chance"
    return (
        f"{one.first} - {one.second} on {one.source}: {100 * difference:+.1f} "
        f"({100 * low:+.1f} to {100 * high:+.1f}), standard error {100 * error:.1f}, {problems} problems, "
        f"{report.chance(one.p_adjusted)}: {verdict}"
    )


class Changed(NamedTuple):
    """An answer that is judged otherwise than before."""

    before: Candidate
    after: Candidate


@dataclass(slots=True)
class Regraded:
    """Verdicts before and now."""

    outcomes: Counter[tuple[Outcome, Outcome]] = field(default_factory=Counter)
    verifiers: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[Changed] = field(default_factory=list)
    """The first that changed."""

    def add_all(self, before: Iterable[Candidate], after: Iterable[Candidate]) -> None:
        """Counts verdicts on the same traces in the same order."""
        for old, new in zip(before, after, strict=True):
            self.outcomes[old.verdict.outcome, new.verdict.outcome] += 1
            self.verifiers[old.verdict.verifier, new.verdict.verifier] += 1
            if old.verdict.outcome != new.verdict.outcome and len(self.examples) < EXAMPLES:
                self.examples.append(Changed(old, new))

    @property
    def changed(self) -> dict[tuple[Outcome, Outcome], int]:
        """How many verdicts changed, by outcome before and now."""
        return {pair: count for pair, count in self.outcomes.items() if pair[0] != pair[1]}

    def table(self) -> str:
        """Changed outcomes with their counts, and the examples."""
        whole, changes = self.outcomes.total(), self.changed
        versions = sorted({old if old == new else f"{old} -> {new}" for old, new in self.verifiers})
        judged = f"{whole:,} stored answers judged again ({', '.join(versions) or 'none'})"
        said = [f"{judged}; {sum(changes.values()):,} changed"]
        if changes:
            ordered = sorted(changes.items(), key=lambda one: (-one[1], one[0]))
            said += [
                "",
                aligned(
                    [("before", "now", "answers"), *((*pair, f"{count:,}") for pair, count in ordered)], (2,)
                ),
            ]
            rows = [("trace", "source", "before", "now", "extracted", "reference"), *map(_row, self.examples)]
            said += ["", f"the first {len(self.examples)}:", aligned(rows, ())]
        return inert("\n".join(said), keep="\n")


def _row(one: Changed) -> tuple[str, ...]:
    trace, old, new = one.before.trace, one.before.verdict, one.after.verdict
    return (
        trace.id,
        trace.problem.source,
        old.outcome,
        new.outcome,
        _short(new.extracted),
        _short(trace.problem.reference),
    )


def _short(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
