"""A report for people: a table for the terminal, Markdown for artifacts and `report.md`.

Names, notes and other outside text are shown inert (see `text.tables`). `funnel_markdown` is taken as it is.
"""

import json
from collections.abc import Mapping, Sequence

from distill.evaluate.decision import Planned, power
from distill.progress import percent
from distill.records import Comparison, Report, Score
from distill.text import aligned, cell, grid, inert

HEADINGS = (
    "model",
    "role",
    "pass@1",
    "95 % interval",
    "error",
    "problems x samples",
    "truncated",
    "no answer",
    "mixed",
    "mean tokens",
    "tokens a correct one",
)
NUMBERS = range(2, len(HEADINGS))
LONGEST_NAME = 44
DIFFERENCES = "paired differences of pass@1, in points:"
ERRORS = (
    "error: standard error in points over problems (in brackets: from new samples of the same problems "
    "alone); mixed: completions whose thinking is less than nine tenths in the problem's language"
)
MANY_SAMPLES = (
    "of more than one sample (pass@k: one of k is correct; maj@k: the most common of k answers is; neither "
    "compares with pass@1):"
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
    """The report as aligned plain text; the decision is at its end."""
    rows = [_cells(score) for score in report.scores]
    parts = [aligned([HEADINGS, *((_short(model), *others) for model, *others in rows)], NUMBERS)]
    if several := [line for score in report.scores if (line := _several(score))]:
        parts.append("\n".join([MANY_SAMPLES, *(f"  {line}" for line in several)]))
    parts.append("\n".join([DIFFERENCES, *(f"  {_difference(c)}" for c in report.comparisons)]))
    parts.append("\n".join([*remarks(report), how(report)]))
    parts.append("\n".join(last_words(report)))
    return inert("\n\n".join(parts), keep="\n")


def last_words(report: Report) -> list[str]:
    """The decision with its reasons, a line each."""
    made = report.promotion
    if made is None:
        return [f"decision: {decision(report)}"]
    failed = [one.sentence for one in made.rulings if not one.passed]
    reasons = failed or [one.sentence for one in made.rulings if one.rule == "gain"]
    held = sum(one.passed for one in made.rulings)
    return [
        f"decision: {made.verdict} ({held} of {len(made.rulings)} rules hold)",
        *(f"  {one}" for one in reasons),
    ]


def markdown(
    report: Report,
    funnel_markdown: str = "",
    paths: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The report as Markdown: decision and rules, scores, differences, funnel, notes, settings and where the
    files are."""
    lines = [f"# {cell(report.student)}", "", f"**{cell(decision(report))}.**", ""]
    if report.promotion is not None:
        rulings = report.promotion.rulings
        rows = [("holds" if one.passed else "fails", one.rule, one.sentence) for one in rulings]
        lines += [*grid([("", "rule", "figures"), *rows]), ""]
    lines += grid([HEADINGS, *(_cells(score) for score in report.scores)], NUMBERS)
    if several := [line for score in report.scores if (line := _several(score))]:
        lines += [
            "",
            f"{MANY_SAMPLES[0].upper()}{MANY_SAMPLES[1:]}",
            "",
            *(f"- {cell(line)}" for line in several),
        ]
    lines += ["", f"{DIFFERENCES[0].upper()}{DIFFERENCES[1:]}", ""]
    lines += [*(f"- {cell(_difference(c))}" for c in report.comparisons), ""]
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
    """The decision with its reasons in one sentence; of a report without rules that over all problems, and
    each source on which the student lost."""
    if report.promotion is not None:
        return report.promotion.sentence
    said = DECISIONS.get(report.decision, report.decision)
    return f"{said}; worse than its base on {', '.join(report.lost_on)}" if report.lost_on else said


def remarks(report: Report) -> list[str]:
    """What a reader must know beside the table: share of the teacher, what the benchmarks can see,
    completions left out, timeouts, what the errors are."""
    said = [line for line in (teacher_share(report), _power(report)) if line]
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
    """How much of the teacher's pass@1 the student reaches, by source where the teacher was not asked all;
    empty without a teacher that solves anything."""
    student, teacher = (
        {score.source: score for score in report.scores if score.role == role}
        for role in ("student", "teacher")
    )
    alike = set(student) == set(teacher)
    shares = [
        f"{100 * student[source].pass_at_1 / one.pass_at_1:.0f} %"
        + ("" if source == "all" else f" on {source}")
        for source, one in teacher.items()
        if source in student and one.pass_at_1 and (alike == (source == "all"))
    ]
    return f"the student reaches {', '.join(shares)} of the teacher's pass@1" if shares else ""


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


def _power(report: Report) -> str:
    """What the targets of the comparison with the base can see."""
    samples = {one.source: one.samples_per_problem for one in report.scores if one.role == "student"}
    pair = [one for one in report.comparisons if (one.better, one.than) == ("student", "base")]
    suites = [
        Planned(_named(one.source), one.problems, samples.get(one.source, 1), not one.regression)
        for one in [one for one in pair if one.source != "all"] or pair
    ]
    seen = power(suites)
    return f"what these problems can see: {seen}" if seen and report.promotion else ""


def _cells(score: Score) -> tuple[str, ...]:
    role = score.role if score.source == "all" else f"{score.role} on {inert(score.source)}"
    if score.role == "reference":
        return inert(score.model), role, percent(score.pass_at_1), *["-"] * (len(HEADINGS) - 3)
    return (
        inert(score.model),
        role,
        percent(score.pass_at_1),
        f"{percent(score.low)} to {percent(score.high)}",
        _error(score),
        f"{score.problems} x {score.samples_per_problem}",
        percent(score.truncated),
        percent(score.no_answer),
        "-" if score.language_mixing is None else percent(score.language_mixing),
        f"{score.mean_completion_tokens:.0f}" if score.mean_completion_tokens else "-",
        "-" if score.tokens_per_correct is None else f"{score.tokens_per_correct:.0f}",
    )


def _several(score: Score) -> str:
    """pass@k beyond k = 1, and maj@k; empty for one sample a problem."""
    if score.samples_per_problem < 2:
        return ""
    shares = [f"pass@{2**place} {percent(share)}" for place, share in enumerate(score.pass_at_k) if place]
    if score.majority is not None:
        shares.append(f"maj@{score.majority_k} {percent(score.majority)}")
    return f"{score.role} on {_named(score.source)}: {', '.join(shares)}" if shares else ""


def _named(source: str) -> str:
    return "all problems" if source == "all" else source


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
    if comparison.p_adjusted is not None:
        error += f", {chance(comparison.p_adjusted)}"
    if comparison.regression:
        error += ", must be no worse"
    return f"{comparison.better} - {comparison.than}{where}: {points}, {error}"


def _short(name: str) -> str:
    """A long name with its middle left out: the end of a path tells more than its start."""
    return name if len(name) <= LONGEST_NAME else name[:12] + "..." + name[15 - LONGEST_NAME :]


def plain(value: object) -> str:
    """A setting as text; lists of names without quotes and brackets."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def chance(p_value: float) -> str:
    """A p-value with Holm's correction, to three places."""
    return "p < 0.001 (Holm)" if p_value < 0.001 else f"p {p_value:.3f} (Holm)"
