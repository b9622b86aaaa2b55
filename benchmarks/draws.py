"""Draws of a teacher that was really asked, modelled ones after them, and what a policy asks of them: for
`adaptive_sampling.py`.

A problem's draws after the real ones come from a mixture of pass rates that is fitted to how many of the real
ones are right, and fits these counts exactly, and take their tokens from its own real draws of the same
verdict. Real draws do not tell how many of the never solved problems can be solved at all: `soft` takes every
problem for solvable now and then, `hard` has some that never are. Both fit equally well, and what differs
between them is not known.
"""

import gzip
import heapq
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distill.sample.adaptive import DrawResult, Try

REAL = 4
MOST = 64
GRIDS = {"soft": np.linspace(0.0025, 1, 400), "hard": np.append(0, np.linspace(0.1, 1, 181))}
"""Pass rates that each model allows."""
STEPS_OF_FIT = 3000


@dataclass(frozen=True, slots=True)
class Draw:
    """What one draw of a problem comes to when nothing stops it early."""

    right: bool
    cut: bool
    tokens: int


Draws = Sequence[Sequence[Draw]]
"""Each problem's draws, in the order in which they may be asked."""


@dataclass(frozen=True, slots=True)
class Pursuit:
    """What was asked about one problem."""

    draws: int
    tokens: int
    right: int
    rounds: int
    """Completions that had to be waited for one after another."""
    longest_tokens: int
    """Tokens along that chain."""
    kept_tokens: int


class Policy(Protocol):
    """Which tries to make: `DrawPlan`, or another rule to compare it with."""

    def first(self) -> list[Try]: ...

    def tell(self, tried: Try, outcome: DrawResult) -> list[Try]: ...


def read(path: str) -> list[list[Draw]]:
    """The draws of each problem; a cut one is never right, as in the sampling stage."""
    found: dict[str, list[Draw]] = defaultdict(list)
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.endswith(".gz")
        else open(path, encoding="utf-8") as file
    ):
        for row in map(json.loads, file):
            cut = row["finish_reason"] == "length"
            found[row["problem_id"]].append(Draw(row["correct"] and not cut, cut, row["completion_tokens"]))
    return [draws for draws in found.values() if len(draws) == REAL]


def fit(counts: NDArray[Any], grid: NDArray[Any], of: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(likelihood of 0..of right ones at each pass rate, weight of each pass rate): expectation maximisation
    from equal weights."""
    right = np.arange(of + 1)[:, None]
    likelihood = (
        np.array([math.comb(of, n) for n in range(of + 1)])[:, None]
        * grid**right
        * (1 - grid) ** (of - right)
    )
    weights = np.full(len(grid), 1 / len(grid))
    for _ in range(STEPS_OF_FIT):
        weights *= (counts / counts.sum() / (likelihood @ weights)) @ likelihood
    return likelihood, weights


def posterior(counts: NDArray[Any], grid: NDArray[Any]) -> NDArray[Any]:
    """Weight of each pass rate for a problem of which 0, 1, ... real draws are right, one row each."""
    likelihood, weights = fit(counts, grid, REAL)
    joint = likelihood * weights
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def imagine(
    real: Draws, grid: NDArray[Any], counts: NDArray[Any], rng: np.random.Generator
) -> list[list[Draw]]:
    """The real draws, and as many modelled ones after them as make `MOST`."""
    weights = posterior(counts, grid)
    found = []
    for draws in real:
        rate = rng.choice(grid, p=weights[sum(draw.right for draw in draws)])
        own = {
            verdict: [draw for draw in draws if draw.right == verdict] or draws for verdict in (True, False)
        }
        further = ((bool(right), own[bool(right)]) for right in rng.random(MOST - REAL) < rate)
        picked = ((right, like[int(rng.integers(len(like)))]) for right, like in further)
        found.append([*draws, *(Draw(right, one.cut and not right, one.tokens) for right, one in picked)])
    return found


# Asking


def pursue(policy: Policy, draws: Sequence[Draw], keep: int) -> Pursuit:
    """Asks about one problem, each completion taking as long as it has tokens."""
    under_way = [(min(draws[index].tokens, budget), (index, budget), 1) for index, budget in policy.first()]
    heapq.heapify(under_way)
    asked, tokens, rounds, longest = set[int](), 0, 0, 0
    right: list[Try] = []
    while under_way:
        longest, tried, depth = heapq.heappop(under_way)
        draw, budget = draws[tried[0]], tried[1]
        asked.add(tried[0])
        tokens, rounds = tokens + min(draw.tokens, budget), max(rounds, depth)
        cut = draw.tokens > budget or draw.cut
        right += [tried] if draw.right and not cut else []
        for following in policy.tell(tried, "cut" if cut else "right" if draw.right else "other"):
            cost = min(draws[following[0]].tokens, following[1])
            heapq.heappush(under_way, (longest + cost, following, depth + 1))
    kept = sum(draws[index].tokens for index, _ in sorted(right)[:keep])
    return Pursuit(len(asked), tokens, len(right), rounds, longest, kept)


@dataclass(frozen=True, slots=True)
class Sum:
    """What was asked about all problems."""

    draws: float
    """A problem, on average."""
    tokens: int
    covered: float
    """Share of the problems with a right completion."""
    kept: int
    """Right completions, so many of each problem at most."""
    right: int
    """Right completions."""
    rounds: float
    rounds_99: float
    in_vain: float
    """Share of the tokens that went to problems without a right completion."""
    kept_tokens: float
    """Tokens of a kept trace."""
    longest_99: float


def asked(policy: Callable[[], Policy], draws: Draws, keep: int) -> Sum:
    """All problems by one policy."""
    found = [pursue(policy(), problem, keep) for problem in draws]
    tokens, kept = sum(one.tokens for one in found), sum(min(one.right, keep) for one in found)
    return Sum(
        draws=sum(one.draws for one in found) / len(found),
        tokens=tokens,
        covered=sum(one.right > 0 for one in found) / len(found),
        kept=kept,
        right=sum(one.right for one in found),
        rounds=sum(one.rounds for one in found) / len(found),
        rounds_99=float(np.quantile([one.rounds for one in found], 0.99)),
        in_vain=sum(one.tokens for one in found if not one.right) / tokens,
        kept_tokens=sum(one.kept_tokens for one in found) / max(kept, 1),
        longest_99=float(np.quantile([one.longest_tokens for one in found], 0.99)),
    )


@dataclass(slots=True)
class Other:
    """Another rule for how many to ask next: `many` of (right, failed, enough), once nothing is under way or,
    `eager`, at once."""

    first_draws: int
    enough: int
    most: int
    budget: int
    many: Callable[[int, int, int], int]
    eager: bool = False
    drawn: int = 0
    back: int = 0
    right: int = 0

    def first(self) -> list[Try]:
        return self._ask(max(self.first_draws, self.enough))

    def tell(self, tried: Try, outcome: DrawResult) -> list[Try]:
        self.back += 1
        self.right += outcome == "right"
        under_way = self.drawn - self.back
        if self.right >= self.enough or (under_way and not self.eager):
            return []
        return self._ask(self.many(self.right, self.back - self.right, self.enough) - under_way)

    def _ask(self, many: int) -> list[Try]:
        begin, self.drawn = self.drawn, max(self.drawn, min(self.drawn + many, self.most))
        return [(index, self.budget) for index in range(begin, self.drawn)]
