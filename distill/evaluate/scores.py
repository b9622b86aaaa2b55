"""Evaluate: candidates of base, student and teacher on held-out problems become scores, differences and a
decision.

Pure functions; `sample` and `verify` made the candidates. pass@1 is the mean over problems of the mean over a
problem's samples. Two errors are named. `standard_error` takes the problems as a draw from their population
(samples clustered by problem; Miller 2024, arXiv 2411.00640) and holds the sampling noise too;
`sampling_error` keeps the problems fixed.

What a server, a verifier or a bad reference spoiled is left out of the mean and counted, never called wrong;
a completion whose verification timed out counts as not correct. Intervals are about chance alone: they say
nothing about contamination, graders, prompts or hardware, which move scores by more (Sober Look, arXiv
2504.07086).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from distill.recipe import Evaluation
from distill.records import FEWEST_PROBLEMS, Candidate, Comparison, Decided, Report, Role, Score
from distill.text import language

VERSION = 1
NORMAL_QUANTILE = 1.959964
NO_COMPLETION = "no_completion"
UNJUDGED = frozenset({"error", "unparsed_reference", "unverified", NO_COMPLETION})
ORDER = {"base": 0, "student": 1, "teacher": 2}


@dataclass(slots=True)
class Tally:
    """Counts over the completions of one model on one set of problems."""

    correct: dict[str, int] = field(default_factory=dict)
    judged: dict[str, int] = field(default_factory=dict)
    """Problem id to completions with a verdict; 0 when every one of them was left out."""
    asked: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    """Completions by outcome, and `no_completion` for those that the engine failed to give."""
    verifiers: set[str] = field(default_factory=set)
    left_out: int = 0
    truncated: int = 0
    tokens: list[int] = field(default_factory=list)
    language_shares: list[float] = field(default_factory=list)

    def add(self, candidate: Candidate) -> None:
        """Counts one completion."""
        trace = candidate.trace
        problem = trace.problem.problem_id
        outcome = NO_COMPLETION if trace.finish_reason == "error" else candidate.verdict.outcome
        judged = outcome not in UNJUDGED
        self.asked[problem] += 1
        self.judged[problem] = self.judged.get(problem, 0) + judged
        self.correct[problem] = self.correct.get(problem, 0) + (judged and outcome == "correct")
        self.outcomes[outcome] += 1
        self.verifiers.add(candidate.verdict.verifier)
        self.left_out += not judged
        self.truncated += trace.finish_reason == "length"
        if trace.thinking_tokens is not None or trace.answer_tokens is not None:
            self.tokens.append((trace.thinking_tokens or 0) + (trace.answer_tokens or 0))
        if (
            share := language.share(trace.thinking or "", trace.problem.language, trace.problem.question)
        ) is not None:
            self.language_shares.append(share)

    def pass_rates(self) -> dict[str, float]:
        """Share of correct completions for each problem that has one with a verdict."""
        return {problem: self.correct[problem] / judged for problem, judged in self.judged.items() if judged}


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's results: over all problems under `"all"`, then by source when there are several."""

    model: str
    role: Role
    tallies: Mapping[str, Tally]

    def scores(self) -> list[Score]:
        """The score over all problems, then one for each source."""
        return [_score(tally, self.model, self.role, source) for source, tally in self.tallies.items()]


def measure(candidates: Iterable[Candidate], model: str, role: Role) -> Measured:
    """Everything that a report needs of one model's candidates, in one pass that keeps no text."""
    everything, sources = Tally(), dict[str, Tally]()
    for candidate in candidates:
        everything.add(candidate)
        sources.setdefault(candidate.trace.problem.source, Tally()).add(candidate)
    return Measured(model, role, {"all": everything} | (sources if len(sources) > 1 else {}))


def score(candidates: Iterable[Candidate], model: str, role: Role) -> Score:
    """pass@1 of one model over all candidates, with its errors and interval."""
    return measure(candidates, model, role).scores()[0]


def pass_rates(candidates: Iterable[Candidate]) -> dict[str, float]:
    """Share of correct completions for each problem, for `compare`."""
    return measure(candidates, "", "student").tallies["all"].pass_rates()


def _score(tally: Tally, model: str, role: Role, source: str) -> Score:
    rates = list(tally.pass_rates().values())
    completions = tally.asked.total()
    mean = math.fsum(rates) / len(rates) if rates else 0.0
    error = _standard_error(rates) if len(rates) > 1 else 0.5
    low, high = wilson(mean, error, len(rates), sum(tally.judged.values()))
    return Score(
        model=model,
        role=role,
        problems=len(rates),
        samples_per_problem=max(tally.asked.values(), default=0),
        pass_at_1=mean,
        standard_error=error,
        low=low,
        high=high,
        truncated=tally.truncated / max(completions, 1),
        no_answer=tally.outcomes["no_answer"] / max(completions, 1),
        language_share=_mean(tally.language_shares),
        mean_completion_tokens=_mean(tally.tokens) or 0.0,
        source=source,
        sampling_error=_sampling_error(tally),
        timeouts=tally.outcomes["timeout"],
        left_out=tally.left_out,
        pass_at_1_strict=_mean([tally.correct[problem] / asked for problem, asked in tally.asked.items()]),
    )


def wilson(mean: float, error: float, problems: int, completions: int) -> tuple[float, float]:
    """95 % Wilson interval of a mean of pass rates, with an effective sample size and Student's t for few
    problems.

    The effective size is that of independent draws with the same standard error (Franco et al. 2019,
    "Comparative study of confidence intervals for proportions in complex sample surveys"), no more than the
    completions. Where all rates are 0 or all are 1 the error tells nothing, and the size is the number of
    problems: as if the samples of a problem were copies.
    """
    if problems < 2:
        return 0.0, 1.0
    size = float(problems)
    if 0.0 < mean < 1.0:
        size = mean * (1 - mean) / error**2 if error > 0 else float(completions)
        size = min(max(size, problems - 1), completions)
    square = critical_value(problems - 1) ** 2
    centre = (mean + square / (2 * size)) / (1 + square / size)
    half = math.sqrt(square * (mean * (1 - mean) / size + square / (4 * size**2))) / (1 + square / size)
    return max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean))


def critical_value(degrees: int) -> float:
    """The two-sided 95 % quantile of Student's t by its expansion around the normal's (1 % off at 3 degrees,
    less above)."""
    z = NORMAL_QUANTILE
    first = (z**3 + z) / (4 * degrees)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return z + first + second + third


def compare(
    better: Role, rates: Mapping[str, float], than: Role, other: Mapping[str, float], source: str = "all"
) -> Comparison:
    """Mean paired difference of pass rates over the problems that both models have, with a 95 % Student
    interval.

    Where every problem differs by the same amount there is no error to go by; then one problem won and one
    lost are added (Bonett and Price 2012, adjusted Wald interval for paired proportions).
    """
    paired = [rates[problem] - other[problem] for problem in rates if problem in other]
    count = len(paired)
    if count < 2:
        return Comparison(better, than, paired[0] if paired else 0.0, 1.0, -1.0, 1.0, count, source)
    difference, error = math.fsum(paired) / count, _standard_error(paired)
    centre, width = difference, critical_value(count - 1) * error
    if error == 0:
        padded = [*paired, 1.0, -1.0]
        centre = math.fsum(padded) / len(padded)
        width = critical_value(count - 1) * math.sqrt(_variance(padded, 0) / len(padded))
    low, high = max(-1.0, min(centre - width, difference)), min(1.0, max(centre + width, difference))
    return Comparison(better, than, difference, error, low, high, count, source)


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
) -> Report:
    """The report over base, student and teacher; `recorded` is what only the caller knows (engine versions,
    hashes, GPU)."""
    models = sorted(measured, key=lambda one: ORDER.get(one.role, len(ORDER)))
    scores = [score for one in models for score in one.scores()]
    scores.sort(key=lambda score: score.source != "all")
    comparisons = _comparisons(models)
    against_base = (c for c in comparisons if (c.better, c.than, c.source) == ("student", "base", "all"))
    return Report(
        student=student,
        dataset=dataset,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        scores=scores,
        comparisons=comparisons,
        decision=decide(next(against_base, None)),
        settings=settings(models, evaluation) | dict(recorded),
    )


def settings(models: Sequence[Measured], evaluation: Evaluation) -> dict[str, Any]:
    """How the figures came about: metric, sampling, verifiers, and what was left out for which cause."""
    overall = [(one.role, one.tallies["all"]) for one in models]
    return {
        "metric": "pass@1",
        "k": 1,
        "estimator": f"mean over problems of the mean of n = {evaluation.n} samples",
        "interval": (
            "95 %, problems as a draw from their population: Wilson on the effective size, paired "
            "differences by Student's t"
        ),
        "verifiers": sorted({name for _, tally in overall for name in tally.verifiers}),
        "outcomes": {role: dict(sorted(tally.outcomes.items())) for role, tally in overall},
        "engine": evaluation.engine,
        **evaluation.identity(),
    }


def _comparisons(models: Sequence[Measured]) -> list[Comparison]:
    """Every pair, student against base first: over all problems, then by source; the student stands before
    the teacher."""
    found = []
    for earlier, later in combinations(models, 2):
        first, second = (
            (earlier, later) if later.role == "teacher" and earlier.role == "student" else (later, earlier)
        )
        for source, tally in first.tallies.items():
            if source in second.tallies:
                found.append(
                    compare(
                        first.role,
                        tally.pass_rates(),
                        second.role,
                        second.tallies[source].pass_rates(),
                        source,
                    )
                )
    return sorted(found, key=lambda comparison: comparison.source != "all")


def _sampling_error(tally: Tally) -> float | None:
    """Standard error of pass@1 over new samples of the same problems, from those with two samples or more."""
    noises = []
    for problem, judged in tally.judged.items():
        if judged > 1:
            rate = tally.correct[problem] / judged
            noises.append(rate * (1 - rate) / (judged - 1))
    return math.sqrt(math.fsum(noises)) / len(noises) if noises else None


def _standard_error(values: Sequence[float]) -> float:
    return math.sqrt(_variance(values, 1) / len(values))


def _variance(values: Sequence[float], lost: int) -> float:
    """Variance with `lost` degrees of freedom lost; exactly 0 when all values are equal."""
    if min(values) == max(values):
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - lost)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
