"""Estimators, intervals and tests over problems that are a draw from their population.

The samples of a problem are no independent draws of the population: they are clustered by problem (Miller
2024, arXiv 2411.00640). All inputs are counts by problem; nothing here knows a record.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MEANS, CORRELATIONS, ANGLES = 400, 96, 4097
"""Points of the grids that distributions are integrated on."""
EDGES = np.sin(np.linspace(0, np.pi / 2, MEANS + 1)) ** 2
"""Equal steps of the angle: each interval between two edges has equal weight in Jeffreys' prior."""
DRAWS = 64
"""Of a problem, that are looked at together."""
LEVEL = 0.95


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Paired(NamedTuple):
    """The mean difference of two models over the problems that both answered."""

    difference: float
    error: float
    """Standard error of the difference."""
    low: float
    high: float
    p_value: float
    """Two-sided, against no difference."""
    problems: int


def pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """Chance that one of k samples is correct, from (correct, judged) of each problem; None where no problem
    has k samples.

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, equation 1): 1 - C(n - c, k) / C(n, k).
    Problems with fewer than k judged samples are left out.
    """
    found = [
        1 - math.comb(judged - correct, k) / math.comb(judged, k) for correct, judged in counts if judged >= k
    ]
    return mean(found)


def interval(counts: Sequence[tuple[int, int]]) -> Interval:
    """95 % interval of the mean pass rate of the population, from (correct, judged) of each problem.

    The equal-tailed posterior of the mean of a beta-binomial model: a problem's pass rate is a draw from a
    beta distribution (Williams 1975, Biometrics 31, 949-952). With one sample a problem it is the Jeffreys
    interval (Brown, Cai and DasGupta 2001, Statistical Science 16, 101-133). Mean and intra-class correlation
    have the prior of Jeffreys for a proportion. `benchmarks/interval_coverage.py` measures how often it holds
    the truth.
    """
    if len(counts) < 2:
        return Interval(0.0, 1.0)
    correct, judged = np.array(counts, dtype=np.int64).T
    low, high = np.interp([(1 - LEVEL) / 2, (1 + LEVEL) / 2], posterior(correct, judged), EDGES)
    centre = float(np.mean(correct / judged))
    return Interval(
        0.0 if not correct.any() else min(float(low), centre),
        1.0 if (correct == judged).all() else max(float(high), centre),
    )


def posterior(correct: NDArray[np.int64], judged: NDArray[np.int64]) -> NDArray[np.float64]:
    """Chance that the mean pass rate is below each of `EDGES`, from counts of shape (..., problems)."""
    logs = np.zeros((*correct.shape[:-1], MEANS, CORRELATIONS))
    for first in range(0, int(judged.max()), DRAWS):
        draws = np.arange(first, min(first + DRAWS, int(judged.max())))
        right, wrong, drawn = (
            np.stack([(found > draw).sum(axis=-1, dtype=float) for draw in draws], axis=-1)
            for found in (correct, judged - correct, judged)
        )
        of_right, of_all = (table[: len(draws)] for table in _urn(first))
        logs += np.tensordot(right, of_right, 1) + np.tensordot(wrong, of_right, 1)[..., ::-1, :]
        logs -= (drawn @ of_all)[..., None, :]
    weights = np.exp(logs - logs.max(axis=(-2, -1), keepdims=True)).sum(axis=-1)
    below = np.zeros((*weights.shape[:-1], MEANS + 1))
    np.cumsum(weights, axis=-1, out=below[..., 1:])
    return below / below[..., -1:]


@lru_cache(maxsize=2)
def _urn(first: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of a beta-binomial's likelihood for some draws of a problem, as of a Polya urn.

    A draw after `i` correct ones is correct in proportion to mean + i * spread, where spread is
    correlation / (1 - correlation); after `j` wrong ones it is wrong in proportion to 1 - mean + j * spread;
    and the i-th draw of all divides by 1 + i * spread. Shapes: (draws, means, correlations) and (draws,
    correlations).
    """
    draws = np.arange(first, first + DRAWS, dtype=float)
    means = np.sin((np.arange(MEANS) + 0.5) / MEANS * np.pi / 2) ** 2
    correlation = np.sin((np.arange(CORRELATIONS) + 0.5) / CORRELATIONS * np.pi / 2) ** 2
    added = draws[:, None] * (correlation / (1 - correlation))
    return np.log(means[:, None] + added[:, None, :]), np.log1p(added)


def standard_error(values: Sequence[float]) -> float:
    """Standard error of a mean of two values or more; exactly 0 where all are equal."""
    return math.sqrt(_variance(values, 1) / len(values))


def sampling_error(counts: Sequence[tuple[int, int]]) -> float | None:
    """Standard error of pass@1 over new samples of the same problems, from (correct, judged) of those with
    two samples or more; None without one."""
    noises = [
        correct / judged * (1 - correct / judged) / (judged - 1) for correct, judged in counts if judged > 1
    ]
    return math.sqrt(math.fsum(noises)) / len(noises) if noises else None


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> Paired:
    """Mean of first - second over the problems that both have, with Student's interval and test.

    Where every problem differs by the same amount there is no error to go by; then one problem won and one
    lost are added (Bonett and Price 2012, adjusted Wald interval for paired proportions).
    """
    found = [first[problem] - second[problem] for problem in first if problem in second]
    count = len(found)
    if count < 2:
        return Paired(found[0] if found else 0.0, 1.0, -1.0, 1.0, 1.0, count)
    difference, error = math.fsum(found) / count, standard_error(found)
    centre, scale = difference, error
    if error == 0:
        padded = [*found, 1.0, -1.0]
        centre = math.fsum(padded) / len(padded)
        scale = math.sqrt(_variance(padded, 0) / len(padded))
    width = critical_value(count - 1) * scale
    low, high = max(-1.0, min(centre - width, difference)), min(1.0, max(centre + width, difference))
    return Paired(difference, error, low, high, p_value(centre / scale, count - 1), count)


def p_value(statistic: float, degrees: int) -> float:
    """Two-sided chance of Student's t beyond a statistic."""
    angle = math.atan(abs(statistic) / math.sqrt(degrees))
    angles, within = _student(degrees)
    return float(1 - np.interp(angle, angles, within))


def critical_value(degrees: int, level: float = LEVEL) -> float:
    """The quantile of Student's t between whose negative and itself a share of `level` lies."""
    angles, within = _student(degrees)
    return math.sqrt(degrees) * math.tan(float(np.interp(level, within, angles)))


@cache
def _student(degrees: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Angles, and the share of Student's t within each: with t = sqrt(degrees) tan(angle) the density is
    proportional to cos(angle) ** (degrees - 1)."""
    furthest = min(np.pi / 2, 12 / math.sqrt(degrees))  # beyond: less than 1e-17
    angles = np.linspace(0, furthest, ANGLES)
    density = np.cos(angles) ** (degrees - 1)
    within = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return angles, within / within[-1]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of one false finding among all of them (Holm 1979, Scandinavian
    Journal of Statistics 6, 65-70)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def _variance(values: Sequence[float], lost: int) -> float:
    """Variance with `lost` degrees of freedom lost; exactly 0 when all values are equal."""
    if min(values) == max(values):
        return 0.0
    centre = math.fsum(values) / len(values)
    return math.fsum((value - centre) ** 2 for value in values) / (len(values) - lost)
