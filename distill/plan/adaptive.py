"""How many draws adaptive sampling takes before anything is drawn, and how many right traces come of them.

Pass rates of problems are taken to spread as Beta(p, 1 - p) around the mean p: many problems are solved
nearly always or nearly never. Which draws are asked is `rounds`' matter: the first ones, then one at a time
in effect until enough are right.
"""

from math import comb, exp, lgamma

from distill.recipe import Sampling
from distill.sample import DrawPlan

SPREAD = 1.0
"""Sum of Beta's parameters. Fitted to three public sets of traces with 3, 4 and 8 draws of each problem: 0.6,
1.4 and 1.6."""


def draws(sampling: Sampling, passing: float) -> float:
    """Mean draws of a problem of which a rule judges the answers, where such a share of all traces would
    pass."""
    adaptive, first = sampling.adaptive, DrawPlan(sampling).drawn
    if adaptive is None:
        return first
    return first + sum(fewer(adaptive.enough, drawn, passing) for drawn in range(first, adaptive.most))


def right(sampling: Sampling, passing: float, at_most: int | None = None) -> float:
    """Mean right draws of such a problem, of which at most so many count."""
    adaptive, first = sampling.adaptive, DrawPlan(sampling).drawn
    enough, most = (adaptive.enough, adaptive.most) if adaptive else (0, first)
    counted = min(max(first, enough), at_most or max(first, enough))
    return sum(
        1 - fewer(wanted, max(first, most) if wanted <= enough else first, passing)
        for wanted in range(1, counted + 1)
    )


def fewer(wanted: int, drawn: int, passing: float) -> float:
    """Probability that fewer than so many of the draws of a problem are right: the tail of a
    beta-binomial."""
    if not 0 < passing < 1:
        return float(wanted > (drawn if passing else 0))
    alpha, beta = SPREAD * passing, SPREAD * (1 - passing)
    whole = _log_beta(alpha, beta)
    terms = (
        comb(drawn, hits) * exp(_log_beta(hits + alpha, drawn - hits + beta) - whole)
        for hits in range(min(wanted, drawn + 1))
    )
    return min(1.0, sum(terms))


def _log_beta(first: float, second: float) -> float:
    return lgamma(first) + lgamma(second) - lgamma(first + second)
