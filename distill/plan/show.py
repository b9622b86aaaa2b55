"""A plan as text for a terminal, and as JSON for other programs."""

import json
import math

from distill.plan.costs import Range
from distill.plan.estimate import STAGES, Plan
from distill.plan.training import CONTEXTS
from distill.progress import duration, number
from distill.text import aligned, inert

COUNTS = (
    "problems",
    "traces",
    "tokens per trace",
    "sampled tokens",
    "judge calls",
    "judge tokens",
    "examples",
    "trained tokens",
    "steps",
    "tokens per step",
    "evaluation tokens",
)
MEMORY = ("teacher memory", "training memory", "host memory", "checkpoint", "disk")


def table(plan: Plan) -> str:
    """Counts, time and money, memory and disk, serving, and the verdict."""
    names = {line.name for line in plan.estimates}
    device = f"{plan.device.name} ({plan.device.memory_gib:.1f} GiB each)"
    parts = [
        f"{plan.student} on {plan.dataset}, {plan.gpus} x {device}",
        aligned([("", "likely", "low to high", ""), *_rows(plan, COUNTS)], numbers=(1, 2), rule=False),
        aligned(
            [
                ("time", "likely", "low to high", "USD", ""),
                *(_stage(plan, stage) for stage in (*STAGES, "whole run") if f"{stage} hours" in names),
            ],
            numbers=(1, 2, 3),
            rule=False,
        ),
        aligned(
            [("memory and disk", "likely", "low to high", ""), *_rows(plan, MEMORY)],
            numbers=(1, 2),
            rule=False,
        ),
        _serving(plan),
        "\n".join(inert(sentence) for sentence in plan.verdict),
    ]
    return "\n\n".join(parts)


def as_json(plan: Plan) -> str:
    """All numbers of a plan; a number that is not known is null."""
    lines = [
        {
            "name": line.name,
            "unit": line.unit,
            "low": _finite(line.value.low),
            "likely": _finite(line.value.likely),
            "high": _finite(line.value.high),
            "note": line.note,
        }
        for line in plan.estimates
    ]
    serving = [
        {
            "precision": row.precision,
            "weights_gib": row.weights,
            "gib_at_tokens": dict(zip(map(str, CONTEXTS), row.contexts, strict=True)),
            "sequences": row.sequences,
        }
        for row in plan.serving
    ]
    about = {"student": plan.student, "dataset": plan.dataset, "gpu": plan.device.name, "gpus": plan.gpus}
    verdict = {"fits": plan.fits, "verdict": plan.verdict}
    return json.dumps({**about, **verdict, "estimates": lines, "serving": serving}, indent=2, allow_nan=False)


def _rows(plan: Plan, names: tuple[str, ...]) -> list[tuple[str, str, str, str]]:
    """The lines of some names, in their order, where the plan has them."""
    found = {line.name: line for line in plan.estimates}
    return [
        (
            name,
            f"{number(found[name].value.likely)} {found[name].unit}".strip(),
            _band(found[name].value),
            inert(found[name].note),
        )
        for name in names
        if name in found
    ]


def _stage(plan: Plan, stage: str) -> tuple[str, str, str, str, str]:
    """Time and money of a stage."""
    found = {line.name: line for line in plan.estimates}
    hours, money = found[f"{stage} hours"], found.get(f"{stage} money")
    band = f"{_time(hours.value.low)} to {_time(hours.value.high)}"
    return (
        stage,
        _time(hours.value.likely),
        band,
        number(money.value.likely) if money else "",
        inert(hours.note),
    )


def _serving(plan: Plan) -> str:
    """Weights and cache of the student in each precision, and how many sequences fit on one device."""
    heads = [f"{context // 1024}k" for context in CONTEXTS]
    rows = [("serving, GiB", "weights", *heads, f"sequences of {heads[-1]} on one {plan.device.name}")]
    for row in plan.serving:
        cells = [number(value) for value in (row.weights, *row.contexts)]
        rows.append((row.precision, *cells, f"{row.sequences:,}"))
    return aligned(rows, numbers=range(1, len(rows[0])), rule=False)


def _band(value: Range) -> str:
    return "" if value.low == value.high else f"{number(value.low)} to {number(value.high)}"


def _time(hours: float) -> str:
    return "unknown" if math.isnan(hours) else duration(3600 * hours)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
