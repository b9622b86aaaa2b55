"""The odds of adaptive sampling are those of drawing as `rounds` does from problems whose pass rates spread
as is said."""

from random import Random

import pytest

from distill.plan import adaptive
from distill.recipe import Sampling
from distill.sample import DrawPlan

CASES = [
    # n, enough, most: fewer than enough at first, more, as many, the cap at once
    (1, 2, 8),
    (4, 2, 16),
    (3, 3, 6),
    (2, 4, 4),
    (4, 2, 4),
]


def sampling(n: int, enough: int, most: int) -> Sampling:
    return Sampling.model_validate({"n": n, "adaptive": {"enough": enough, "most": most}})


def drawn(section: Sampling, rate: float, dice: Random) -> tuple[int, int]:
    """(draws, right ones) of a problem with this pass rate."""
    rounds, right = DrawPlan(section), 0
    waiting = rounds.first()
    while waiting:
        tried = waiting.pop()
        hit = dice.random() < rate
        right += hit
        waiting += rounds.tell(tried, "right" if hit else "other")
    return rounds.drawn, right


@pytest.mark.parametrize(("n", "enough", "most"), CASES)
@pytest.mark.parametrize("passing", [0.25, 0.5, 0.8])
def test_expected_draws_and_right_ones_are_those_of_many_drawn_problems(
    n: int, enough: int, most: int, passing: float
) -> None:
    dice, section, problems = Random(0), sampling(n, enough, most), 8000
    found = [
        drawn(section, dice.betavariate(adaptive.SPREAD * passing, adaptive.SPREAD * (1 - passing)), dice)
        for _ in range(problems)
    ]
    assert adaptive.draws(section, passing) == pytest.approx(
        sum(draws for draws, _ in found) / problems, rel=0.03
    )
    assert adaptive.right(section, passing) == pytest.approx(
        sum(right for _, right in found) / problems, rel=0.04
    )
    assert adaptive.right(section, passing, 1) == pytest.approx(
        sum(right > 0 for _, right in found) / problems, rel=0.03
    )


def test_certain_outcomes_need_no_luck() -> None:
    section = sampling(2, 3, 16)
    assert (adaptive.draws(section, 1.0), adaptive.right(section, 1.0)) == (3, 3)
    assert (adaptive.draws(section, 0.0), adaptive.right(section, 0.0)) == (16, 0)


def test_without_adaptive_sampling_every_draw_is_asked() -> None:
    assert adaptive.draws(Sampling(n=5), 0.3) == 5
    assert adaptive.right(Sampling(n=5), 0.3) == pytest.approx(1.5)
