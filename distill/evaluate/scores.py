"""Evaluate: candidates of base, student and teacher on held-out problems become scores, differences and a
decision.

Pure functions; `sample` and `verify` made the candidates. pass@1 is the mean over problems of the mean over a
problem's samples. Two errors are named. `standard_error` takes the problems as a draw from their population
and holds the sampling noise too; `sampling_error` keeps the problems fixed.

Intervals are about chance alone: they say nothing about contamination, graders, prompts or hardware, which
move scores by more (Sober Look, arXiv 2504.07086).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, get_args

from distill.evaluate import decision, statistics
from distill.evaluate.tally import Tally
from distill.recipe import Decision, Evaluation
from distill.records import (
    FEWEST_PROBLEMS,
    Candidate,
    Comparison,
    Decided,
    Report,
    Role,
    Score,
)

VERSION = 2
POWERS = (1, 2, 4, 8, 16, 32, 64)
OVERALL = "all"
ORDER: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's counts, by source of problems; counts of the same model and role are added."""

    model: str
    role: Role
    sources: Mapping[str, Tally]
    named: bool = False
    """Whether a single source is told by its name, too: where another model has several."""

    @property
    def tallies(self) -> dict[str, Tally]:
        """Over all problems under `"all"`, then by source where there are several."""
        everything = Tally()
        for tally in self.sources.values():
            everything.add_all(tally)
        named = self.named or len(self.sources) > 1
        return {OVERALL: everything} | (dict(self.sources) if named else {})

    def scores(self) -> list[Score]:
        """The score over all problems, then one for each source."""
        return [_score(tally, self.model, self.role, source) for source, tally in self.tallies.items()]


def measure(candidates: Iterable[Candidate], model: str, role: Role) -> Measured:
    """Everything that a report needs of one model's candidates, in one pass that keeps no text."""
    sources = dict[str, Tally]()
    for candidate in candidates:
        sources.setdefault(candidate.trace.problem.source, Tally()).add(candidate)
    return Measured(model, role, sources)


def joined(measured: Iterable[Measured]) -> list[Measured]:
    """One for each role, in the order of `Role`: counts of several benchmarks go together."""
    found = dict[Role, Measured]()
    for one in measured:
        kept = found.setdefault(one.role, Measured(one.model, one.role, {}))
        sources = dict(kept.sources)
        for source, tally in one.sources.items():
            both = Tally()
            both.add_all(sources.get(source, Tally()))
            both.add_all(tally)
            sources[source] = both
        found[one.role] = replace(kept, sources=sources)
    named = len({source for one in found.values() for source in one.sources}) > 1
    models = (replace(one, named=named) for one in found.values())
    return sorted(models, key=lambda one: ORDER.index(one.role))


def score(candidates: Iterable[Candidate], model: str, role: Role) -> Score:
    """The figures of one model over all candidates."""
    return measure(candidates, model, role).scores()[0]


def pass_rates(candidates: Iterable[Candidate]) -> dict[str, float]:
    """Share of correct completions for each problem, for `compare`."""
    return measure(candidates, "", "student").tallies[OVERALL].pass_rates()


def _score(tally: Tally, model: str, role: Role, source: str) -> Score:
    counts, rates = tally.counts(), list(tally.pass_rates().values())
    completions, samples = tally.asked.total(), max(tally.asked.values(), default=0)
    low, high = statistics.interval(counts)
    at_k = (statistics.pass_at_k(counts, k) for k in POWERS if k <= samples)
    correct, majority = tally.correct.total(), tally.majority()
    strict = [tally.correct[problem] / asked for problem, asked in tally.asked.items()]
    return Score(
        model=model,
        role=role,
        problems=len(rates),
        samples_per_problem=samples,
        pass_at_1=statistics.mean(rates) or 0.0,
        standard_error=statistics.standard_error(rates) if len(rates) > 1 else 0.5,
        low=low,
        high=high,
        truncated=tally.truncated / max(completions, 1),
        no_answer=tally.outcomes["no_answer"] / max(completions, 1),
        language_share=tally.language / tally.worded if tally.worded else None,
        mean_completion_tokens=tally.tokens / max(tally.measured, 1),
        source=source,
        sampling_error=statistics.sampling_error(counts),
        timeouts=tally.outcomes["timeout"],
        left_out=tally.left_out,
        pass_at_1_strict=statistics.mean(strict),
        pass_at_k=[share for share in at_k if share is not None],
        majority=majority,
        majority_k=None if majority is None else samples,
        language_mixing=tally.mixed / tally.worded if tally.worded else None,
        mean_thinking_tokens=tally.thinking_tokens / tally.measured if tally.measured else None,
        tokens_per_correct=tally.tokens / correct if tally.measured and correct else None,
    )


def published(figures: Mapping[str, float]) -> list[Score]:
    """Figures that somebody published, by source (0 to 1), as scores without candidates or errors."""
    return [
        Score("published", "reference", 0, 0, share, 0.0, share, share, 0.0, 0.0, None, 0.0, source)
        for source, share in figures.items()
    ]


def compare(
    better: Role,
    rates: Mapping[str, float],
    than: Role,
    other: Mapping[str, float],
    source: str = OVERALL,
    regression: bool = False,
) -> Comparison:
    """Mean paired difference of pass rates over the problems that both models have, with a 95 % interval."""
    found = statistics.paired(rates, other)
    return Comparison(
        better=better,
        than=than,
        difference=found.difference,
        standard_error=found.error,
        low=found.low,
        high=found.high,
        problems=found.problems,
        source=source,
        p_value=found.p_value,
        regression=regression,
    )


def decide(comparison: Comparison | None) -> Decided:
    """`better` when the whole interval is above 0, `not_better` when none of it is, else `undecided`."""
    if comparison is None or comparison.problems < FEWEST_PROBLEMS:
        return "undecided"
    if comparison.low > 0:
        return "better"
    return "not_better" if comparison.high <= 0 else "undecided"


def assemble(
    measured: Sequence[Measured],
    evaluation: Evaluation,
    *,
    student: str,
    dataset: str,
    checkpoint: str,
    fingerprint: str,
    recorded: Mapping[str, Any],
    rules: Decision | None = None,
    regressions: Collection[str] = (),
    reference: Mapping[str, float] | None = None,
) -> Report:
    """The report over all models.

    `measured` may hold several of one role (its benchmarks); `recorded` is what only the caller knows (engine
    versions, hashes, GPU); `regressions` are the sources on which the student only has to be no worse; and
    `reference` has published figures, 0 to 1, by source.
    """
    models = joined(measured)
    scores = [score for one in models for score in one.scores()] + published(reference or {})
    scores.sort(key=lambda score: score.source != OVERALL)
    comparisons = comparisons_of(models, regressions)
    against_base = (c for c in comparisons if (c.better, c.than, c.source) == ("student", "base", OVERALL))
    return Report(
        student=student,
        dataset=dataset,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        scores=scores,
        comparisons=comparisons,
        decision=decide(next(against_base, None)),
        settings=settings(models, evaluation) | dict(recorded),
        promotion=decision.promote(scores, comparisons, rules or Decision()),
    )


def settings(models: Sequence[Measured], evaluation: Evaluation) -> dict[str, Any]:
    """How the figures came about: metric, sampling, verifiers, and what was left out for which cause."""
    overall = [(one.role, one.tallies[OVERALL]) for one in models]
    return {
        "metric": "pass@1",
        "k": 1,
        "estimator": "mean over problems of the mean over the samples of a problem",
        "interval": (
            "95 %, problems as a draw from their population: posterior of a beta-binomial model, paired "
            "differences by Student's t"
        ),
        "verifiers": sorted({name for _, tally in overall for name in tally.verifiers}),
        "outcomes": {role: dict(sorted(tally.outcomes.items())) for role, tally in overall},
        "engine": evaluation.engine,
        **evaluation.identity(),
    }


def comparisons_of(models: Sequence[Measured], regressions: Collection[str]) -> list[Comparison]:
    """Student against every other model, and teacher against base: over all problems, then by source."""
    found = []
    for earlier, later in combinations(models, 2):
        first, second = (earlier, later) if earlier.role == "student" else (later, earlier)
        if first.role == "student" or (first.role, second.role) == ("teacher", "base"):
            found += _pair(first, second, regressions)
    return sorted(found, key=lambda comparison: comparison.source != OVERALL)


def _pair(first: Measured, second: Measured, regressions: Collection[str]) -> list[Comparison]:
    """Two models on every source that both have, with Holm's correction over the targets."""
    theirs = second.tallies
    found = [
        compare(
            first.role,
            tally.pass_rates(),
            second.role,
            theirs[source].pass_rates(),
            source,
            source in regressions,
        )
        for source, tally in first.tallies.items()
        if source in theirs
    ]
    alone = len(found) == 1
    targets = [
        place for place, one in enumerate(found) if not one.regression and (alone or one.source != OVERALL)
    ]
    adjusted = statistics.holm([found[place].p_value or 0.0 for place in targets])
    for place, chance in zip(targets, adjusted, strict=True):
        found[place] = replace(found[place], p_adjusted=chance)
    return found
