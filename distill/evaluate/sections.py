"""What stands in the page of a report, section by section."""

from collections.abc import Mapping, Sequence

from distill.evaluate import report as texts
from distill.evaluate.examples import Group
from distill.evaluate.page import Cell, Interval, Picture, Section, Table, page
from distill.progress import percent
from distill.records import Comparison, Report, Score

SCORES = ("benchmark", "model", "pass@1", "0 to 100 %", "95 % interval", "problems x samples")
COSTS = (
    "benchmark",
    "model",
    "truncated",
    "no answer",
    "mixing languages",
    "mean tokens",
    "tokens per correct answer",
    "left out",
)
SAMPLES = ("benchmark", "model", "pass@k", "maj@k")
DIFFERENCES = ("benchmark", "difference", "points", "95 % interval", "problems")


def render(
    report: Report,
    *,
    training: Section,
    data: Section,
    spent: Section,
    groups: Sequence[Group],
    pictures: Sequence[Picture],
    lineage: Mapping[str, str],
) -> str:
    """The page of a report; `training`, `data` and `spent` are sections of the caller, `lineage` names what
    the student was made from."""
    scores = sorted(report.scores, key=lambda one: (one.source == "all", one.source))
    differences = sorted(report.comparisons, key=lambda one: (one.source == "all", one.source))
    how = [*texts.remarks(report), texts.how(report)]
    settings = [(name, texts.plain(value)) for name, value in report.settings.items()]
    promotion, passed = report.promotion, {"better": True, "not_better": False}.get(report.decision)
    return page(
        report.student,
        promotion.verdict if promotion else report.decision,
        promotion.verdict == "promote" if promotion else passed,
        [promotion.sentence if promotion else texts.decision(report)],
        [
            Section("Decision", tables=_decision(report)),
            Section(
                "Benchmarks",
                how,
                [
                    Table(
                        "pass@1: mean over problems of the mean over samples",
                        [SCORES, *map(_score, scores)],
                        (2, 5),
                    ),
                    Table(
                        "paired differences over the same problems",
                        [DIFFERENCES, *map(_difference, differences)],
                        (2, 4),
                    ),
                    Table("what completions are like", [COSTS, *map(_costs, scores)], range(2, 8)),
                    Table("what more samples reach", [SAMPLES, *map(_samples, scores)]),
                ],
                pictures,
            ),
            Section("Traces", groups=groups),
            training,
            data,
            spent,
            Section(
                "Lineage",
                tables=[Table("what the student was made from", [("what", "which"), *lineage.items()])],
            ),
            Section(
                "Settings", tables=[Table("how the figures came about", [("setting", "value"), *settings])]
            ),
        ],
    )


def _decision(report: Report) -> list[Table]:
    """The rules with their figures, those that fail first; none in a report from before there were rules."""
    rulings = report.promotion.rulings if report.promotion else []
    rows = [
        (one.rule.replace("_", " "), "holds" if one.passed else "fails", one.sentence)
        for one in sorted(rulings, key=lambda one: one.passed)
    ]
    return [Table("rules of the recipe", [("rule", "verdict", "figures"), *rows])] if rows else []


def _score(score: Score) -> Sequence[Cell]:
    return (
        _benchmark(score.source),
        score.role,
        percent(score.pass_at_1),
        Interval(score.low, score.pass_at_1, score.high),
        f"{percent(score.low)} to {percent(score.high)}",
        f"{score.problems} x {score.samples_per_problem}",
    )


def _costs(score: Score) -> Sequence[Cell]:
    mixing = "-" if score.language_mixing is None else percent(score.language_mixing)
    counts = (score.mean_completion_tokens or None, score.tokens_per_correct)
    tokens = ("-" if count is None else f"{count:,.0f}" for count in counts)
    shares = (percent(score.truncated), percent(score.no_answer), mixing)
    return (_benchmark(score.source), score.role, *shares, *tokens, f"{score.left_out:,}")


def _samples(score: Score) -> Sequence[Cell]:
    """What more samples would reach; maj@k is another measure than pass@1, and stands in a column of its
    own."""
    reached = ", ".join(f"{percent(share)} (k = {2**power})" for power, share in enumerate(score.pass_at_k))
    majority = "-" if score.majority is None else f"{percent(score.majority)} (k = {score.majority_k})"
    return (_benchmark(score.source), score.role, reached or "-", majority)


def _difference(one: Comparison) -> Sequence[Cell]:
    points = (f"{100 * one.difference:+.1f}", f"{100 * one.low:+.1f} to {100 * one.high:+.1f}")
    return (_benchmark(one.source), f"{one.better} - {one.than}", *points, f"{one.problems:,}")


def _benchmark(source: str) -> str:
    return "all problems" if source == "all" else source
