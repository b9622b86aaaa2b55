"""What stands in the page of a report, section by section."""

from collections.abc import Mapping, Sequence

from distill.evaluate import report as texts
from distill.evaluate.examples import Group
from distill.evaluate.page import Cell, Interval, Picture, Section, Table, page
from distill.progress import percent
from distill.records import Comparison, Report, Score

SCORES = ("benchmark", "model", "pass@1", "0 to 100 %", "95 % interval", "problems x samples")
COSTS = ("benchmark", "model", "truncated", "no answer", "in another language", "mean tokens", "left out")
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
    return page(
        report.student,
        report.decision,
        {"better": True, "not_better": False}.get(report.decision),
        [texts.decision(report)],
        [
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
                    Table("what completions are like", [COSTS, *map(_costs, scores)], (2, 3, 4, 5, 6)),
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
    foreign = "-" if score.language_share is None else percent(1 - score.language_share)
    tokens = f"{score.mean_completion_tokens:,.0f}" if score.mean_completion_tokens else "-"
    shares = (percent(score.truncated), percent(score.no_answer), foreign)
    return (_benchmark(score.source), score.role, *shares, tokens, f"{score.left_out:,}")


def _difference(one: Comparison) -> Sequence[Cell]:
    points = (f"{100 * one.difference:+.1f}", f"{100 * one.low:+.1f} to {100 * one.high:+.1f}")
    return (_benchmark(one.source), f"{one.better} - {one.than}", *points, f"{one.problems:,}")


def _benchmark(source: str) -> str:
    return "all problems" if source == "all" else source
