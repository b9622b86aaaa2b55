"""Decision: rules for each benchmark, no average hides a loss, and equal students are hardly ever promoted."""

import json
import math
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from distill.evaluate import Planned, compare, power, promote
from distill.evaluate.decision import sees
from distill.evaluate.report import markdown, table
from distill.evaluate.scores import Measured, comparisons_of
from distill.evaluate.tally import Tally
from distill.recipe import Decision
from distill.records import Comparison, Promotion, Report, Role, Score
from distill.store.catalogue import load_report
from distill.store.folders import write_record

SCORE = Score("mine", "student", 500, 4, 0.5, 0.02, 0.46, 0.54, 0.02, 0.03, 0.99, 900.0, language_mixing=0.01)


def difference(
    points: float,
    error: float,
    source: str,
    problems: int = 500,
    than: Role = "base",
    regression: bool = False,
) -> Comparison:
    """A comparison with a difference and its standard error in points."""
    low, high = points - 1.96 * error, points + 1.96 * error
    chance = math.erfc(abs(points / error) / math.sqrt(2))
    figures = points / 100, error / 100, low / 100, high / 100
    return Comparison("student", than, *figures, problems, source, chance, None, regression)


def failed(found: Promotion) -> list[tuple[str, str | None]]:
    return [(one.rule, one.source) for one in found.rulings if not one.passed]


def test_a_gain_on_average_hides_no_loss_on_a_benchmark() -> None:
    pooled = [
        difference(3.9, 1.0, "all", 530),
        difference(4.8, 1.1, "math-500"),
        difference(-11.7, 5.6, "aime24", 30),
    ]
    found = promote([SCORE], pooled, Decision())
    assert found.verdict == "hold" and ("margin", "aime24") in failed(found)
    assert "aime24 -11.7 (-22.7 to -0.7)" in found.sentence and "math-500" not in found.sentence
    assert promote([SCORE], pooled[1:2], Decision()).verdict == "promote"


@pytest.mark.parametrize(
    ("rules", "differences", "fails"),
    [
        (Decision(), [difference(5, 1.2, "a")], []),
        (Decision(), [difference(2, 1.2, "a")], [("gain", None)]),
        (Decision(gain=0), [difference(-1, 1.2, "a")], []),
        (Decision(), [difference(5, 1.2, "a"), difference(-1.5, 0.5, "b")], [("loss", "b")]),
        (Decision(), [difference(5, 1.2, "a"), difference(-1.5, 0.5, "b", regression=True)], []),
        (Decision(), [difference(5, 1.2, "a"), difference(-5, 1.2, "b", regression=True)], [("margin", "b")]),
        (Decision(margin=None), [difference(5, 1.2, "a"), difference(-5, 1.2, "b", regression=True)], []),
        (Decision(margin=9), [difference(5, 1.2, "a"), difference(-5, 1.2, "b", regression=True)], []),
        (Decision(confidence=0.95), [difference(5, 1.2, "a"), difference(-11.7, 6.5, "b", 30)], []),
        (Decision(gain=2), [difference(5, 1.2, "a"), difference(1, 1.2, "b")], [("gain", None)]),
        (Decision(gain=2), [difference(5, 1.2, "a"), difference(5, 1.2, "b")], []),
        (Decision(), [difference(9, 1, "a", 5)], [("gain", None)]),
        (Decision(), [difference(5, 1.2, "a", regression=True)], [("gain", None)]),
        (Decision(), [difference(5, 1.2, "a"), difference(1, 1.2, "a", than="previous")], [("gain", None)]),
        (
            Decision(against=("base",)),
            [difference(5, 1.2, "a"), difference(1, 1.2, "a", than="previous")],
            [],
        ),
        (Decision(against=("previous",)), [difference(5, 1.2, "a")], [("compared", None)]),
        (Decision(), [], [("compared", None)]),
    ],
)
def test_every_rule_decides(
    rules: Decision, differences: list[Comparison], fails: list[tuple[str, str | None]]
) -> None:
    found = promote([SCORE], differences, rules)
    assert failed(found) == fails
    assert found.verdict == ("hold" if fails else "promote") and found.sentence.startswith(found.verdict)


@pytest.mark.parametrize("rule", ["truncated", "language_mixing", "no_answer"])
def test_too_many_bad_completions_on_one_benchmark_hold_a_student(rule: str) -> None:
    gained = [difference(5, 1.2, "a"), difference(5, 1.2, "b")]
    scores = [SCORE, replace(SCORE, source="a"), replace(SCORE, source="b", **{rule: 0.3})]
    found = promote(scores, gained, Decision())
    assert failed(found) == [(rule, "b")] and "30.0 %" in found.sentence and "on b" in found.sentence
    assert promote(scores, gained, Decision(**{f"max_{rule}": None})).verdict == "promote"
    base = replace(SCORE, role="base", source="b", **{rule: 0.9})
    assert promote([*scores[:2], base], gained, Decision()).verdict == "promote"


def test_the_chance_of_one_false_gain_is_kept_over_all_targets() -> None:
    rng = np.random.default_rng(3)
    promoted = sum(
        promote(
            [], _compared(rng, {"a": (60, 4, 0.0), "b": (60, 4, 0.0), "c": (60, 4, 0.0)}), Decision()
        ).verdict
        == "promote"
        for _ in range(300)
    )
    assert promoted / 300 <= 0.04


def test_five_points_on_500_problems_are_seen_and_promoted() -> None:
    rng = np.random.default_rng(4)
    found = [promote([], _compared(rng, {"a": (500, 4, 0.05)}), Decision()) for _ in range(60)]
    assert sum(one.verdict == "promote" for one in found) >= 54


def _compared(rng: np.random.Generator, plan: dict[str, tuple[int, int, float]]) -> list[Comparison]:
    """One simulated evaluation of benchmarks of (problems, samples, gain)."""
    base, student = dict[str, Tally](), dict[str, Tally]()
    for source, (problems, samples, gain) in plan.items():
        rates = rng.beta(0.8, 0.8, problems)
        for tallies, moved in ((base, 0.0), (student, gain)):
            drawn = rng.binomial(samples, np.clip(rates + moved, 0, 1)).tolist()
            names = [f"{source}{number}" for number in range(problems)]
            judged = Counter(dict.fromkeys(names, samples))
            tallies[source] = Tally(correct=Counter(dict(zip(names, drawn, strict=True))), judged=judged)
    return comparisons_of([Measured("b", "base", base), Measured("s", "student", student)], ())


def test_what_a_plan_can_see_is_said_for_each_target() -> None:
    plan = [Planned("math-500", 500, 4), Planned("aime24", 30, 16), Planned("mmlu", 1000, 1, target=False)]
    said = power(plan)
    assert (
        "math-500 (500 x 4) sees +5 points in 82-100 % of cases" in power(plan[:1])
        and "aime24 (30 x 16) sees" in said
    )
    assert "mmlu" not in said and power([]) == ""
    large, small = sees(plan[0], 5), sees(plan[1], 5)
    assert (
        large.low > 0.8 > 0.7 > small.high > 0.6
        and small.low < 0.2
        and sees(Planned("few", 5, 64), 50) == (0.0, 0.0)
    )
    assert sees(plan[0], 5, targets=4).low < large.low


def test_a_report_says_the_decision_last_and_is_read_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    compared = [difference(4.8, 1.1, "math-500"), difference(-11.7, 5.6, "aime24", 30)]
    made = promote([SCORE], compared, Decision())
    report = Report("mine", "d", "c", "f", [SCORE], compared, "better", {"metric": "pass@1"}, made)
    *_, last = table(report).split("\n\n")
    assert last.startswith("decision: hold (") and "aime24 -11.7" in last and "\n  worse than base" in last
    assert "| fails | margin | worse than base by more than 2 points" in markdown(report)
    assert "sees +5 points" in table(report)
    path = str(tmp_path_factory.mktemp("report") / "report.json")
    write_record(path, report)
    assert load_report(path) == report
    json.dumps(asdict(made), allow_nan=False)


def test_a_comparison_of_old_reports_has_no_chance_and_counts_as_no_gain() -> None:
    old = replace(compare("student", {"a": 1.0, "b": 0.5}, "base", {"a": 0.0, "b": 0.5}), p_value=None)
    assert ("gain", None) in failed(promote([], [old], Decision()))
