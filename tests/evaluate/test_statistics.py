"""Statistics: estimators are those of their papers, intervals cover, and figures are those of other
libraries."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.evaluate.statistics import critical_value, holm, interval, p_value, paired, pass_at_k

COUNTS = st.lists(
    st.integers(1, 8).flatmap(lambda judged: st.tuples(st.integers(0, judged), st.just(judged))),
    min_size=2,
    max_size=40,
)


@settings(deadline=None)
@given(COUNTS)
def test_an_interval_holds_the_mean_and_mirrors_when_right_and_wrong_change_places(
    counts: list[tuple[int, int]],
) -> None:
    found, mirrored = interval(counts), interval([(judged - correct, judged) for correct, judged in counts])
    centre = sum(correct / judged for correct, judged in counts) / len(counts)
    assert 0 <= found.low <= centre + 1e-12 and centre - 1e-12 <= found.high <= 1
    assert mirrored == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "problems", "low", "high"),
    [
        (0, 20, 0.0, 0.116639),
        (1, 20, 0.005449, 0.210819),
        (10, 20, 0.293376, 0.706624),
        (50, 100, 0.403174, 0.596826),
    ],
)
def test_with_one_sample_a_problem_the_interval_is_jeffreys(
    correct: int, problems: int, low: float, high: float
) -> None:
    """Figures of scipy 1.17.1: stats.beta.ppf([0.025, 0.975], correct + 0.5, problems - correct + 0.5)."""
    found = interval([(1, 1)] * correct + [(0, 1)] * (problems - correct))
    assert found == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))
    assert found.low == 0.0 or correct


def test_samples_of_a_problem_that_agree_are_no_more_than_one() -> None:
    alike = interval([(16, 16)] * 15 + [(0, 16)] * 15)
    single = interval([(1, 1)] * 15 + [(0, 1)] * 15)
    mixed = interval([(8, 16)] * 30)
    assert alike == (pytest.approx(single.low, abs=0.02), pytest.approx(single.high, abs=0.02))
    assert mixed.high - mixed.low < 0.4 * (alike.high - alike.low)


@pytest.mark.parametrize(
    ("problems", "samples", "mean", "concentration"),
    [(20, 16, 0.05, 2), (30, 16, 0.1, 0.5), (30, 64, 0.02, 2), (100, 4, 0.9, 2), (30, 4, 0.5, 10)],
)
def test_the_interval_holds_the_truth_about_95_times_of_100(
    problems: int, samples: int, mean: float, concentration: float
) -> None:
    rng = np.random.default_rng(1)
    rates = rng.beta(mean * concentration, (1 - mean) * concentration, (300, problems))
    held = 0
    for row in rng.binomial(samples, rates):
        low, high = interval([(int(correct), samples) for correct in row])
        held += low <= mean <= high
    assert 0.925 <= held / 300 <= 0.99


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [
        (1, 12.7062),
        (2, 4.3027),
        (3, 3.1824),
        (5, 2.5706),
        (10, 2.2281),
        (29, 2.0452),
        (100, 1.9840),
        (10**6, 1.9600),
    ],
)
def test_quantiles_and_chances_are_those_of_student_s_table(degrees: int, quantile: float) -> None:
    assert critical_value(degrees) == pytest.approx(quantile, rel=1e-4)
    assert p_value(quantile, degrees) == pytest.approx(0.05, rel=1e-3)
    assert p_value(-quantile, degrees) == p_value(quantile, degrees)


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_choices_of_k_with_a_correct_one(drawn: tuple[int, int, int]) -> None:
    correct, judged, k = drawn
    choices = list(itertools.combinations([True] * correct + [False] * (judged - correct), k))
    assert pass_at_k([(correct, judged)], k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_needs_k_samples() -> None:
    assert pass_at_k([(1, 2), (4, 4)], 4) == 1.0
    assert pass_at_k([(1, 2)], 4) is None


def test_a_paired_test_is_that_of_scipy() -> None:
    """Figures of scipy 1.17.1: stats.ttest_rel(first, second), and stats.t.ppf(0.975, 7) = 2.364624."""
    first = {str(place): value for place, value in enumerate([1.0, 0.5, 0.75, 0.25, 1.0, 0.5, 0.0, 0.75])}
    second = {str(place): value for place, value in enumerate([0.5, 0.5, 0.25, 0.25, 0.75, 0.75, 0.0, 0.5])}
    found = paired(first, second)
    error = np.std([0.5, 0, 0.5, 0, 0.25, -0.25, 0, 0.25], ddof=1) / math.sqrt(8)
    assert found.difference == pytest.approx(0.15625) and found.error == pytest.approx(error)
    assert found.p_value == pytest.approx(0.1395196, abs=1e-6)
    assert found.low == pytest.approx(0.15625 - 2.364624 * error, abs=1e-5)


def test_holm_s_correction_is_that_of_its_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
