"""Whether a student is promoted: rules for each benchmark, and what a plan of benchmarks can see.

An average over benchmarks decides nothing: a gain on a large one would hide a loss on a small one.
`benchmarks/promotions.py` measures how often equal, better and worse students are promoted.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from distill.evaluate import statistics
from distill.progress import percent
from distill.recipe import Decision
from distill.records import FEWEST_PROBLEMS, Comparison, Promotion, Role, Rule, Ruling, Score

SIGNIFICANT = 0.05
OVERALL = "all"


class Spread(NamedTuple):
    """What a difference of pass@1 varies by from problem to problem."""

    samples: float
    """Variance of a problem's samples, as a share of the largest possible."""
    change: float
    """Standard deviation of what a student gains from problem to problem."""


SPREADS = Spread(0.33, 0.05), Spread(0.9, 0.2)
"""The ends of what `benchmarks/promotions.py` plants: problems that are nearly always or nearly never solved
and gain alike, and problems much alike that gain unevenly."""
SHARES: dict[Rule, str] = {
    "truncated": "of the completions are cut at max_tokens",
    "language_mixing": "of the completions mix languages",
    "no_answer": "of the completions have no answer",
}
"""Rules about a field of a score of the same name, and their words; the recipe's key is `max_` and the
name."""


class Planned(NamedTuple):
    """One benchmark of an evaluation to come."""

    name: str
    problems: int
    samples: int
    target: bool = True


class Chances(NamedTuple):
    """The lowest and the highest, 0 to 1."""

    low: float
    high: float


def promote(scores: Sequence[Score], comparisons: Sequence[Comparison], rules: Decision) -> Promotion:
    """The verdict on the student: `promote` where every rule holds, else `hold`, with each rule's figures.

    A benchmark is a source of problems; where there is only one, `"all"` stands for it.
    """
    rulings = list[Ruling]()
    against = [role for role in rules.against if any(one.than == role for one in comparisons)]
    if not against:
        wanted = " or ".join(rules.against) or "anything (decision.against is empty)"
        rulings.append(Ruling("compared", False, f"the student was not compared with {wanted}"))
    for role in against:
        pair = [one for one in comparisons if (one.better, one.than) == ("student", role)]
        suites = [one for one in pair if one.source != OVERALL] or pair
        rulings.append(_gain(suites, role, rules))
        rulings += [_loss(one) for one in suites if not one.regression]
        if rules.margin is not None:
            rulings += [_margin(one, rules.margin, rules.confidence) for one in suites]
    own = [one for one in scores if one.role == "student"]
    for score in [one for one in own if one.source != OVERALL] or own:
        rulings += _shares(score, rules)
    failed = [one.sentence for one in rulings if not one.passed]
    if failed:
        return Promotion("hold", f"hold: {'; '.join(failed)}", rulings)
    gains = "; ".join(one.sentence for one in rulings if one.rule == "gain")
    return Promotion("promote", f"promote: {gains}; no rule fails", rulings)


def _gain(suites: Sequence[Comparison], role: Role, rules: Decision) -> Ruling:
    """Whether enough targets are better beyond chance."""
    targets = [one for one in suites if not one.regression]
    won = [one for one in targets if one.difference > 0 and _significant(one)]
    if won:
        said = f"better than {role} beyond chance on {', '.join(_figures(one) for one in won)}"
    else:
        best = max(targets, key=lambda one: one.difference, default=None)
        said = f"better than {role} beyond chance on no target" + (
            f" (most: {_figures(best)})" if best else ""
        )
    if len(won) < rules.gain and rules.gain > 1:
        said += f", where {rules.gain} targets are needed"
    return Ruling("gain", len(won) >= rules.gain, said, None, role, len(won), rules.gain)


def _loss(one: Comparison) -> Ruling:
    """Whether a target is worse beyond chance: its whole interval is below 0."""
    lost = one.problems >= FEWEST_PROBLEMS and one.high < 0
    said = f"{'worse' if lost else 'not worse'} than {one.than} beyond chance on {_figures(one)}"
    return Ruling("loss", not lost, said, one.source, one.than, one.difference, 0.0)


def _margin(one: Comparison, points: float, confidence: float) -> Ruling:
    """Whether a suite is worse by more than the margin, with the confidence that is asked for."""
    source, than, limit = one.source, one.than, -points / 100
    if one.problems < FEWEST_PROBLEMS:
        said = f"{one.problems} problems of {_named(source)} are too few to compare with {than}"
        return Ruling("margin", True, said, source, than, one.difference, limit)
    highest = one.difference + one.standard_error * statistics.critical_value(
        one.problems - 1, 2 * confidence - 1
    )
    lost = highest < limit
    said = (
        f"{'worse' if lost else 'not worse'} than {than} by more than {points:g} points with "
        f"{100 * confidence:g} % confidence on {_figures(one)}"
    )
    return Ruling("margin", not lost, said, source, than, highest, limit)


def _shares(score: Score, rules: Decision) -> list[Ruling]:
    """Whether too many completions of a suite are cut, mix languages or have no answer."""
    found = []
    for rule, words in SHARES.items():
        value, limit = getattr(score, rule), getattr(rules, f"max_{rule}")
        if value is not None and limit is not None:
            allowed = f"{percent(limit)} are allowed"
            said = f"{percent(value)} {words} on {_named(score.source)} ({allowed})"
            found.append(Ruling(rule, value <= limit, said, score.source, None, value, limit))
    return found


def _significant(one: Comparison) -> bool:
    chance = one.p_value if one.p_adjusted is None else one.p_adjusted
    return one.problems >= FEWEST_PROBLEMS and chance is not None and chance < SIGNIFICANT


def _figures(one: Comparison) -> str:
    """A suite with its difference in points and the interval."""
    return f"{_named(one.source)} {100 * one.difference:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def _named(source: str) -> str:
    return "all problems" if source == OVERALL else source


def sees(suite: Planned, points: float, targets: int = 1) -> Chances:
    """In how many cases a benchmark shows a gain of so many points beyond chance; with Holm's correction for
    the largest gain among so many targets."""
    if suite.problems < FEWEST_PROBLEMS:
        return Chances(0.0, 0.0)
    critical = statistics.critical_value(suite.problems - 1, 1 - SIGNIFICANT / max(targets, 1))
    variances = (2 * 0.25 * one.samples / suite.samples + one.change**2 for one in SPREADS)
    errors = (math.sqrt(variance / suite.problems) for variance in variances)
    high, low = (NormalDist().cdf(points / 100 / error - critical) for error in errors)
    return Chances(low, high)


def power(suites: Sequence[Planned], points: float = 5.0) -> str:
    """What each target can see, in a sentence: in how many cases a student that is so many points better is
    found better beyond chance; empty without a target.

    A range, by how much problems differ (`SPREADS`). pass@1 is taken to be 50 %, where errors are largest.
    """
    targets, said = [one for one in suites if one.target], []
    for one in targets:
        low, high = (round(100 * chance) for chance in sees(one, points, len(targets)))
        chances = f"{low}" if low == high else f"{low}-{high}"
        said.append(
            f"{one.name} ({one.problems} x {one.samples}) sees {points:+g} points in {chances} % of cases"
        )
    return "; ".join(said)
