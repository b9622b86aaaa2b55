r"""What `sampling.adaptive` saves in tokens, beside a fixed number of completions a problem, on the pass
rates of a real teacher.

    .venv/bin/python benchmarks/adaptive_sampling.py --traces traces.jsonl.gz --output FOLDER
    .venv/bin/python benchmarks/adaptive_sampling.py --embedded

Traces are JSON lines with `problem_id`, `correct`, `finish_reason` and `completion_tokens`, four for each
problem. The part called *real* replays them as they are and asks nobody more than four times. Beyond that a
problem's further draws are modelled: its pass rate comes from a mixture that is fitted to how many of four
are right (`draws.py`). Four draws do not tell how many of the never solved problems can be solved at all:
`soft` takes every problem for solvable now and then, `hard` has some that never are, both fit the real counts
equally well, and what differs between their tables is not known.

The draws asked are decided by the project's own `DrawPlan`, without an engine. With `enough` = k and `most` =
m it finds the same first k right ones as m draws of every problem do: the same coverage and the same kept
traces, so one figure says what is saved at equal both. `--embedded` samples the recipe `tiny` through the
real stages, adaptively and then with `most` for every problem, in a store of its own.
"""

import argparse
import json
import math
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from draws import GRIDS, MOST, REAL, Draws, Other, Policy, Sum, asked, fit, imagine, posterior, pursue, read
from numpy.typing import NDArray

from distill.collect import collect
from distill.engines import Completion, Completions, open_engine
from distill.recipe import Adaptive, Sampling, load_dataset
from distill.sample import Asked, DrawPlan, sample
from distill.verify import verify

UNTIL = (64, 256, 1024, 4096)
FIRST_BUDGETS = (192, 256, 320, 384, 448)
COLOURS = {"1 kept": "#3b6ea5", "2 kept": "#d9822b", "4 kept": "#4a8f5c", "all kept": "#9a9a9a"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", help="JSON lines (also .gz) with four traces a problem")
    parser.add_argument("--output", help="folder for the chart")
    parser.add_argument("--embedded", action="store_true", help="sample the recipe `tiny` through the stages")
    parser.add_argument("--problems", type=int, help="no more than so many problems")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.traces:
        study(chosen.traces, chosen.problems, chosen.seed, chosen.output)
    if chosen.embedded:
        embedded(chosen.problems or 800)
    return 0


# The study


def study(path: str, problems: int | None, seed: int, output: str | None) -> None:
    """Prints every table and draws the chart."""
    real = read(path)[:problems]
    max_tokens = max(draw.tokens for draws in real for draw in draws)
    counts = np.bincount([sum(draw.right for draw in draws) for draws in real], minlength=REAL + 1)
    print(
        f"{len(real):,} problems; right of {REAL}: "
        f"{', '.join(f'{n}: {count:,}' for n, count in enumerate(counts))}"
    )
    compare("real, four draws at most", real, (1, 2, 3, 4), (REAL,), max_tokens)
    foresight(real)
    for name, grid in GRIDS.items():
        fitness(counts, grid, name)
        draws = imagine(real, grid, counts, np.random.default_rng(seed))
        curves = compare(
            f"modelled beyond four draws, {name}", draws, (1, 2, 4), (4, 8, 16, 32, MOST), max_tokens
        )
        no_limit(grid, counts, real)
        rules(draws, max_tokens)
        shares(draws, max_tokens)
        if output:
            chart(curves, Path(output) / f"adaptive_sampling_{name}.png", name)
    easy = [draws for draws in real if all(draw.right for draw in draws)]
    compare("real, only problems that are right four times of four", easy, (1, 2, 4), (REAL,), max_tokens)
    budgets(real, max_tokens)


def fitness(counts: NDArray[Any], grid: NDArray[Any], name: str) -> None:
    """Prints how well a model fits, and what it takes for solvable."""
    likelihood, weights = fit(counts, grid, REAL)
    fitted = likelihood @ weights * counts.sum()
    distance = ((counts - fitted) ** 2 / fitted).sum()
    solved = ", ".join(f"{1 - (1 - grid) ** most @ weights:.1%} within {most}" for most in (REAL, 16, MOST))
    print(
        f"\nmodel {name}: fitted {', '.join(f'{n:,.0f}' for n in fitted)} (chi-squared {distance:.3f}); "
        f"solved {solved}"
    )


def foresight(real: Draws) -> None:
    """Prints what models of the first two draws say about four, beside what is true: how far extrapolation is
    to be trusted."""
    counts = np.bincount([sum(draw.right for draw in draws[:2]) for draws in real], minlength=3)
    truth = sum(any(draw.right for draw in draws) for draws in real) / len(real)
    told = []
    for name, grid in GRIDS.items():
        _, weights = fit(counts, grid, 2)
        told.append(f"{1 - (1 - grid) ** REAL @ weights:.1%} ({name})")
    print(
        f"\nproblems solved within four draws, foretold from the first two: {', '.join(told)}; true: "
        f"{truth:.1%}"
    )


def fixed(n: int, max_tokens: int) -> Callable[[], Policy]:
    return lambda: DrawPlan(Sampling(n=n, max_tokens=max_tokens))


def adaptive(
    first: int, enough: int, most: int, max_tokens: int, larger: tuple[int, ...] = ()
) -> Callable[[], Policy]:
    section = Sampling(
        n=first, max_tokens=max_tokens, adaptive=Adaptive(enough=enough, most=most, budgets=larger)
    )
    return lambda: DrawPlan(section)


Curves = dict[str, list[tuple[float, float]]]
"""(coverage, tokens a kept trace) along each line of the chart."""


def compare(title: str, draws: Draws, keeps: Sequence[int], mosts: Sequence[int], max_tokens: int) -> Curves:
    """Prints adaptive beside fixed sampling at equal coverage and equal kept traces."""
    told = f"{'draws':>7}{'tokens':>9}{'covered':>9}{'kept':>8}{'tok/kept':>9}{'fewer':>7}{'rounds':>8}{'p99':>5}{'in vain':>9}"
    print(f"\n{title}\n{'':34}{told}")
    curves: Curves = defaultdict(list)
    fixed_counts = sorted({1, 2, 3, *mosts, MOST if MOST in mosts else REAL})
    for keep in keeps:
        base = {n: asked(fixed(n, max_tokens), draws, keep) for n in fixed_counts}
        for n, found in base.items():
            tell(f"{n} of each, {keep} kept", found, found)
            curves[f"fixed, {keep} kept"].append((found.covered, found.tokens / found.kept))
        for most in mosts:
            for first in sorted({keep, max(keep, REAL)}):
                found = asked(adaptive(first, keep, most, max_tokens), draws, keep)
                tell(f"first {first}, until {keep}, at most {most}", found, base[most])
                if first == keep:
                    curves[f"adaptive, {keep} kept"].append((found.covered, found.tokens / found.kept))
    for n in fixed_counts:
        found = asked(fixed(n, max_tokens), draws, n)
        tell(f"{n} of each, all kept", found, found)
        curves["fixed, all kept"].append((found.covered, found.tokens / found.kept))
    return curves


def tell(label: str, found: Sum, base: Sum) -> None:
    """Prints one row; `base` is what has the same coverage and the same kept traces."""
    assert (found.covered, found.kept) == (base.covered, base.kept), "not the same kept traces"
    fewer = f"{1 - found.tokens / base.tokens:7.1%}" if found is not base else f"{'':7}"
    print(
        f"{label:34}{found.draws:7.2f}{found.tokens / 1e6:8.2f}M{found.covered:9.1%}{found.kept:8,}{found.tokens / found.kept:9.0f}{fewer}"
        f"{found.rounds:8.2f}{found.rounds_99:5.0f}{found.in_vain:9.1%}",
        flush=True,
    )


# Beside what


def no_limit(grid: NDArray[Any], counts: NDArray[Any], real: Draws) -> None:
    """Prints what asking until k are right costs (DART-Math, arXiv 2407.13690, does so uniformly) as the
    limit of draws is raised."""
    tokens = [
        sum(draw.tokens for draws in real for draw in draws if sum(d.right for d in draws) == right)
        for right in range(REAL + 1)
    ]
    weights, rows = posterior(counts, grid), []
    for enough in (1, 2, 4):
        below = below_enough(grid, enough, max(UNTIL))
        for most in UNTIL:
            draws = weights @ below[:most].sum(axis=0) * counts
            million = (
                sum(
                    n * total / (REAL * max(count, 1))
                    for n, total, count in zip(draws, tokens, counts, strict=True)
                )
                / 1e6
            )
            rows.append(
                f"until {enough}, at most {most:5,}: {draws.sum() / counts.sum():6.1f} draws, "
                f"{million:4.0f}M tokens"
            )
    print("\nasking on and on (draws expected of fresh problems)\n" + "\n".join(rows))


def below_enough(grid: NDArray[Any], enough: int, most: int) -> NDArray[Any]:
    """Probability that fewer than `enough` of the first 0, 1, ..., most - 1 draws are right, for each pass
    rate."""
    state = np.zeros((enough, len(grid)))
    state[0] = 1
    found = []
    for _ in range(most):
        found.append(state.sum(axis=0))
        state = state * (1 - grid) + np.vstack([np.zeros(len(grid)), state[:-1] * grid])
    return np.array(found)


RULES: dict[str, tuple[Callable[[int, int, int], int], bool]] = {
    "the missing ones, each at once": (lambda right, failed, enough: enough - right, True),
    "the missing ones, in rounds": (lambda right, failed, enough: enough - right, False),
    "growing with the failures, in rounds": (
        lambda right, failed, enough: max(1, failed // (2 * enough)) * (enough - right),
        False,
    ),
    "doubled while none is right, in rounds": (
        lambda right, failed, enough: enough - right if right else max(enough, failed),
        False,
    ),
    "missing / estimated rate, in rounds": (
        lambda right, failed, enough: math.ceil((enough - right) * (right + failed + 2) / (right + 1)),
        False,
    ),
}


def rules(draws: Draws, max_tokens: int) -> None:
    """Prints what other rules for the next round take, in tokens and in completions that wait for one
    another."""
    print(
        "\nrules for the next "
        f"round{'':26}{'tokens':>9}{'':9}{'rounds':>8}{'p99':>5}{'p99 tokens along a chain':>26}"
    )
    for first, enough, most in ((1, 1, 16), (2, 2, 16), (4, 2, 16), (4, 2, 32), (2, 2, MOST), (4, 4, MOST)):
        ours = asked(adaptive(first, enough, most, max_tokens), draws, enough)
        row(f"first {first}, until {enough}, at most {most}: distill", ours, ours)
        for label, (many, eager) in RULES.items():
            row(
                f"  {label}",
                asked(partial(Other, first, enough, most, max_tokens, many, eager), draws, enough),
                ours,
            )


def row(label: str, found: Sum, base: Sum) -> None:
    chain = f"{found.rounds:8.2f}{found.rounds_99:5.0f}{found.longest_99:26,.0f}"
    print(f"{label:50}{found.tokens / 1e6:8.2f}M{found.tokens / base.tokens - 1:+9.1%}{chain}", flush=True)


def shares(draws: Draws, max_tokens: int) -> None:
    """Prints whose the kept traces are: the bias of stopping early, beside that of keeping all."""
    print(f"\nshare of the kept traces by how many of the first {REAL} were right")
    for label, policy, keep in (
        ("4 of each, all kept", fixed(REAL, max_tokens), REAL),
        ("16 of each, all kept", fixed(16, max_tokens), 16),
        ("first 2, until 2, at most 16", adaptive(2, 2, 16, max_tokens), 2),
        ("first 4, until 4, at most 16, 4 kept", adaptive(4, 4, 16, max_tokens), 4),
        ("first 4, until 2, at most 16, all kept", adaptive(4, 2, 16, max_tokens), 16),
    ):
        kept = np.zeros(REAL + 1)
        for problem in draws:
            kept[sum(draw.right for draw in problem[:REAL])] += min(
                pursue(policy(), problem, keep).right, keep
            )
        print(f"{label:42}" + "".join(f"{n}: {share:6.1%}   " for n, share in enumerate(kept / kept.sum())))


def budgets(real: Draws, max_tokens: int) -> None:
    """Prints what a smaller first budget takes, with and without another try for what it cuts."""
    told = f"{'tokens':>9}{'':9}{'covered':>9}{'kept':>8}{'tok/kept':>9}{'tokens of a kept one':>22}"
    print(f"\n{f'first budgets below {max_tokens}, real':45}{told}")
    for enough in (1, 2, 4):
        base = asked(adaptive(enough, enough, REAL, max_tokens), real, enough)
        for first in (*FIRST_BUDGETS, max_tokens):
            for larger in ((max_tokens,), ()) if first < max_tokens else ((),):
                found = asked(adaptive(enough, enough, REAL, first, larger), real, enough)
                label = f"until {enough}, {first}" + (f", then {max_tokens}" if larger else " only")
                length = f"{found.tokens / found.kept:9.0f}{found.kept_tokens:22.0f}"
                change = f"{found.tokens / base.tokens - 1:+9.1%}"
                print(
                    f"{label:45}{found.tokens / 1e6:8.2f}M{change}{found.covered:9.1%}{found.kept:8,}{length}",
                    flush=True,
                )


def chart(curves: Curves, path: Path, model: str) -> None:
    """Draws tokens a kept trace over coverage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for label, points in curves.items():
        across, upwards = zip(*sorted((100 * covered, tokens) for covered, tokens in points), strict=True)
        colour = COLOURS[label.split(", ")[1]]
        axes.plot(
            across,
            upwards,
            "o-" if label.startswith("adaptive") else "s--",
            color=colour,
            markersize=3,
            label=label,
        )
    axes.set_yscale("log")
    axes.set_xlabel("problems with a kept trace, percent")
    axes.set_ylabel("tokens asked for a kept trace")
    axes.set_title(f"Adaptive and fixed sampling (beyond four draws: model {model})", loc="left")
    axes.legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(f"chart: {path}")


# The embedded teacher, through the stages


@dataclass(slots=True)
class Count:
    """What the engine was asked, as the sampling stage tells it."""

    requests: int = 0
    tokens: int = 0

    def asks(self) -> bool:
        self.requests += 1
        return True

    def withdrew(self) -> None:
        self.requests -= 1

    def took(self, completion: Completion) -> None:
        self.tokens += completion.completion_tokens or 0

    def settled(self) -> None:
        """Nothing is shown meanwhile."""


def embedded(problems: int) -> None:
    """Samples the recipe `tiny` adaptively, and then, over the same completions, as often as can be for
    every problem."""
    recipe = load_dataset("tiny", (f"problems.0.limit={problems}",))
    lines = Path(recipe.problems[0].path).read_text(encoding="utf-8").splitlines()[:problems]
    asked_about = list(collect(map(json.loads, lines), recipe.problems[0], recipe.verification))
    most, enough = 8, 2
    section = recipe.sampling.model_copy(update={"n": enough, "adaptive": Adaptive(enough=enough, most=most)})
    print(f"\nembedded teacher, {len(asked_about)} problems")
    with (
        tempfile.TemporaryDirectory() as folder,
        Completions(Path(folder) / "completions.sqlite") as completions,
        open_engine(recipe.teacher) as engine,
    ):
        for label, sampling in (
            (f"first {enough}, until {enough}, at most {most}", section),
            (f"{most} of each", recipe.sampling.model_copy(update={"n": most})),
        ):
            count, before = Count(), len(completions)
            asked = Asked(recipe.teacher, sampling, recipe.verification)
            rows = list(sample(asked_about, asked, engine, completions, count))
            right: Counter[str] = Counter()
            for candidate in verify(rows, recipe.verification):
                right[candidate.trace.problem.problem_id] += candidate.verdict.outcome == "correct"
            tokens = sum(one.spent_tokens or 0 for one in rows)
            kept = sum(min(found, enough) for found in right.values())
            print(
                f"{label:34} {len(rows):6,} draws {tokens:9,} tokens, {count.requests:6,} asked now "
                f"({before:,} were there), covered "
                f"{sum(map(bool, right.values())) / len(asked_about):.1%}, kept {kept:,}, "
                f"{tokens / kept:.0f} tokens a kept trace",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
