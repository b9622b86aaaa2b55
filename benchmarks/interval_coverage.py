"""How often the 95 % interval of pass@1 holds the truth, beside the intervals that were tried for it.

    python benchmarks/interval_coverage.py             # some minutes
    python benchmarks/interval_coverage.py --runs 4000

A problem's pass rate is a draw from a beta distribution with the mean and the concentration of the cell: 0.5
for problems that are nearly always or nearly never solved, 10 for problems much alike. Means above 0.5 mirror
those below. With one sample a problem the coverage is summed exactly. Where few problems are ever solved so
few intervals are possible that none covers 95 % everywhere.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from distill.evaluate.statistics import EDGES, LEVEL, critical_value, posterior

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
PROBLEMS, SAMPLES = (20, 30, 100, 500), (1, 4, 16, 64)
MEANS, CONCENTRATIONS = (0.02, 0.05, 0.1, 0.3, 0.5), (0.5, 2.0, 10.0)
TOGETHER = 50
TAIL = (1 - LEVEL) / 2


def student(correct: Counts, samples: int, mean: float) -> NDArray[np.bool_]:
    """Mean and clustered standard error, Student's t (Miller 2024)."""
    centre, error = _clustered(correct, samples)
    width = critical_value(correct.shape[1] - 1) * error
    return np.asarray((centre - width <= mean) & (mean <= centre + width))


def wilson(correct: Counts, samples: int, mean: float) -> NDArray[np.bool_]:
    """Wilson on the effective size with Student's t (Franco et al. 2019)."""
    problems = correct.shape[1]
    centre, error = _clustered(correct, samples)
    inner = (centre > 0) & (centre < 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(error > 0, centre * (1 - centre) / error**2, samples * problems)
    size = np.where(inner, np.clip(size, problems - 1, samples * problems), problems)
    return _within(centre, size, critical_value(problems - 1), mean)


def agresti_coull(correct: Counts, samples: int, mean: float) -> NDArray[np.bool_]:
    """Two problems solved and two failed are added, then Student's t (Agresti and Coull 1998)."""
    padded = np.pad(correct, ((0, 0), (0, 2)))
    return student(np.pad(padded, ((0, 0), (0, 2)), constant_values=samples), samples, mean)


def bootstrap(correct: Counts, samples: int, mean: float) -> NDArray[np.bool_]:
    """Problems are drawn again 400 times; the quantiles are those of the studentised mean (bootstrap-t)."""
    rng, held = np.random.default_rng(9), []
    for row in correct:
        again = row[rng.integers(0, len(row), (400, len(row)))]
        centre, error = _clustered(again, samples)
        own, own_error = (float(one[0]) for one in _clustered(row[None], samples))
        low, high = np.quantile((centre - own) / np.maximum(error, 1e-3 / len(row)), [TAIL, 1 - TAIL])
        held.append(own - high * own_error <= mean <= own - low * own_error)
    return np.array(held)


def beta_binomial(correct: Counts, samples: int, mean: float) -> NDArray[np.bool_]:
    """The interval of `distill.evaluate`."""
    held = list[bool]()
    for start in range(0, len(correct), TOGETHER):
        rows = correct[start : start + TOGETHER]
        below = posterior(rows, np.full_like(rows, samples))
        for row, found in zip(rows, below, strict=True):
            at = float(np.interp(mean, EDGES, found))
            held.append((at >= TAIL or not row.any()) and (at <= 1 - TAIL or bool((row == samples).all())))
    return np.array(held)


METHODS: dict[str, Callable[[Counts, int, float], NDArray[np.bool_]]] = {
    "beta-binomial": beta_binomial,
    "wilson": wilson,
    "student": student,
    "agresti-coull": agresti_coull,
    "bootstrap-t": bootstrap,
}


def _clustered(correct: Counts, samples: int) -> tuple[Array, Array]:
    rates = correct / samples
    return rates.mean(axis=1), rates.std(axis=1, ddof=1) / math.sqrt(correct.shape[1])


def _within(centre: Array, size: Array, critical: float, mean: float) -> NDArray[np.bool_]:
    square = critical**2
    middle = (centre + square / (2 * size)) / (1 + square / size)
    half = np.sqrt(square * (centre * (1 - centre) / size + square / (4 * size**2))) / (1 + square / size)
    return np.asarray((middle - half <= mean) & (mean <= middle + half))


def exact(problems: int, mean: float) -> float:
    """Coverage with one sample a problem."""
    found = 0.0
    for solved in range(problems + 1):
        row = np.repeat([1, 0], [solved, problems - solved])[None]
        if beta_binomial(row, 1, mean)[0]:
            found += math.comb(problems, solved) * mean**solved * (1 - mean) ** (problems - solved)
    return found


def cells() -> Iterator[tuple[int, int, float, float]]:
    """Problems, samples, concentration and mean of each cell; with one sample a problem the concentration
    makes no difference."""
    for problems, samples, concentration, mean in product(PROBLEMS, SAMPLES, CONCENTRATIONS, MEANS):
        if samples > 1 or concentration == CONCENTRATIONS[0]:
            yield problems, samples, concentration, mean


def main() -> None:
    """Prints the coverage of each cell in percent, then each method's range."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000, help="simulated evaluations of each cell")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS)[:4])
    options, rng = parser.parse_args(), np.random.default_rng(0)
    print("problems samples concentration mean", *options.methods)
    found: dict[str, list[float]] = {name: [] for name in options.methods}
    for problems, samples, concentration, mean in cells():
        shape = (options.runs, problems)
        rates = rng.beta(mean * concentration, (1 - mean) * concentration, shape)
        correct = rng.binomial(samples, rates)
        for name, shares in found.items():
            if samples == 1 and name == "beta-binomial":
                shares.append(100 * exact(problems, mean))
            else:
                shares.append(100 * float(METHODS[name](correct, samples, mean).mean()))
        print(
            problems, samples, concentration, mean, *(f"{found[name][-1]:.1f}" for name in found), flush=True
        )
    for name, shares in found.items():
        outside = [sum(one < 93 for one in shares), sum(one > 97 for one in shares)]
        print(
            f"{name}: {min(shares):.1f} to {max(shares):.1f}; cells below 93: {outside[0]}, above 97: {outside[1]}"
        )


if __name__ == "__main__":
    main()
