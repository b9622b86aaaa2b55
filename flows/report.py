"""Writes what an evaluation found: report.json and decision.json for programs, report.md and report.html for
people.

Reports are kept: an earlier one with other figures moves to `reports/<when it was made>/` first.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from distill import hardware, plots
from distill.curate import funnel
from distill.evaluate import examples, page, report, sections
from distill.plan import plan
from distill.progress import dollars, number, say
from distill.recipe import StudentRecipe, load
from distill.records import Candidate, Report
from distill.store import Folder, checked, keys, read_text, write_record, write_text
from distill.train import metrics
from flows import runners

JSON = "report.json"
DECISION = "decision.json"
FILES = (JSON, DECISION, "report.md", "report.html")
TITLES = {
    "funnel": "How many traces reach each stage",
    "lengths": "Completion lengths by verdict",
    "pass_rates": "Pass rates of problems",
    "draws": "How many traces problems have",
    "language": "Share of words in the problem's language",
    "loss": "Training loss",
    "pass_at_1": "pass@1 with 95 % intervals",
    "accuracy": "Accuracy over completion length",
}


class Judged(NamedTuple):
    """What one model's completions on the held-out problems came to."""

    rates: Mapping[str, float]
    """Pass rate by problem id."""
    verdicts: Sequence[str]
    """Shards of candidates."""


def write(
    found: Report, recipe: StudentRecipe, student: Folder, dataset: Folder, judged: Mapping[str, Judged]
) -> str:
    """Writes the files beside the student, shows the tables on the run's page, and returns the path of
    report.json; `judged` has what base and student came to, by role."""
    place, made = student.local(), dataset.path
    yields = funnel.from_json(read_text(f"{made}/funnel.json"))
    keep_earlier(place, found)
    if plots.available():
        each = [one for one in found.scores if one.source != "all"] or found.scores
        plots.pass_at_1(found.scores, f"{place}/plots/pass_at_1.png")
        plots.accuracy(each, f"{place}/plots/accuracy.png")
    text = report.markdown(found, funnel.markdown(yields), {"student": student.path, "dataset": made})
    charts = [f"![{Path(one).stem}]({one})\n" for one in drawn(place, Path(made))]
    write_text(f"{place}/report.md", "\n".join([text, *charts]))
    write_record(f"{student.path}/{JSON}", found)
    if found.promotion:
        write_record(f"{place}/{DECISION}", found.promotion)
    write_text(f"{place}/report.html", rendered(found, recipe, student, dataset, judged, yields))
    runners.artifact(
        f"report-{found.student}", text, f"Base, student and teacher of {found.student} on held-out problems"
    )
    said = found.promotion.sentence if found.promotion else report.decision(found)
    say(f"evaluated {found.student}: {said}")
    return f"{student.path}/{JSON}"


def drawn(place: Path, dataset: Path) -> list[str]:
    """Paths of a student's and its dataset's charts on this machine, as seen from the student's folder."""
    found = (one for folder in (place, dataset) for one in sorted(folder.glob("plots/*.png")))
    return [os.path.relpath(one, place) for one in found]


def keep_earlier(place: Path, found: Report) -> None:
    """Moves the files of an earlier report with other scores into a folder named by when it was made."""
    last = place / JSON
    if not last.exists():
        return
    scores = json.loads(json.dumps([asdict(score) for score in found.scores]))
    if json.loads(last.read_text(encoding="utf-8"))["scores"] == scores:
        return
    written = datetime.fromtimestamp(last.stat().st_mtime, UTC)
    kept = place / "reports" / written.strftime("%Y-%m-%dT%H%M%SZ")
    kept.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (place / name).exists():
            (place / name).rename(kept / name)


def rendered(
    found: Report,
    recipe: StudentRecipe,
    student: Folder,
    dataset: Folder,
    judged: Mapping[str, Judged],
    yields: funnel.Funnel,
) -> str:
    """The report as one HTML file."""
    place, made = student.local(), Path(dataset.path)
    tables = [page.Table(f"traces by {rows[0][0]}", rows, numbers) for rows, numbers in funnel.tables(yields)]
    return sections.render(
        found,
        pictures=pictures(place, ("pass_at_1", "accuracy")),
        groups=traces(judged),
        training=training(place),
        data=page.Section(
            "Dataset",
            [funnel.spent(yields)],
            tables,
            pictures(made, ("funnel", "lengths", "pass_rates", "draws", "language")),
        ),
        spent=page.Section(
            "Planned and taken",
            (),
            [page.Table("on this machine", spent(recipe, place, dataset, yields, found), (1, 2, 3))],
        ),
        lineage=lineage(recipe, student, dataset),
    )


def traces(judged: Mapping[str, Judged]) -> list[examples.Group]:
    """The traces to show: what the student won and lost against its base."""
    base, student = (judged.get(role, Judged({}, ())) for role in ("base", "student"))
    chosen = examples.choose(base.rates, student.rates)
    return examples.groups(
        chosen,
        {
            role: (row for path in one.verdicts for row in checked.read(Candidate, path))
            for role, one in judged.items()
        },
    )


def pictures(folder: Path, names: Sequence[str]) -> list[page.Picture]:
    """The charts of a folder that are there."""
    files = [(name, folder / "plots" / f"{name}.png") for name in names]
    return [page.Picture(TITLES[name], file.read_bytes()) for name, file in files if file.exists()]


def training(place: Path) -> page.Section:
    """How training went: its curve, and the facts of the checkpoint."""
    facts = json.loads((place / "checkpoint.json").read_text(encoding="utf-8"))
    rows = [
        (name.replace("_", " "), number(value) if isinstance(value, float) else str(value))
        for name, value in facts.items()
        if isinstance(value, int | float | str)
    ]
    speeds = [
        line["tokens_per_second"]
        for line in metrics.read(place / metrics.FILE)
        if line.get("tokens_per_second")
    ]
    if speeds:
        rows.append(
            ("tokens per second (median of the logged steps)", number(sorted(speeds)[len(speeds) // 2]))
        )
    return page.Section(
        "Training", (), [page.Table("facts", [("what", "value"), *rows])], pictures(place, ("loss",))
    )


def spent(
    recipe: StudentRecipe, place: Path, dataset: Folder, yields: funnel.Funnel, found: Report
) -> list[tuple[str, ...]]:
    """What was planned on this machine and what was taken; lines of which only one is known are left out."""
    facts = json.loads((place / "checkpoint.json").read_text(encoding="utf-8"))
    asked, stages = load.load_made(dataset.path)[1], yields.stages()
    here = None if hardware.gpus() else "cpu"
    answered = sum(
        s.mean_completion_tokens * s.problems * s.samples_per_problem
        for s in found.scores
        if s.source == "all"
    )
    taken = {
        "traces": float(stages["asked"].rows),
        "sampled tokens": float(stages["asked"].tokens),
        "examples": float(stages["selected"].rows),
        "trained tokens": facts["trained_tokens"] * facts["epochs"],
        "steps": float(facts["steps"]),
        "training hours": facts["seconds"] / 3600,
        "training memory": facts["peak_memory_taken_gib"] or facts["peak_memory_gib"],
        "evaluation tokens": answered,
    }
    planned = {one.name: one.value for one in plan(recipe, asked, here).estimates} if asked else {}
    rows = list[tuple[str, ...]]([("what", "planned", "low to high", "taken")])
    for name, value in taken.items():
        if value and name in planned:
            band = planned[name]
            rows.append(
                (name, number(band.likely), f"{number(band.low)} to {number(band.high)}", number(value))
            )
    if (cost := stages["asked"].cost_usd) is not None:
        rows.append(("teacher's cost", "", "", dollars(cost)))
    return rows


def lineage(recipe: StudentRecipe, student: Folder, dataset: Folder) -> dict[str, str]:
    """Names, fingerprints and file hashes of what the student was made from and is."""
    made, weights = dataset.done() or {}, keys.model_identity(str(student.local() / "model"), None)
    return {
        "student": f"{recipe.name}, fingerprint {student.fingerprint}",
        "base": " at ".join(one for one in (recipe.base.model, recipe.base.revision) if one),
        "dataset": f"{dataset.path.rsplit('/', 1)[1]}, fingerprint {dataset.fingerprint}",
        "examples' digest": str(made.get("content", "")),
        **{f"model/{name}": f"sha256 {digest}" for name, digest in weights.get("files", {}).items()},
    }
