"""How often students are promoted that are equal to their base, better, or worse on one benchmark.

    python benchmarks/promotions.py            # some minutes
    python benchmarks/promotions.py --runs 200

Every simulated evaluation goes through the comparisons and the default rules of `distill evaluate`. A
problem's chance of being solved is a draw from a beta distribution. The student's chance is moved on the
logit scale: by one amount that gives the gain that is planted, and by chance for each problem.
"""

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from distill.evaluate.decision import Planned, promote, sees
from distill.evaluate.scores import Measured, comparisons_of
from distill.evaluate.tally import Tally
from distill.recipe import Decision
from distill.records import Promotion

Array = NDArray[np.float64]
MATH, GPQA = Planned("math-500", 500, 4), Planned("gpqa-diamond", 198, 4)
AIME24, AIME25 = Planned("aime24", 30, 16), Planned("aime25", 30, 16)
MMLU = Planned("mmlu-pro", 1000, 1, target=False)
FOUR = (MATH, AIME24, AIME25, GPQA)
CONCENTRATIONS = (0.5, 2.0, 10.0)
"""Of the beta distribution: problems that are nearly always or nearly never solved, to problems much alike."""


@dataclass(frozen=True)
class Case:
    """What is planted: the gain in points on each benchmark."""

    name: str
    gains: dict[Planned, float]
    mean: float = 0.5
    differs: float = 0.0
    """Standard deviation of the student's change from problem to problem, on the logit scale."""


CASES = (
    Case("equal, math-500", {MATH: 0}),
    Case("equal, 4 targets", dict.fromkeys(FOUR, 0.0)),
    Case("equal on average, other problems, 4 targets", dict.fromkeys(FOUR, 0.0), differs=1.0),
    Case("+5, math-500", {MATH: 5}),
    Case("+5 on 4 targets", dict.fromkeys(FOUR, 5.0)),
    Case("+5 on 4 targets, unevenly", dict.fromkeys(FOUR, 5.0), differs=1.0),
    Case("+5 on math-500, equal on 3", dict.fromkeys(FOUR, 0.0) | {MATH: 5}),
    Case("+10 on 4 targets", dict.fromkeys(FOUR, 10.0)),
    Case("+4.8 on math-500, -11.7 on aime24", {MATH: 4.8, AIME24: -11.7}),
    Case("+5 on math-500, regression -5 on mmlu-pro", {MATH: 5, MMLU: -5}),
    Case("+5 on math-500, regression 0 on mmlu-pro", {MATH: 5, MMLU: 0}),
)


def chances(
    rng: np.random.Generator, case: Case, suite: Planned, concentration: float
) -> tuple[Array, Array]:
    """Chances of base and student on a benchmark's problems."""
    gain = case.gains[suite] / 100
    logits = _logits(rng, case.mean - gain / 2, concentration, suite.problems)
    noise = case.differs * rng.standard_normal(suite.problems)
    moved = logits + noise + _shift(case.mean - gain / 2, concentration, case.differs, gain)
    return _logistic(logits), _logistic(moved)


@cache
def _shift(mean: float, concentration: float, differs: float, gain: float) -> float:
    """What is added to all logits for a mean gain, found by bisection over many problems."""
    rng = np.random.default_rng(7)
    logits = _logits(rng, mean, concentration, 200_000)
    start = float(np.mean(_logistic(logits)))
    logits += differs * rng.standard_normal(len(logits))
    low, high = -8.0, 8.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(_logistic(logits + middle)) < start + gain else (low, middle)
    return low


def _logits(rng: np.random.Generator, mean: float, concentration: float, problems: int) -> Array:
    rates = np.clip(rng.beta(mean * concentration, (1 - mean) * concentration, problems), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(rates / (1 - rates)))


def decided(rng: np.random.Generator, case: Case, concentration: float, rules: Decision) -> Promotion:
    """One simulated evaluation."""
    base, student = dict[str, Tally](), dict[str, Tally]()
    for suite in case.gains:
        for tallies, rates in zip((base, student), chances(rng, case, suite, concentration), strict=True):
            counts = rng.binomial(suite.samples, rates)
            names = [f"{suite.name}/{number}" for number in range(suite.problems)]
            judged = Counter(dict.fromkeys(names, suite.samples))
            tallies[suite.name] = Tally(
                correct=Counter(dict(zip(names, counts.tolist(), strict=True))), judged=judged
            )
    models = [Measured("base", "base", base), Measured("student", "student", student)]
    regressions = {suite.name for suite in case.gains if not suite.target}
    return promote([], comparisons_of(models, regressions), rules)


def told(found: Sequence[Promotion]) -> str:
    """Share promoted, with its standard error, and how often each rule failed."""
    share = sum(one.verdict == "promote" for one in found) / len(found)
    error = math.sqrt(share * (1 - share) / len(found))
    failed = Counter(
        name
        for one in found
        for name in {f"{rule.rule} {rule.source or ''}".strip() for rule in one.rulings if not rule.passed}
    )
    rules = ", ".join(f"{name} {100 * count / len(found):.0f}" for name, count in failed.most_common())
    return f"{100 * share:5.1f} +- {100 * error:.1f} % | {rules}"


def _logistic(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-values)))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000, help="simulated evaluations of each case")
    runs, rng = parser.parse_args().runs, np.random.default_rng(0)
    print("case | concentration | promoted | rules that failed, in % of the runs")
    for case, concentration in product(CASES, CONCENTRATIONS):
        found = [decided(rng, case, concentration, Decision()) for _ in range(runs)]
        print(f"{case.name} | {concentration:g} | {told(found)}", flush=True)
    print("\nbenchmark | gain | mean | concentration | uneven | seen beyond chance | foretold")
    for suite, gain, mean, concentration, differs in product(
        (MATH, GPQA, AIME24), (5.0, 10.0), (0.5, 0.85), CONCENTRATIONS, (0.0, 1.0)
    ):
        case = Case("", {suite: gain}, mean, differs)
        margin = Decision(margin=None)
        seen = sum(decided(rng, case, concentration, margin).verdict == "promote" for _ in range(runs))
        low, high = sees(suite, gain)
        print(
            f"{suite.name} | {gain:g} | {mean:g} | {concentration:g} | {differs:g} | {100 * seen / runs:.1f} % | "
            f"{100 * low:.0f}-{100 * high:.0f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
