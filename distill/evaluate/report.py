"""A report for people: a table for the terminal, Markdown for artifacts and `report.md`.

Names, notes and other outside text are shown inert (see `text.tables`). `funnel_markdown` is taken as it is.
"""

import json
from collections.abc import Mapping, Sequence

from distill.progress import percent
from distill.records import Comparison, Report, Score
from distill.text.tables import aligned, cell, grid, inert

HEADINGS = (
    "model",
    "role",
    "pass@1",
    "95 % interval",
    "error",
    "problems x samples",
    "truncated",
    "no answer",
    "mean tokens",
)
NUMBERS = range(2, len(HEADINGS))
LONGEST_NAME = 44
ERRORS = (
    "error: standard error in points over problems (in brackets: from new samples of the same problems alone)"
)
DECISIONS = {
    "better": "the student is better than its base: the whole interval of the difference is above 0",
    "not_better": "the student is not better than its base: the difference's interval ends at or below 0",
    "undecided": (
        "undecided: the difference from the base is within its error (more problems decide it, more "
        "samples help a little)"
    ),
}


def table(report: Report) -> str:
    """The report as aligned plain text."""
    rows = [_cells(score) for score in report.scores]
    parts = [aligned([HEADINGS, *((_short(model), *others) for model, *others in rows)], NUMBERS)]
    parts.append(
        "\n".join(
            ["paired differences of pass@1, in points:", *(f"  {_difference(c)}" for c in report.comparisons)]
        )
    )
    parts.append("\n".join([*remarks(report), how(report), f"decision: {decision(report)}"]))
    return inert("\n\n".join(parts), keep="\n")


def markdown(
    report: Report,
    funnel_markdown: str = "",
    paths: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The report as Markdown: decision, scores, differences, funnel, notes, settings and where the files
    are."""
    lines = [
        f"# {cell(report.student)}",
        "",
        f"**{cell(decision(report))}.**",
        "",
    ]
    lines += grid([HEADINGS, *(_cells(score) for score in report.scores)], NUMBERS)
    lines += [
        "",
        "Paired differences of pass@1, in points:",
        "",
        *(f"- {cell(_difference(c))}" for c in report.comparisons),
        "",
    ]
    lines += [*(f"- {cell(remark)}" for remark in remarks(report)), "", cell(how(report)), ""]
    if funnel_markdown:
        lines += ["## Funnel", "", funnel_markdown, ""]
    if notes:
        lines += ["## Notes", "", *(f"- {cell(note)}" for note in notes), ""]
    lines += [
        "## Settings",
        "",
        *grid([("setting", "value"), *((name, plain(value)) for name, value in report.settings.items())]),
        "",
    ]
    named = {
        "dataset": report.dataset,
        "checkpoint": report.checkpoint,
        "fingerprint": report.fingerprint,
        **(paths or {}),
    }
    return "\n".join([*lines, "## Files", "", *grid([("what", "where"), *named.items()]), ""])


def decision(report: Report) -> str:
    """The decision over all problems in words, and each source on which the student lost."""
    said = DECISIONS.get(report.decision, report.decision)
    return f"{said}; worse than its base on {', '.join(report.lost_on)}" if report.lost_on else said


def remarks(report: Report) -> list[str]:
    """What a reader must know beside the table: share of the teacher, completions left out, timeouts, what
    the errors are."""
    said = [line for line in (teacher_share(report),) if line]
    for score in (score for score in report.scores if score.source == "all"):
        if score.left_out and score.pass_at_1_strict is not None:
            strict = percent(score.pass_at_1_strict)
            said.append(
                f"{score.role}: completions without a verdict, left out: {score.left_out} (pass@1 if all of "
                f"them were wrong: {strict})"
            )
        if score.timeouts:
            said.append(
                f"{score.role}: completions that timed out in verification, counted as not correct: "
                f"{score.timeouts}"
            )
    return [*said, ERRORS]


def teacher_share(report: Report) -> str:
    """How much of the teacher's pass@1 the student reaches; empty without a teacher that solves anything."""
    overall = {score.role: score.pass_at_1 for score in report.scores if score.source == "all"}
    if "student" not in overall or not overall.get("teacher"):
        return ""
    return (
        f"the student reaches {100 * overall['student'] / overall['teacher']:.0f} % of the teacher's pass@1"
    )


def how(report: Report) -> str:
    """One line with the metric, k, n and the sampling settings."""
    values = report.settings
    named = ("temperature", "top_p", "max_tokens", "seed", "prompt", "engine", "dtype")
    given = ", ".join(f"{name} {values[name]}" for name in named if name in values)
    metric = (
        f"{values.get('metric', 'pass@1')} (k = {values.get('k', 1)}): "
        f"{values.get('estimator', 'mean over problems')}"
    )
    return f"{metric}; {given}; graded by {', '.join(values.get('verifiers', [])) or 'nothing'}"


def _cells(score: Score) -> tuple[str, ...]:
    return (
        inert(score.model),
        score.role if score.source == "all" else f"{score.role} on {inert(score.source)}",
        percent(score.pass_at_1),
        f"{percent(score.low)} to {percent(score.high)}",
        _error(score),
        f"{score.problems} x {score.samples_per_problem}",
        percent(score.truncated),
        percent(score.no_answer),
        f"{score.mean_completion_tokens:.0f}" if score.mean_completion_tokens else "-",
    )


def _error(score: Score) -> str:
    return (
        f"{100 * score.standard_error:.1f} "
        f"({'?' if score.sampling_error is None else f'{100 * score.sampling_error:.1f}'})"
    )


def _difference(comparison: Comparison) -> str:
    where = "" if comparison.source == "all" else f" on {comparison.source}"
    points = (
        f"{100 * comparison.difference:+.1f} ({100 * comparison.low:+.1f} to {100 * comparison.high:+.1f})"
    )
    error = f"standard error {100 * comparison.standard_error:.1f}, {comparison.problems} problems"
    return f"{comparison.better} - {comparison.than}{where}: {points}, {error}"


def _short(name: str) -> str:
    """A long name with its middle left out: the end of a path tells more than its start."""
    return name if len(name) <= LONGEST_NAME else name[:12] + "..." + name[15 - LONGEST_NAME :]


def plain(value: object) -> str:
    """A setting as text; lists of names without quotes and brackets."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
